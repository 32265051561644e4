"""All benchmarks, or one: `python -m benchmarks.run [--only NAME] [--quick] [--out benchmarks/results.json]`.

Writes the JSON file, with the measurements behind each pair, and beside it the tables as Markdown. A benchmark that is
not run keeps the tables it had. Each is paired in one process tree and one run; see `pairs.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import fixed_costs, keys, latency, serving, stages
from benchmarks.pairs import Table
from benchmarks.workplace import Setting
from hydra_ray.runs.provenance import software_facts

BENCHMARKS: dict[str, Callable[[Setting], list[Table]]] = {
    "train": stages.train,
    "predict": stages.predict,
    "distill": stages.distill,
    "infer": latency.infer,
    "start": fixed_costs.start,
    "scale": fixed_costs.scale,
    "tune": fixed_costs.tune,
    "keys": keys.keys,
    "serve": serving.serve,
}
_WITHOUT_RAY = {"infer", "start"}  # the demo starts its own
_OUT = Path(__file__).parent / "results.json"


def main() -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, help="one benchmark instead of all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to see that it runs, not for figures")
    parser.add_argument("--out", type=Path, default=_OUT, help="JSON file; the Markdown goes beside it")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(BENCHMARKS)
    results: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        setting = Setting(Path(place), arguments.quick)
        for name in sorted(names, key=lambda name: name not in _WITHOUT_RAY):
            print(f"{name} ...", flush=True)
            if name not in _WITHOUT_RAY:
                _start_ray(setting, stack)
            results[name] = _measured(name, setting)
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
            arguments.out.with_suffix(".md").write_text(_page(results))
    print("\n".join(Table(**table).markdown() for name in names for table in results[name]["tables"]))
    return 0


def _measured(name: str, setting: Setting) -> dict[str, Any]:
    begin = time.monotonic()
    tables = [asdict(table) for table in BENCHMARKS[name](setting)]
    seconds = round(time.monotonic() - begin, 1)
    return {"tables": tables, "seconds": seconds, "quick": setting.quick, "facts": _facts()}


def _start_ray(setting: Setting, stack: ExitStack) -> None:
    """The session that all stages use, once, outside everything that is timed."""
    from hydra_ray.cluster.session import session

    stack.enter_context(session(setting.run("mnist", "session").config.cluster))


def _facts() -> dict[str, str]:
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "unknown processor",
    )
    facts = {**software_facts(), "processor": processor, **{name: version(name) for name in ("ray", "pyarrow")}}
    return {**facts, "date": time.strftime("%Y-%m-%d")}


def _page(results: dict[str, Any]) -> str:
    """The tables of all benchmarks, each with its commit and machine."""
    parts = [
        "# Benchmarks\n\n`python -m benchmarks.run`; the measurements behind each pair are in the JSON file of the "
        "same name.\n"
    ]
    for name in BENCHMARKS:
        if name in results:
            found = results[name]
            facts = ", ".join(f"{key} {value}" for key, value in found["facts"].items())
            size = " (--quick: tiny sizes, no figures to quote)" if found["quick"] else ""
            parts += [Table(**table).markdown() for table in found["tables"]]
            parts.append(f"<sub>{found['seconds']} s{size}; {facts}</sub>\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
