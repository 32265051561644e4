"""DexDeepFM on the 200-row sample of Criteo, with numbers and categories with gaps, from the file to a student."""

import math

import numpy as np
import pytest
import torch
from helpers.checkpoints import checkpoints_in
from helpers.finished import loaded, recipe
from support import DATA

import hydra_ray
from hydra_ray.metrics.classification import roc_auc
from hydra_ray.models import Ensemble
from hydra_ray.runs.preflight import check_networks, check_settings
from hydra_ray.training.member import LabelledRows, MemberSpec
from hydra_ray.training.stacked import StackSlot, fit_stacked

CRITEO = DATA / "criteo_sample"
MANY = [f"C{number}" for number in (3, 4, 7, 10, 11, 12, 13, 15, 16, 18, 21, 24, 26)]
"""Columns of text that differs in nearly every one of so few rows."""
RECIPE = f"""
data:
  source: {CRITEO}
  label: label
  columns: {{{", ".join(f"{name}: category" for name in MANY)}}}
ensemble:
  num_members: 2
  architecture: dexdeepfm
  options: {{embedding_dim: 4, cin: [8, 8], hidden: [16], attention: 8}}
  objective: {{kind: dexdeepfm, l2_weight: 1e-5}}
  weight_decay: 0
  epochs: 12
  batch_size: 32
  learning_rate: 1e-2
"""

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not CRITEO.is_dir(), reason=f"no {CRITEO}: the sample of Criteo is not here"),
]


def test_members_and_a_student_learn_the_sample(tmp_path):
    run = loaded(recipe(tmp_path, RECIPE))
    check_settings(run)
    check_networks(run)
    settings = run.config.ensemble
    rows = run.data.splits["train"].read_all()
    assert sum(map(bool, run.data.categories)) == 26
    assert run.data.input_shape[0] > 26 + 13, "numbers with gaps have a second feature"
    of_rows = MemberSpec.of(run.task, run.group_spec(0), rows.inputs, rows.labels)
    spec = of_rows.of_group(run.group_spec(0), tells_diversity=True)
    train, validation = (
        LabelledRows.of(run.data.splits[name].read_all(), torch.device("cpu")) for name in ("train", "validation")
    )
    slots = [StackSlot(number, torch.arange(len(train)), checkpoints_in(tmp_path / str(number))) for number in (0, 1)]
    reported = []
    fitted = fit_stacked(slots, settings, 0, spec, train, validation, reported.append)
    losses = [figures["loss"] for figures in reported if figures["member"] == 0]
    assert losses[-1] < losses[0] - 0.2
    assert all(math.isfinite(loss) for loss in losses)
    ensemble = Ensemble([member for member, _ in fitted])
    said = ensemble(train.inputs)
    assert roc_auc(said[:, 0].double().log_softmax(-1), train.labels) > 0.9

    student = hydra_ray.distill(
        rows.inputs, said.numpy(), labels=rows.labels, categories=run.data.categories, body="dexdeepfm",
        body_options=settings.options, epochs=20, mean_phase_epochs=2, batch_size=32, learning_rate=1e-2, head_width=8,
    )  # fmt: skip
    answer = student.predict(rows.inputs)
    agrees = answer.probabilities.argmax(-1) == said.softmax(-1).mean(1).argmax(-1).numpy()
    assert np.mean(agrees) > 0.85
