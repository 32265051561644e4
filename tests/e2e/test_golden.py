"""The demo by two workers of Ray: its figures are those of the golden run, whatever was moved or renamed."""

import pytest
from helpers.golden import assert_golden, require_its_machine
from support import REPO, WORKERS, Command

pytestmark = pytest.mark.timeout(900)


def test_figures_of_the_demo_are_golden(tmp_path):
    require_its_machine("digits")
    words = ["pipelines.run", "configs/digits.yaml", f"storage={tmp_path}", *WORKERS]
    Command(words, REPO).finish(800).require_success()
    assert_golden("digits", tmp_path / "digits")
