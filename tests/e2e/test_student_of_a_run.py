"""The demo's student at work, and a run as a function: what README and docs/student.md promise of `hydra_ray`."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support import REPO, copied

import hydra_ray

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def student(demo):
    return hydra_ray.load_student(demo / "students" / "hydra")


def pixels_and_labels():
    found = load_digits()
    return (found.images * 255 / 16).round().astype(np.uint8)[..., None], found.target


def test_it_answers_with_what_the_report_says(demo, student):
    """The metrics' figures are those of `predict` on the test rows, whose inputs the shards hold."""
    from hydra_ray.shards import load
    from hydra_ray.storage import Folder

    rows = load(Folder.open(str(demo / "predictions" / "test")))
    answer = student.predict(rows.inputs)
    metrics = json.loads((demo / "report" / "metrics.json").read_text())["test"]
    assert np.mean(answer.classes == np.array(student.classes)[rows.labels]) == pytest.approx(
        metrics["hydra"]["accuracy"]
    )
    assert answer.knowledge.mean() == pytest.approx(metrics["hydra"]["mutual_information"], rel=1e-6)
    raw = student.predict(rows.inputs, calibrated=False)
    assert raw.knowledge.mean() == pytest.approx(metrics["hydra_raw"]["mutual_information"], rel=1e-6)


def test_decisions_of_the_report_are_those_of_predict(demo, student):
    from hydra_ray.shards import load
    from hydra_ray.storage import Folder

    rows = load(Folder.open(str(demo / "predictions" / "test")))
    found = json.loads((demo / "report" / "metrics.json").read_text())["decisions"]["hydra"]
    for risk in (0.01, 0.02, 0.05):
        abstain = student.predict(rows.inputs, risk=risk).abstain
        assert 1 - abstain.mean() == pytest.approx(found["risks"][str(risk)]["total"]["coverage"])
    for coverage in (0.9, 0.95):
        sets = student.predict(rows.inputs, coverage=coverage).sets
        held = sets[np.arange(len(rows)), rows.labels].mean()
        assert held == pytest.approx(found["conformal"][str(coverage)]["least_ambiguous"]["coverage"])


def test_its_folder_has_a_card_and_is_one_of_the_hubs(demo, student, tmp_path):
    from huggingface_hub import ModelCard

    assert ModelCard((demo / "students" / "hydra" / "README.md").read_text()).data.library_name == "hydra-ray"
    student.save_pretrained(tmp_path / "copy")
    again = hydra_ray.Student.from_pretrained(str(tmp_path / "copy"))
    pixels, _ = pixels_and_labels()
    np.testing.assert_array_equal(again.predict(pixels[:9]).total, student.predict(pixels[:9]).total)
    assert again.card == student.card != ""


def test_a_run_as_a_function_prints_nothing_and_returns_what_it_made(chain, project, tmp_path):
    copied(project / "runs" / "tiny", tmp_path)
    program = (
        "import hydra_ray, json\n"
        "seen = []\n"
        f"found = hydra_ray.run('tiny.yaml', ['storage={tmp_path}', 'cluster.num_workers=1', 'tune.max_concurrent=1'], "
        "progress=seen.append)\n"
        "student = found.student('hydra')\n"
        "print(json.dumps([found.folder, sorted(found.metrics), [e['event'] for e in seen], student.about['kind']]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), str(project)])}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    folder, metrics, seen, kind = json.loads(done.stdout)
    assert folder == str(tmp_path / "tiny")
    assert {"test", "fidelity", "decisions"} <= set(metrics)
    assert seen == ["skipped"] * 5
    assert kind == "hydra"
