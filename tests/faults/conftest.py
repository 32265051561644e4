"""What became of each cell, for the table in docs/reliability.md (`--faults RESULTS.json`)."""

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

pytest.register_assert_rewrite("matrix")
REPO = Path(__file__).parents[2]


@dataclass
class Outcome:
    """One cell.

    Attributes:
        line: what the command said that was struck.
        seconds: until it had ended.
        again: what the next start said; nothing, if all is well.
        result: `clean`, or what failed.
    """

    line: str = ""
    seconds: float = 0.0
    again: str = ""
    result: str = "clean"
    commit: str = ""


@pytest.fixture
def outcome(request):
    """Filled by a test, kept whatever comes of it."""
    found = Outcome(commit=_commit())
    yield found
    report = request.node.stash.get(_REPORT, None)
    if report is not None and report.failed:
        found.result = _last_line(report.longreprtext)
    place = request.config.getoption("--faults")
    if place and report is not None and not report.skipped:
        _keep(Path(place), request.node.callspec.id, found)


_REPORT = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[_REPORT] = report
    return report


def _keep(place: Path, cell: str, found: Outcome) -> None:
    results = json.loads(place.read_text()) if place.exists() else {}
    results[cell] = asdict(found)
    place.write_text(json.dumps(results, indent=1) + "\n")


def _last_line(text: str) -> str:
    errors = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return errors[0] if errors else "failed"


def _commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, text=True, check=False
    ).stdout.strip()
