"""`data/adult` from OpenML, whose loader is scikit-learn's: a stand-in hands out its rows, as tests have no network."""

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from helpers.dataset_files import message, opened

from hydra_ray.data import openml
from hydra_ray.errors import UserError

TEST_ROWS = 16_281
NUM_ROWS = 48_842


class Loader:
    """What `fetch_openml` answers with: the test rows first."""

    def __init__(self, first: tuple[int, int] = (226_802, 77_516), num_rows: int = NUM_ROWS) -> None:
        weights = np.arange(num_rows) % 997
        weights[0] = first[0]
        weights[min(TEST_ROWS, num_rows - 1)] = first[1]
        country = pd.Series(np.array(["Chad", "Fiji", None], object)[np.arange(num_rows) % 3]).astype("category")
        income = np.array(["<=50K", ">50K"])[np.arange(num_rows) % 2]
        self.frame = pd.DataFrame({"fnlwgt": weights, "native-country": country, "class": income})
        self.calls = 0

    def __call__(self, name, **options):
        assert (name, options["version"]) == ("adult", 2)
        self.calls += 1
        return self


@pytest.fixture
def loader(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_RAY_DATA", raising=False)
    found = Loader()
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", found)
    return found


def test_it_is_written_once_as_uci_has_it(loader, tmp_path):
    for _ in range(2):
        data = opened("data/adult", download=True, label="income")
    assert loader.calls == 1
    assert data.splits["test"].num_rows == TEST_ROWS
    assert data.splits["train"].source.num_rows == NUM_ROWS - TEST_ROWS
    assert data.categories == (0, 4)
    assert sorted(path.name for path in (tmp_path / "data/adult").iterdir()) == ["test.csv", "train.csv"]


def test_without_leave_nothing_is_fetched(loader):
    with pytest.raises(UserError, match=r"data\.source=data/adult: no such file .*; data\.download=true fetches"):
        opened("data/adult", label="income")
    assert loader.calls == 0


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Loader((77_516, 226_802)), "OpenML has other rows than UCI"),
        (Loader(num_rows=100), "OpenML has other rows than UCI"),
        (OSError("no route"), "OpenML does not hand out adult (no route)"),
    ],
)
def test_other_rows_and_no_answer_are_a_line(loader, monkeypatch, tmp_path, found, expected):
    def fetch(*words, **options):
        if isinstance(found, OSError):
            raise found
        return found(*words, **options)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    with pytest.raises(UserError) as raised:
        openml.fetch_missing("data/adult")
    assert expected in message(raised)
    assert not (tmp_path / "data").exists()
