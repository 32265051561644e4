"""What a request over HTTP asks about: its body as rows that a student takes.

One image file (PNG, JPEG, whatever Pillow reads), or JSON: `{"rows": [...]}` with an array a row (pixels or features)
or an object a row (a table's columns by name), or the rows alone as a list.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from hydra_ray.data import InputFormat
from hydra_ray.errors import UserError

MOST_ROWS = 10_000
"""Of one request; for more, `hydra-ray apply` is made."""
_PLACE = "request"


def rows_of_request(body: bytes, content_type: str, form: InputFormat) -> Any:
    """Rows as `Student.predict` takes them.

    Args:
        body: of the request.
        content_type: its header; everything that is not JSON is taken for an image file.
        form: of the rows that the student takes.

    Raises:
        UserError: the body is empty, no JSON, or holds no rows of that form.
    """
    if not body:
        raise UserError(f"{_PLACE}: the body is empty; send JSON, or the bytes of an image file")
    if "json" not in content_type and form.is_image:
        return body
    if "json" not in content_type:
        raise UserError(f"{_PLACE}: content type {content_type or 'none'}; the student takes a table: send JSON")
    rows = _rows_in(_parsed(body))
    if len(rows) > MOST_ROWS:
        raise UserError(f"{_PLACE}: {len(rows):,} rows, at most {MOST_ROWS:,}; send fewer, or use hydra-ray apply")
    if isinstance(rows[0], dict):
        return _objects(rows)
    if not form.is_plain:
        names = ", ".join(form.names or ())
        raise UserError(f"{_PLACE}: rows are arrays; send each row as an object with the columns {names}")
    return _pixels(rows) if form.is_image else _array(rows)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=float)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{_PLACE}: no JSON ({error})") from None


def _rows_in(content: Any) -> list[Any]:
    rows = content.get("rows") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise UserError(f'{_PLACE}: no rows; send {{"rows": [...]}} with at least one')
    return rows


def _objects(rows: list[Any]) -> list[dict[str, Any]]:
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UserError(f"{_PLACE}: row {number} is no object, the first row is; send one kind")
    return rows


def _array(rows: list[Any]) -> np.ndarray:
    """[N, ...] of numbers."""
    try:
        found = np.array(rows)
    except ValueError:
        raise UserError(f"{_PLACE}: rows have different shapes; bring them to one") from None
    if found.dtype.kind not in "iuf":
        raise UserError(f"{_PLACE}: rows hold something else than numbers; send numbers")
    return found


def _pixels(rows: list[Any]) -> np.ndarray:
    """Whole numbers from 0 to 255 as uint8."""
    found = _array(rows)
    if found.dtype.kind == "f" and (found == found.round()).all() and found.max(initial=0) > 1:
        found = found.astype(np.int64)
    if found.dtype.kind != "f" and (found.min(initial=0) < 0 or found.max(initial=0) > 255):
        raise UserError(f"{_PLACE}: pixels from {found.min()} to {found.max()}; send whole numbers from 0 to 255")
    if found.ndim not in (3, 4):
        raise UserError(f"{_PLACE}: rows have shape {list(found.shape[1:])}; send images [height, width, channels]")
    return found.astype(np.uint8) if found.dtype.kind != "f" else found
