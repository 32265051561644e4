"""What models of tables are given: the columns that they were fitted on.

B rows, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hydra_ray.data import shortened
from hydra_ray.errors import UserError


def columns_of(batch: Any, names: Sequence[str] | None) -> Any:
    """A batch as a model takes it: a frame where the model knows its columns by name, else an array [B, D].

    Args:
        batch: a frame, an array [B, D], or images [B, H, W, channels], whose pixels are then side by side.
        names: of the model's columns in order; None where it knows none.

    Raises:
        UserError: a column is missing.
    """
    if not isinstance(batch, pd.DataFrame):
        flat = batch.reshape(len(batch), -1)
        return flat if names is None else _named(flat, names)
    if names is None:
        return batch if text_columns(batch) else batch.to_numpy()
    missing = [name for name in names if name not in batch.columns]
    if missing:
        raise UserError(
            f"the model was fitted on a column {missing[0]}, which the data set does not have (it has "
            f"{shortened([str(name) for name in batch.columns])}); mend data.source or data.ignore"
        )
    return batch[list(names)]


def floats_of(batch: Any) -> npt.NDArray[np.float32]:
    """The columns of a table of numbers, in the data set's order: float32 [B, D].

    Raises:
        UserError: a column of text.
    """
    if isinstance(batch, pd.DataFrame):
        text = text_columns(batch)
        if text:
            raise UserError(
                f"column {text[0]} holds text, but this kind takes numbers; write a teacher of kind callable"
            )
        batch = batch.to_numpy(np.float32)
    return np.ascontiguousarray(batch, np.float32)


def with_categories(frame: Any, names: Sequence[str] = ()) -> Any:
    """A frame whose columns of text, and those that are named, have pandas' type for categories; else as it is."""
    if not isinstance(frame, pd.DataFrame):
        return frame
    wanted = dict.fromkeys([*text_columns(frame), *names], "category")
    return frame.astype(wanted) if wanted else frame


def text_columns(frame: pd.DataFrame) -> list[str]:
    """Names of the columns that hold neither numbers nor true and false."""
    return [str(name) for name in frame.columns if frame[name].dtype.kind not in "fiub"]


def _named(flat: npt.NDArray[Any], names: Sequence[str]) -> pd.DataFrame:
    if flat.shape[1] != len(names):
        raise UserError(f"the model was fitted on {len(names)} columns, but the data set has {flat.shape[1]}")
    return pd.DataFrame(flat, columns=list(names))
