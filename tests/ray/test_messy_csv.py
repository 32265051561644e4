"""A messy CSV with no key but its place: to a student that takes rows with text, dates and gaps, and to answers."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.messy import write_messy

import hydra_ray
from hydra_ray.cluster.apply import apply
from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.config.load import load_config
from hydra_ray.data import InputFormat
from hydra_ray.runs.run import Run
from hydra_ray.shards import shard_names

pytestmark = pytest.mark.timeout(400)
RECIPE = """
data: {source: digits}
ensemble: {num_members: 3, options: {hidden: [16]}, epochs: 12, batch_size: 32, learning_rate: 1e-2}
transfer: {views: [{view: identity}, {view: resample}]}
distill: {epochs: 12, mean_phase_epochs: 2, batch_size: 32, head_width: 8, learning_rate: 1e-2}
evaluate: {latency_repeats: 1, bootstrap_samples: 5}
cluster: {num_workers: 2, local: false, object_store_mb: 100}
"""


@pytest.fixture(scope="module")
def run(ray_session, tmp_path_factory):
    place = tmp_path_factory.mktemp("messy")
    write_messy(place / "my.csv")
    recipe = place / "tiny.yaml"
    recipe.write_text(f"storage: {place}/runs\n{RECIPE}")
    run = Run(load_config(recipe, [f"data.source={place}/my.csv"]))
    run_stages(run, ["train_ensemble", "predict", "distill", "evaluate"])
    return run


@pytest.fixture(scope="module")
def student(run):
    return hydra_ray.load_student(str(run.student("hydra").folder))


@pytest.fixture
def fresh(run, tmp_path):
    """Rows that nobody has seen, one of them of a new city."""
    return write_messy(
        tmp_path / "fresh.csv", num_rows=100, seed=9, extra=["2024-05-05, Chur, 1.5, 2, true, ?, new, big"]
    )


def test_it_is_learnt(run):
    test = json.loads(run.report().read("metrics.json"))["test"]
    assert test["ensemble"]["accuracy"] > 0.9
    assert test["hydra"]["accuracy"] > 0.9


def test_the_shards_say_what_their_codes_mean(run):
    folder = run.folder / "predictions" / "validation"
    content = folder.read(shard_names(folder)[0])
    footer = json.loads(pq.read_schema(io.BytesIO(content)).metadata[b"hydra_ray"])
    form = InputFormat.from_json(footer["inputs"])
    assert form == InputFormat.from_json(InputFormat.of(run.data).to_json())
    assert dict(form.columns.reading.codes)["city"] == ("Basel", "Bern", "Genf", "Lausanne")
    assert form.categories == run.data.categories


def test_the_student_takes_a_frame_with_text_and_gaps(run, student, fresh):
    frame = pd.read_csv(fresh, skipinitialspace=True)
    answer = student.predict(frame)
    assert (np.array(answer.classes) == frame["label"]).mean() > 0.85
    again = student.predict(frame.drop(columns=["label", "note"]).to_dict("records"))
    np.testing.assert_allclose(again.probabilities, answer.probabilities, atol=1e-6)
    stored = run.data.splits["test"].read_all().inputs
    expected = student.answer(stored).probabilities
    np.testing.assert_allclose(student.predict(run.data.frame(stored)).probabilities, expected, atol=1e-6)


def test_a_file_of_such_rows_is_answered(run, student, fresh, tmp_path):
    apply(str(run.student("hydra").folder), str(fresh), str(tmp_path / "answers"))
    paths = sorted((tmp_path / "answers").glob("part-*.parquet"))
    table = pa.concat_tables(pq.read_table(path) for path in paths)
    expected = student.predict(pd.read_csv(fresh, skipinitialspace=True))
    names = [name for name in table.column_names if name in expected.columns()]
    assert names
    assert table.num_rows == 101
    assert table.column("city").to_pylist()[-1].strip() == "Chur"
    for name in names:
        values = expected.columns()[name]
        if isinstance(values[0], float):
            np.testing.assert_allclose(table.column(name).to_pylist(), values, rtol=2e-4, atol=1e-6)
