"""The demo as README has it: its figures are those of the golden run, whatever was moved or renamed."""

import pytest
from helpers.golden import assert_golden

pytestmark = pytest.mark.timeout(900)


def test_figures_of_the_demo_are_golden(demo):
    assert_golden("digits", demo)
