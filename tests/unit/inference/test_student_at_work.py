"""A student at work: what it takes, what it answers, its folder, and what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from helpers.small_students import digits, image_student, plane, table_student
from PIL import Image

import hydra_ray
from hydra_ray.errors import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


def refusal(call) -> str:
    with pytest.raises(UserError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_importing_the_package_imports_neither_torch_nor_ray():
    check = "import sys, hydra_ray; print({'torch', 'ray', 'pandas', 'pyarrow'} & set(sys.modules), hydra_ray.__all__)"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout
    assert found.startswith("set()")
    for name in ("load_student", "Student", "Prediction", "run", "Config", "write_shards", "verify_shards", "distill"):
        assert name in found
        assert getattr(hydra_ray, name).__module__.startswith("hydra_ray.")


# classification


def test_a_student_answers_with_classes_probabilities_and_uncertainties():
    pixels, logits, labels = digits()
    answer = image_student().predict(pixels)
    assert len(answer) == len(pixels)
    assert np.mean(answer.classes == [f"digit {label}" for label in labels]) > 0.85
    np.testing.assert_allclose(answer.probabilities.sum(axis=1), 1, rtol=1e-9)
    np.testing.assert_allclose(answer.total, answer.data + answer.knowledge, rtol=1e-6, atol=1e-9)
    entropy = -(answer.probabilities * np.log(answer.probabilities)).sum(axis=1)
    np.testing.assert_allclose(answer.total, entropy, rtol=1e-6, atol=1e-9)
    log_probs = torch.tensor(logits).double().log_softmax(-1)
    mixture = log_probs.exp().mean(1)
    members_mi = -(mixture * mixture.log()).sum(-1) + (log_probs.exp() * log_probs).sum(-1).mean(1)
    assert np.corrcoef(np.argsort(np.argsort(answer.knowledge)), np.argsort(np.argsort(members_mi)))[0, 1] > 0.5


def test_calibration_gives_validation_rows_the_ensembles_disagreement():
    """Which `calibrated=False` leaves out; the probabilities of the heads are those the predictions are made of."""
    student = image_student()
    pixels, _, _ = digits()
    raw = student.predict(pixels, calibrated=False)
    calibrated = student.predict(pixels)
    curve = student.calibration
    np.testing.assert_allclose(calibrated.knowledge, curve.of(torch.tensor(raw.knowledge)), rtol=1e-4, atol=1e-9)
    assert np.array_equal(np.argsort(calibrated.knowledge[:50]), np.argsort(raw.knowledge[:50]))
    assert not np.allclose(calibrated.knowledge, raw.knowledge, rtol=0.01)
    for flag, answer in ((False, raw), (True, calibrated)):
        members = student.members(pixels, calibrated=flag)
        assert members.shape == (len(pixels), 4, 10)
        np.testing.assert_allclose(members.mean(axis=1), answer.probabilities, rtol=1e-6, atol=1e-12)


def test_batches_change_nothing():
    pixels, _, _ = digits()
    whole = image_student().predict(pixels)
    parts = image_student().predict(pixels, batch_size=100)
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, rtol=1e-4, atol=1e-7)
    assert whole.class_sets() == parts.class_sets()


WAYS = {
    "torch": torch.tensor,
    "grey without a channel": lambda pixels: pixels[..., 0],
    "Pillow images": lambda pixels: [Image.fromarray(each[..., 0]) for each in pixels],
    "colour": lambda pixels: np.repeat(pixels, 3, axis=-1),
    "a list of arrays": list,
}


@pytest.mark.parametrize("way", WAYS)
def test_images_in_every_form_are_the_same_rows(way):
    pixels = digits()[0][:20]
    found = image_student().predict(WAYS[way](pixels))
    np.testing.assert_allclose(found.probabilities, image_student().predict(pixels).probabilities, rtol=1e-6, atol=1e-9)


def test_one_image_is_a_batch_of_one(tmp_path):
    pixels = digits()[0][:1]
    Image.fromarray(pixels[0, ..., 0]).save(tmp_path / "one.png")
    expected = image_student().predict(pixels)
    for one in (pixels[0], Image.open(tmp_path / "one.png"), tmp_path / "one.png", (tmp_path / "one.png").read_bytes()):
        found = image_student().predict(one)
        assert len(found) == 1
        np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=1e-6)


def test_other_sizes_are_cropped_to_the_middle_and_resized():
    pixels = digits()[0][:5]
    large = [Image.fromarray(each[..., 0]).resize((80, 80), Image.Resampling.NEAREST) for each in pixels]
    wide = [Image.new("L", (120, 80)) for _ in large]
    for canvas, image in zip(wide, large, strict=True):
        canvas.paste(image, (20, 0))
    small = np.stack([np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR)) for image in large])
    expected = image_student().predict(small[..., None])
    for images in (large, wide, np.stack([np.asarray(image) for image in large])):
        found = image_student().predict(images)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=2e-3)


def test_thresholds_say_when_to_abstain_and_what_cannot_be_excluded():
    pixels, _, labels = digits()
    student = image_student()
    answer = student.predict(pixels, risk=0.05, coverage=0.95)
    threshold = student.thresholds.at_risk(0.05, "total")
    np.testing.assert_array_equal(answer.abstain, answer.total > threshold)
    held = answer.sets[np.arange(len(labels)), labels]
    assert held.mean() > 0.9
    assert answer.sets[np.arange(len(labels)), answer.probabilities.argmax(axis=1)].all()
    assert len(answer.class_sets()) == len(labels)
    narrow = student.predict(pixels, coverage=0.9)
    assert narrow.sets.sum() <= answer.sets.sum()
    assert "set_90" in narrow.columns()
    assert "set_95" in answer.to_pandas()


# regression


def test_a_regression_answers_with_means_and_intervals():
    rows, _, targets = plane()
    student = table_student()
    answer = student.predict(rows)
    assert np.corrcoef(answer.mean, targets)[0, 1] > 0.95
    np.testing.assert_allclose(answer.total, answer.data + answer.knowledge, rtol=1e-6)
    np.testing.assert_allclose(answer.std**2, answer.total, rtol=1e-6)
    inside = (answer.interval[:, 0] <= targets) & (targets <= answer.interval[:, 1])
    assert 0.9 < inside.mean() <= 1
    assert list(answer.to_pandas()) == [
        "mean", "std", "low_95", "high_95", "total_uncertainty", "data_uncertainty", "knowledge_uncertainty",
    ]  # fmt: skip
    assert student.members(rows).shape == (len(rows), 5, 2)


TABLES = {
    "pandas, in another order": lambda frame: frame[["weight", "note", "age", "height"]],
    "Arrow": lambda frame: pa.Table.from_pandas(frame),
    "columns by name": lambda frame: {name: frame[name].to_numpy() for name in frame},
    "records": lambda frame: frame.to_dict("records"),
    "integers and text": lambda frame: frame.assign(age=frame.age.map(repr)),
}


@pytest.mark.parametrize("form", TABLES)
def test_tables_are_read_by_the_names_of_their_columns(form):
    rows = plane()[0][:30].astype(np.float64)
    frame = pd.DataFrame(rows, columns=["age", "height", "weight"]).assign(note="x")
    expected = table_student().predict(plane()[0][:30])
    np.testing.assert_allclose(table_student().predict(TABLES[form](frame)).mean, expected.mean, rtol=1e-6)


# the folder


@pytest.mark.parametrize("student_of", [image_student, table_student])
def test_what_is_saved_is_loaded_again(tmp_path, student_of):
    student = student_of()
    rows = (digits() if student_of is image_student else plane())[0][:50]
    student.save_pretrained(tmp_path / "student")
    assert {"config.json", "model.safetensors", "thresholds.json"} <= {p.name for p in (tmp_path / "student").iterdir()}
    for again in (
        hydra_ray.load_student(tmp_path / "student"),
        hydra_ray.Student.from_pretrained(str(tmp_path / "student")),
    ):
        assert again.thresholds == student.thresholds
        assert again.card == student.card
        assert "tried on no test rows" in again.card
        ours = student.predict(rows).columns()
        theirs = again.predict(rows).columns()
        for name in ours:
            assert list(ours[name]) == list(theirs[name])


DAMAGES = {
    "no folder": (lambda folder: None, "no such folder", "nowhere"),
    "a folder without a student": (lambda folder: (folder / "config.json").unlink(), "there is no config.json", ""),
    "a flipped bit": (lambda folder: flip(folder / "model.safetensors"), "model.safetensors: not the bytes", ""),
    "weights that are gone": (lambda folder: (folder / "model.safetensors").unlink(), "is gone", ""),
    "weights of another student": (lambda folder: other_weights(folder), "not the weights of a student", ""),
    "thresholds that are none": (lambda folder: (folder / "thresholds.json").write_text("{}"), "thresholds.json", ""),
    "an edited config": (lambda folder: edit(folder), "its checksum differs", ""),
}


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def edit(folder):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"classification"', '"regression"'))


def other_weights(folder):
    """With a manifest that knows them."""
    from hydra_ray.storage import Folder, describe, sealed

    table_student().save_pretrained(folder / "other")
    (folder / "model.safetensors").write_bytes((folder / "other" / "model.safetensors").read_bytes())
    manifest = json.loads((folder / "config.json").read_text())
    del manifest["checksum"]
    manifest["files"]["model.safetensors"] = describe(Folder.open(str(folder)), "model.safetensors")
    (folder / "config.json").write_text(json.dumps(sealed(manifest)))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_is_none_is_refused_with_one_line(tmp_path, damage):
    do, said, place = DAMAGES[damage]
    folder = tmp_path / "student"
    image_student().save_pretrained(folder)
    do(folder)
    assert said in refusal(lambda: hydra_ray.load_student(tmp_path / place if place else folder))


# refusals


REFUSED = {
    "floats from 0 to 1": (lambda: image_student().predict(digits()[0][:3] / 255.0), "lie between 0 and 1"),
    "channels in front": (lambda: image_student().predict(np.zeros((3, 1, 8, 8), np.uint8)), "channels come last"),
    "no rows": (lambda: image_student().predict(np.zeros((0, 8, 8, 1), np.uint8)), "no rows"),
    "no image": (lambda: image_student().predict([b"not an image"]), "row 0 is no image"),
    "a path that is not there": (lambda: image_student().predict("nowhere.png"), "nowhere.png cannot be read"),
    "too few features": (lambda: table_student().predict(np.zeros((2, 2))), "rows have shape [2]"),
    "a column that is missing": (lambda: table_student().predict({"age": [1.0], "height": [2.0]}), "no column weight"),
    "a value that is missing": (
        lambda: table_student().predict({"age": [1.0, None], "height": [1.0, 2.0], "weight": [1.0, 2.0]}),
        "column age: row 1 has no value",
    ),
    "text": (
        lambda: table_student().predict({"age": ["old"], "height": [1.0], "weight": [1.0]}),
        "column age: 'old' is no number",
    ),
    "NaN": (lambda: table_student().predict(np.full((2, 3), np.nan)), "row 0 has a value that is not finite"),
    "another risk": (lambda: image_student().predict(digits()[0][:2], risk=0.03), "risk=0.03"),
    "another coverage": (lambda: image_student().predict(digits()[0][:2], coverage=0.5), "coverage=0.5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rows_that_it_was_not_trained_on_are_refused_with_one_line(case):
    call, said = REFUSED[case]
    assert said in refusal(call)


UNFIT = {
    "lengths": (lambda x, y: hydra_ray.distill(x[:5], y), "do not fit"),
    "a shape": (lambda x, y: hydra_ray.distill(x, y[:, 0]), "do not fit"),
    "labels": (lambda x, y: hydra_ray.distill(x, y, labels=np.zeros(3)), "labels [3]"),
    "a mask": (lambda x, y: hydra_ray.distill(x, y, mask=np.ones(3, bool)), "mask [3]"),
    "probabilities": (lambda x, y: hydra_ray.distill(x, y, outputs="probabilities"), "outputs=probabilities"),
    "classes": (lambda x, y: hydra_ray.distill(x, y, classes=["a", "b"]), "2 classes"),
    "NaN": (lambda x, y: hydra_ray.distill(x, np.where(y == y.max(), np.nan, y)), "not finite"),
    "floats": (lambda x, y: hydra_ray.distill(x / 255, y), "give images as uint8"),
    "a setting": (lambda x, y: hydra_ray.distill(x, y, epoch=3), "epoch"),
    "a body": (lambda x, y: hydra_ray.distill(x, y, body="mpl"), "mpl"),
    "a fraction": (lambda x, y: hydra_ray.distill(x, y, validation_fraction=0), "validation_fraction=0"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_arrays_that_do_not_fit_are_refused_before_anything_is_trained(case):
    pixels, logits, _ = digits()
    call, said = UNFIT[case]
    assert said in refusal(lambda: call(pixels, logits))


def test_probabilities_and_their_logarithms_teach_the_same():
    pixels, logits, labels = digits()
    probs = torch.tensor(logits).double().softmax(-1).numpy()
    settings = {"labels": labels, "epochs": 1, "mean_phase_epochs": 1, "seed": 3}
    one = hydra_ray.distill(pixels, probs, outputs="probabilities", **settings)
    other = hydra_ray.distill(pixels, np.log(probs), **settings)
    np.testing.assert_allclose(one.predict(pixels).probabilities, other.predict(pixels).probabilities, atol=1e-4)


@pytest.mark.parametrize("kind", ["kd", "kd_temperature", "end2", "proxy_end2"])
def test_other_kinds_answer_too(kind):
    pixels, logits, labels = digits()
    student = hydra_ray.distill(pixels, logits, labels=labels, kind=kind, epochs=2, mean_phase_epochs=1)
    answer = student.predict(pixels)
    assert (answer.knowledge is None) == (kind == "kd")
    assert answer.abstain is not None


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_labels_may_be_missing(share):
    """Of all rows, which leaves no thresholds, or of some, which are fitted on the others."""
    pixels, logits, labels = digits()
    known = np.where(np.arange(len(labels)) < share * len(labels), labels, -1)
    student = hydra_ray.distill(pixels, logits, labels=known if share else None, epochs=1, mean_phase_epochs=1)
    assert (student.thresholds is None) == (share == 0)
    assert (student.predict(pixels[:5]).abstain is None) == (share == 0)
    rows, outputs, targets = plane()
    known = np.where(np.arange(len(targets)) < share * len(targets), targets, np.nan)
    settings = {"outputs": "mean_variance", "epochs": 1, "mean_phase_epochs": 1}
    student = hydra_ray.distill(rows, outputs, labels=known if share else None, **settings)
    assert (student.thresholds is None) == (share == 0)
    assert np.isfinite(student.predict(rows[:5]).interval).all()


# shards by hand


def test_shards_from_arrays_are_shards(tmp_path):
    pixels, logits, labels = digits()
    names = hydra_ray.write_shards(tmp_path / "shards", pixels, logits, labels, rows_per_shard=1000)
    assert names == ["part-00000.parquet", "part-00001.parquet"]
    found = hydra_ray.verify_shards(tmp_path / "shards")
    assert found["num_rows"] == len(pixels)
    assert found["num_members"] == 4
    assert "holds Parquet files already" in refusal(lambda: hydra_ray.write_shards(tmp_path / "shards", pixels, logits))
    flip(tmp_path / "shards" / names[1])
    assert names[1] in refusal(lambda: hydra_ray.verify_shards(tmp_path / "shards"))
