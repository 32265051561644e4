"""Tables that scikit-learn's loader fetches from OpenML: written once as CSV files where a recipe looks for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_ray.data.local_copies import local_copy
from hydra_ray.errors import UserError, reason_of

if TYPE_CHECKING:
    import pandas as pd

ADULT = "adult"
"""UCI Adult (census income); a folder of that name holds train.csv and test.csv."""
_ADULTS_TEST_ROWS = 16_281
_ADULTS_ROWS = 48_842
_ADULTS_FIRST = {"train": 77_516, "test": 226_802}
"""fnlwgt of the first row of each of UCI's files."""


def fetch_missing(source: str, key: str = "data.source") -> None:
    """Write the files of `data/adult`, or of another local folder called `adult`, where it is not there.

    Args:
        source: what a recipe names.
        key: the configuration key that messages name.

    Raises:
        UserError: OpenML does not answer, or has other rows than UCI.
    """
    is_local = "://" not in source and Path(source).name == ADULT and "/" in source
    if is_local and not Path(source).exists() and local_copy(source) is None:
        _fetch(source, key)


def _fetch(path: str, key: str) -> None:
    from sklearn.datasets import fetch_openml

    try:
        found: Any = fetch_openml(ADULT, version=2, as_frame=True, parser="auto")
    except Exception as error:  # of urllib, of the parser, of a server that answers with something else
        raise UserError(f"{key}={path}: OpenML does not hand out {ADULT} ({reason_of(error)}); try again") from error
    folder = Path(path)
    parts = _adults_files(found.frame, f"{key}={path}")
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        unfinished = folder / f".{name}.csv"
        rows.to_csv(unfinished, index=False)
        unfinished.replace(folder / f"{name}.csv")


def _adults_files(frame: pd.DataFrame, place: str) -> dict[str, pd.DataFrame]:
    """UCI's two files out of OpenML's one, in which the test rows come first."""
    frame = frame.rename(columns={"class": "income"})
    parts = {"test": frame.iloc[:_ADULTS_TEST_ROWS], "train": frame.iloc[_ADULTS_TEST_ROWS:]}
    found = {name: int(rows["fnlwgt"].iloc[0]) for name, rows in parts.items() if len(rows)}
    if len(frame) != _ADULTS_ROWS or found != _ADULTS_FIRST:
        raise UserError(f"{place}: OpenML has other rows than UCI, in another order; fetch UCI's files by hand")
    return parts
