"""Image files to pixels, by one rule that does not depend on which row comes first.

An image becomes grey or red, green, blue with 8 bits a channel: palettes are looked up, transparent pixels lie on
white, CMYK and other colour spaces become RGB, 16 bits are scaled to 8, and the EXIF orientation is followed, as every
viewer does it. A set has colour where any of its first rows has, and grey rows of it become colour; its size is that of
most of the first rows. A row of another size, with colour in a grey set, cut short or too large is refused.
Not here: how the files' bytes are read.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hydra_ray.data.rows import Ints
from hydra_ray.errors import UserError, reason_of

Pixels = npt.NDArray[np.uint8]
Shape = tuple[int, int, int]

MAX_PIXELS = 1 << 26
"""8192 x 8192: what an image may have unless `data.max_pixels` says otherwise."""
ROWS_LOOKED_AT = 256
"""First rows that size and colour of a set are taken from."""
_GREY = ("1", "L", "LA", "La", "I", "F")
_ORIENTATION = 0x0112
_ADDRESS = re.compile(r" <_io\.BytesIO object at 0x[0-9a-f]+>")
"""Pillow's name for a file in memory, another one each time."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)


class ImageError(UserError):
    """A row that is no image we can use.

    Attributes:
        reason: why, without the row's place.
    """

    reason = ""


@dataclass(frozen=True)
class ImageRules:
    """What images are held to, and how messages name them."""

    place: str
    """Key and path."""
    max_pixels: int = MAX_PIXELS


def image_shape(files: Sequence[bytes | None], rules: ImageRules) -> Shape:
    """(H, W, channels) of a set, from its first image files; only their headers are read.

    Args:
        files: at least one; rows from 0.
        rules: see `ImageRules`.

    Raises:
        UserError: a row that is no image, or one with too many pixels; the line names it.
    """
    with _own_limit():
        shapes = [_shape_in_header(data, row, rules) for row, data in enumerate(files)]
    (height, width), _ = Counter(shape[:2] for shape in shapes).most_common(1)[0]
    return height, width, max(shape[2] for shape in shapes)


def decode_images(files: Sequence[bytes | None], row_id: Ints, shape: tuple[int, ...], rules: ImageRules) -> Pixels:
    """Pixels of image files, uint8 [n, H, W, channels].

    Args:
        files: n of them.
        row_id: int64 [n], their positions in the source, for messages.
        shape: (H, W, channels) of the set, see `image_shape`.
        rules: see `ImageRules`.

    Raises:
        UserError: a row that is no image, that is cut short, too large, of another size, or has colour in a grey set.
    """
    images = np.empty((len(row_id), *shape), np.uint8)
    with _own_limit():
        for index, (row, data) in enumerate(zip(row_id.tolist(), files, strict=True)):
            images[index] = _fitted(_pixels(data, row, rules), shape, row, rules)
    return images


def fitted_pixels(image: bytes | Image.Image, row: int, shape: tuple[int, ...], place: str) -> Pixels:
    """One image of any size and kind as pixels of a given shape, uint8 [H, W, channels].

    Its middle is cropped to the proportions of H x W and resized, with antialiasing; grey becomes colour, colour grey.

    Args:
        image: an image file's bytes, or an opened image.
        row: its number, for messages.
        shape: (H, W, channels), of 1 or 3 channels.
        place: as messages name where it comes from.

    Raises:
        ImageError: it is no image, cut short or too large.
        UserError: the shape has another number of channels.
    """
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise UserError(f"{place}: images cannot be brought to shape {list(shape)}; give arrays of that shape")
    with _own_limit():
        pixels = _pixels(image, row, ImageRules(place))
    plain = Image.fromarray(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels)
    plain = plain.convert("L" if shape[2] == 1 else "RGB")
    if plain.size != (shape[1], shape[0]):
        plain = ImageOps.fit(plain, (shape[1], shape[0]), method=Image.Resampling.BILINEAR)
    return np.asarray(plain).reshape(shape)


def _fitted(image: Pixels, shape: tuple[int, ...], row: int, rules: ImageRules) -> Pixels:
    """[H, W, channels] in the shape of the set: grey becomes colour, as in ImageNet; anything else is refused."""
    if image.shape[:2] != shape[:2]:
        found, expected = (f"{each[0]} x {each[1]}" for each in (image.shape, shape))
        problem = f"row {row} has {found} pixels (height x width), most of the first rows {expected}"
        raise UserError(f"{rules.place}: {problem}; bring all rows to one size")
    if image.shape[2] > shape[2]:
        problem = f"row {row} has colour, the first rows are grey"
        raise UserError(f"{rules.place}: {problem}; bring all rows to grey or all to colour")
    return np.broadcast_to(image, shape)


def _shape_in_header(data: bytes | None, row: int, rules: ImageRules) -> Shape:
    with _opened(data, row, rules) as image:
        width, height = image.size
        if _orientation(image) in _SIDEWAYS:
            width, height = height, width
        return height, width, 1 if _is_grey(image) else 3


def _pixels(data: bytes | Image.Image | None, row: int, rules: ImageRules) -> Pixels:
    """[H, W, 1] or [H, W, 3]."""
    with _opened(data, row, rules) as image:
        image.load()
        orientation = _orientation(image)
        plain = _without_transparency(_with_8_bits(image))
        wanted = "L" if _is_grey(image) else "RGB"
        if plain.mode != wanted:
            plain = plain.convert(wanted)
        if orientation in _UPRIGHT:
            plain = plain.transpose(_UPRIGHT[orientation])
        pixels = np.asarray(plain)
    return pixels[..., None] if pixels.ndim == 2 else pixels


@contextmanager
def _opened(data: bytes | Image.Image | None, row: int, rules: ImageRules) -> Iterator[Image.Image]:
    """An image of which the header is read; what goes wrong inside the `with` block is said of its row."""
    if data is None:
        raise _refused(rules, row, "has no image bytes; store them in the file, not as a path")
    try:
        with nullcontext(data) if isinstance(data, Image.Image) else Image.open(io.BytesIO(data)) as image:
            _check_pixels(image, row, rules)
            yield image
    except UserError:
        raise
    except Exception as error:  # decoders of damaged files fail in every way
        reason = _ADDRESS.sub("", reason_of(error))
        raise _refused(rules, row, f"is no image we can read ({reason}); mend or remove it") from error


def _check_pixels(image: Image.Image, row: int, rules: ImageRules) -> None:
    width, height = image.size
    if width * height > rules.max_pixels:
        found = f"is an image of {width:,} x {height:,} pixels, data.max_pixels={rules.max_pixels}"
        raise _refused(rules, row, f"{found}; make it smaller, remove it, or raise data.max_pixels")


def _refused(rules: ImageRules, row: int, reason: str) -> ImageError:
    error = ImageError(f"{rules.place}: row {row} {reason}")
    error.reason = reason
    return error


@contextmanager
def _own_limit() -> Iterator[None]:
    """Pillow's own limit, a warning or an error that names no row, gives way to ours."""
    theirs = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = theirs


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY or image.mode.startswith("I;")


def _orientation(image: Image.Image) -> int:
    """Of the EXIF tags, 1 where there are none or they are damaged, which viewers overlook too.

    Also of TIFF, which Pillow turns itself.
    """
    if image.format == "TIFF":
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _with_8_bits(image: Image.Image) -> Image.Image:
    """16 bits of grey scaled to 8; other modes have 8 bits as they are."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # "I": Pillow before 11
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"pixels of mode {image.mode}, neither 8 nor 16 bits")
    return image


def _without_transparency(image: Image.Image) -> Image.Image:
    """Transparent pixels on white."""
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA"))
