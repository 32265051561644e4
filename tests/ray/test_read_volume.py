"""How often shards are read: once a node by students, once by the report, never by a command that has nothing to do."""

import pytest
from helpers.counted_reads import counted, record_of, times_read
from support import TWO_WORKERS, WORKERS, tiny

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.runs.run import Run

pytestmark = pytest.mark.timeout(600)
WITHOUT_SEARCH = ("tune.num_trials=0", "tune.space={}")
HERE = ("cluster.local=true",)
ALL = ["train_ensemble", "predict", "distill", "evaluate"]


class Store:
    """A place of runs, and what is read there."""

    def __init__(self, place):
        self.place = place
        self.since = 0

    def run(self, stages, *words):
        """Of each split, how often its shards are read meanwhile, a number where it is the same for all."""
        run_stages(Run(tiny(counted(self.place), *WITHOUT_SEARCH, *words)), stages)
        times = times_read(self.place, self.since)
        self.since = len(record_of(self.place))
        found = {}
        for name, number in times.items():
            found.setdefault(name.split("predictions/")[1].split("/")[0], set()).add(number)
        return {split: numbers.pop() if len(numbers) == 1 else numbers for split, numbers in found.items()}


@pytest.mark.usefixtures("ray_session")
def test_shards_are_read_once_a_node_by_students_once_by_the_report_and_never_to_check_them(tmp_path):
    place = tmp_path / "store"
    place.mkdir()
    store = Store(place)
    written = store.run(["train_ensemble", "predict"], *HERE)
    assert set(written.values()) == {0}
    learnt = {"transfer": 1, "validation": 1, "validation_views": 1, "test": 0, "unknown-photo_patches": 0}
    assert store.run(["distill"], *TWO_WORKERS) == learnt, "two students of several epochs by two ranks of one node"
    reported = {"transfer": 0, "validation": 1, "validation_views": 0, "test": 1, "unknown-photo_patches": 1}
    assert store.run(["evaluate"], *WORKERS) == reported
    assert set(store.run(ALL, *HERE).values()) == {0}, "all is done"
    assert store.run(["distill"], *HERE, "distill.epochs=2") == learnt
    assert store.run(["evaluate"], *HERE, "distill.epochs=2") == reported


def test_shards_of_fewer_members_are_read_once_to_extend_them(tmp_path):
    place = tmp_path / "store"
    place.mkdir()
    store = Store(place)
    store.run(["train_ensemble", "predict"], *HERE)
    before = {path: path.stat().st_size for path in place.rglob("*.parquet")}
    record = len(record_of(place))
    store.run(["train_ensemble", "predict"], *HERE, "ensemble.num_members=5")
    read = {}
    for each in record_of(place)[record:]:
        if each["file"].endswith(".parquet"):
            read[each["file"]] = read.get(each["file"], 0) + each["bytes"]
    assert read == {str(path): size for path, size in before.items()}
