"""The table of exit codes in docs/cluster.md is that of the code, and `--help` says the same."""

import os
import re
import subprocess
import sys

import pytest
from support import REPO

from hydra_ray.cli.guard import EXIT_STAGE_ERROR, EXIT_USER_ERROR, guarded
from hydra_ray.cli.main import help_text
from hydra_ray.errors import DivergedError, StageError, StorageError, Terminated, UserError

TABLE = (REPO / "docs" / "cluster.md").read_text().split("## Exit codes")[1].split("\n\n")[1]
ROWS = dict(re.findall(r"^\| ([\d, ]+) \| (.+?) \|", TABLE, re.MULTILINE))
"""Codes, as the table has them -> what they mean."""


def meaning(code: int) -> str:
    (found,) = [text for codes, text in ROWS.items() if str(code) in codes.split(", ")]
    return found


def code_of(error: BaseException | None) -> int:
    def call() -> None:
        if error is not None:
            raise error

    return guarded([], call)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (None, 0, "all done"),
        (StageError("predict: a worker died"), 1, "a stage failed"),
        (UserError("seed=x: must be a number"), 2, "what you can mend"),
        (StorageError("no space left"), 2, "what you can mend"),
        (DivergedError("loss is nan"), 2, "what you can mend"),
        (KeyboardInterrupt(), 130, "Ctrl-C"),
        (Terminated("SIGTERM"), 143, "SIGTERM"),
        (Terminated("SIGHUP"), 129, "SIGHUP"),
    ],
)
def test_what_ends_a_command_has_the_code_of_the_table(error, code, words, capsys):
    assert code_of(error) == code
    assert words in meaning(code)


def test_the_table_has_no_other_codes():
    codes = {int(code) for codes in ROWS for code in codes.split(", ")}
    assert codes == {0, EXIT_STAGE_ERROR, EXIT_USER_ERROR, 129, 130, 143}


def test_an_error_in_code_is_a_failed_stage():
    """Python's own code for an exception that nobody expected."""
    script = "from hydra_ray.cli.guard import guarded; guarded([], lambda: {}['nothing'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, env={**os.environ})
    assert done.returncode == EXIT_STAGE_ERROR
    assert "an error in code" in meaning(EXIT_STAGE_ERROR)


def test_options_that_no_command_has_can_be_mended():
    """Python's parser ends by itself, with its own code."""
    script = "from hydra_ray.cli import main; main(['run', '--nothing'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == EXIT_USER_ERROR


def test_help_says_them():
    assert "Exit codes: 0 done, 1 a stage failed, 2 something that you can mend" in help_text()
