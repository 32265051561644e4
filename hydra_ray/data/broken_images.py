"""Which rows of a source are no image we can use, found by decoding every one of them once (`data.skip_broken`).

Such rows keep their positions and belong to no split, so that a row that is mended later moves no other. What was
found is remembered under the files' digests: the next command decodes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from hydra_ray.data.images import ImageError, ImageRules, check_image
from hydra_ray.data.remembered import Remembered

BrokenImage = tuple[int, str]
"""A row's position, and why it cannot be used."""
_MOST_REMEMBERED = 200


def broken_images(
    files: Iterable[tuple[int, bytes | None]], rules: ImageRules, digests: Sequence[str], column: str
) -> tuple[BrokenImage, ...]:
    """The rows that cannot be used, in order.

    Args:
        files: every row of the source and its image file; not looked at where the result is known.
        rules: what images are held to.
        digests: of the files they lie in.
        column: in which of their columns.
    """
    kept = Remembered("broken-images.json", _MOST_REMEMBERED)
    options = rules.options
    about = [list(digests), column, options.size, options.max_pixels, version("pillow")]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
    known = kept.get(key)
    if known is None:
        known = [[row, reason] for row, data in files if (reason := _why_broken(data, row, rules))]
        kept.put(key, known)
        kept.save()
    return tuple((int(row), str(reason)) for row, reason in known)


def _why_broken(data: bytes | None, row: int, rules: ImageRules) -> str | None:
    try:
        check_image(data, row, rules)
    except ImageError as error:
        return error.reason
    return None
