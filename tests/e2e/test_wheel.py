"""The wheel in an environment that has its dependencies and nothing else of ours: what it holds, and that it works."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from support import REPO

pytestmark = pytest.mark.timeout(500)
SMALL = [
    "ensemble.num_members=2", "ensemble.epochs=1", "tune.num_trials=0", "tune.space={}", "distill.use_best_trial=false",
    "distill.epochs=1", "distill.mean_phase_epochs=1", "evaluate.bootstrap_samples=20", "evaluate.latency_repeats=2",
]  # fmt: skip

OWN = """
from torch import nn
from hydra_ray.models import Network

def tiny(input_shape, num_outputs, *, width):
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU())
    return Network(body, nn.Linear(width, num_outputs), width)
"""


def call(words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=REPO)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Folder of programs of a new environment. Dependencies are those of this interpreter, without its .pth files."""
    folder = tmp_path_factory.mktemp("environment")
    call([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    python = folder / "bin" / "python"
    own = Path(call([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    call([*pip, "--ignore-installed", "--disable-pip-version-check", str(wheel)])
    return folder / "bin"


@pytest.fixture
def clean():
    """The environment variables of a shell that knows nothing of this checkout."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("RAY_")}


def test_the_wheel_holds_the_package_its_recipes_and_its_licence_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"hydra_ray", "hydra_ray-0.1.0.dist-info"}
    recipes = {str(path.relative_to(REPO)) for path in (REPO / "configs").rglob("*.yaml")}
    assert {name.removeprefix("hydra_ray/") for name in names if name.endswith(".yaml")} == recipes
    assert "hydra_ray/report/page.html.j2" in names
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_a_run_of_a_shipped_recipe_by_its_name_with_a_network_of_the_working_directory(environment, clean, tmp_path):
    where = (
        "import importlib.util as u, hydra_ray; print(hydra_ray.__file__); print([u.find_spec(n) for n in "
        "('pipelines', 'tests', 'benchmarks')])"
    )
    place, others = call([str(environment / "python"), "-c", where], cwd=tmp_path, env=clean).splitlines()
    assert place.startswith(str(environment.parent))
    assert others == "[None, None, None]"
    (tmp_path / "my_nets.py").write_text(OWN)
    own = ["ensemble.architecture=my_nets:tiny", "ensemble.options={width: 8}", "distill.body=mlp"]
    out = call([str(environment / "hydra-ray"), "run", "digits", *SMALL, *own], cwd=tmp_path, env=clean)
    assert "hydra_raw" in out
    assert (tmp_path / "runs" / "digits" / "report" / "report.html").is_file()
