"""Predictions that exist already in the members' place: looked up by the rows' positions, or by an id.

N rows, M members, C outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hydra_ray.config import OutputsSaid, TeachersConfig
from hydra_ray.data import VALIDATION_VIEWS, DataSet, Rows, Split, TableSource
from hydra_ray.errors import UserError
from hydra_ray.teachers.array_files import ROW_ID, VIEW, read_predictions
from hydra_ray.teachers.file_digests import digest_of
from hydra_ray.teachers.outputs import Bools, Floats, Found, as_outputs

_KEY = "ensemble.teachers.arrays"
_TRAIN = "train"
_TRANSFER = "transfer"
_VIEW_BITS = 20


class _Numbers(NamedTuple):
    """What a split's files hold: values [N, M, ...], NaN where a member has no answer, and where each row is."""

    values: npt.NDArray[Any]
    places: dict[Any, int] | None


@dataclass(frozen=True)
class ArrayTeachers:
    """Predictions in files; small to pickle, as they are read where rows are looked up.

    Attributes:
        config: `ensemble.teachers`.
        num_members: M.
        data: whose rows they are of.
    """

    config: TeachersConfig
    num_members: int
    data: DataSet

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what is read already."""
        return type(self), (self.config, self.num_members, self.data)

    def entry_of(self, split: str) -> str:
        """The entry of `arrays` that holds a predicted split: its own, else that of the rows it was cut from.

        Raises:
            UserError: there is none.
        """
        entries = self.config.arrays
        if split == _TRANSFER:
            wanted = _TRANSFER if _TRANSFER in entries else _TRAIN
        elif split == VALIDATION_VIEWS.name:
            wanted = split
        else:
            own = self.data.splits[split]
            name = split.removeprefix("unknown-") if split.startswith("unknown-") else split
            is_cut_off = own.source is self.data.splits[_TRAIN].source
            wanted = _TRAIN if is_cut_off and name not in entries else name
        if wanted not in entries:
            raise UserError(f"{_KEY}.{wanted} is missing, which holds the predictions for {split} rows: add it")
        return wanted

    @property
    def outputs(self) -> OutputsSaid:
        """What the numbers are."""
        assert self.config.outputs is not None
        return self.config.outputs

    def answer(self, split: str, rows_of: str, rows: Rows, view: int) -> Found:
        """What members said of rows of a predicted split.

        Args:
            split: predicted split.
            rows_of: the data set's split that the rows come from.
            rows: of which the positions in its source are looked at.
            view: number of the view.

        Raises:
            UserError: a row without predictions, or predictions that are none.
        """
        entry = self.entry_of(split)
        row_id = rows.row_id
        numbers = self._numbers(entry, self.data.splits[rows_of])
        values = numbers.values[self._places(entry, numbers, rows_of, row_id, view)]
        missing = np.isnan(values.astype(np.float64))
        missing = missing.reshape(*missing.shape[:2], -1)
        answered: Bools = np.logical_not(np.asarray(missing.all(axis=2)))
        if entry == _TRAIN and self._fold_of_row is not None:
            answered &= self._left_out(row_id)
        found = self._outputs(entry, values, answered, row_id)
        unanswered = np.flatnonzero(answered.sum(axis=1) == 0)
        if split != _TRANSFER and len(unanswered):
            row = row_id[unanswered[0]]
            raise UserError(f"{_KEY}.{entry}: no member has an answer for {split} row {row}; add one or leave it out")
        return Found(found, None if answered.all() else answered)

    def _outputs(self, entry: str, values: npt.NDArray[Any], answered: Bools, row_id: npt.NDArray[np.int64]) -> Floats:
        try:
            return as_outputs(values, self.outputs, self.num_members, self.data.num_outputs, row_id, answered)
        except UserError as error:
            raise UserError(f"{_KEY}.{entry}: {error}") from error

    def _places(
        self, entry: str, numbers: _Numbers, rows_of: str, row_id: npt.NDArray[np.int64], view: int
    ) -> npt.NDArray[np.int64]:
        if numbers.places is None:
            if view:
                raise UserError(f"{_KEY}.{entry}: holds untouched rows alone; predict views with write_transfer")
            return row_id
        wanted = self._ids_of(rows_of, row_id, view)
        try:
            return np.array([numbers.places[each] for each in wanted], np.int64)
        except KeyError as error:
            said = error.args[0]
            row, number = (said, 0) if self.config.id else divmod(said, 1 << _VIEW_BITS)
            which = f"whose {self.config.id} is {said}" if self.config.id else f"of {ROW_ID} {row}, {VIEW} {number}"
            raise UserError(f"{_KEY}.{entry}: has no row {which}; add it") from None

    def _numbers(self, entry: str, split: Split) -> _Numbers:
        files = self.config.arrays[entry]
        paths = (files,) if isinstance(files, str) else tuple(files)
        has_folds = entry == _TRAIN and self.config.folds is not None
        digests = tuple(digest_of(path) for path in paths)  # what was read is read again once it has changed
        numbers = _read(paths, digests, self.config.id, self.num_members, has_folds)
        if numbers.places is None and len(numbers.values) != split.source_rows:
            raise UserError(
                f"{_KEY}.{entry}: {', '.join(paths)} has {len(numbers.values):,} rows, but {split.source.name} has "
                f"{split.source_rows:,}; give one prediction a row, or match them by an id (ensemble.teachers.id)"
            )
        return numbers

    def _ids_of(self, rows_of: str, row_id: npt.NDArray[np.int64], view: int) -> list[Any]:
        column = self.config.id
        if column is None:
            return ((row_id << _VIEW_BITS) | view).tolist()
        if view:
            raise UserError(f"ensemble.teachers.id={column}: names untouched rows alone; leave out transfer.views")
        if rows_of not in self._known_ids:
            self._known_ids[rows_of] = _column_of(self.data.splits[rows_of], column)
        return self._known_ids[rows_of][row_id].tolist()

    @cached_property
    def _known_ids(self) -> dict[str, npt.NDArray[Any]]:
        """Split of the data set -> the ids of all rows of its source, as they are read."""
        return {}

    @cached_property
    def _fold_of_row(self) -> npt.NDArray[np.int64] | None:
        if self.config.folds is None:
            return None
        key = f"ensemble.teachers.folds={self.config.folds}"
        values = read_predictions(self.config.folds, ()).values
        rows = self.data.splits[_TRAIN].source_rows
        if values.reshape(-1).shape != (rows,):
            raise UserError(f"{key}: holds {list(values.shape)} numbers, but there are {rows:,} training rows")
        folds = values.reshape(-1)
        wrong = np.flatnonzero((folds != np.trunc(folds)) | (folds < 0) | (folds >= self.num_members))
        if len(wrong):
            raise UserError(
                f"{key}: row {wrong[0]} has the fold {folds[wrong[0]]:g}; folds are whole numbers from 0, fewer than "
                f"ensemble.num_members={self.num_members}"
            )
        return folds.astype(np.int64)

    def _left_out(self, row_id: npt.NDArray[np.int64]) -> Bools:
        """Members that were not trained on a row: bool [N, M]."""
        assert self._fold_of_row is not None
        num_folds = int(self._fold_of_row.max()) + 1
        return np.arange(self.num_members) % num_folds == self._fold_of_row[row_id][:, None]


def _column_of(split: Split, column: str) -> npt.NDArray[Any]:
    source = split.source
    if not isinstance(source, TableSource) or column not in source.column_names:
        raise UserError(f"ensemble.teachers.id={column}: {source.name} has no such column; name one that it has")
    return source.read_column(column)


@lru_cache(maxsize=8)
def _read(
    paths: tuple[str, ...], digests: tuple[str, ...], id_column: str | None, num_members: int, has_folds: bool
) -> _Numbers:
    """One file of all members, or one a member; the digests tell the cache what is in them."""
    wanted = (ROW_ID, VIEW) if id_column is None else (id_column,)
    files = [read_predictions(path, wanted) for path in paths]
    for path, file in zip(paths, files, strict=True):
        if id_column is not None and id_column not in file.ids:
            raise UserError(f"ensemble.teachers.id={id_column}: {path} has no such column; add it")
        if len(file.values) != len(files[0].values):
            found = f"{path} has {len(file.values):,} rows, {paths[0]} has {len(files[0].values):,}"
            raise UserError(f"{_KEY}: {found}; give every member the same rows")
        if any(not np.array_equal(ids, files[0].ids[name]) for name, ids in file.ids.items()):
            raise UserError(f"{_KEY}: {path} and {paths[0]} have their rows in another order; sort them by their ids")
    values = _members(paths, [file.values for file in files], num_members, has_folds=has_folds)
    return _Numbers(values, _index(paths[0], files[0].ids, id_column))


def _members(
    paths: tuple[str, ...], values: list[npt.NDArray[Any]], num_members: int, *, has_folds: bool
) -> npt.NDArray[Any]:
    """[N, M, ...] of one file, or of one a member; what was predicted out of fold alone stands for every member."""
    if len(values) > 1:
        if len(values) != num_members:
            raise UserError(
                f"{_KEY}: {len(paths)} files, but ensemble.num_members={num_members}: set ensemble.num_members="
                f"{len(paths)}"
            )
        return np.stack([each if each.ndim > 1 else each[:, None] for each in values], axis=1)
    found = values[0]
    if found.ndim not in (2, 3):
        raise UserError(f"{_KEY}: {paths[0]} holds {list(found.shape)} numbers; give [rows, members, classes]")
    if found.ndim == 2 and has_folds:
        return np.broadcast_to(found[:, None], (len(found), num_members, found.shape[1]))
    if found.ndim == 2 and found.shape[1] != num_members and found.shape[1] % num_members == 0:
        return found.reshape(len(found), num_members, -1)  # columns of a table: member by member
    return found


def _index(path: str, ids: dict[str, npt.NDArray[Any]], id_column: str | None) -> dict[Any, int] | None:
    if id_column is not None:
        keys = ids[id_column].tolist()
    elif ROW_ID in ids:
        views = ids.get(VIEW, np.zeros(len(ids[ROW_ID]), np.int64))
        keys = ((ids[ROW_ID].astype(np.int64) << _VIEW_BITS) | views.astype(np.int64)).tolist()
    else:
        return None
    places = {key: place for place, key in enumerate(keys)}
    if len(places) < len(keys):
        raise UserError(f"{_KEY}: {path}: {len(keys) - len(places):,} rows have an id that stands there before")
    return places
