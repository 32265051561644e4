"""CSV as people have it: from a file's bytes to lines with one delimiter and, where there is one, a header.

It is: gzip, encodings, delimiters, blank lines, and the question whether the first line holds names.
It is not: values and their types, which pyarrow finds (`csv_files.py`), nor which columns are meant (`columns.py`).
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.data.tables.numbers import is_plain_number, number_in
from hydra_ray.errors import UserError

_DELIMITERS = (",", ";", "\t", "|")
_SPACES = " "
_SAMPLE_LINES = 50
_EXCELS_LINE = re.compile(r"\s*sep=.\n")
"""A first line that is for Excel alone."""
_GZIP = b"\x1f\x8b"
_NO_TEXT = {
    b"PK\x03\x04": "an Excel or zip file; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel file; save the table as CSV",
    b"PAR1": "a Parquet file; call it .parquet",
}
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MISSING = ("", "na", "nan", "n/a", "null", "none", "?", "#n/a")


@dataclass(frozen=True)
class CsvText:
    """A table as text."""

    lines: str
    """Without blank lines; a run of spaces that separates columns has become a tab."""
    delimiter: str
    names: tuple[str, ...] | None
    """Of the columns where the first line is no header; None where it is one."""
    encoding: str
    """As it was found."""


def read_text(content: bytes, header: bool | None, place: str) -> CsvText:
    """What a CSV file holds.

    Args:
        content: The file's bytes, compressed by gzip or not.
        header: Whether the first line holds names; None to find out.
        place: Key and file as messages name them.

    Raises:
        UserError: bytes that are no text, or a first line that may be names or values.
    """
    text, encoding = _decoded(_unzipped(content, place), place)
    text = _EXCELS_LINE.sub("", text, count=1) if _EXCELS_LINE.match(text) else text
    try:
        return _table(text, encoding, header, place)
    except csv.Error as error:
        raise UserError(f"{place} is no table ({error}); mend it") from error


def _table(text: str, encoding: str, header: bool | None, place: str) -> CsvText:
    text = "".join(line for line in text.splitlines(keepends=True) if line.strip()) if _has_blank_line(text) else text
    sample = _first_lines(text)
    if not sample:
        raise UserError(f"{place}: holds no rows; use one that does")
    delimiter = _delimiter_of(sample)
    if delimiter == _SPACES:
        text = "\n".join("\t".join(cells) for cells in _cells(text.splitlines(), _SPACES))
        delimiter = "\t"
        sample = _first_lines(text)
    if re.search(rf'(^|{re.escape(delimiter)}) +"', text, re.MULTILINE):
        text = _without_space_before_quotes(text, delimiter)
        sample = _first_lines(text)
    rows = _cells(sample, delimiter)
    is_header = _is_header(rows, place) if header is None else header
    names = None if is_header else tuple(f"f{number}" for number in range(len(rows[0])))
    return CsvText(text, delimiter, names, encoding)


def column_names(text: CsvText) -> list[str]:
    """Of the columns in order, as the header has them without spaces around, or f0, f1, ... without a header."""
    if text.names is not None:
        return list(text.names)
    return [" ".join(name.split()) for name in next(csv.reader(io.StringIO(text.lines), delimiter=text.delimiter))]


def _unzipped(content: bytes, place: str) -> bytes:
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{place} is damaged ({error}); fetch it again") from error


def _decoded(content: bytes, place: str) -> tuple[str, str]:
    """Text and encoding: what a byte-order mark says, else UTF-8, else UTF-16 by its zeros, else Latin-1."""
    for start, found in _NO_TEXT.items():
        if content.startswith(start):
            raise UserError(f"{place} is no text but {found}")
    marked = [encoding for mark, encoding in _MARKS if content.startswith(mark)]
    zeros = [content[place:2000:2].count(0) for place in (0, 1)]
    if marked:
        encodings = marked[:1]
    elif max(zeros) > len(content[:2000]) / 8:
        encodings = ["utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"]
    else:
        encodings = ["utf-8", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeError:
            continue
        if "\0" in text:
            break
        return text.replace("\r\n", "\n").replace("\r", "\n"), encoding
    raise UserError(f"{place} is no text in {encodings[0]}; save it as UTF-8")


def _has_blank_line(text: str) -> bool:
    return any(not line.strip() for line in text.splitlines())


def _first_lines(text: str) -> list[str]:
    """Some lines; a quoted cell may go over several of them."""
    return text[: 1 << 16].splitlines()[:_SAMPLE_LINES]


def _cells(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    if delimiter == _SPACES:
        lines = [line.replace("\t", " ").strip() for line in lines]
        return list(csv.reader(lines, delimiter=" ", skipinitialspace=True))
    return list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))


def _without_space_before_quotes(text: str, delimiter: str) -> str:
    """The same table where quotes stand right behind the delimiter, as they must to be seen as quotes."""
    written = io.StringIO()
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    csv.writer(written, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return written.getvalue()


def _delimiter_of(lines: Sequence[str]) -> str:
    """The one that parts every line into the same number of cells, the most of them; spaces where none else does."""
    widths = {delimiter: _width(lines, delimiter) for delimiter in (*_DELIMITERS, _SPACES)}
    best = max(_DELIMITERS, key=lambda delimiter: widths[delimiter])
    if widths[best] > 1 and not (best == "\t" and widths[_SPACES] > widths[best]):
        return best
    if widths[_SPACES] > 1:
        return _SPACES
    return max(_DELIMITERS, key=lines[0].count)


def _width(lines: Sequence[str], delimiter: str) -> int:
    """Cells of every line; 0 where lines differ. The last line of a sample may be cut."""
    try:
        counts = {len(cells) for cells in _cells(lines[:-1] or lines, delimiter)}
    except csv.Error:
        return 0
    return counts.pop() if len(counts) == 1 else 0


def _is_header(rows: Sequence[Sequence[str]], place: str) -> bool:
    """Whether the first line holds names.

    Names are text. A line of numbers alone is a row, unless the numbers count the columns; a line of both is a row
    where its text stands further down in the same column, as classes do.

    Raises:
        UserError: it may be either.
    """
    first = [cell.strip() for cell in rows[0]]
    rest = rows[1:]
    texts = [place for place, cell in enumerate(first) if not _is_value(cell)]
    numbers = [cell for cell in first if is_plain_number(cell)]
    counts_columns = [str(place) for place in range(len(numbers))] == numbers and len(numbers) > 1
    if not numbers:
        return True
    if not texts and not counts_columns:
        return False
    below = {place: {row[place].strip() for row in rest if place < len(row)} for place in texts}
    if texts and any(first[place] in below[place] for place in texts):
        return False
    has_text_below = any(any(number_in(cell, ".") is None for cell in cells) for cells in below.values())
    if counts_columns and (first[0] == "" or (texts and not has_text_below)):
        return True
    raise UserError(
        f"{place}: the first line ({', '.join(first[:6])}) may hold names or values; say which with "
        "data.header=true or data.header=false"
    )


def _is_value(cell: str) -> bool:
    return cell.lower() in _MISSING or number_in(cell, ".") is not None or number_in(cell, ",") is not None
