"""Figures that a change of the code's shape must not change: metrics.json of a run against the copy in tests/golden.

Another kind of processor or another torch adds up in another order, and training makes much of the last bit; so a copy
says where it was made, and is compared there alone. To make a copy anew, because figures were MEANT to change:
    HYDRA_GOLDEN=write pytest tests/e2e -k golden
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-6
TIMED = ("seconds", "latency_ms")


def machine() -> dict[str, str]:
    """What figures depend on beside the code."""
    return {"torch": torch.__version__.split("+")[0], "cpu": torch.backends.cpu.get_cpu_capability()}


def require_its_machine(name: str) -> None:
    """Skip the test where the copy is of another torch or kind of processor."""
    path = GOLDEN / f"{name}.json"
    made_on = json.loads(path.read_text())["machine"]
    if made_on != machine() and os.environ.get("HYDRA_GOLDEN") != "write":
        pytest.skip(f"{path.name} is of {made_on}, this is {machine()}")


def assert_golden(name: str, folder: Path) -> None:
    """`report/metrics.json` of a run folder is that of tests/golden/`name`.json to 1e-6, times left out."""
    found = dict(leaves(json.loads((folder / "report" / "metrics.json").read_text())))
    path = GOLDEN / f"{name}.json"
    if os.environ.get("HYDRA_GOLDEN") == "write":
        path.write_text(json.dumps({"machine": machine(), "figures": found}, indent=1) + "\n")
    require_its_machine(name)
    golden = json.loads(path.read_text())
    gone = golden["figures"].keys() - found.keys()
    assert not gone, f"no longer there: {sorted(gone)}"  # new figures change none, and are compared once written
    differ = {key: (value, found[key]) for key, value in golden["figures"].items() if not equal(value, found[key])}
    assert not differ, f"{len(differ)} of {len(found)} figures (golden, now): {differ}"


def equal(golden: object, now: object) -> bool:
    if isinstance(golden, (int, float)) and isinstance(now, (int, float)):
        return abs(golden - now) <= TOLERANCE
    return golden == now


def leaves(tree: object, path: str = "") -> Iterator[tuple[str, object]]:
    """(path, value) of everything but times."""
    if not isinstance(tree, (dict, list)):
        yield path, tree
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if key not in TIMED:
            yield from leaves(value, f"{path}/{key}")
