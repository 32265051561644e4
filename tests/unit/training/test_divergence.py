"""Fits that diverge stop with the step, before a checkpoint or a figure holds what is no number."""

import math

import numpy as np
import pytest
import torch
from helpers.checkpoints import checkpoints_in
from helpers.mortal import Killed
from helpers.shards import synthetic, write
from helpers.two_ranks import student_of

from hydra_ray.config.load import validate
from hydra_ray.errors import DivergedError, UserError
from hydra_ray.models.members import ModelSpec
from hydra_ray.runs.model_store import load_published, publish_model
from hydra_ray.shards.loader import BatchReader
from hydra_ray.storage.artifact import Artifact
from hydra_ray.storage.folder import Folder
from hydra_ray.tasks import CLASSIFICATION, REGRESSION
from hydra_ray.training.divergence import Subject, Watch
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member, order_of
from hydra_ray.training.stacked import StackSlot, fit_stacked

pytestmark = pytest.mark.usefixtures("one_thread")
NUM_ROWS, BATCH, POISON = 200, 2, 150


def rows_of(task, poison=True):
    """Features; in one row they are so large that the network's outputs are no numbers."""
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(NUM_ROWS, 3, generator=generator), torch.arange(NUM_ROWS) % 4
    member_spec = MemberSpec.of(
        task, ModelSpec("member", "mlp", (3,), 4, {"hidden": [8]}), inputs.numpy(), labels.numpy()
    )
    if task is REGRESSION:
        spec, labels = ModelSpec("member", "mlp", (3,), 2, {"hidden": [8]}, output="gaussian"), labels.float()
        member_spec = MemberSpec.of(task, spec, inputs.numpy(), labels.numpy())
    if poison:
        inputs[POISON] = math.nan
    return LabelledRows(torch.arange(NUM_ROWS), inputs, labels), member_spec


def settings(**changed):
    tree = {"epochs": 2, "batch_size": BATCH, "learning_rate": 0.01, **changed}
    return validate({"name": "x", "data": {"source": "digits"}, "ensemble": tree}, "here").ensemble


def refusal(call) -> str:
    with pytest.raises(DivergedError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION], ids=lambda task: task.name)
def test_a_member_stops_and_names_the_step_before_it_writes(tmp_path, task):
    """It is looked at every 50 steps of 100; the step that is told is exact."""
    train, member_spec = rows_of(task)
    seen, kept = [], checkpoints_in(tmp_path)
    place = order_of(NUM_ROWS, 5, 2, 0).tolist().index(POISON)
    text = refusal(lambda: fit_member(2, settings(), 5, member_spec, train, train, kept, seen.append))
    assert text == (
        f"member 2: loss is not finite at step {place // BATCH + 1} of epoch 1; lower ensemble.learning_rate (0.01)"
    )
    assert (seen, kept.newest()) == ([], None)


def test_a_member_that_diverges_later_keeps_its_checkpoint_and_stops_there_again(tmp_path):
    """The second epoch is begun with whole rows and gone on with a broken one."""
    (whole, member_spec), (broken, _) = rows_of(CLASSIFICATION, poison=False), rows_of(CLASSIFICATION)
    kept = checkpoints_in(tmp_path)

    def fit(train, report=lambda figures: None):
        fit_member(0, settings(), 5, member_spec, train, whole, kept, report)

    def die(figures):
        if figures["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        fit(whole, die)
    step = order_of(NUM_ROWS, 5, 0, 1).tolist().index(POISON) // BATCH + 1
    expected = f"member 0: loss is not finite at step {step} of epoch 2; lower ensemble.learning_rate (0.01)"
    assert [refusal(lambda: fit(broken)) for _ in "12"] == [expected] * 2
    found = kept.newest()
    assert found is not None
    assert int(found["num_done"]) == NUM_ROWS // BATCH
    assert all(value.isfinite().all() for value in found.values())


def test_weights_that_are_no_numbers_behind_a_finite_loss(tmp_path):
    """One step an epoch: its loss is that of the first weights."""
    train, member_spec = rows_of(CLASSIFICATION, poison=False)
    how, kept = settings(learning_rate=1e39, batch_size=NUM_ROWS), checkpoints_in(tmp_path)
    text = refusal(lambda: fit_member(0, how, 5, member_spec, train, train, kept, lambda figures: None))
    assert text == "member 0: weights are not finite after step 1 of epoch 1; lower ensemble.learning_rate (1e39)"
    assert kept.newest() is None


def test_figures_that_are_no_numbers(tmp_path):
    train, member_spec = rows_of(CLASSIFICATION, poison=False)
    text = refusal(
        lambda: fit_member(
            0, settings(), 5, member_spec, train, rows_of(CLASSIFICATION)[0], checkpoints_in(tmp_path), print
        )
    )
    assert text == "member 0: validation_nll is not finite after epoch 1; lower ensemble.learning_rate (0.01)"


def test_the_member_of_a_stack_is_named(tmp_path):
    """Member 4 alone learns from the row that breaks it."""
    train, member_spec = rows_of(CLASSIFICATION)
    rows = {member: torch.tensor([row for row in range(NUM_ROWS) if row != left_out])
            for member, left_out in ((0, POISON), (4, 7), (5, POISON))}  # fmt: skip
    slots = [StackSlot(member, rows[member], checkpoints_in(tmp_path / f"{member}")) for member in rows]
    order = rows[4][order_of(NUM_ROWS - 1, 5, 4, 0)].tolist()
    text = refusal(lambda: fit_stacked(slots, settings(), 5, member_spec, train, train, print))
    step = order.index(POISON) // BATCH + 1
    assert text == f"member 4: loss is not finite at step {step} of epoch 1; lower ensemble.learning_rate (0.01)"
    assert all(slot.checkpoints.newest() is None for slot in slots)


def config(**distill):
    tree = {
        "body_options": {"hidden": [8]}, "epochs": 1, "mean_phase_epochs": 1, "batch_size": 4, "head_width": 4,
        "learning_rate": 0.01, "checkpoint_every": 3, **distill,
    }  # fmt: skip
    data, ensemble, students = {"source": "digits"}, {"num_members": 3}, ["hydra", "kd", "end2", "proxy_end2"]
    return validate({"name": "x", "data": data, "ensemble": ensemble, "students": students, "distill": tree}, "x")


@pytest.fixture
def shards(tmp_path):
    """Transfer set with one row that no student can bear, and validation rows."""
    folder = Folder.open(str(tmp_path / "shards"))
    rows, held = (synthetic(200, shape=(5,), view=view) for view in (0, 1))
    rows.inputs[POISON] = np.nan
    write(folder / "transfer", "part-000-00000.parquet", rows)
    write(folder / "validation", "part-000-00000.parquet", held)
    return folder / "transfer", folder / "validation"


@pytest.mark.parametrize("kind", ["hydra", "kd", "end2", "proxy_end2"])
def test_a_student_stops_and_names_the_step_before_it_writes(tmp_path, shards, kind):
    readers, kept, seen = [], checkpoints_in(tmp_path / "kept"), []

    class Kept(BatchReader):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            readers.append(self)

    def fit():
        student_of(config(), kind, *shards, checkpoints=kept, reader=Kept, report=seen.append)

    text = refusal(fit)
    step = next(n for n, batch in enumerate(readers[0].batches(0), 1) if np.isnan(batch.inputs).any())
    expected = f"student {kind}: loss is not finite at step {step} of epoch 1; lower distill.learning_rate (0.01)"
    assert (text, seen) == (expected, [])
    found = kept.of_part("phase-0").newest()
    assert found is not None
    assert step - 4 < int(found["num_done"]) < step, "the last whole checkpoint is there, and whole"
    assert all(value.isfinite().all() for value in found.values())
    assert refusal(fit) == expected, "counted from the epoch's start after a resume too"


def test_a_diverging_trial_says_so_in_a_type_of_its_own(shards):
    with pytest.raises(DivergedError):
        student_of(config(), "hydra", *shards)
    assert issubclass(DivergedError, UserError), "what a user can mend: no restart, exit code 2"


def test_losses_are_looked_at_now_and_then_and_their_means_are_exact():
    subjects = [Subject(name, "ensemble", 1e8) for name in ("member 1", "member 7")]
    watch = Watch(subjects, 3)
    losses = torch.rand(120, 2, dtype=torch.float64)
    for loss_K in losses:
        watch.add(loss_K)
    watch.check_losses()
    assert watch.means() == pytest.approx(losses.mean(0).tolist())
    watch = Watch(subjects, 3, first_step=10)
    for loss_K in losses[:49]:
        watch.add(loss_K)
    expected = "member 7: loss is not finite at step 60 of epoch 3; lower ensemble.learning_rate (1e8)"
    assert refusal(lambda: watch.add(torch.tensor([1.0, math.inf], dtype=torch.float64))) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nothing_that_is_no_number_is_published(tmp_path, value):
    spec = ModelSpec("member", "mlp", (3,), 4, {"hidden": [8]})
    model = rows_of(CLASSIFICATION)[1].build(0)
    artifact = Artifact(Folder.open(str(tmp_path / "member-000")), {"seed": 0}, "model.json")
    assert "validation_nll is not finite" in refusal(
        lambda: publish_model(artifact, model, spec, {"figures": {"validation_nll": value}})
    )
    next(model.parameters()).data.view(-1)[0] = value
    assert "network." in refusal(lambda: publish_model(artifact, model, spec, {"figures": {}}))
    assert artifact.status() == "missing"


def test_what_an_older_version_has_published_without_being_a_number_is_stale_with_a_reason(tmp_path):
    artifact = Artifact(Folder.open(str(tmp_path / "member-000")), {"seed": 0}, "model.json")
    artifact.attempt.write("model.safetensors", b"")
    artifact.publish({"figures": {"validation_nll": math.nan, "validation_accuracy": 0.1}})
    assert (artifact.status(), artifact.is_done) == ("stale", False)
    assert artifact.changes() == ["figures.validation_nll: nan, not a finite number"]
    with pytest.raises(UserError, match=r"figures.validation_nll: nan, not a finite number"):
        load_published(artifact)
    artifact.attempt.write("model.safetensors", b"")
    artifact.publish({"figures": {"validation_nll": 0.3}})
    assert artifact.is_done
