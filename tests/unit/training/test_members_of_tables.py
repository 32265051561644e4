"""Tables with categories, from rows to members one by one and stacked, to a student, its file and its ONNX graph."""

import numpy as np
import pytest
import torch
from helpers.checkpoints import checkpoints_in

import hydra_ray
from hydra_ray.config.load import validate
from hydra_ray.data.feature_stats import Features
from hydra_ray.errors import UserError
from hydra_ray.models import Ensemble, ModelSpec
from hydra_ray.tasks import CLASSIFICATION, REGRESSION
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member, mean_member_loss
from hydra_ray.training.stack_size import stack_size
from hydra_ray.training.stacked import StackSlot, fit_stacked
from hydra_ray.views import apply_view

CATEGORIES = (0, 12, 0, 4)
ARCHITECTURES = {
    "mlp": {"hidden": [24]},
    "tabm": {"hidden": [24], "num_submodels": 4, "dropout": 0.0},
    "tabular_resnet": {"width": 16, "hidden_dropout": 0.0},
    "xdeepfm": {"embedding_dim": 4, "cin": [6, 5], "hidden": [16]},
    "dexdeepfm": {"embedding_dim": 4, "cin": [6, 6], "hidden": [16], "attention": 5},
}
MEMBERS = range(2)

pytestmark = pytest.mark.usefixtures("one_thread")


def table(num_rows=800, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Whether a row is of class 1 its category decides, in no order of the codes, together with a number."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(num_rows, 4)).astype(np.float32)
    rows[:, 1] = generator.integers(2, 12, num_rows)
    rows[:, 3] = generator.integers(2, 4, num_rows)
    sign = np.where(np.isin(rows[:, 1], [2, 5, 6, 9, 11]), 1, -1)
    return rows, (sign * 2 + rows[:, 0] + generator.normal(size=num_rows) > 0).astype(np.int64)


class Bench:
    """Rows, settings and folders of one fit."""

    def __init__(self, place, architecture="mlp", *, task=CLASSIFICATION, **changed):
        tree = {"epochs": 2, "batch_size": 64, "learning_rate": 0.01, **changed}
        self.place = place
        self.settings = validate({"name": "x", "data": {"source": "digits"}, "ensemble": tree}, "here").ensemble
        self.train, self.validation = (self._rows(number, seed) for number, seed in ((800, 0), (400, 1)))
        output = "logits" if task is CLASSIFICATION else "gaussian"
        options = ARCHITECTURES[architecture]
        spec = ModelSpec("member", architecture, (4,), 2, options, output=output, categories=CATEGORIES)
        labels = self.train.labels if task is CLASSIFICATION else self.train.labels.float()
        if task is REGRESSION:
            self.train, self.validation = (
                LabelledRows(each.row_id, each.inputs, each.labels.float()) for each in (self.train, self.validation)
            )
        self.member_spec = MemberSpec.of(task, spec, self.train.inputs.numpy(), labels.numpy())

    def _rows(self, number, seed):
        inputs, labels = (torch.from_numpy(part) for part in table(number, seed))
        return LabelledRows(torch.arange(number), inputs, labels, scale_of(inputs.numpy()))

    def folder(self, kind, member):
        return checkpoints_in(self.place / f"{kind}-{member}", owner=str(member))

    def alone(self, member):
        return fit_member(
            member, self.settings, 5, self.member_spec, self.train, self.validation, self.folder("alone", member),
            lambda figures: None,
        )  # fmt: skip

    def stacked(self):
        slots = [StackSlot(each, torch.arange(len(self.train)), self.folder("stacked", each)) for each in MEMBERS]
        return fit_stacked(
            slots, self.settings, 5, self.member_spec, self.train, self.validation, lambda figures: None
        )  # fmt: skip


def scale_of(rows: np.ndarray) -> Features:
    parts = (rows.mean(0), rows.std(0), rows.min(0), rows.max(0))
    return Features(*map(torch.from_numpy, parts), categories=CATEGORIES)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_members_learn_categories(tmp_path, architecture):
    bench = Bench(tmp_path, architecture, epochs=10)
    _, figures = bench.alone(0)
    assert figures["validation_accuracy"] > 0.85, "codes taken for numbers give 0.7"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_stack_learns_what_each_member_would_alone(tmp_path, architecture):
    bench = Bench(tmp_path, architecture, optimizer="sgd", learning_rate=0.05)
    for member, (model, figures) in zip(MEMBERS, bench.stacked(), strict=True):
        alone, alone_figures = bench.alone(member)
        assert figures == pytest.approx(alone_figures, abs=1e-4)
        assert list(model.state_dict()) == list(alone.state_dict())
        found, expected = (each.eval()(bench.validation.inputs) for each in (model, alone))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_noise_while_members_learn_leaves_codes(tmp_path):
    bench = Bench(tmp_path, augment={"view": "gaussian_noise", "options": {"sigma": 0.1}}, epochs=10)
    _, figures = bench.alone(0)
    assert figures["validation_accuracy"] > 0.8


def test_submodels_learn_by_the_mean_of_their_losses_not_by_the_loss_of_their_mean():
    outputs_BkC = torch.randn(5, 3, 4, requires_grad=True)
    labels_B = torch.tensor([0, 1, 2, 3, 0])
    loss = mean_member_loss(CLASSIFICATION.likelihood.member_loss(None), outputs_BkC, labels_B)
    each = [torch.nn.functional.cross_entropy(outputs_BkC[:, k], labels_B) for k in range(3)]
    torch.testing.assert_close(loss, torch.stack(each).mean())


@pytest.mark.parametrize("stacked", [False, True])
def test_a_tabm_learns_a_regression(tmp_path, stacked):
    bench = Bench(tmp_path, "tabm", task=REGRESSION, epochs=10)
    model, figures = bench.stacked()[0] if stacked else bench.alone(0)
    assert model.eval()(bench.validation.inputs).shape == (400, 2)
    assert figures["validation_rmse"] < 0.42, "the mean alone has 0.5"


def test_dropout_keeps_a_tabm_out_of_a_stack(tmp_path):
    bench = Bench(tmp_path, stack_size=2)
    spec = ModelSpec("member", "tabm", (4,), 2, {"num_submodels": 2, "hidden": [8]}, categories=CATEGORIES)
    labels = bench.train.labels.numpy()
    members = MemberSpec.of(CLASSIFICATION, spec, bench.train.inputs.numpy(), labels)
    with pytest.raises(UserError, match=r"tabm cannot be stacked \(it draws random numbers while it learns"):
        stack_size(bench.settings, 3, members, bench.train)


# ---------------------------------------------------------------- the student


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Rows, what two members say of them under views, and a student that learnt it."""
    torch.set_num_threads(1)
    bench = Bench(tmp_path_factory.mktemp("members"), epochs=10)
    ensemble = Ensemble([bench.alone(member)[0] for member in MEMBERS])
    rows, labels = table()
    row_id = np.arange(len(rows))
    views = [apply_view(name, {}, rows, row_id, seed=1, features=scale_of(rows)) for name in ("identity", "swap")]
    inputs = np.concatenate(views)
    said = ensemble(torch.from_numpy(inputs)).numpy()
    return inputs, said, np.concatenate([labels, np.full(len(rows), -1)])


def student_of(taught, body, **changed) -> "hydra_ray.Student":
    inputs, said, labels = taught
    settings = {"epochs": 6, "mean_phase_epochs": 1, "batch_size": 64, "learning_rate": 5e-3, **changed}
    return hydra_ray.distill(
        inputs, said, labels=labels, categories=CATEGORIES, body=body, body_options=ARCHITECTURES[body], **settings
    )


@pytest.mark.parametrize("body", ARCHITECTURES)
def test_a_student_of_any_body_follows_the_members_and_comes_back_from_its_folder(taught, tmp_path, body):
    inputs, said, _ = taught
    student = student_of(taught, body)
    answer = student.predict(inputs[:800])
    ensemble = torch.tensor(said[:800]).softmax(-1).mean(1).argmax(-1).numpy()
    assert (answer.probabilities.argmax(-1) == ensemble).mean() > 0.9
    student.save_pretrained(tmp_path / "student")
    loaded = hydra_ray.load_student(str(tmp_path / "student"))
    assert loaded.network.spec.categories == CATEGORIES
    np.testing.assert_array_equal(loaded.predict(inputs[:50]).probabilities, answer.probabilities[:50])


@pytest.mark.parametrize("body", ARCHITECTURES)
def test_a_student_with_embeddings_becomes_onnx(taught, tmp_path, body):
    pytest.importorskip("onnxruntime")
    from hydra_ray.inference.export import export
    from hydra_ray.storage import Folder

    student = student_of(taught, body, epochs=1)
    student.save_pretrained(tmp_path / "student")
    found = export(str(tmp_path / "student"), student, Folder.open(str(tmp_path / "out")), ["onnx", "torch"], int8=True)
    by_name = {each.name: each.comparison for each in found.files}
    for name in ("onnx/model.onnx", "torch/model.pt2"):
        assert max(by_name[name].differences.values()) < 1e-5, name


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ((0, 12), r"distill: categories are 2, but inputs \[1600, 4\]; give one number a feature"),
        ((0, 12, 0, 3), "distill: feature 3 is a category of 3 codes, but a row has 3; give whole numbers from 0 to 2"),
        ((5, 12, 0, 4), "distill: feature 0 is a category of 5 codes, but a row has"),
        ((1, 12, 0, 4), "distill: feature 0 is a category of 1 code; 0 is for numbers"),
    ],
)
def test_codes_given_to_distill_are_looked_at(taught, categories, message):
    with pytest.raises(UserError, match=message):
        hydra_ray.distill(taught[0], taught[1], categories=categories)
