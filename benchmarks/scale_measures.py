"""What `scale_sim` measures: what the driver and an object store have to do for plans of 10^3 to 10^5 shards.

Everything is done by the project's own functions; only sizes are smaller, and rows are made up.
"""

from __future__ import annotations

import math
import pickle
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
from fsspec.implementations.memory import MemoryFileSystem

from benchmarks.scale_run import Scale, run_of, shard_table
from hydra_ray.cluster.plan_item import PlanItem
from hydra_ray.cluster.predict import check_rows, items_of, plan_split, work_of
from hydra_ray.cluster.shard_facts import ShardFacts
from hydra_ray.data.splits import known_parts
from hydra_ray.evaluation.view_diversity import disagreement_sums
from hydra_ray.runs import Run
from hydra_ray.runs.run import TRANSFER
from hydra_ray.shards import BatchReader, Shards, count_rows, row_digest, rows_of, shard_names, write_shard
from hydra_ray.storage import EventFile, Folder, WrittenFile
from hydra_ray.storage.manifests import read_manifest, sealed
from hydra_ray.tasks import task_named

_LINEAR = 1.15  # a power up to here is a line and the measurement's noise


@dataclass(frozen=True)
class Growth:
    """One quantity, measured at several numbers of shards.

    Attributes:
        sizes: numbers of shards.
        values: of the quantity.
    """

    sizes: Sequence[int]
    values: Sequence[float]

    @property
    def power(self) -> float:
        """p, where it grows as n^p: over the last two sizes, and never below 0."""
        if len(self.sizes) == 1 or not self.values[-2]:
            return 1.0
        return max(0.0, math.log(self.values[-1] / self.values[-2]) / math.log(self.sizes[-1] / self.sizes[-2]))

    def at(self, size: float) -> float:
        """Its value at another size: on the line through the last two, or by its power where it grows faster."""
        if len(self.sizes) == 1 or self.power > _LINEAR:
            return self.values[-1] * (size / self.sizes[-1]) ** self.power
        slope = max(0.0, (self.values[-1] - self.values[-2]) / (self.sizes[-1] - self.sizes[-2]))
        return self.values[-1] + slope * (size - self.sizes[-1])


def measured(call: Callable[[], Any]) -> tuple[float, float]:
    """CPU seconds of a call, and the most MB it holds at a time (of a second call, as counting takes time)."""
    begin = time.process_time()
    call()
    seconds = time.process_time() - begin
    tracemalloc.start()
    try:
        call()
        return seconds, tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def row_figures(scale: Scale, sizes: Sequence[int]) -> dict[str, Growth]:
    """Of what the driver of `predict` does with the numbers of all rows: CPU seconds and MB, by name."""
    return _grown(sizes, lambda number: _of_rows(scale.of_shards(number)))


def file_figures(scale: Scale, sizes: Sequence[int]) -> dict[str, Growth]:
    """Of what it does with the files: CPU seconds, MB held, and MB of the files that list them, by name."""
    return _grown(sizes, lambda number: _of_files(scale.of_shards(number)))


def _grown(sizes: Sequence[int], figures: Callable[[int], dict[str, float]]) -> dict[str, Growth]:
    found = [figures(number) for number in sizes]
    return {name: Growth(sizes, [each[name] for each in found]) for name in found[0]}


def _of_rows(small: Scale) -> dict[str, float]:
    seconds, megabytes = measured(lambda: plan_split(_fresh(small), TRANSFER))
    run = _fresh(small)
    facts = {
        item.name(small.rows_per_shard): ShardFacts(item.view, row_digest(item.view, rows), {})
        for item, rows in items_of(run, TRANSFER)
    }
    check_seconds, check_megabytes = measured(lambda: check_rows(run, TRANSFER, run.folder, facts))
    return {
        "plan, CPU s": seconds,
        "plan, MB held": megabytes,
        "check of all rows, CPU s": check_seconds,
        "check of all rows, MB held": check_megabytes,
    }


def _fresh(small: Scale) -> Run:
    """A run whose splits are not known yet."""
    known_parts.cache_clear()
    return run_of(small)


def _of_files(small: Scale) -> dict[str, float]:
    """Texts as tasks send them to the driver: one shard's, each under its own name."""
    run = run_of(small)
    place = run.shards(TRANSFER)
    items = [
        PlanItem(TRANSFER, view, start, start + small.rows_per_shard)
        for view in range(small.views)
        for start in range(0, small.rows // small.views, small.rows_per_shard)
    ]
    sums = disagreement_sums(task_named("classification"), rows_of("made up", shard_table(small, 8)))
    file = WrittenFile(20_000_000, "0" * 64, None)
    text = ShardFacts(0, "0" * 64, sums, file).to_json()
    names = [item.name(small.rows_per_shard) for item in items]
    _, megabytes = measured(lambda: {name: ShardFacts.from_json(text) for name in names})
    sent = pickle.dumps(work_of(run, {TRANSFER: place}), protocol=5)
    return {
        "facts of shards, MB held": megabytes,
        "sent to each task, MB": len(sent) / 1e6,
        "unpickled by each task, CPU s": min(measured(lambda: pickle.loads(sent))[0] for _ in range(3)),
        **_manifest(place, dict.fromkeys(names, file.entry), small.rows_per_shard),
        **_events(items),
    }


def _manifest(place: Shards, files: dict[str, Any], rows: int) -> dict[str, float]:
    content = {
        "fingerprint": place.fingerprint,
        "key": place.key,
        "files": files,
        "shard_rows": dict.fromkeys(files, rows),
    }
    folder = place.folder
    write_seconds, _ = measured(lambda: folder.write_json("manifest.json", sealed(content)))
    read_seconds, read_megabytes = measured(lambda: read_manifest(folder, "manifest.json"))
    size = folder.files()["manifest.json"]
    folder.remove()
    return {
        "manifest.json, MB": size / 1e6,
        "manifest written, CPU s": write_seconds,
        "manifest read, CPU s": read_seconds,
        "manifest read, MB held": read_megabytes,
    }


def _events(plan: list[PlanItem]) -> dict[str, float]:
    folder = Folder.open("memory://scale/events")
    folder.remove()
    events = EventFile(folder)
    begin = time.process_time()
    for done, item in enumerate(plan, start=1):
        facts = {"split": item.split, "view": item.view, "rows": item.stop - item.start, "shards_done": done}
        events.append({"stage": "predict", "event": "shard", **facts})
    seconds = time.process_time() - begin
    events.append({"stage": "predict", "event": "done"})
    return {"events, CPU s": seconds, "events.jsonl, MB": folder.files()["events.jsonl"] / 1e6}


# --- object stores


class _Memory(MemoryFileSystem):
    """Counts files that are put as a whole, which go past pyarrow's handler."""

    cachable = False

    def __init__(self, calls: Counter[str]) -> None:
        super().__init__()
        self.calls = calls

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        self.calls["put"] += 1
        super().pipe_file(path, value, mode, **options)


class _Counting(pafs.FSSpecHandler):
    """Counts what would be requests of an object store. A hidden file's rename is none: object stores need no such."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        super().__init__(_Memory(self.calls))

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        self.calls["head"] += len(paths)
        return super().get_file_info(paths)

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        found = super().get_file_info_selector(selector)
        self.calls["list"] += math.ceil(max(1, len(found)) / 1000)
        return found

    def create_dir(self, path: str, recursive: bool) -> None:
        self.calls["put"] += 1
        super().create_dir(path, recursive)

    def open_input_file(self, path: str) -> pa.NativeFile:
        self.calls["get"] += 2  # its size, its footer
        return super().open_input_file(path)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        self.calls["get"] += 1
        return super().open_input_stream(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        self.calls["put"] += 1
        return super().open_output_stream(path, metadata)

    def copy_file(self, src: str, dest: str) -> None:
        self.calls["copy"] += 1
        super().copy_file(src, dest)

    def move(self, src: str, dest: str) -> None:
        if not src.rsplit("/", 1)[-1].startswith("."):
            self.calls.update(("copy", "delete"))
        super().move(src, dest)

    def delete_file(self, path: str) -> None:
        self.calls["delete"] += 1
        super().delete_file(path)


def request_figures(scale: Scale, sizes: tuple[int, int] = (20, 40)) -> dict[str, float]:
    """Requests a shard of what is done with shards, by name: from two small splits, so that what is fixed falls out."""
    few, many = (_requests(scale, number) for number in sizes)
    return {name: (many[name] - few[name]) / (sizes[1] - sizes[0]) for name in many}


def _requests(scale: Scale, number: int) -> dict[str, int]:
    counting = _Counting()
    folder = Folder(pafs.PyFileSystem(counting), f"/scale/{number}/transfer")
    folder.parent.remove()
    place = Shards(folder, {"split": TRANSFER, "members": []})
    facts = {}
    for shard in range(number):
        name = PlanItem(TRANSFER, 0, shard * 8, shard * 8 + 8).name(8)
        facts[name] = write_shard(place.attempt, name, shard_table(scale, 8, 0, shard * 8), {"members": []})
    found = {"write": _calls(counting)}
    for name in shard_names(place.attempt):
        count_rows(place.attempt, name)
    found["find after a restart"] = _calls(counting)
    place.publish({"rows": 8 * number, "shard_rows": dict.fromkeys(facts, 8)}, written=facts)
    found["publish"] = _calls(counting)
    assert place.is_done
    found["is it done"] = _calls(counting)
    reader = BatchReader(folder, batch_size=8, seed=0, num_members=scale.members, max_bytes=1 << 30)
    found["open for training"] = _calls(counting)
    for _ in reader.batches(0):
        pass
    found["read"] = _calls(counting)
    folder.parent.remove()
    return found


def _calls(counting: _Counting) -> int:
    """How many since the last time."""
    number = counting.calls.total()
    counting.calls.clear()
    return number


def shard_bytes(scale: Scale) -> int:
    """Bytes of one shard's file, of random pixels and logits, which zstd cannot make smaller."""
    folder = Folder.open("memory://scale/size")
    size = write_shard(folder, "one.parquet", shard_table(scale, scale.rows_per_shard), {"members": []}).bytes
    folder.remove()
    return size


# --- Ray


def seconds_of_an_item(numbers: tuple[int, int] = (50, 150)) -> float:
    """CPU seconds of the driver for an item of `predict` with GPUs: a read, an actor's call and a write, all empty."""
    from hydra_ray.cluster.session import session
    from hydra_ray.config import ClusterConfig

    cluster = ClusterConfig(num_workers=1, use_gpu=False, object_store_mb=100)
    took = []
    with session(cluster):
        from hydra_ray.cluster.item_streams import by_actors

        for number in (5, *numbers):  # the first starts processes
            begin = time.process_time()
            items = [{"item": place} for place in range(number)]
            assert sum(1 for _ in by_actors(items, cluster, _same, _Same, None, _same)) == number
            took.append(time.process_time() - begin)
    return (took[2] - took[1]) / (numbers[1] - numbers[0])


def _same(table: pa.Table) -> pa.Table:
    return table


class _Same:
    def __init__(self, work: None) -> None:
        pass

    def __call__(self, table: pa.Table) -> pa.Table:
        return table
