"""Students: the same bits after an interruption, and the phases."""

import numpy as np
import pytest
from helpers.bits import assert_same_bits
from helpers.checkpoints import checkpoints_in
from helpers.kinds import split_keys
from helpers.mortal import Killed
from helpers.shards import synthetic, write, write_views
from helpers.two_ranks import student_of

from hydra_ray.config.load import validate
from hydra_ray.shards.loader import BatchReader
from hydra_ray.shards.schema import load, read_shard
from hydra_ray.storage.folder import Folder

pytestmark = pytest.mark.usefixtures("one_thread")
NUM_ROWS, BATCH = 44, 12  # 2 views of 44 rows: 7 steps an epoch, the last 4 rows left out


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Transfer set (two views) and validation rows with four members' logits."""
    folder = Folder.open(str(tmp_path_factory.mktemp("shards")))
    transfer, validation = folder / "transfer", folder / "validation"
    write_views(transfer, 2, num_rows=NUM_ROWS, members=4)
    write(validation, "part-000-00000.parquet", synthetic(20, members=4, seed=0, view=7))
    return transfer, validation


def config(**settings):
    shared, own = split_keys("hydra", settings)
    tree = {
        "body_options": {"hidden": [8]}, "epochs": 2, "mean_phase_epochs": 1, "batch_size": BATCH,
        "learning_rate": 0.01,
        "head_width": 4, "checkpoint_every": 2, **shared,
    }  # fmt: skip
    students = [{"kind": "hydra", **own}, "kd", "end2", "proxy_end2", "labels"]
    ensemble = {"num_members": 4}
    data = {"source": "digits"}
    return validate({"name": "x", "data": data, "ensemble": ensemble, "students": students, "distill": tree}, "here")


class Dying(BatchReader):
    """Batches until the end of a life, which is the class's."""

    left = 0

    def batches(self, epoch, start=0):
        for batch in super().batches(epoch, start):
            if Dying.left == 0:
                raise Killed
            Dying.left -= 1
            yield batch


@pytest.mark.parametrize("kind", ["kd", "hydra"])
@pytest.mark.parametrize("killed_after", [0, 1, 3, 6, 7, 8, 13, 20])
def test_a_killed_student_goes_on_within_its_epoch_with_the_same_bits(shards, tmp_path, kind, killed_after):
    """7 steps of phase 1, then 14 of phase 2; a checkpoint at every second of a phase and at the end of epochs."""
    whole = student_of(config(), kind, *shards)
    attempt, seen = checkpoints_in(tmp_path), []
    Dying.left = killed_after
    with pytest.raises(Killed):
        student_of(config(), kind, *shards, checkpoints=attempt, reader=Dying)
    Dying.left = 100
    again = student_of(config(), kind, *shards, checkpoints=attempt, reader=Dying, report=seen.append)
    assert_same_bits(again, whole)
    assert killed_after + (100 - Dying.left) - 21 in (0, 1), "at most one step is taken twice"
    assert seen[-1]["step"] == 21
    assert [each["epoch"] for each in seen] == list(range(killed_after // 7 + 1, 4))


@pytest.mark.parametrize("settings", [{}, {"disagreement_sampling": 4.0}, {"average": 0.1}], ids=str)
@pytest.mark.parametrize("kind", ["kd", "hydra"])
def test_a_student_killed_twice(shards, tmp_path, kind, settings):
    chosen = config(**settings)
    attempt = checkpoints_in(tmp_path)
    for life in (5, 9):
        Dying.left = life
        with pytest.raises(Killed):
            student_of(chosen, kind, *shards, checkpoints=attempt, reader=Dying)
    assert_same_bits(student_of(chosen, kind, *shards, checkpoints=attempt), student_of(chosen, kind, *shards))


def test_rows_are_drawn_by_the_disagreement_of_the_students_own_members(shards):
    """Two heads learn from two members; the control, whom no member teaches, has the rows that it has without."""
    rows = load(shards[0])
    found = {}

    class Kept(BatchReader):
        def __init__(self, *args, draws, **options):
            super().__init__(*args, draws=draws, **options)
            found["draws"] = draws

    student_of(config(disagreement_sampling=4.0, num_heads=2, epochs=1), "hydra", *shards, reader=Kept)
    assert found["draws"].cap == 4.0
    probs = np.exp(rows.logits_NMC[:, :2].astype(np.float64))
    probs /= probs.sum(-1, keepdims=True)
    information = (probs * np.log(probs / probs.mean(1, keepdims=True))).sum(-1).mean(1)
    np.testing.assert_allclose(found["draws"].disagreement(rows), information, atol=1e-9)
    for settings, kind in (({}, "hydra"), ({"disagreement_sampling": 4.0}, "labels")):
        student_of(config(epochs=1, **settings), kind, *shards, reader=Kept)
        assert found["draws"] is None


def test_checkpoints_do_not_change_a_student(shards, tmp_path):
    plain = student_of(config(), "hydra", *shards)
    often = student_of(config(checkpoint_every=1), "hydra", *shards, checkpoints=checkpoints_in(tmp_path))
    assert_same_bits(plain, often)


@pytest.mark.parametrize("kind", ["kd", "hydra", "end2", "proxy_end2"])
def test_every_kind_takes_the_same_number_of_steps(shards, kind):
    seen = []
    Dying.left = 100
    student_of(config(), kind, *shards, reader=Dying, report=seen.append)
    assert 100 - Dying.left == 3 * 7
    assert [each["step"] for each in seen] == [7, 14, 21]
    assert all(np.isfinite(each["loss"]) for each in seen)


def test_a_hydra_learns_the_mean_then_its_members(shards):
    seen = []
    state = student_of(config(epochs=40, mean_phase_epochs=10), "hydra", *shards, report=seen.append)
    assert [each["phase"] for each in seen] == ["mean"] * 10 + ["heads"] * 40
    heads = {name: value.shape[0] for name, value in state.items() if name.startswith("heads.")}
    assert set(heads.values()) == {4}
    phases = [[each["loss"] for each in seen if each["phase"] == name] for name in ("mean", "heads")]
    assert all(losses[-1] < losses[0] for losses in phases)
    assert "validation_member_kl" not in seen[9]
    assert seen[-1]["validation_member_kl"] < seen[10]["validation_member_kl"]


def test_without_epochs_of_the_mean_heads_learn_at_once(shards):
    seen = []
    student_of(config(mean_phase_epochs=0), "hydra", *shards, report=seen.append)
    assert [each["phase"] for each in seen] == ["heads", "heads"]


def test_a_student_of_the_first_members_does_not_know_the_others(shards, tmp_path):
    few = Folder.open(str(tmp_path))
    for split, source in (("transfer", shards[0]), ("validation", shards[1])):
        for name in source.files():
            write(few / split, name, read_shard(source, name, num_members=2))
    of_four = student_of(config(num_heads=2), "hydra", *shards)
    of_two = student_of(config(num_heads=2), "hydra", few / "transfer", few / "validation")
    assert_same_bits(of_four, of_two)


def test_small_memory_takes_as_many_steps(shards):
    seen = []

    class Small(BatchReader):
        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, "max_bytes": 900})

    student_of(config(), "hydra", *shards, reader=Small, report=seen.append)
    assert seen[-1]["step"] == 21
