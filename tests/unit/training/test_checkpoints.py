"""Damaged checkpoints: noticed, removed with a line, and the fit ends with the bits of one that nothing happened to."""

from pathlib import Path

import pyarrow.fs as pafs
import pytest
import torch
from helpers.bits import assert_same_bits
from helpers.checkpoints import checkpoints_in
from helpers.mortal import Killed, mortal
from helpers.shards import synthetic, write, write_views
from helpers.two_ranks import student_of

from hydra_ray.config.load import validate
from hydra_ray.models.members import ModelSpec
from hydra_ray.storage.folder import Folder
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training.checkpoints import Checkpoints
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member
from hydra_ray.training.stack_size import stacks
from hydra_ray.training.stacked import StackSlot, fit_stacked

pytestmark = pytest.mark.usefixtures("one_thread")


def state(step, value=1.0):
    return {"model.weight": torch.full((3, 2), value), "num_done": torch.tensor(step)}


def newest_file(place, part="") -> Path:
    return max(Path(place).glob(f"{part}*.safetensors"))


def cut(length):
    def damage(path):
        data = path.read_bytes()
        path.write_bytes(data[: length if length >= 0 else len(data) + length])

    return damage


def flipped(place):
    def damage(path):
        data = bytearray(path.read_bytes())
        data[int(place * (len(data) - 1))] ^= 1
        path.write_bytes(data)

    return damage


def longer(path):
    path.write_bytes(path.read_bytes() + b"\0")


def folder_in_its_place(path):
    path.unlink()
    path.mkdir()
    (path / "stray").write_bytes(b"1")


def copied(path):
    """Bytes that another fit of the same shapes has written, under the name they have there and here."""
    other = path.parent.parent / "other"
    checkpoints_in(other, "another fit").write(state(10**6))
    (path.parent / newest_file(other).name).write_bytes(newest_file(other).read_bytes())
    path.write_bytes(newest_file(other).read_bytes())


DAMAGES = {
    "empty": cut(0), "1 byte": cut(1), "7 bytes": cut(7), "8 bytes": cut(8), "30 bytes": cut(30),
    "100 bytes": cut(100), "1 byte missing": cut(-1), "100 bytes missing": cut(-100),
    "1 byte too many": longer, "first bit": flipped(0.0), "in the header": flipped(0.1), "in the middle": flipped(0.5),
    "last bit": flipped(1.0), "a folder": folder_in_its_place, "another fit's": copied,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_removed_with_a_line_and_the_one_before_is_taken(tmp_path, damage):
    said: list[str] = []
    kept = checkpoints_in(tmp_path / "here", say=said.append)
    kept.write(state(5, 0.5))
    kept.write(state(7, 0.7))
    assert kept.newest()["num_done"] == 7
    assert said == []
    broken = newest_file(tmp_path / "here")
    damage(broken)
    assert_same_bits(kept.newest(), state(5, 0.5))
    assert f"{kept.folder}/{broken.name}: damaged, or another's; it is removed and the fit goes on from step 5" in said
    assert not any("\n" in line for line in said)
    said.clear()
    assert_same_bits(kept.newest(), state(5, 0.5))
    assert said == [], "once"
    kept.write(state(7, 0.8))
    assert_same_bits(kept.newest(), state(7, 0.8))


def test_a_fit_whose_checkpoints_are_all_damaged_begins_anew(tmp_path):
    said: list[str] = []
    kept = checkpoints_in(tmp_path, say=said.append)
    for step in (1, 2):
        kept.write(state(step))
    for path in tmp_path.iterdir():
        cut(20)(path)
    assert kept.newest() is None
    assert [line.rsplit("; ", 1)[1] for line in said] == ["it is removed and the fit begins anew"] * 2
    assert list(tmp_path.iterdir()) == []


def test_two_are_kept_whatever_else_is_in_the_folder(tmp_path):
    kept = checkpoints_in(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    for step in (1, 2, 30, 1_000_000_000, 1_000_000_001):
        kept.write(state(step))
        kept.of_part("phase-0").write(state(step))
        assert int(kept.newest()["num_done"]) == step
    assert len(list(tmp_path.iterdir())) == 5
    assert kept.of_part("phase-1").newest() is None, "a part's are no other's"


def test_who_only_reads_removes_nothing(tmp_path):
    kept = checkpoints_in(tmp_path)
    kept.write(state(3))
    reader = Checkpoints(kept.folder, kept.owner, kept.say, is_writer=False)
    reader.write(state(4))
    cut(9)(newest_file(tmp_path))
    assert reader.newest() is None
    assert len(list(tmp_path.iterdir())) == 1


# fits

SPEC = ModelSpec("member", "mlp", (4, 4, 1), 4, {"hidden": [8]})
FIT_DAMAGES = ["empty", "100 bytes missing", "in the middle", "a folder", "another fit's"]


def labelled(num_rows, seed=0):
    rows = synthetic(num_rows, seed=seed)
    return LabelledRows(*(torch.from_numpy(part) for part in (rows.row_id, rows.inputs, rows.labels)))


TRAIN, VALIDATION = labelled(70), labelled(30, 1)
BLUEPRINT = MemberSpec.of(CLASSIFICATION, SPEC, TRAIN.inputs.numpy(), TRAIN.labels.numpy())
TREE = {"epochs": 4, "batch_size": 16, "learning_rate": 0.01}
SETTINGS = validate({"name": "x", "data": {"source": "digits"}, "ensemble": TREE}, "here").ensemble


def member(kept, report=lambda figures: None):
    return fit_member(0, SETTINGS, 5, BLUEPRINT, TRAIN, VALIDATION, kept, report)[0].state_dict()


def stack(folders, report=lambda figures: None):
    """Members 0 and 1, as `cluster/member_jobs.py` would put them together."""
    slots = [StackSlot(number, torch.arange(70), kept) for number, kept in enumerate(folders)]
    found = {}
    for group in stacks(slots, 2):
        fitted = fit_stacked(group, SETTINGS, 5, BLUEPRINT, TRAIN, VALIDATION, report)
        found |= {slot.member: model.state_dict() for slot, (model, _) in zip(group, fitted, strict=True)}
    return [found[0], found[1]]


def dying_at(epoch):
    def report(figures):
        if figures["epoch"] == epoch:
            raise Killed

    return report


@pytest.mark.parametrize("how_many", [1, 2])
@pytest.mark.parametrize("name", FIT_DAMAGES)
def test_a_member_goes_on_from_the_checkpoint_before_or_anew_with_the_same_bits(tmp_path, name, how_many):
    whole, said, seen = member(checkpoints_in(tmp_path / "whole")), [], []
    kept = checkpoints_in(tmp_path / "here", say=said.append)
    with pytest.raises(Killed):
        member(kept, dying_at(4))
    for path in sorted((tmp_path / "here").iterdir())[-how_many:]:
        DAMAGES[name](path)
    assert_same_bits(member(kept, lambda figures: seen.append(figures["epoch"])), whole)
    assert seen == [3, 4] if how_many == 1 else [1, 2, 3, 4]
    assert said


@pytest.mark.parametrize("name", FIT_DAMAGES)
def test_one_damaged_member_of_a_stack_is_fitted_without_the_other(tmp_path, name):
    whole = stack([checkpoints_in(tmp_path / f"whole-{number}", str(number)) for number in (0, 1)])
    said: list[str] = []
    folders = [checkpoints_in(tmp_path / f"here-{number}", str(number), said.append) for number in (0, 1)]
    with pytest.raises(Killed):
        stack(folders, dying_at(4))
    DAMAGES[name](newest_file(tmp_path / "here-1"))
    for found, expected in zip(stack(folders), whole, strict=True):
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=2e-4, atol=2e-5)
    assert said


def test_a_member_killed_at_any_change_of_its_folder_ends_with_the_same_bits(tmp_path):
    whole, deaths = member(checkpoints_in(tmp_path / "whole")), 0
    for changes in range(40):
        place = str(tmp_path / f"life-{changes}")
        fs = mortal(pafs.LocalFileSystem(), changes)
        try:
            member(Checkpoints(Folder(fs, place), "a fit", print))
            break
        except Killed:
            deaths += 1
        assert_same_bits(member(checkpoints_in(place)), whole)
    assert deaths > 10


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Transfer set (two views) and validation rows with four members' logits."""
    folder = Folder.open(str(tmp_path_factory.mktemp("shards")))
    write_views(folder / "transfer", 2, num_rows=44, members=4)
    write(folder / "validation", "part-000-00000.parquet", synthetic(20, members=4, seed=0, view=7))
    return folder / "transfer", folder / "validation"


DISTILL = {
    "body_options": {"hidden": [8]}, "epochs": 2, "mean_phase_epochs": 1, "batch_size": 12, "learning_rate": 0.01,
    "head_width": 4, "checkpoint_every": 2,
}  # fmt: skip
CONFIG = validate(
    {"name": "x", "data": {"source": "digits"}, "ensemble": {"num_members": 4}, "distill": DISTILL}, "here"
)


@pytest.mark.parametrize("parts", [("phase-1",), ("phase-1", "phase-0")], ids="+".join)
@pytest.mark.parametrize("name", FIT_DAMAGES)
def test_a_student_goes_on_from_the_checkpoint_before_or_anew_with_the_same_bits(shards, tmp_path, name, parts):
    """Killed after 14 of 21 steps, of which 7 are phase 1; then one checkpoint of each phase is damaged, or all."""
    whole = student_of(CONFIG, "hydra", *shards)
    for how_many in (1, 2):
        said: list[str] = []
        kept = checkpoints_in(tmp_path / f"{how_many}" / "here", say=said.append)
        with pytest.raises(Killed):
            student_of(CONFIG, "hydra", *shards, checkpoints=kept, report=dying_at(2))
        for part in parts:
            for path in sorted((tmp_path / f"{how_many}" / "here").glob(f"{part}-*"))[-how_many:]:
                DAMAGES[name](path)
        assert_same_bits(student_of(CONFIG, "hydra", *shards, checkpoints=kept), whole)
        assert said
