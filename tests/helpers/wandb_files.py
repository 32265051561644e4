"""Reading what W&B wrote offline: a LevelDB log of `wandb_internal_pb2.Record`s, for which it has no reader any more.

7 bytes of header, then blocks of 32 KiB; a chunk is crc32 (4 bytes), length (2), type (1: whole, 2: first, 3: middle,
4: last) and data; the last 6 bytes of a block at most are padding.
"""

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK, _HEADER = 32768, 7
_WHOLE, _FIRST, _LAST = 1, 2, 4


@dataclass
class OfflineRun:
    """One run: its name, group and job type, config, history rows, summary, exit code, and its folder."""

    folder: Path
    name: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def offline_runs(folder: Path, seconds: float = 30) -> dict[str, OfflineRun]:
    """Every run written below `<folder>/wandb`, by its name; W&B's own process may need a moment after `finish`."""
    until = time.monotonic() + seconds
    while True:
        runs = [_read(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]
        if all(run.exit_code is not None for run in runs):
            assert len({run.name for run in runs}) == len(runs)
            return {run.name: run for run in runs}
        assert time.monotonic() < until, f"unfinished runs below {folder}/wandb"
        time.sleep(0.05)


def _read(path: Path) -> OfflineRun:
    from wandb.proto.wandb_internal_pb2 import Record

    run = OfflineRun(path.parent)
    for data in _records(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        _add(run, record)
    return run


def _records(content: bytes) -> list[bytes]:
    assert content[:4] == b":W&B"
    found, parts, place = [], [], _HEADER
    while place + _HEADER <= len(content):
        if _BLOCK - place % _BLOCK < _HEADER:
            place += _BLOCK - place % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts = parts if kind not in (_WHOLE, _FIRST) else []
        if place + _HEADER + length > len(content):
            break  # being written
        parts.append(content[place + _HEADER : place + _HEADER + length])
        place += _HEADER + length
        if kind in (_WHOLE, _LAST):
            found.append(b"".join(parts))
    return found


def _add(run: OfflineRun, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run.name, run.group = record.run.display_name, record.run.run_group
        run.job_type, run.project = record.run.job_type, record.run.project
        run.config |= {_key(item): json.loads(item.value_json) for item in record.run.config.update}
    elif kind == "config":
        run.config |= {_key(item): json.loads(item.value_json) for item in record.config.update}
    elif kind == "history":
        run.history.append({_key(item): json.loads(item.value_json) for item in record.history.item})
    elif kind == "summary":
        run.summary |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
    elif kind == "exit":
        run.exit_code = record.exit.exit_code


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)
