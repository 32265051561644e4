"""Folds through the stages: members leave rows out, shards say so, students learn rows from those members."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.checkpoints import checkpoints_in
from safetensors.numpy import load_file
from support import events, tiny

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.data.folds import folds_of
from hydra_ray.metrics.uncertainty import uncertainty
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.shards.schema import load
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member

pytestmark = pytest.mark.timeout(400)
VIEWS = "transfer.views=[{view: identity}, {view: affine}, {view: identity, held_out: true}]"


@pytest.fixture(scope="module")
def run(ray_session, tmp_path_factory):
    options = [
        "ensemble.folds=2",
        "ensemble.epochs=1",
        "distill.epochs=1",
        VIEWS,
        "students=[{kind: hydra, num_heads: 2}, end2]",
    ]
    run = Run(tiny(tmp_path_factory.mktemp("folds"), *options, "tune.num_trials=0"))
    run_stages(run, ["train_ensemble", "predict", "distill"])
    return run


def test_a_member_is_trained_on_the_rows_of_other_folds(run, tmp_path):
    rows, config = run.data.splits["train"].read_all(), run.config
    keep = folds_of(rows.row_id, 2, config.seed) != 1
    parts = (rows.row_id[keep], rows.inputs[keep], rows.labels[keep])
    own = LabelledRows(*(torch.from_numpy(part) for part in parts))
    validation = LabelledRows.of(run.data.splits["validation"].read_all(), torch.device("cpu"))
    member_spec = MemberSpec.of(run.task, run.member_spec(), rows.inputs, rows.labels)
    attempt = checkpoints_in(tmp_path)
    member, _ = fit_member(3, config.ensemble, config.seed, member_spec, own, validation, attempt, lambda figures: None)
    published = load_file(f"{run.member(3).folder}/model.safetensors")
    for name, weights in member.state_dict().items():
        np.testing.assert_allclose(weights.numpy(), published[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_rows_of_a_held_out_view_are_masked_and_all_others_are_not(run):
    folder = run.shards(TRANSFER).folder
    files = [pq.read_table(f"{folder.path}/{name}") for name in folder.files() if name.endswith(".parquet")]
    table = pa.concat_tables(files)
    mask = table.column("mask").combine_chunks().to_numpy_ndarray()
    view, fold = table["view"].to_numpy(), folds_of(table["row_id"].to_numpy(), 2, run.config.seed)
    held_out = view == 2
    assert held_out.sum() == run.data.splits["train"].num_rows
    np.testing.assert_array_equal(mask[held_out], fold[held_out, None] == np.arange(4) % 2)
    assert (mask[~held_out] == 1).all()


def test_the_diversity_of_held_out_rows_is_that_of_their_teachers(run):
    seen = {
        each["name"]: each for each in events(Path(run.folder.path), "predict", "view") if each["split"] == TRANSFER
    }
    assert set(seen) == {"identity", "affine", "identity, held out"}
    rows = load(run.shards(TRANSFER).folder)
    held_out = rows.view == 2
    parts = [rows.logits_NMC[held_out & rows.mask_NM[:, first]][:, first::2] for first in (0, 1)]
    sums = [uncertainty(torch.from_numpy(part.astype(np.float32))).knowledge.sum().item() for part in parts]
    assert seen["identity, held out"]["mutual_information"] == pytest.approx(sum(sums) / held_out.sum(), rel=1e-6)


def test_students_are_published(run):
    assert [run.student(kind).status() for kind in ("hydra", "end2")] == ["done", "done"]
