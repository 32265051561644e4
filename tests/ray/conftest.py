"""The small run with two more members, during whose training a worker was killed."""

import pytest
from support import WORKERS, copied, events, kill_a_train_worker, meanwhile, tiny, wait_for


@pytest.fixture(scope="session")
def extended_run(small_run, tmp_path_factory):
    """Run folder of 6 members, of which 4 are those of the small run; predicted are 4."""
    from hydra_ray.cluster.pipeline import run_stages
    from hydra_ray.runs.run import Run

    storage = tmp_path_factory.mktemp("extended")
    folder = copied(small_run, storage)

    def kill_in_training() -> None:
        wait_for(lambda: [e for e in events(folder, "train_ensemble", "epoch") if e["member"] > 3], 120, "first epoch")
        kill_a_train_worker()

    with meanwhile(kill_in_training):
        run_stages(Run(tiny(storage, "ensemble.num_members=6", *WORKERS)), ["train_ensemble"])
    return folder
