"""A table with text and gaps by the real command, from members to the report; its student answers rows as they are."""

import json

import numpy as np
import pandas as pd
import pytest
from support import Command

import hydra_ray
from hydra_ray.shards.schema import load
from hydra_ray.storage.folder import Folder

pytestmark = pytest.mark.timeout(900)
RECIPE = """
data: {source: people.csv, unknown: {permuted: {view: resample}}}
ensemble:
  num_members: 2
  architecture: tabm
  options: {num_submodels: 3, hidden: [16], dropout: 0.0}
  epochs: 8
  batch_size: 64
  learning_rate: 1e-2
  stack_size: 2
transfer: {views: [{view: identity}, {view: swap, options: {share: 0.3}}, {view: munge}]}
predict: {rows_per_shard: 500}
students: [hydra]
distill:
  body: tabular_resnet
  body_options: {width: 16, num_blocks: 1}
  epochs: 6
  mean_phase_epochs: 1
  batch_size: 64
  learning_rate: 5e-3
  head_width: 4
evaluate: {latency_repeats: 2}
cluster: {object_store_mb: 100, num_workers: 1}
"""
GOOD = ["nurse", "pilot", "baker"]
JOBS = ["clerk", *GOOD, "miner", "judge"]


def people(num_rows: int, seed: int = 0) -> pd.DataFrame:
    """The job decides nearly alone; a tenth of the ages and of the jobs are missing."""
    generator = np.random.default_rng(seed)
    job = generator.choice(JOBS, num_rows).astype(object)
    age = generator.integers(18, 80, num_rows).astype(object)
    label = np.where(np.isin(job, GOOD) == (generator.random(num_rows) < 0.95), "yes", "no")
    job[generator.random(num_rows) < 0.1] = None
    age[generator.random(num_rows) < 0.1] = None
    return pd.DataFrame({"age": age, "job": job, "height": generator.normal(170, 9, num_rows).round(2), "label": label})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("people")
    people(900).to_csv(place / "people.csv", index=False)
    (place / "people.yaml").write_text(RECIPE)
    Command(["pipelines.run", "people.yaml"], place).finish(800).require_success()
    return place / "runs" / "people"


def test_members_and_student_learn_what_only_a_category_says(run):
    metrics = json.loads((run / "report" / "metrics.json").read_text())
    for predictor in ("ensemble", "hydra"):
        assert metrics["test"][predictor]["accuracy"] > 0.8, predictor
    assert "auroc_mutual_information" in metrics["unknown"]["permuted"]["hydra"]


def test_members_and_student_are_built_from_the_categories(run):
    spec = json.loads((run / "ensemble" / "member-001" / "model.json").read_text())["spec"]
    categories = spec["categories"]
    assert sorted(categories)[-1] == len(JOBS) + 2
    assert json.loads((run / "students" / "hydra" / "config.json").read_text())["spec"]["categories"] == categories


def test_views_in_the_shards_keep_codes_and_where_a_number_is_missing(run):
    spec = json.loads((run / "ensemble" / "member-000" / "model.json").read_text())["spec"]
    place = int(np.argmax(spec["categories"]))
    rows = load(Folder.open(str(run / "predictions" / "transfer")))
    assert set(np.unique(rows.view)) == {0, 1, 2}
    for view in (0, 1, 2):
        codes = rows.inputs[rows.view == view, place]
        assert set(codes) <= {0.0, *(float(code) for code in range(2, 2 + len(JOBS)))}
    untouched = rows.inputs[rows.view == 0]
    (indicator,) = (column for column in range(4) if set(untouched[:, column]) == {0.0, 1.0})
    (median,) = set(untouched[untouched[:, indicator] == 1, 0])
    swapped = rows.inputs[rows.view == 1]
    assert set(swapped[swapped[:, indicator] == 1, 0]) == {median}


def test_the_student_answers_rows_as_they_stand_in_the_file(run):
    student = hydra_ray.load_student(str(run / "students" / "hydra"))
    rows = people(300, seed=5)
    answer = student.predict(rows.drop(columns="label"))
    has_job = rows["job"].notna().to_numpy()
    assert (answer.classes == rows["label"].to_numpy())[has_job].mean() > 0.85
    unseen = rows.head(5).assign(job="astronaut").drop(columns="label")
    assert np.isfinite(student.predict(unseen).probabilities).all()
