"""Somebody's models, or their predictions, in the members' place: asked by actors, looked up, distilled, compared."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_teachers import linear, means
from support import events, tiny

from hydra_ray import load_student
from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.cluster.write_transfer import write_transfer
from hydra_ray.errors import UserError
from hydra_ray.runs import STAGES, Run

pytestmark = pytest.mark.timeout(600)
SHORT = [
    "students=[{kind: hydra}, kd]",
    "distill.epochs=1",
    "evaluate.latency_repeats=2",
    "evaluate.bootstrap_samples=0",
]
VIEWS = "transfer.views=[{view: identity}, {view: affine}]"
BODY = ["distill.body=mlp", "distill.body_options={hidden: [16]}", "tune.num_trials=0"]


def table_of(run: Run, split: str) -> pa.Table:
    return pq.read_table(run.shards(split).folder.path)


def array(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).combine_chunks().to_numpy_ndarray()


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def asked(ray_session, tmp_path_factory):
    """A run whose members are a function: all stages."""
    storage = tmp_path_factory.mktemp("asked")
    counted = storage / "loaded.txt"
    teachers = (
        f"{{kind: callable, function: 'own_teachers:linear', outputs: logits, options: {{counted: '{counted}'}}}}"
    )
    run = Run(tiny(storage, f"ensemble.teachers={teachers}", VIEWS, *SHORT, *BODY))
    run_stages(run, STAGES)
    return run, counted


def test_every_row_of_every_view_is_answered_as_it_is_stored(asked):
    run, _ = asked
    for split in run.split_names:
        table = table_of(run, split)
        assert np.array_equal(array(table, "logits"), linear()(array(table, "input")).astype(np.float16)), split
        assert "mask" not in table.column_names
    assert set(table_of(run, "transfer").column("view").to_pylist()) == {0, 1}


def test_they_are_loaded_once_an_actor(asked):
    run, counted = asked
    in_driver = 1  # the look before anything starts
    for_latency = 1
    assert len(counted.read_text().splitlines()) == run.config.cluster.num_workers + in_driver + for_latency


def test_nothing_is_trained_but_students_and_the_report_has_their_latency(asked):
    run, _ = asked
    assert not (run.folder / "ensemble").exists()
    assert {event["stage"] for event in events(_path(run))} >= {"predict", "distill", "evaluate"}
    metrics = json.loads(run.report().read("metrics.json"))
    assert metrics["num_members"] == 4
    assert metrics["cost"]["ensemble"]["latency_ms"]["256"] > 0
    assert metrics["cost"]["ensemble"]["macs"] is None
    assert metrics["cost"]["hydra"]["macs"] > 0
    assert "member" not in metrics["cost"]


def test_a_command_again_finds_everything_done_and_a_changed_option_asks_again(asked):
    run, counted = asked
    before = counted.read_text()
    again = Run(run.config)
    run_stages(again, STAGES)
    assert counted.read_text() == before
    other = Run(tiny(_path(run).parent, f"ensemble.teachers={json.dumps(_changed(run))}", VIEWS, *SHORT, *BODY))
    assert {other.shards(split).status() for split in other.split_names} == {"stale"}


def _changed(run: Run) -> dict:
    teachers = run.config.ensemble.teachers
    return {"kind": "callable", "function": teachers.function, "outputs": "logits", "options": {"num_classes": 10}}


def _path(run: Run):
    from pathlib import Path

    return Path(run.folder.path)


def test_what_write_transfer_wrote_and_somebody_answered_is_read_back(asked, ray_session, tmp_path):
    run, _ = asked
    written = write_transfer(Run(run.config), str(tmp_path / "out"))
    assert written.rows == sum(map(run.num_rows, run.split_names))
    for path in sorted((tmp_path / "out").rglob("*.parquet")):
        table = pq.read_table(path)
        probs = np.exp(log_softmax(linear()(array(table, "input"))))
        pq.write_table(table.append_column("probabilities", pa.array(probs.tolist())), path)
    folders = {split.removeprefix("unknown-"): str(tmp_path / "out" / split) for split in written.splits}
    teachers = json.dumps({"kind": "arrays", "outputs": "probabilities", "arrays": folders})
    back = Run(tiny(tmp_path, f"ensemble.teachers={teachers}", VIEWS, *SHORT, *BODY))
    run_stages(back, ["predict"])
    for split in run.split_names:
        one, other = (table_of(each, split) for each in (run, back))
        for name in ("row_id", "view", "label", "input"):
            assert one.column(name).combine_chunks() == other.column(name).combine_chunks(), (split, name)
        expected, found = (log_softmax(array(each, "logits").astype(np.float64)) for each in (one, other))
        assert np.exp(found) == pytest.approx(np.exp(expected), abs=2e-3)
    with pytest.raises(UserError, match="holds something already"):
        write_transfer(Run(run.config), str(tmp_path / "out"))


def test_missing_answers_and_weights_reach_mixture_students_and_figures(ray_session, tmp_path):
    data = Run(tiny(tmp_path)).data
    source = data.splits["train"].source
    logits = linear()(source.read(0, source.num_rows).inputs)
    logits[::3, 1] = np.nan  # a judge that abstains
    np.save(tmp_path / "all.npy", logits)
    np.save(tmp_path / "unknown.npy", linear()(data.splits["unknown-photo_patches"].read_all().inputs))
    weights = [4.0, 1.0, 0.0, 2.0]
    arrays = {"train": str(tmp_path / "all.npy"), "photo_patches": str(tmp_path / "unknown.npy")}
    teachers = {"kind": "arrays", "outputs": "logits", "arrays": arrays, "weights": weights}
    run = Run(tiny(tmp_path, f"ensemble.teachers={json.dumps(teachers)}", "transfer.views=null", *SHORT, *BODY))
    run_stages(run, STAGES)
    test = table_of(run, "test")
    row_id = test.column("row_id").to_numpy()
    mask = np.where(np.isnan(logits[row_id, :, 0]), 0, weights)
    assert array(test, "mask") == pytest.approx(mask)
    probs = np.exp(log_softmax(array(test, "logits").astype(np.float64)))
    mixture = (probs * (mask / mask.sum(1, keepdims=True))[..., None]).sum(axis=1)
    nll = -np.log(mixture[np.arange(len(mixture)), test.column("label").to_numpy()]).mean()
    metrics = json.loads(run.report().read("metrics.json"))
    assert metrics["test"]["ensemble"]["nll"] == pytest.approx(nll)
    student = load_student(str(run.student("hydra").folder))
    assert student.about["member_weights"] == weights
    images = array(test, "input")[:50]
    heads = student.members(images)
    expected = (heads * (np.array(weights) / sum(weights))[:, None]).sum(axis=1)
    assert student.predict(images).probabilities == pytest.approx(expected, abs=1e-6)


def test_means_alone_get_the_variance_of_their_errors_on_validation_rows(ray_session, tmp_path):
    words = [
        "data.source=diabetes",
        "data.max_train_rows=null",
        "data.unknown={}",
        "ensemble.num_members=3",
        "tune.num_trials=0",
    ]
    teachers = "{kind: callable, function: 'own_teachers:means', outputs: mean}"
    views = "transfer.views=[{view: identity}, {view: gaussian_noise}]"
    run = Run(tiny(tmp_path, *words, f"ensemble.teachers={teachers}", views, *SHORT, *BODY, "distill.label_weight=0.1"))
    run_stages(run, ["predict", "distill", "evaluate"])
    validation = table_of(run, "validation")
    found = array(validation, "logits")
    frame = run.data.frame(array(validation, "input"))
    assert found[..., 0] == pytest.approx(means()(frame), rel=1e-6)
    errors = found[..., 0] - validation.column("label").to_numpy()[:, None]
    for split in run.split_names:
        log_variance = array(table_of(run, split), "logits")[..., 1]
        assert log_variance == pytest.approx(
            np.broadcast_to(np.log(np.square(errors).mean(0)), log_variance.shape), rel=1e-5
        )


def test_teachers_that_fail_on_the_way_are_one_line_with_the_rows(ray_session, tmp_path):
    teachers = (
        f"{{kind: callable, function: 'own_teachers:fails_late', outputs: logits, options: {{folder: '{tmp_path}'}}}}"
    )
    run = Run(tiny(tmp_path, f"ensemble.teachers={teachers}", VIEWS, *SHORT, *BODY))
    with pytest.raises(
        UserError, match=r"ensemble.teachers: rows \d+ to \d+: the teachers fail .*nobody answers"
    ) as failed:
        run_stages(run, ["predict"])
    assert "\n" not in str(failed.value)
    assert {run.shards(split).status() for split in run.split_names} == {"missing"}
