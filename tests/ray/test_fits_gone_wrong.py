"""Fits that diverge, and fits whose checkpoints are damaged."""

import shutil

import pytest
from helpers.bits import assert_same_bits
from safetensors.torch import load_file
from support import TWO_WORKERS, copied, events, tiny

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.errors import UserError
from hydra_ray.runs.run import Run

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("ray_session")]


@pytest.mark.parametrize(
    ("key", "stage", "who", "place", "words"),
    [
        ("ensemble.learning_rate", "train_ensemble", "member ", "ensemble", ()),
        ("distill.learning_rate", "distill", "student hydra: ", "students", TWO_WORKERS),
    ],
)
def test_a_fit_that_diverges_is_told_once_and_not_published(small_run, tmp_path, key, stage, who, place, words):
    folder = copied(small_run, tmp_path)
    shutil.rmtree(folder / place)
    with pytest.raises(UserError) as raised:
        run_stages(Run(tiny(tmp_path, f"{key}=1e39", *words)), [stage])
    assert str(raised.value).startswith(who)
    assert str(raised.value).endswith(f"; lower {key} (1e39)")
    assert not list((folder / place).glob("*/model.json"))
    assert events(folder, stage, "restart") == [], "another start would end there too"


@pytest.mark.parametrize(
    ("stage", "place", "name"),
    [
        ("train_ensemble", "ensemble/member-001", "checkpoint-000000008-00ab.safetensors"),
        ("distill", "students/hydra", "phase-1-checkpoint-000000008-00ab.safetensors"),
    ],
)
def test_a_damaged_checkpoint_is_removed_with_a_line(chain, project, tmp_path, capfd, stage, place, name):
    chain.require_success()
    whole = project / "runs" / "tiny"
    folder, run = copied(whole, tmp_path), Run(tiny(tmp_path))
    artifact = run.member(1) if stage == "train_ensemble" else run.student("hydra")
    shutil.rmtree(folder / place)
    artifact.attempt.write(name, b"cut short")
    run_stages(run, [stage])
    assert_same_bits(*(load_file(each / place / "model.safetensors") for each in (folder, whole)))
    line = f"{name}: damaged, or another's; it is removed and the fit begins anew"
    assert [each["text"].endswith(line) for each in events(folder, stage, "checkpoint_removed")] == [True]
    assert line in capfd.readouterr().out
