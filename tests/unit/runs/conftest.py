"""A run that has not begun, which tests of checks give words of the command line."""

import pytest
from helpers.finished import loaded, recipe


@pytest.fixture
def run(tmp_path):
    path = recipe(tmp_path)
    return lambda *words: loaded(path, "predict.rows_per_shard=600", *words)
