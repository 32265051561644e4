"""The fault matrix as a table in docs/reliability.md: python tests/faults/table.py RESULTS.json docs/reliability.md.

RESULTS.json is what `pytest tests/faults --faults RESULTS.json` keeps; parts of it may come from several runs.
"""

import json
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from matrix import FAULTS, STAGES

BEGIN, END = "<!-- faults: written by make test-faults -->", "<!-- faults end -->"


def main() -> None:
    """Replace what stands between the two marks of the page."""
    results, page = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    text = page.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}")


def table(results: dict) -> str:
    """Stage x fault, then what was said."""
    head = "| fault | " + " | ".join(stage.name for stage in STAGES) + " |"
    lines = [head, "|---" * (len(STAGES) + 1) + "|"]
    for fault in FAULTS:
        cells = [_cell(results, stage, fault) for stage in STAGES]
        lines.append(f"| {fault.name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _counts(results), "", *_lines_said(results)])


def _cell(results: dict, stage, fault) -> str:
    found = results.get(_name(stage, fault))
    if not fault.suits(stage):
        return ""
    if found is None:
        return "not run"
    return f"clean, {found['seconds']:.0f} s" if found["result"] == "clean" else f"**{_short(found['result'])}**"


def _name(stage, fault) -> str:
    return f"{stage.name}-{fault.name.replace(' ', '_')}"


def _counts(results: dict) -> str:
    clean = sum(found["result"] == "clean" for found in results.values())
    commits = ", ".join(sorted({found["commit"] for found in results.values()}))
    cpus, system = len(os.sched_getaffinity(0)), f"{platform.system()} {platform.machine()}"
    machine = f"{cpus} CPUs, {system}, Python {platform.python_version()}"
    return f"{clean} of the {len(results)} cells that were run are clean; commit {commits}; {machine}."


def _lines_said(results: dict) -> list[str]:
    """One example a fault."""
    said = ["What the command says that was struck, one example each:", ""]
    for fault in FAULTS:
        lines = [results.get(_name(stage, fault), {}).get("line", "") for stage in STAGES]
        lines = [line for line in lines if line and "\n" not in line]
        if lines:
            said.append(f"- {fault.name}: `{_without_place(lines[0])}`")
    return said


def _without_place(line: str) -> str:
    words = ["..." + word[word.index("/tiny/") :] if "/tiny/" in word else word for word in line.split(" ")]
    return " ".join(words)


def _short(text: str) -> str:
    text = _without_place(" ".join(text.split())).replace("|", "/")
    return text if len(text) < 100 else text[:97] + "..."


if __name__ == "__main__":
    main()
