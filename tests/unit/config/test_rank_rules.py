"""`ensemble.workers_per_member` and `strategy`: what makes no sense is refused in a line that names the way out."""

import pytest

from hydra_ray.config import load_config
from hydra_ray.errors import UserError

TEAM = ["ensemble.workers_per_member=2", "cluster.num_workers=4"]
PARTS = [*TEAM, "ensemble.strategy=fsdp"]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "mine.yaml").write_text("data: {source: digits}\nensemble: {epochs: 1}\n")
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize(
    "words", [TEAM, PARTS, [*TEAM, "cluster.num_workers=[2, 8]"], ["distill.strategy=fsdp", *TEAM]]
)
def test_what_is_accepted(path, words):
    assert load_config(path, words).ensemble.workers_per_member == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([TEAM[0]], r"workers_per_member=2: cluster.num_workers=1 makes no full teams; use cluster.num_workers=2$"),
        ([TEAM[0], "cluster.num_workers=5"], r"cluster.num_workers=5 makes no full teams; use cluster.num_workers=4$"),
        (
            [TEAM[0], "cluster.num_workers=[1, 5]"],
            r"cluster.num_workers=\[1, 5\] makes .* cluster.num_workers=\[2, 4\]$",
        ),
        ([*TEAM, "ensemble.stack_size=2"], r"workers_per_member=2 with ensemble.stack_size=2.* ensemble.stack_size=1"),
        ([*TEAM, "ensemble.stack_size=auto"], r"workers_per_member=2 with ensemble.stack_size=auto"),
        ([*TEAM, "ensemble.objective=joint"], r"workers_per_member=2: one loss trains the members .*leave it out"),
        (
            [*TEAM, "ensemble.batch_size=1"],
            r"batch_size=1, but ensemble.workers_per_member=2.*ensemble.batch_size=2 or more",
        ),
        ([*TEAM, "cluster.gpu_share=0.5"], r"workers_per_member=2 with cluster.gpu_share=0.5: .*leave one of them out"),
        ([*TEAM, "predict.shards=here"], r"workers_per_member=2: no member is trained here, .*leave it out"),
        (
            ["ensemble.strategy=fsdp"],
            r"ensemble.strategy=fsdp: one worker has .* ensemble.workers_per_member=2 or more",
        ),
        ([*PARTS, "ensemble.compile=true"], r"ensemble.strategy=fsdp with ensemble.compile=true"),
        (
            [*PARTS, "ensemble.architecture=dexdeepfm", "ensemble.objective=dexdeepfm"],
            r"strategy=fsdp with ensemble.objective=dexdeepfm: .* use ensemble.strategy=ddp",
        ),
        (["distill.strategy=fsdp"], r"distill.strategy=fsdp with cluster.num_workers=1: .* use cluster.num_workers=2$"),
        (["distill.strategy=fsdp", "cluster.num_workers=[1, 4]"], r"use cluster.num_workers=\[2, 4\]$"),
        (["distill.strategy=fsdp", "cluster.num_workers=4", "distill.compile=true"], r"distill.compile=true"),
        (["distill.strategy=fsdp", "cluster.num_workers=4", "cluster.gpu_share=0.2"], r"cluster.gpu_share=0.2"),
        (["distill.strategy=zero"], r"distill.strategy=.zero.: must be 'ddp' or 'fsdp'"),
    ],
)
def test_what_is_refused(path, words, line):
    with pytest.raises(UserError, match=line) as caught:
        load_config(path, words)
    assert "\n" not in str(caught.value)
