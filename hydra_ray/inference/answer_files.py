"""A folder of answers: one Parquet file a part of the input, and a manifest that makes them count.

`unfinished.json` says from the first moment whose answers these are, `manifest.json` is written last. A file's footer
holds what its part adds to the totals, and the images that could not be read, so that a command that was killed goes on
from the files that are there. The folder is never given to another student's or another input's answers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from hydra_ray.errors import UserError
from hydra_ray.inference.row_files import RowFiles
from hydra_ray.inference.student import Student
from hydra_ray.storage import OWNER, Folder, check_sizes, fingerprint, sealed, unsealed

MANIFEST = "manifest.json"
UNFINISHED = "unfinished.json"
ERRORS = "errors.parquet"
_SCHEMA = 1
_FOOTER = b"hydra_ray_answers"
_ROWS_A_GROUP = 65_536
_DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)


class Unread(NamedTuple):
    """A row that could not be read: its file, its position there (None for an image file), and why."""

    file: str
    row: int | None
    reason: str


@dataclass(frozen=True)
class Totals:
    """Of a part, or of all of them.

    Attributes:
        rows: that are answered.
        errors: that could not be read.
        abstained: where the student abstains; None where it has no thresholds for that.
        above: whose knowledge uncertainty is above the 99 % quantile of validation rows; None where there is none.
    """

    rows: int
    errors: int
    abstained: int | None
    above: int | None

    @classmethod
    def of(cls, parts: Sequence[Totals]) -> Totals:
        """Of several parts together."""
        return cls(*(_added(values) for values in zip(*(asdict(part).values() for part in parts), strict=True)))


def _added(values: Sequence[int | None]) -> Any:
    return None if None in values else sum(value for value in values if value is not None)


def key_of(student: Student, files: RowFiles) -> dict[str, Any]:
    """What the answers depend on: the student, the content of the input, and what is kept of it; JSON-able."""
    return {
        "schema": _SCHEMA,
        "student": student.digest(),
        "input": [list(each) for each in files.content],
        "keep": list(files.kept),
    }


class AnswerFolder:
    """The folder of one student's answers about one input."""

    def __init__(self, folder: Folder, key: Mapping[str, Any]) -> None:
        """Reads nothing yet.

        Args:
            folder: local or on an object store.
            key: see `key_of`.
        """
        self.folder = folder
        self.key = json.loads(json.dumps(key))
        self.fingerprint = fingerprint(self.key)

    def done(self) -> Totals | None:
        """The totals, where all is answered already; None where something is left to do.

        Raises:
            UserError: the folder holds something else, or finished answers that are damaged.
        """
        manifest = unsealed(self.folder, MANIFEST)
        begun = manifest or unsealed(self.folder, UNFINISHED)
        if begun is not None:
            self._require_mine(begun.get("key", {}))
        elif set(self.folder.files()) - {OWNER}:
            raise UserError(f"{self.folder}: holds files that are not answers; give a folder that is new or empty")
        if manifest is None:
            return None
        check_sizes(self.folder, manifest["files"])
        return Totals(**manifest["totals"])

    def begin(self) -> None:
        """Say whose answers these are going to be."""
        self.folder.write_json(UNFINISHED, sealed({"fingerprint": self.fingerprint, "key": self.key}))

    def finished(self, names: Sequence[str]) -> dict[str, Totals]:
        """Those of the named files that an earlier command finished; others of these names do not count."""
        there = self.folder.files()
        found = {name: self._footer(name) for name in names if name in there}
        return {name: Totals(**facts["totals"]) for name, facts in found.items() if facts is not None}

    def end(self, files: RowFiles) -> Totals:
        """Write the list of errors and the manifest.

        Raises:
            UserError: a file of answers is missing or damaged.
        """
        names = [part.name for part in files.parts]
        footers = {name: self._footer(name) for name in names}
        damaged = next((name for name, facts in footers.items() if facts is None), None)
        if damaged is not None:
            raise UserError(f"{self.folder}/{damaged}: is gone or damaged; start the same command again")
        facts = [each for each in footers.values() if each is not None]
        totals = Totals.of([Totals(**each["totals"]) for each in facts])
        errors = [Unread(*error) for each in facts for error in each["errors"]]
        if errors:
            names.append(ERRORS)
            self._write_errors(errors)
        self.folder.delete_hidden_files()
        sizes = self.folder.files()
        content = {
            "fingerprint": self.fingerprint,
            "key": self.key,
            "input": files.place,
            "totals": asdict(totals),
            "files": {name: {"bytes": sizes[name]} for name in names},
        }
        self.folder.write_json(MANIFEST, sealed(content))
        self.folder.delete(UNFINISHED)
        return totals

    def _footer(self, name: str) -> dict[str, Any] | None:
        """What stands in a file's footer; None where the file is damaged, or not of these answers."""
        try:
            with self.folder.open_file(name) as stream:
                facts = json.loads(pq.read_schema(stream).metadata[_FOOTER])
        except _DAMAGED:
            return None
        return facts if facts["fingerprint"] == self.fingerprint else None

    def _write_errors(self, errors: Sequence[Unread]) -> None:
        file, row, reason = zip(*errors, strict=True)
        table = pa.table(
            {"file": pa.array(file, pa.string()), "row": pa.array(row, pa.int64()), "reason": pa.array(reason)}
        )
        with self.folder.writing(ERRORS) as stream:
            pq.write_table(table, stream, compression="zstd")

    def _require_mine(self, key: Mapping[str, Any]) -> None:
        if key == self.key:
            return
        way = "give another folder for these, or delete that one"
        if key.get("schema") != self.key["schema"]:
            raise UserError(f"{self.folder}: holds answers of another version; {way}")
        if key["student"] != self.key["student"]:
            raise UserError(f"{self.folder}: holds another student's answers; {way}")
        if key["input"] != self.key["input"]:
            raise UserError(f"{self.folder}: holds answers about other rows ({_difference(key, self.key)}); {way}")
        kept = ", ".join(key["keep"])
        raise UserError(f"{self.folder}: holds answers beside other columns ({kept}); give the same --keep, or {way}")


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """In words, how two lists of files differ."""
    before = dict(map(tuple, old["input"]))
    after = dict(map(tuple, new["input"]))
    gone = [name for name in before if name not in after]
    more = [name for name in after if name not in before]
    changed = [name for name in after if name in before and before[name] != after[name]]
    counts = Counter({f"{gone[0]} is not there" if gone else "": len(gone)})
    counts[f"{more[0]} is new" if more else ""] += len(more)
    counts[f"{changed[0]} has changed" if changed else ""] += len(changed)
    said = [text + (f", and {number - 1} more" if number > 1 else "") for text, number in counts.items() if text]
    return "; ".join(said) or "in another order"


def answered(student: Student, inputs: np.ndarray, batch_size: int) -> pa.Table:
    """The columns of answers for stored rows, a bounded batch at a time."""
    parts = [student.answer(inputs[start : start + batch_size]) for start in range(0, len(inputs), batch_size)]
    return type(parts[0]).joined(parts).to_arrow()


def write_answers(
    folder: AnswerFolder,
    name: str,
    own: pa.Table,
    answers: pa.Table,
    errors: Sequence[Unread],
    drift_limit: float | None,
) -> Totals:
    """Write one file of answers, whole or not at all.

    Args:
        folder: where to.
        name: of the file.
        own: columns that are kept, of n rows.
        answers: of the same rows.
        errors: the rows of this part that could not be read.
        drift_limit: see `Totals.above`.
    """
    totals = Totals(
        rows=answers.num_rows,
        errors=len(errors),
        abstained=_count(answers, "abstain", None),
        above=None if drift_limit is None else _count(answers, "knowledge_uncertainty", drift_limit),
    )
    columns = dict(zip([*own.column_names, *answers.column_names], [*own.columns, *answers.columns], strict=True))
    facts = {"fingerprint": folder.fingerprint, "totals": asdict(totals), "errors": errors}
    table = pa.table(columns).replace_schema_metadata({_FOOTER: json.dumps(facts)})
    texts: Any = _of_text(table.schema)  # of which pyarrow's types know a bool only
    with folder.folder.writing(name) as stream:
        pq.write_table(table, stream, compression="zstd", row_group_size=_ROWS_A_GROUP, use_dictionary=texts)
    return totals


def _count(answers: pa.Table, name: str, above: float | None) -> int | None:
    """Rows with a true value, or one above a limit; None where there is no such column."""
    if name not in answers.column_names:
        return None
    values = answers.column(name).to_numpy()
    return int((values if above is None else values > above).sum())


def _of_text(schema: pa.Schema) -> list[str]:
    """The columns that repeat few values; of numbers a dictionary would cost time and gain nothing."""
    texts = [field.name for field in schema if pat.is_string(field.type) or pat.is_large_string(field.type)]
    lists = [f"{field.name}.list.element" for field in schema if pat.is_list(field.type)]
    return texts + lists
