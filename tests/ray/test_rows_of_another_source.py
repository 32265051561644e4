"""Unlabelled rows of another source in the transfer set, asked of some members a row, drawn by disagreement.

All levers that change which rows a student learns from, together, on images and on a table.
"""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.messy import write_messy
from support import tiny

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.config.load import load_config
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.shards import load

pytestmark = pytest.mark.timeout(400)
LEVERS = ["predict.members_per_row=2", "distill.disagreement_sampling=3", "distill.average=0.1"]
TABLE = """
data: {source: digits}
ensemble: {num_members: 3, options: {hidden: [16]}, epochs: 4, batch_size: 32, learning_rate: 1e-2}
transfer: {views: [{view: identity}, {view: swap}]}
distill: {epochs: 4, mean_phase_epochs: 1, batch_size: 32, head_width: 8, learning_rate: 1e-2}
evaluate: {latency_repeats: 1, bootstrap_samples: 5}
cluster: {num_workers: 2, object_store_mb: 100}
"""


def images(place):
    """Digits, and patches of photographs beside them."""
    words = ["ensemble.architecture=mlp", "ensemble.options={}", "ensemble.epochs=1", "distill.epochs=1"]
    views = "[{view: identity}, {view: affine}, {view: identity, source: photo_patches}]"
    return tiny(place, *words, *LEVERS, "tune.num_trials=0", f"transfer.views={views}")


def table(place):
    """A messy CSV, and another without its label."""
    write_messy(place / "my.csv")
    lines = write_messy(place / "more.csv", num_rows=150, seed=5).read_text().splitlines()
    (place / "more.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    recipe = place / "tiny.yaml"
    recipe.write_text(f"storage: {place}/runs\n{TABLE}")
    views = f"[{{view: identity}}, {{view: swap}}, {{view: identity, source: {place}/more.csv}}]"
    return load_config(recipe, [f"data.source={place}/my.csv", f"transfer.views={views}", *LEVERS])


@pytest.mark.parametrize("kind_of_rows", [images, table])
def test_a_student_learns_from_unlabelled_rows_of_another_source(ray_session, tmp_path, kind_of_rows):
    run = Run(kind_of_rows(tmp_path))
    run_stages(run, ["train_ensemble", "predict", "distill", "evaluate"])
    rows = load(run.shards(TRANSFER).folder)
    further = rows.view == 2
    source = run.data.splits["transfer-2"].read_all()
    assert 0 < further.sum() == len(source.inputs)
    place = np.argsort(rows.row_id[further])
    np.testing.assert_array_equal(rows.inputs[further][place], source.inputs)
    assert (rows.labels[further] == -1).all()
    assert (rows.labels[rows.view == 0] >= 0).all()
    assert rows.mask_NM is not None
    assert (rows.mask_NM.sum(axis=1) == 2).all()
    footer = pq.read_schema(f"{run.shards(TRANSFER).folder.path}/{rows_file(run)}").metadata
    assert b"transfer-2" in b"".join(footer.values())
    found = json.loads(run.report().read("metrics.json"))
    assert np.isfinite(found["test"]["hydra"]["nll"])


def rows_file(run):
    return max(name for name in run.shards(TRANSFER).folder.files() if name.endswith(".parquet"))
