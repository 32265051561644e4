"""The steps that make one file of answers: read a part's rows, answer them with the student, write the file.

Each step passes a table to the next, for tasks and actors of Ray Data; `MakeAnswers` does all three. The plan is made
in `apply.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.config import ClusterConfig
from hydra_ray.errors import UserError
from hydra_ray.inference import AnswerFolder, Part, Reader, Student, Unread, answered, load_student, write_answers

_OWN = "own."
_ANSWER = "answer."
_FACTS = ("file", "start", "input", "reason")
"""Columns of a table between steps, beside those that are kept and those of answers, which have a prefix."""


@dataclass(frozen=True)
class Work:
    """What tasks and actors need; two are equal where their keys are.

    Attributes:
        student: path or name from which every machine can load it.
        digest: of the student.
        reader: of the parts.
        answers: the folder that is written.
        batch_size: rows that are answered at once.
        cluster: threads and device of a task or actor.
        drift_limit: see `Thresholds.drift_limit`.
        key: distinguishes this work from others in the same process.
    """

    student: str = field(compare=False)
    digest: str = field(compare=False)
    reader: Reader = field(compare=False)
    answers: AnswerFolder = field(compare=False)
    batch_size: int = field(compare=False)
    cluster: ClusterConfig = field(compare=False)
    drift_limit: float | None = field(compare=False)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


def item_of(part: Part) -> dict[str, Any]:
    """A part as a row of Ray Data."""
    return {"file": part.file, "start": part.start, "stop": part.stop, "paths": list(part.paths)}


def _part(items: pa.Table) -> Part:
    (row,) = items.to_pylist()
    return Part(row["file"], row["start"], row["stop"], tuple(row["paths"]))


class MakeAnswers:
    """Makes the files of parts, one after the other."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, items: pa.Table) -> Iterator[pa.Table]:
        """Items -> for each, what was written: rows, errors."""
        ask = _asking(self.work)
        read = ReadPart(ask.work)  # the work of this process's first task, whose files are read already
        write = WriteAnswers(ask.work)
        for place in range(items.num_rows):
            yield write(ask(read(items.slice(place, 1))))


class ReadPart:
    """Reads a part's rows."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, item: pa.Table) -> pa.Table:
        """An item -> its rows: those that cannot be read are among them, with a reason."""
        part = _part(item)
        own, inputs, reasons = self.work.reader.read(part)
        columns = {f"{_OWN}{name}": own.column(name) for name in own.column_names}
        facts = {
            "file": np.full(len(reasons), part.file),
            "start": np.full(len(reasons), part.start),
            "input": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(inputs)),
            "reason": pa.array(reasons, pa.string()),
        }
        return pa.table({**columns, **facts})


class AskStudent:
    """Holds the student and answers a part's rows."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, rows: pa.Table) -> pa.Table:
        """The same rows with answers in place of inputs."""
        student = self.student
        inputs: Any = rows.column("input").combine_chunks()
        answers = answered(student, inputs.to_numpy_ndarray(), self.work.batch_size)
        rows = rows.drop_columns(["input"])
        for name in answers.column_names:
            rows = rows.append_column(f"{_ANSWER}{name}", answers.column(name))
        return rows

    @cached_property
    def student(self) -> Student:
        """Loaded at the first rows: an error in the constructor would look to Ray like a dead actor.

        Raises:
            UserError: see `load_student`; or it is another than the command's.
        """
        student = load_student(self.work.student, set_up_worker(self.work.cluster))
        if student.digest() != self.work.digest:
            subject = f"{self.work.student}: has changed since the command began, or is another on this machine"
            raise UserError(f"{subject}; start it again")
        return student


@lru_cache(maxsize=1)
def _asking(work: Work) -> AskStudent:
    """The student of this work, loaded by this process's first task."""
    return AskStudent(work)


class WriteAnswers:
    """Writes the answers of a part to a file."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Rows with answers -> what was written: rows, errors."""
        file, start = (rows.column(name)[0].as_py() for name in ("file", "start"))
        reasons = rows.column("reason")
        name = Part(file, start, start + rows.num_rows).name
        own = _with_prefix(rows, _OWN)
        errors = []
        for place in np.flatnonzero(reasons.is_valid().to_numpy()).tolist():
            (facts,) = own.slice(place, 1).to_pylist() or [{}]
            errors.append(Unread(*self.work.reader.place_of(facts, file, start + place), reasons[place].as_py()))
        is_read = reasons.is_null()
        answers = _with_prefix(rows, _ANSWER).filter(is_read)
        own = own.filter(is_read) if own.num_columns else own
        totals = write_answers(self.work.answers, name, own, answers, errors, self.work.drift_limit)
        return pa.table({"rows": [totals.rows], "errors": [totals.errors]})


def _with_prefix(rows: pa.Table, prefix: str) -> pa.Table:
    """The columns with a prefix, without it."""
    names = [name for name in rows.column_names if name.startswith(prefix) and name not in _FACTS]
    return rows.select(names).rename_columns([name.removeprefix(prefix) for name in names])
