"""Somebody's models, or their predictions, in the members' place: asked by actors, looked up, distilled, compared."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from own_teachers import linear, means
from support import events, tiny

from hydra_ray import load_student
from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.cluster.write_transfer import write_transfer
from hydra_ray.errors import UserError
from hydra_ray.runs import STAGES, Run, load_published

pytestmark = pytest.mark.timeout(600)
SHORT = [
    "students=[{kind: hydra}, kd]",
    "distill.epochs=1",
    "distill.body=mlp",
    "distill.body_options={hidden: [16]}",
    "tune={num_trials: 0}",
    "evaluate.bootstrap_samples=0",
]
VIEWS = "transfer.views=[{view: identity}, {view: affine}]"


def folder_of(run: Run) -> Path:
    return Path(run.folder.path)


def table_of(run: Run, split: str) -> pa.Table:
    return pq.read_table(sorted(map(str, folder_of(run).glob(f"predictions/{split}/*.parquet"))))


def array(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).combine_chunks().to_numpy_ndarray()


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def with_teachers(storage: Path, *words: str, **keys: object) -> Run:
    return Run(tiny(storage, *SHORT, f"ensemble.teachers={json.dumps(keys)}", *words))


def with_linear(storage: Path, options: dict) -> Run:
    return with_teachers(
        storage, VIEWS, kind="callable", function="own_teachers:linear", outputs="logits", options=options
    )


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A file with a line for each time that the teachers of `asked` were loaded."""
    return tmp_path_factory.mktemp("counted") / "loaded.txt"


@pytest.fixture(scope="module")
def asked(ray_session, tmp_path_factory, counted):
    """A run whose members are a function: all stages."""
    run = with_linear(tmp_path_factory.mktemp("asked"), {"counted": str(counted)})
    run_stages(run, STAGES)
    return run


def test_every_row_of_every_view_is_answered_as_it_is_stored(asked):
    for split in asked.split_names:
        table = table_of(asked, split)
        expected = linear()(array(table, "input"))
        assert array(table, "logits") == pytest.approx(expected, rel=2e-3, abs=1e-3), split  # float16, other batches
        assert "mask" not in table.column_names
    assert set(table_of(asked, "transfer").column("view").to_pylist()) == {0, 1}


def test_they_are_loaded_once_an_actor(asked, counted):
    beside_actors = 2  # the look before anything starts, and the measurement of how long they take
    in_actors = len(counted.read_text().splitlines()) - beside_actors
    assert 1 <= in_actors <= asked.config.cluster.most_workers  # an actor that gets no shard loads nothing


def test_nothing_is_trained_but_students_and_the_report_has_their_latency(asked):
    assert not (folder_of(asked) / "ensemble").exists()
    assert {event["stage"] for event in events(folder_of(asked))} >= {"predict", "distill", "evaluate"}
    metrics = json.loads(asked.report().read("metrics.json"))
    assert metrics["num_members"] == 4
    assert metrics["cost"]["ensemble"]["latency_ms"]["256"] > 0
    assert metrics["cost"]["ensemble"]["macs"] is None
    assert metrics["cost"]["hydra"]["macs"] > 0
    assert "member" not in metrics["cost"]


def test_a_command_again_finds_everything_done_and_a_changed_option_asks_again(asked, counted):
    before = counted.read_text()
    run_stages(Run(asked.config), STAGES)
    assert counted.read_text() == before
    other = with_linear(folder_of(asked).parent, {"num_classes": 10})
    assert {other.shards(split).status() for split in other.split_names} == {"stale"}


def test_what_write_transfer_wrote_and_somebody_answered_is_read_back(asked, tmp_path):
    out = tmp_path / "out"
    written = write_transfer(Run(asked.config), str(out))
    assert written.rows == sum(map(asked.num_rows, asked.split_names))
    for path in sorted(out.rglob("*.parquet")):
        table = pq.read_table(path)
        probs = np.exp(log_softmax(linear()(array(table, "input"))))
        pq.write_table(table.append_column("probabilities", pa.array(probs.tolist())), path)
    folders = {split.removeprefix("unknown-"): str(out / split) for split in written.splits}
    back = with_teachers(tmp_path, VIEWS, kind="arrays", outputs="probabilities", arrays=folders)
    run_stages(back, ["predict"])
    for split in asked.split_names:
        one, other = (table_of(each, split) for each in (asked, back))
        for name in ("row_id", "view", "label", "input"):
            assert one.column(name).combine_chunks() == other.column(name).combine_chunks(), (split, name)
        expected, found = (log_softmax(array(each, "logits").astype(np.float64)) for each in (one, other))
        assert np.exp(found) == pytest.approx(np.exp(expected), abs=5e-3)
    with pytest.raises(UserError, match="holds something already"):
        write_transfer(Run(asked.config), str(out))


def test_missing_answers_and_weights_reach_mixture_students_and_figures(ray_session, tmp_path):
    data = Run(tiny(tmp_path)).data
    source = data.splits["train"].source
    logits = linear()(source.read(0, source.num_rows).inputs)
    logits[::3, 1] = np.nan  # a judge that abstains
    np.save(tmp_path / "all.npy", logits)
    np.save(tmp_path / "unknown.npy", linear()(data.splits["unknown-photo_patches"].read_all().inputs))
    weights = [4.0, 1.0, 0.0, 2.0]
    arrays = {"train": str(tmp_path / "all.npy"), "photo_patches": str(tmp_path / "unknown.npy")}
    untouched = "transfer.views=null"
    run = with_teachers(tmp_path, untouched, kind="arrays", outputs="logits", arrays=arrays, weights=weights)
    run_stages(run, STAGES)

    test = table_of(run, "test")
    row_id = test.column("row_id").to_numpy()
    mask = np.where(np.isnan(logits[row_id, :, 0]), 0, weights)
    assert array(test, "mask") == pytest.approx(mask)
    probs = np.exp(log_softmax(array(test, "logits").astype(np.float64)))
    mixture = (probs * (mask / mask.sum(1, keepdims=True))[..., None]).sum(axis=1)
    nll = -np.log(mixture[np.arange(len(mixture)), test.column("label").to_numpy()]).mean()
    assert json.loads(run.report().read("metrics.json"))["test"]["ensemble"]["nll"] == pytest.approx(nll)

    student = load_student(str(folder_of(run) / "students" / "hydra"))
    assert student.about["member_weights"] == weights
    images = array(test, "input")[:50]
    expected = (student.members(images) * (np.array(weights) / sum(weights))[:, None]).sum(axis=1)
    assert student.predict(images).probabilities == pytest.approx(expected, abs=1e-6)


def test_means_alone_get_the_variance_of_their_errors_on_validation_rows(ray_session, tmp_path):
    words = ["data.source=diabetes", "data.max_train_rows=null", "data.unknown={}", "ensemble.num_members=3"]
    views = "transfer.views=[{view: identity}, {view: gaussian_noise}]"
    run = with_teachers(tmp_path, *words, views, kind="callable", function="own_teachers:means", outputs="mean")
    run_stages(run, ["predict", "distill", "evaluate"])
    validation = table_of(run, "validation")
    found = array(validation, "logits")
    assert found[..., 0] == pytest.approx(means()(run.data.frame(array(validation, "input"))), rel=1e-6)
    errors = found[..., 0] - validation.column("label").to_numpy()[:, None]
    expected = np.log(np.square(errors).mean(axis=0))
    for split in run.split_names:
        log_variance = array(table_of(run, split), "logits")[..., 1]
        assert log_variance == pytest.approx(np.broadcast_to(expected, log_variance.shape), rel=1e-5)


@pytest.mark.timeout(180)
def test_teachers_that_fail_on_the_way_are_one_line_and_free_their_cpus(ray_session, tmp_path):
    """Their actors lived as long as the error was kept, as a notebook keeps it, and the next stage waited for ever."""
    options = {"folder": str(tmp_path)}
    keys = {"kind": "callable", "function": "own_teachers:fails_late", "outputs": "logits", "options": options}
    run = with_teachers(tmp_path, VIEWS, **keys)
    line = r"ensemble.teachers: rows \d+ to \d+: the teachers fail .*nobody answers"
    with pytest.raises(UserError, match=line) as failed:
        run_stages(run, ["predict"])
    assert "\n" not in str(failed.value)
    assert {run.shards(split).status() for split in run.split_names} == {"missing"}
    run_stages(Run(tiny(tmp_path / "next")), ["train_ensemble"])


@pytest.mark.parametrize("who", ["members", "teachers"])
def test_rows_are_asked_of_a_few_members_and_learnt_from_these(ray_session, tmp_path, who):
    words = [
        VIEWS,
        "predict.members_per_row=2",
        "ensemble.epochs=1",
        "ensemble.architecture=mlp",
        "ensemble.options={}",
    ]
    if who == "teachers":
        keys = {"kind": "callable", "function": "own_teachers:one_function_a_member", "outputs": "logits"}
        run = with_teachers(tmp_path, *words, **keys)
    else:
        run = Run(tiny(tmp_path, *SHORT, *words))
    run_stages(run, ["train_ensemble", "predict", "distill", "evaluate"])
    table = table_of(run, "transfer")
    mask = array(table, "mask").astype(bool)
    assert (mask.sum(axis=1) == 2).all()
    logits = array(table, "logits").astype(np.float64)
    assert np.abs(logits).sum(axis=2)[~mask].max() == 0
    if who == "teachers":
        expected = linear()(array(table, "input"))
    else:
        members = [load_published(member) for member in run.members()]
        with torch.inference_mode():
            inputs = torch.tensor(array(table, "input"))
            expected = torch.stack([member(inputs) for member in members], dim=1).numpy()
    assert logits[mask] == pytest.approx(expected[mask], rel=2e-3, abs=2e-3)
    for split in ("validation", "test"):
        assert "mask" not in table_of(run, split).column_names


def test_foreign_shards_are_distilled_and_evaluated_without_any_member(asked, tmp_path):
    """Here those of another run; whoever wrote them, they are laid out in the same way."""
    shards = folder_of(asked) / "predictions"
    unknown = f"data={{source: '{shards}', unknown: {{photos: '{shards}/unknown-photo_patches'}}}}"
    run = Run(tiny(tmp_path, *SHORT, "transfer.views=null", unknown, f"predict.shards={shards}"))
    run_stages(run, STAGES)
    for split, other in (("transfer", "transfer"), ("test", "test"), ("unknown-photos", "unknown-photo_patches")):
        assert np.array_equal(array(table_of(run, split), "logits"), array(table_of(asked, other), "logits"))
    ours, theirs = (json.loads(each.report().read("metrics.json"))["test"]["ensemble"] for each in (run, asked))
    assert ours["nll"] == pytest.approx(theirs["nll"])
    assert not (folder_of(run) / "ensemble").exists()
