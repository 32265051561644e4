"""A recipe that tests of the configuration share."""

import pytest
from helpers.recipes import recipe


@pytest.fixture
def digits(tmp_path):
    """A small recipe: five members, searched by three trials."""
    return recipe(
        tmp_path,
        "data: {source: digits}\nensemble: {num_members: 5}\ndistill: {batch_size: 64}\n"
        "tune: {num_trials: 3, space: {head_width: [8, 16]}}\n",
    )
