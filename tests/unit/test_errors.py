"""Messages of errors are one line, whatever stands in the names that they hold."""

import pickle

import numpy as np
import pytest
from helpers.dataset_files import message, opened, write

from hydra_ray.errors import DivergedError, StageError, StorageError, UserError

BREAKS = ["\n", "\r\n", "\n\n  ", "\u2028", "\x0b", "\x85"]


@pytest.mark.parametrize("kind", [UserError, StorageError, DivergedError, StageError])
@pytest.mark.parametrize("between", BREAKS)
def test_a_message_is_one_line(kind, between):
    error = kind(f"column a{between}b: two  spaces stay{between}")
    assert str(error) == "column a b: two  spaces stay"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("between", BREAKS)
def test_names_of_columns_and_classes_with_breaks_are_told_in_one_line(tmp_path, between):
    name = f"size{between}in cm"
    columns = {name: np.arange(40) / 7, "label": [f"small{between}one", "large"] * 20}
    path = write(tmp_path / "rows.parquet", columns)
    lines = opened(path).lines()
    assert [line for line in lines if len(line.splitlines()) != 1] == []
    assert "size in cm" in lines[0]
    path = write(tmp_path / "wrong.parquet", {**columns, name: ["?", "x"] * 20})
    with pytest.raises(UserError, match="column size in cm holds text") as raised:
        opened(path)
    message(raised)
