"""A folder of photographs as it is, members of two sorts, one of them on a trained body: from files to a report."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.dataset_files import encoded
from support import events

import hydra_ray
from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.config.load import load_config
from hydra_ray.models import to_safetensors_bytes
from hydra_ray.models.members import ModelSpec, build_member
from hydra_ray.runs.model_store import load_published
from hydra_ray.runs.run import Run

pytestmark = pytest.mark.timeout(400)
CNN = ModelSpec("member", "cnn", (12, 12, 3), 2, {"widths": [2, 4]})
RECIPE = """
data: {source: PLACE/set, image_size: 12, skip_broken: true, unknown: {noise: PLACE/noise}}
ensemble:
  members:
    - {architecture: cnn, options: {widths: [2, 4]}, weights: PLACE/body.safetensors, count: 2}
    - {architecture: mlp, options: {hidden: [8]}}
  epochs: 2
  batch_size: 16
transfer: {views: [{view: identity}, {view: affine}]}
students: [hydra, kd]
distill: {epochs: 2, mean_phase_epochs: 1, batch_size: 32, head_width: 4}
evaluate: {latency_repeats: 1, bootstrap_samples: 5}
cluster: {num_workers: 1, object_store_mb: 100}
"""


def write_photographs(folder, per_class, seed):
    """Bright ones in colour and dark ones in grey, of many sizes."""
    rng = np.random.default_rng(seed)
    for name, low in (("bright", 120), ("dark", 0)):
        (folder / name).mkdir(parents=True)
        for row in range(per_class):
            shape = (*rng.integers(12, 40, 2), *((3,) if name == "bright" else ()))
            image = rng.integers(low, low + 120, shape).astype(np.uint8)
            (folder / name / f"{row:03d}.png").write_bytes(encoded(image))


@pytest.fixture(scope="module")
def run(ray_session, tmp_path_factory):
    place = tmp_path_factory.mktemp("photographs")
    for seed, (name, number) in enumerate((("set/train", 60), ("set/test", 20), ("noise", 10))):
        write_photographs(place / name, number, seed)
    (place / "set" / "train" / "dark" / "017.png").write_bytes(b"<html>404</html>")
    (place / "body.safetensors").write_bytes(to_safetensors_bytes(build_member(CNN, 5)))
    recipe = place / "photographs.yaml"
    recipe.write_text(f"storage: {place}/runs\n" + RECIPE.replace("PLACE", str(place)))
    run = Run(load_config(recipe, []))
    run_stages(run, ["train_ensemble", "predict", "distill", "evaluate"])
    return run


def test_members_are_of_their_groups_and_the_body_is_said(run):
    members = [load_published(artifact) for artifact in run.members()]
    assert [member.spec.architecture for member in members] == ["cnn", "cnn", "mlp"]
    folder = Path(run.folder.path)
    assert {each["member"] for each in events(folder, "train_ensemble", "member")} == {0, 1, 2}
    said = [each["text"] for each in events(folder, "train_ensemble", "started") if "text" in each]
    assert said
    assert all(text.endswith("body.safetensors, normalised as they were trained") for text in said)


def test_the_report_counts_the_mean_member(run):
    costs = json.loads(run.report().read("metrics.json"))["cost"]
    sizes = [sum(value.numel() for value in load_published(each).parameters()) for each in run.members()]
    assert costs["member"]["num_parameters"] == round(sum(sizes) / 3)
    assert costs["ensemble"]["num_parameters"] == sum(sizes)


def test_rows_that_are_left_out_are_in_no_shard(run):
    train = run.data.splits["train"]
    (broken,) = [row for row, _ in train.source.broken]
    assert train.source.row_name(broken) == "train/dark/017.png"
    assert run.num_rows("transfer") == 2 * train.num_rows
    assert broken not in run.rows_of_view("transfer", 0)


def test_the_student_takes_photographs_of_any_size_by_their_paths(run):
    student = hydra_ray.load_student(str(run.student("hydra").folder))
    test = run.data.splits["test"]
    rows = test.read_all()
    paths = [f"{test.source.folder.path}/{path}" for path in test.source.paths]
    by_path = student.predict(paths)
    np.testing.assert_allclose(by_path.probabilities, student.predict(rows.inputs).probabilities, atol=1e-6)
    assert set(by_path.classes) <= {"bright", "dark"}


def test_everything_is_done_and_nothing_is_stale(run):
    again = Run(run.config)
    assert [artifact.status() for artifact in (*again.members(), again.student("hydra"), again.report())] == [
        "done"
    ] * 5
