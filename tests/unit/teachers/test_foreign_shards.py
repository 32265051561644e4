"""Shards that somebody else wrote are the data set and the members' predictions in one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hydra_ray
from hydra_ray.config import load_config
from hydra_ray.data import Rows
from hydra_ray.errors import UserError
from hydra_ray.runs import Run, check_networks, check_settings

N, M, C = 120, 3, 5
RECIPE = """
predict: {shards: shards}
ensemble: {num_members: 3}
distill: {body_options: {hidden: [8]}}
"""
tensor = pa.FixedShapeTensorArray.from_numpy_ndarray


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "inputs": rng.normal(size=(N, 4)).astype(np.float32),
        "logits": rng.normal(size=(N, M, C)).astype(np.float32),
        "labels": rng.integers(0, 3, N),  # classes 3 and 4 never occur
    }


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign.yaml").write_text(RECIPE)
    return lambda *words: Run(load_config("foreign.yaml", [f"storage={tmp_path}/runs", *words]))


def write(place: str, arrays: dict, rows=slice(None), **columns) -> None:
    """As somebody writes them who has read no more than which columns are needed."""
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    found = {
        "row_id": np.arange(N)[rows],
        "input": tensor(arrays["inputs"][rows]),
        "logits": tensor(arrays["logits"][rows]),
        "label": arrays["labels"][rows],
        **columns,
    }
    pq.write_table(pa.table({name: values for name, values in found.items() if values is not None}), place)


def check_all(run: Run) -> None:
    check_settings(run)
    check_networks(run)


def answered(run: Run, split: str):
    rows_of = "train" if split == "transfer" else split
    row_id = run.data.splits[rows_of].row_ids()
    return row_id, run.teachers.answer(split, rows_of, Rows(row_id, np.empty(0), None), 0)


def test_one_folder_is_cut_and_every_row_keeps_its_predictions(run, arrays):
    write("shards/train/part-0.parquet", arrays, slice(0, 70))
    write("shards/train/part-1.parquet", arrays, slice(70, N))
    found = run()
    check_all(found)
    assert found.data.num_classes == C
    for split in ("transfer", "validation", "test"):
        row_id, answers = answered(found, split)
        assert np.array_equal(answers.outputs_NMC, arrays["logits"][row_id])
        assert answers.mask_NM is None
        rows = found.data.splits["train" if split == "transfer" else split].read_all()
        assert np.array_equal(rows.inputs, arrays["inputs"][row_id])
        assert np.array_equal(rows.labels, arrays["labels"][row_id])


def test_what_write_shards_made_is_taken_with_names_and_mask(run, arrays):
    mask = np.arange(N * M).reshape(N, M) % 4 != 0
    names = ["a", "b", "c", "d", "e"]
    hydra_ray.write_shards("shards/train", arrays["inputs"], arrays["logits"], arrays["labels"], mask, classes=names)
    found = run()
    check_all(found)
    assert found.data.class_names == tuple(names)
    row_id, answers = answered(found, "transfer")
    assert np.array_equal(answers.mask_NM, mask[row_id])


def test_probabilities_do_as_well(run, arrays):
    probs = np.exp(arrays["logits"])
    probs /= probs.sum(-1, keepdims=True)
    write("shards/train/part-0.parquet", arrays, logits=None, probabilities=probs.tolist())
    with pytest.raises(UserError, match="3 classes"):  # lists do not say how many classes there are, labels name 3 of 5
        check_all(run())
    write("shards/train/part-0.parquet", arrays, logits=None, probabilities=tensor(probs))
    check_all(run())
    row_id, answers = answered(run(), "test")
    assert np.exp(answers.outputs_NMC) == pytest.approx(probs[row_id], rel=1e-4)


@pytest.mark.parametrize("labels", ["none", "unsaid", "some"])
def test_the_control_needs_a_label_to_learn_from(run, arrays, labels):
    unsaid = pa.nulls(60, pa.int64())
    some = pa.array(arrays["labels"][:60], mask=np.arange(60) > 0)
    write("shards/transfer/part-0.parquet", arrays, slice(0, 60), label={"some": some, "unsaid": unsaid}.get(labels))
    write("shards/validation/part-0.parquet", arrays, slice(60, 90))
    write("shards/test/part-0.parquet", arrays, slice(90, N))
    found = run("students=[hydra, labels]")
    if labels == "some":
        check_all(found)
    else:
        with pytest.raises(UserError, match=r"^students.labels: no training row has a label; leave this student out$"):
            check_all(found)
    check_all(run("students=[hydra]"))


@pytest.mark.parametrize("labels", ["none", "some"])
def test_rows_to_learn_from_need_no_labels_where_they_have_a_folder_of_their_own(run, arrays, labels):
    some = pa.array(arrays["labels"][:60], mask=np.arange(60) % 2 == 0) if labels == "some" else None
    twice = np.repeat(np.arange(30), 2)  # each row under two views
    write("shards/transfer/part-0.parquet", arrays, slice(0, 60), row_id=twice, label=some)
    write("shards/validation/part-0.parquet", arrays, slice(60, 90))
    write("shards/test/part-0.parquet", arrays, slice(90, N))
    write("noise/train/part-0.parquet", arrays, slice(0, 20), label=None)
    found = run("data.unknown={noise: noise}")
    check_all(found)
    assert found.data.num_classes == C
    assert [found.num_rows(split) for split in found.split_names] == [60, 30, 30, 20]
    row_id, answers = answered(found, "test")
    assert np.array_equal(answers.outputs_NMC, arrays["logits"][90:][row_id])


def test_a_regression_has_targets_or_none(run, arrays):
    gaussians = arrays["logits"][..., :2]
    targets = pa.array(arrays["inputs"][:, 0], pa.float32())
    unknown = pa.array(arrays["inputs"][:60, 0], pa.float32(), mask=np.arange(60) % 3 == 0)
    write("shards/transfer/a.parquet", {**arrays, "logits": gaussians}, slice(0, 60), label=unknown)
    write("shards/validation/a.parquet", {**arrays, "logits": gaussians}, slice(60, 90), label=targets[60:90])
    write("shards/test/a.parquet", {**arrays, "logits": gaussians}, slice(90, N), label=targets[90:])
    found = run("data.target=label", "predict.dtype=null")
    check_all(found)
    assert found.data.task == "regression"
    assert np.isnan(found.data.splits["train"].read_labels()).sum() == 20
    _, answers = answered(found, "validation")
    assert np.array_equal(answers.outputs_NMC, gaussians[60:90])


@pytest.mark.parametrize(
    ("columns", "words", "line"),
    [
        ({"logits": None}, [], "neither|no column logits or probabilities|must be|columns"),
        ({}, ["ensemble.num_members=4"], "are of 3 members, but ensemble.num_members=4: set ensemble.num_members=3"),
        ({"label": np.full(N, 7)}, [], "label 7"),
        ({"row_id": np.arange(N) // 2}, [], "rows appear under several views, so that validation rows cannot be cut"),
        ({}, ["transfer.views=[{view: gaussian_noise}]"], "predict.shards has predictions for untouched rows alone"),
        ({"label": None}, [], "no label"),
    ],
)
def test_what_does_not_fit_is_one_line(run, arrays, columns, words, line):
    write("shards/train/part-0.parquet", arrays, **columns)
    with pytest.raises(UserError, match=line) as refused:
        check_all(run(*words))
    assert "\n" not in str(refused.value)


def test_predictions_that_are_not_finite_are_named(run, arrays):
    arrays["logits"][17, 2, 1] = np.nan
    write("shards/train/part-0.parquet", arrays)
    with pytest.raises(
        UserError, match=r"predict.shards=shards: \w+: member 2 answers row 17 with a number that is not"
    ):
        check_all(run())


def test_a_folder_that_is_not_there(run):
    with pytest.raises(UserError, match=r"data.source=shards: .*no such|neither a known name nor a folder"):
        check_all(run())
