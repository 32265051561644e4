"""apply: a student's answers about any number of rows, from files to Parquet files; Ray Data streams many rows.

One item of the plan is a part of the input: read its rows, answer them, write one file. On CPUs one task does all of it
for several parts; with GPUs an actor a GPU holds the student, and tasks on CPUs read and write. Only the parts in
flight are in memory. A file is named by its part; finished files are left out of the plan, so a killed command goes on
where it was. What is in the folder of answers is in `inference/answer_files.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hydra_ray.cluster.apply_steps import AskStudent, MakeAnswers, ReadPart, Work, WriteAnswers, item_of
from hydra_ray.cluster.pipeline import ERROR_LOG, check_own_session, clear_errors
from hydra_ray.cluster.place_of_work import stream
from hydra_ray.cluster.session import available, check_storage, is_private, session
from hydra_ray.cluster.worker_logs import WORKER_LOG
from hydra_ray.config import ClusterConfig
from hydra_ray.errors import UserError
from hydra_ray.inference import (
    AnswerFolder,
    Part,
    RowFiles,
    Student,
    Totals,
    answered,
    key_of,
    load_student,
    open_row_files,
)
from hydra_ray.runs import Pace, is_small_to_answer
from hydra_ray.storage import Folder, owned

Device = Literal["auto", "cpu", "cuda"]
BATCH_SIZE = 2048
_SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class Applied:
    """What a call of `apply` has found and done.

    Attributes:
        totals: of all answers, also those of earlier calls.
        rows: read by this call.
        seconds: that took, with Ray connected and with the start of the workers.
    """

    totals: Totals
    rows: int
    seconds: float

    @property
    def rows_a_second(self) -> float | None:
        """None where all was there already."""
        return self.rows / self.seconds if self.rows else None


def apply(
    student: str,
    inputs: str,
    answers: str,
    *,
    device: Device = "auto",
    batch_size: int = BATCH_SIZE,
    keep: Sequence[str] | None = None,
    say: Callable[[str], None] = print,
) -> Applied:
    """Answer all rows of some files, and write the answers as Parquet files.

    Args:
        student: see `load_student`.
        inputs: a file or folder of Parquet, CSV or images; a path or URI.
        answers: folder, which may hold these answers already, or some of them.
        device: where the student computes; "auto" for GPUs where there are any.
        batch_size: rows that it answers at once.
        keep: columns of the input that stand beside the answers; None for all but images and lists of features.
        say: takes lines about what is being done.

    Raises:
        UserError: something that the caller can mend; where possible it is found before any worker starts.
    """
    check_storage(answers, "answers")
    loaded = load_student(student)
    names = answered(loaded, _one_row(loaded), 1).column_names
    files = open_row_files(inputs, loaded.inputs, keep, names)
    folder = Folder.open(answers, "answers")
    _check_apart(Folder.open(inputs, "input"), folder)
    place = AnswerFolder(folder, key_of(loaded, files))
    say(f"input   {files.num_rows:,} rows in {files.noun}")
    with owned(folder):
        for log in (ERROR_LOG, WORKER_LOG):
            folder.delete(log)
        totals = place.done()
        if totals is not None:
            say(f"answers {folder}: all there, nothing is done again")
            return Applied(totals, 0, 0.0)
        folder.check_writable("answers")
        place.begin()
        return _Command(student, loaded, files, place, device, batch_size, say).run()


def _one_row(student: Student) -> np.ndarray:
    form = student.inputs
    return np.zeros((1, *form.shape), np.uint8 if form.is_image else np.float32)


def _check_apart(inputs: Folder, answers: Folder) -> None:
    """Refuse answers that would be input at the next start."""
    if inputs.fs == answers.fs and f"{answers.path}/".startswith(f"{inputs.path}/"):
        raise UserError(f"{answers}: lies in the folder of the input, {inputs}; write answers somewhere else")


@dataclass(frozen=True)
class _Command:
    place_of_student: str
    student: Student
    files: RowFiles
    answers: AnswerFolder
    device: Device
    batch_size: int
    say: Callable[[str], None]

    def run(self) -> Applied:
        finished = self.answers.finished([part.name for part in self.files.parts])
        todo = [part for part in self.files.parts if part.name not in finished]
        if finished:
            rows = sum(each.rows + each.errors for each in finished.values())
            self.say(f"answers {rows:,} rows of an earlier command are kept")
        seconds = 0.0
        if todo:
            with ExitStack() as stack, clear_errors(self.answers.folder, "apply"):
                cluster = self._connected(stack, todo)
                began = time.monotonic()
                self._stream(todo, cluster)
                seconds = time.monotonic() - began
        again = open_row_files(self.files.place, self.student.inputs, self.files.kept, ())
        if again.content != self.files.content:
            raise UserError(f"{self.files.place}: has changed while it was answered; give another folder for answers")
        return Applied(self.answers.end(self.files), sum(part.stop - part.start for part in todo), seconds)

    def _connected(self, stack: ExitStack, parts: list[Part]) -> ClusterConfig:
        """What there is to work with, after connecting to it; this process, where the work is little."""
        cluster = ClusterConfig()
        if is_private():
            check_own_session(cluster)
            gpus = _gpus(self.device, available(cluster)[1])
            rows = sum(part.stop - part.start for part in parts)
            if not gpus and is_small_to_answer(rows, len(parts), self.student.network, self.student.inputs.shape):
                return ClusterConfig(local=True)
        stack.enter_context(session(cluster))
        from hydra_ray.cluster.shared_folder import check_shared

        check_shared(self.answers.folder, "answers")
        gpus = _gpus(self.device, available(cluster)[1])
        return ClusterConfig(use_gpu=gpus > 0, num_workers=max(1, gpus))

    def _stream(self, parts: list[Part], cluster: ClusterConfig) -> None:
        folder = Folder.open(self.place_of_student)
        thresholds = self.student.thresholds
        work = Work(
            student=folder.path if folder.is_local and folder.exists() else self.place_of_student,
            digest=self.student.digest(),
            reader=self.files.reader,
            answers=self.answers,
            batch_size=self.batch_size,
            cluster=cluster,
            drift_limit=None if thresholds is None else thresholds.drift_limit("knowledge"),
        )
        items = [item_of(part) for part in parts]
        if cluster.has_gpu:
            from hydra_ray.cluster.item_streams import by_actors

            written = by_actors(items, cluster, ReadPart(work), AskStudent, work, WriteAnswers(work))
        else:
            written = stream(items, cluster, MakeAnswers(work))
        total = sum(part.stop - part.start for part in parts)
        pace = Pace(1, "rows")
        done = 0
        pace.update("all", done, total)
        said = time.monotonic()
        for row in written:
            done += row["rows"] + row["errors"]
            pace.update("all", done, total)
            if time.monotonic() - said > _SECONDS_BETWEEN_LINES and done < total:
                said = time.monotonic()
                self.say(f"  {pace}")


def _gpus(device: Device, found: float) -> int:
    """How many to use.

    Raises:
        UserError: they are asked for, but there are none.
    """
    if device == "cuda" and found < 1:
        raise UserError("--device=cuda: there is no GPU here; use --device=cpu")
    return 0 if device == "cpu" else int(found)
