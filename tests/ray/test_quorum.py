"""Members that fail for good: with `ensemble.min_members` a run goes on without them, and takes them in later."""

import json

import pyarrow.parquet as pq
import pytest
from helpers.bits import assert_same_bits
from safetensors.torch import load_file
from support import TWO_WORKERS, events, tiny

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.errors import StageError, UserError
from hydra_ray.runs.run import Run
from hydra_ray.runs.stages import STAGES
from hydra_ray.shards.schema import ShardReader
from hydra_ray.storage.folder import Folder

pytestmark = pytest.mark.timeout(400)

PATIENT = "{architecture: 'own_nets:patient_mlp', options: {width: 16}, count: %d}"
ONE_RAISES = "{architecture: 'own_nets:failing_mlp', options: {width: 16}}"
ONE_DIVERGES = "{architecture: 'own_nets:diverging_mlp', options: {width: 16}}"
MEMBERS = f"ensemble.members=[{PATIENT % 1}, {ONE_RAISES}, {ONE_DIVERGES}, {PATIENT % 3}]"
LEFT = [0, 3, 4, 5]
WORDS = (
    MEMBERS,
    "ensemble.num_members=6",
    "tune.num_trials=0",
    "data.unknown={}",
    "students=[{kind: hydra, num_heads: 3}]",
)
DIVERGED = "loss is not finite at step 1 of epoch 1; lower ensemble.learning_rate (0.01)"


def published(folder):
    return sorted(path.parent.name for path in (folder / "ensemble").glob("*/model.json"))


def shards_of(folder, split):
    return ShardReader(Folder.open(str(folder / "predictions" / split)))


def names(numbers):
    return [f"member-{number:03d}" for number in numbers]


@pytest.fixture(scope="module")
def without_two(tmp_path_factory):
    """A run in this process, of whose six members one raises and one diverges."""
    storage = tmp_path_factory.mktemp("quorum")
    run_stages(Run(tiny(storage, *WORDS, "ensemble.min_members=3")), STAGES)
    return storage / "tiny"


def test_the_run_goes_on_with_those_that_are_left(without_two):
    assert published(without_two) == names(LEFT)
    failed = {each["member"]: each["reason"] for each in events(without_two, event="member_failed")}
    assert failed == {1: "no rows in this batch", 2: DIVERGED}
    for split in ("transfer", "test"):
        shards = shards_of(without_two, split)
        assert shards.load().logits_NMC.shape[1] == len(LEFT)
    metrics = json.loads((without_two / "report" / "metrics.json").read_text())
    assert metrics["num_members"] == len(LEFT)
    assert metrics["left_out"] == {"1": "no rows in this batch", "2": DIVERGED}


def test_the_report_names_those_that_are_left_out(without_two):
    said = f"The ensemble is without members 1 (no rows in this batch); 2 ({DIVERGED})."
    page = (without_two / "report" / "report.md").read_text().replace("\\", "")
    assert said in page
    assert "classification, 4 of 6 members" in page


def test_the_footers_name_the_members_by_their_numbers(without_two):
    schema = pq.read_schema(without_two / "predictions" / "test" / "part-000-00000.parquet")
    members = json.loads(schema.metadata[b"hydra_ray"])["members"]
    assert [each["id"] for each in members] == names(LEFT)


def test_the_same_command_tries_nobody_again_and_says_so(without_two, capsys):
    before = len(events(without_two))
    run_stages(Run(tiny(without_two.parent, *WORDS, "ensemble.min_members=3")), STAGES)
    assert {each["event"] for each in events(without_two)[before:]} == {"skipped"}
    assert "4/4 members done, goes on without members 1 (no rows in this batch); 2 (" in capsys.readouterr().out


def test_a_student_of_more_heads_than_members_are_left_is_refused(without_two):
    run = Run(tiny(without_two.parent, *WORDS[:-1], "ensemble.min_members=3", "students=[{kind: hydra, num_heads: 5}]"))
    with pytest.raises(UserError, match="num_heads=5, but 4 of 6 members are left, the others failed: use 4 heads"):
        run_stages(run, STAGES)


@pytest.mark.parametrize(("quorum", "error"), [(6, StageError), (5, UserError)])
def test_too_few_are_left(tmp_path, quorum, error):
    members = MEMBERS if quorum == 6 else MEMBERS.replace("failing", "diverging")
    with pytest.raises(error) as raised:
        run_stages(Run(tiny(tmp_path, *WORDS[1:], members, f"ensemble.min_members={quorum}")), ["train_ensemble"])
    if error is UserError:
        assert str(raised.value).endswith(f"there are 4 members, but ensemble.min_members={quorum}")
    assert not (tmp_path / "tiny" / "ensemble" / "given_up.json").exists()


def test_those_left_out_come_in_later_and_are_asked_alone(tmp_path, monkeypatch):
    """Member 1 is trained once what made it fail is mended; it alone is asked, and every column is in its place."""
    moody = "{architecture: 'own_nets:moody_mlp', options: {width: 16}}"
    words = (f"ensemble.members=[{PATIENT % 1}, {moody}, {PATIENT % 2}]", *WORDS[2:])
    chain = ["train_ensemble", "predict"]
    whole = tmp_path / "whole" / "tiny"
    parts = tmp_path / "parts" / "tiny"
    run_stages(Run(tiny(whole.parent, *words)), chain)
    monkeypatch.setenv("OWN_NETS_FAIL", "1")
    run_stages(Run(tiny(parts.parent, *words, "ensemble.min_members=3")), chain)
    assert published(parts) == names([0, 2, 3])
    monkeypatch.delenv("OWN_NETS_FAIL")
    later = Run(tiny(parts.parent, *words))
    run_stages(later, ["train_ensemble"])
    assert later.shards("transfer").reusable() == (0, None, 1, 2)
    run_stages(later, chain)
    assert published(parts) == names(range(4))
    assert [each["member"] for each in events(parts, event="member")] == [0, 2, 3, 1]
    for split in ("transfer", "test"):
        one, other = (shards_of(folder, split).load() for folder in (whole, parts))
        assert (one.row_id == other.row_id).all()
        assert (one.logits_NMC == other.logits_NMC).all()
    assert Run(tiny(parts.parent, *words, "ensemble.min_members=3")).given_up == {}


@pytest.mark.usefixtures("ray_session")
def test_workers_that_die_with_a_member_go_on_with_the_next(tmp_path, without_two):
    words = (*WORDS, *TWO_WORKERS, "ensemble.min_members=3")
    run_stages(Run(tiny(tmp_path, *words)), ["train_ensemble"])
    folder = tmp_path / "tiny"
    assert published(folder) == names(LEFT)
    assert len(events(folder, event="restart")) == 1, "what fails twice in the same way is given up"
    for name in names(LEFT):
        one, other = (load_file(each / "ensemble" / name / "model.safetensors") for each in (folder, without_two))
        assert_same_bits(one, other)
