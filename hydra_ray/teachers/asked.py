"""Teachers that are asked about rows: somebody's models, loaded once a process, called a batch at a time.

A batch is what the data set stores: uint8 images [B, H, W, channels], a pandas frame of a table's own columns, or
float32 [B, D] where features have no names. What answers is either one function for all members, [B, M, C], or a list
of M functions [B, C].
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hydra_ray.config import NoOptions, OutputsSaid, Section, TeachersConfig, error_in_short, import_own, parse_options
from hydra_ray.data import DataSet, Rows
from hydra_ray.errors import UserError
from hydra_ray.storage import Folder
from hydra_ray.teachers.outputs import Floats, Found, as_outputs

Function = Callable[[Any], Any]
Answers = Function | Sequence[Function]
_PACKAGES = {"autogluon": "autogluon.tabular", "torch_uncertainty": "torch-uncertainty[cpu]"}
"""What packages are called whose name is not that of the module."""


@dataclass(frozen=True)
class ModelFiles:
    """What a library's module loads its models from.

    Attributes:
        paths: of files or folders on this machine.
        options: of the kind.
        trust: whether files may run code when they are opened.
        num_classes: C; None in a regression.
        class_names: of the classes in order, as the data set has them.
        input_shape: of one row.
    """

    paths: tuple[str, ...]
    options: Section
    trust: bool
    num_classes: int | None
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]


@dataclass(frozen=True)
class Loaded:
    """What a library's module returns: who answers, and what the numbers are."""

    answers: Answers
    outputs: OutputsSaid


@dataclass(frozen=True)
class AskedTeachers:
    """Somebody's models in the members' place; small to pickle, as they are loaded where they are first asked.

    Attributes:
        config: `ensemble.teachers`.
        num_members: M.
        data: what their rows come from.
    """

    config: TeachersConfig
    num_members: int
    data: DataSet

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what is loaded already."""
        return type(self), (self.config, self.num_members, self.data)

    def ask(self, inputs: npt.NDArray[Any], row_id: npt.NDArray[np.int64]) -> Floats:
        """What they say of stored rows.

        Args:
            inputs: uint8 [N, H, W, channels] or float32 [N, D].
            row_id: int64 [N], for messages.

        Returns:
            float32 [N, M, C], logits or means and log variances; see `as_outputs`.

        Raises:
            UserError: they fail, or answer with something else; the line names the rows.
        """
        return np.concatenate([self._ask(inputs[part], row_id[part]) for part in self._parts(len(inputs))])

    def answer(self, split: str, rows_of: str, rows: Rows, view: int) -> Found:
        """What they say of rows, whatever split and view these are of."""
        return Found(self.ask(rows.inputs, rows.row_id), None)

    def answer_some(self, rows: Rows, mask_NM: npt.NDArray[np.bool_]) -> Found:
        """What some of them say of each row: bool [N, M] says which; outputs of the others are 0.

        One function that answers for all members is asked for all of them: only a list can be asked in part.
        """
        answers = self._loaded.answers
        if not isinstance(answers, Sequence):
            found = self.ask(rows.inputs, rows.row_id)
            found[~mask_NM] = 0
            return Found(found, mask_NM)
        outputs_NMC = np.zeros((*mask_NM.shape, self.data.num_outputs), np.float32)
        for number, answer in enumerate(answers):
            one = replace(self, num_members=1)
            one.__dict__["_loaded"] = Loaded([answer], self.outputs)
            chosen = np.flatnonzero(mask_NM[:, number])
            if len(chosen):
                outputs_NMC[chosen, number] = one.ask(rows.inputs[chosen], rows.row_id[chosen])[:, 0]
        return Found(outputs_NMC, mask_NM)

    def seconds_of_each(self, inputs: npt.NDArray[Any]) -> list[float] | None:
        """Seconds that each member takes for rows; None where one function answers for all."""
        answers = self._loaded.answers
        if not isinstance(answers, Sequence):
            return None
        batch = batch_of(self.data, inputs)
        marks = [time.perf_counter()]
        for answer in answers:
            answer(batch)
            marks.append(time.perf_counter())
        return [after - before for before, after in pairwise(marks)]

    @property
    def outputs(self) -> OutputsSaid:
        """What their numbers are."""
        return self._loaded.outputs

    @cached_property
    def _loaded(self) -> Loaded:
        if self.config.kind == "callable":
            return _load_own(self.config)
        return load_library(self.config, self.data)

    def _parts(self, num_rows: int) -> Iterator[slice]:
        return (slice(start, start + self.config.batch_size) for start in range(0, num_rows, self.config.batch_size))

    def _ask(self, inputs: npt.NDArray[Any], row_id: npt.NDArray[np.int64]) -> Floats:
        loaded = self._loaded
        where = f"ensemble.teachers: rows {row_id[0]} to {row_id[-1]}"
        try:
            values = called(loaded.answers, batch_of(self.data, inputs))
            return self._checked(values, loaded.outputs, row_id)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        except Exception as error:  # somebody's code may fail in any way
            raise UserError(f"{where}: the teachers fail ({error_in_short(error)}); mend them") from error

    def _checked(self, values: npt.NDArray[Any], said: OutputsSaid, row_id: npt.NDArray[np.int64]) -> Floats:
        if values.ndim == 0 or len(values) != len(row_id):
            raise UserError(f"answers have shape {list(values.shape)} for {len(row_id)} rows; return one for each")
        return as_outputs(values, said, self.num_members, self.data.num_outputs, row_id)


def batch_of(data: DataSet, inputs: npt.NDArray[Any]) -> Any:
    """Stored rows as the data set's owner has them: pixels as they are, a table as a frame of its own columns."""
    has_columns = len(data.input_shape) == 1 and data.splits["train"].source.feature_names is not None
    return data.frame(inputs) if has_columns else inputs


def options_of(kind: str) -> type[Section]:
    """The model of a library's options, which stands as `Options` in its module; `NoOptions` where it has none."""
    return getattr(_module_of(kind), "Options", NoOptions)


def _module_of(kind: str) -> Any:
    return import_module(f"hydra_ray.teachers.{kind}")


def _load_own(config: TeachersConfig) -> Loaded:
    key = f"ensemble.teachers.function={config.function}"
    assert config.function is not None
    assert config.outputs is not None
    try:
        make = import_own(config.function)
    except UserError as error:
        raise UserError(f"{key}: {error}") from error
    try:
        answers = make(**config.options)
    except Exception as error:  # a user's function may fail in any way
        called = f"called with options {sorted(config.options)}" if config.options else "called without options"
        raise UserError(f"{key}: fails when it is {called} ({error_in_short(error)}); mend it") from error
    if not callable(answers) and not _are_functions(answers):
        found = type(answers).__name__
        raise UserError(f"{key}: returns a {found}; return a function of a batch, or a list of one a member")
    return Loaded(answers, config.outputs)


def load_library(config: TeachersConfig, data: DataSet) -> Loaded:
    """The models of a library's files.

    Args:
        config: `ensemble.teachers`, whose kind is a library.
        data: with whose classes and inputs they must agree.

    Raises:
        UserError: the library or a file is missing, or cannot be used; one line that names the kind.
    """
    options = parse_options(options_of(config.kind), config.options, "ensemble.teachers.options")
    files = ModelFiles(
        paths=tuple(_local(path) for path in config.files),
        options=options,
        trust=config.trust,
        num_classes=data.num_classes or None,
        class_names=data.class_names,
        input_shape=data.input_shape,
    )
    key = f"ensemble.teachers.kind={config.kind}"
    try:
        return _module_of(config.kind).load(files)
    except UserError as error:
        raise UserError(f"{key}: {error}") from error
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        raise UserError(f"{key}: needs {missing}; pip install {_PACKAGES.get(missing, missing)}") from error
    except Exception as error:  # a library may refuse a file in any way
        raise UserError(f"{key}: {', '.join(config.files)} cannot be loaded ({error_in_short(error)})") from error


def _local(path: str) -> str:
    """The path of a file on this machine, absolute, as workers have other working directories.

    Raises:
        UserError: there is no such file, or it lies elsewhere.
    """
    place = Folder.open(path, "ensemble.teachers.files")
    if not place.is_local:
        raise UserError(f"ensemble.teachers.files={path}: must be a path on this machine; copy the file")
    if not place.exists():
        raise UserError(f"ensemble.teachers.files={path}: no such file; mend the path")
    return place.path


def _are_functions(answers: Any) -> bool:
    return isinstance(answers, Sequence) and bool(answers) and all(map(callable, answers))


def called(answers: Answers, batch: Any) -> npt.NDArray[Any]:
    """All members' numbers for a batch, as somebody's functions return them: numpy, torch or a frame."""
    if isinstance(answers, Sequence):
        return np.stack([_array(answer(batch)) for answer in answers], axis=1)
    return _array(answers(batch))


def _array(values: Any) -> npt.NDArray[Any]:
    if hasattr(values, "detach"):  # a torch tensor, on any device
        values = values.detach().cpu().float()
    return np.asarray(values)


def described_options(config: TeachersConfig) -> Mapping[str, Any]:
    """Options with their defaults, for keys."""
    if config.kind == "callable":
        return config.options
    return parse_options(options_of(config.kind), config.options, "ensemble.teachers.options").model_dump()
