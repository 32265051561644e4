"""One Ray session for all tests that need one; one finished run that several tests read."""

import os
import shutil
import signal
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from helpers.listeners import listeners_watched
from support import MARK, REPO, TESTS, TINY, TWO_WORKERS, Command, tiny

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory):
    """Digests of the tests' files do not go to the user's cache folder; commands of their own inherit this."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def no_data_sets_of_this_machine():
    """What is looked up below $HYDRA_RAY_DATA a test says itself."""
    os.environ.pop("HYDRA_RAY_DATA", None)


def pytest_addoption(parser):
    parser.addoption("--faults", metavar="RESULTS.json", help="run the whole fault matrix and keep its results there")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.path.is_relative_to(TESTS / "e2e"):
            item.add_marker(pytest.mark.e2e)
    if config.getoption("--faults") is None:
        left_out = [item for item in items if item.get_closest_marker("faults")]
        items[:] = [item for item in items if not item.get_closest_marker("faults")]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session", autouse=True)
def signals_as_on_a_terminal():
    """`nohup` and background jobs leave signals ignored, and whatever is started then ignores them too."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(scope="session")
def ray_session():
    """A quiet private session with two logical CPUs, whose workers find modules of the tests."""
    from hydra_ray.cluster.session import prepare_environment, start_private

    os.environ.pop("RAY_ADDRESS", None)
    os.environ[MARK] = uuid.uuid4().hex
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPO), str(TESTS), str(TESTS / "ray")])
    prepare_environment()
    import ray

    start_private(200, num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def watched_run(ray_session, tmp_path_factory):
    """The tiny recipe up to its students by 2 workers of Ray: its run folder, and every socket it listened on."""
    from hydra_ray.cluster.pipeline import run_stages
    from hydra_ray.runs.run import Run

    storage = tmp_path_factory.mktemp("small")
    with listeners_watched() as listeners:
        run_stages(Run(tiny(storage, *TWO_WORKERS)), ["train_ensemble", "predict", "distill"])
    return storage / "tiny", listeners


@pytest.fixture(scope="session")
def small_run(watched_run):
    """The run folder of the tiny recipe up to its students by 2 workers of Ray. To be copied, not to be changed."""
    return watched_run[0]


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A user's working directory: a recipe and a network of his own."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(TINY, folder)
    shutil.copy(TESTS / "own_nets.py", folder)
    return folder


@pytest.fixture(scope="session")
def chain(project):
    """The tiny recipe from start to end by one command, all but its search in that process: the finished command."""
    words = ["pipelines.run", "tiny.yaml", "tune.max_concurrent=1"]
    return Command(words, project).finish(600)


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The run folder of `make demo`, seed 0. To be copied, not to be changed."""
    storage = tmp_path_factory.mktemp("demo")
    Command(["pipelines.run", "configs/digits.yaml", f"storage={storage}"], REPO).finish(800).require_success()
    return storage / "digits"


@pytest.fixture
def one_thread():
    """Small tensors are faster so; and sums have one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
