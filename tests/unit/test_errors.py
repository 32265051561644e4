"""Messages of errors are one line, whatever stands in the names that they hold."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
from helpers.dataset_files import message, opened, write

from hydra_ray.errors import DivergedError, StageError, StorageError, UserError, close_to, reason_of

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
    path = write(tmp_path / "wrong.parquet", {**columns, name: pa.array([{"a": 1}] * 40)})
    with pytest.raises(UserError, match="column size in cm holds struct") as raised:
        opened(path)
    message(raised)


def test_an_exceptions_own_words_are_one_line_with_both_ends():
    assert reason_of(OSError("no\n  such   place")) == "no such place"
    assert reason_of(ValueError()) == "ValueError"
    long = reason_of(ValueError(f"begin {'x' * 500} end"), 60)
    assert len(long) <= 60
    assert (long[:5], long[-3:]) == ("begin", "end")


def test_a_wrong_word_is_close_to_known_ones_whatever_their_case():
    assert close_to("mnsit", ["CIFAR10", "MNIST", "FashionMNIST"]) == ["MNIST"]
    assert close_to("kind", ["kinds", "king", "data"], most=2) == ["kinds", "king"]
    assert close_to("zzz", ["data"]) == []
