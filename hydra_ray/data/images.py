"""Image files to pixels, by one rule that does not depend on which row comes first.

An image becomes grey or red, green, blue with 8 bits a channel: palettes are looked up, transparent pixels lie on
white, CMYK and other colour spaces become RGB, 16 bits are scaled to 8, and the EXIF orientation is followed, as every
viewer does it. A set has colour where any of its first rows has, and grey rows of it become colour. Its size is
`data.image_size`, to which rows are resized and cropped as torchvision does it; without that key all rows have one
size. A row of another size, with colour in a grey set, cut short or too large is refused.
Not here: how the files' bytes are read, and which rows are left out as broken (`broken_images.py`).
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from hydra_ray.data.rows import Ints
from hydra_ray.errors import OpenQuestionError, UserError, reason_of

Pixels = npt.NDArray[np.uint8]
Shape = tuple[int, int, int]

MAX_PIXELS = 1 << 26
"""8192 x 8192: what an image may have unless `data.max_pixels` says otherwise."""
ROWS_LOOKED_AT = 256
"""First rows that size and colour of a set are taken from."""
_USUAL_SIZES = (224, 128, 96, 64, 32)
"""Of which the largest that most images have is proposed for `data.image_size`."""
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
class ImageOptions:
    """Keys of `data` that are about image files."""

    size: tuple[int, int] | None = None
    """Height and width to which every image is resized and cropped; None: all have one size."""
    skip_broken: bool = False
    """Whether rows that are no image we can use are left out."""
    max_pixels: int = MAX_PIXELS
    """What an image may have before it is resized."""


ANY_IMAGE = ImageOptions()
"""Nothing is said."""


def by_number(row: int) -> str:
    """How messages name a row of a table."""
    return f"row {row}"


@dataclass(frozen=True)
class ImageRules:
    """What images are held to, and how messages name them."""

    place: str
    """Key and path."""
    options: ImageOptions = ANY_IMAGE
    row_name: Callable[[int], str] = by_number
    or_else: str = ""
    """A further way out of a row that cannot be used, at the end of messages."""


def image_shape(files: Sequence[tuple[int, bytes | None]], rules: ImageRules) -> Shape:
    """(H, W, channels) of a set, from some of its image files; only their headers are read.

    Args:
        files: at least one row and its file.
        rules: see `ImageRules`.

    Raises:
        OpenQuestionError: they have several sizes, and none is asked for.
        UserError: a row that is no image, or one with too many pixels; the line names it.
    """
    with _own_limit():
        shapes = {row: _shape_in_header(data, row, rules) for row, data in files}
    channels = max(shape[2] for shape in shapes.values())
    if rules.options.size is not None:
        return *rules.options.size, channels
    (height, width), _ = Counter(shape[:2] for shape in shapes.values()).most_common(1)[0]
    for row, shape in shapes.items():
        if shape[:2] != (height, width):
            raise _of_another_size(shape, (height, width), row, rules, proposed_size(list(shapes.values())))
    return height, width, channels


def proposed_size(shapes: Sequence[Sequence[int]]) -> int:
    """A value of `data.image_size` for images of these shapes: half of them or more are as large."""
    shorter = sorted(min(shape[:2]) for shape in shapes)
    middle = shorter[(len(shorter) - 1) // 2]
    return next((size for size in _USUAL_SIZES if size <= middle), middle)


def decode_images(files: Sequence[bytes | None], row_id: Ints, shape: tuple[int, ...], rules: ImageRules) -> Pixels:
    """Pixels of image files, uint8 [n, H, W, channels].

    Args:
        files: n of them.
        row_id: int64 [n], their positions in the source, for messages.
        shape: (H, W, channels) of the set, see `image_shape`.
        rules: see `ImageRules`.

    Raises:
        UserError: a row that is no image, that is cut short, too large, of another size where none is asked for, or has
            colour in a grey set.
    """
    images = np.empty((len(row_id), *shape), np.uint8)
    with _own_limit():
        for index, (row, data) in enumerate(zip(row_id.tolist(), files, strict=True)):
            images[index] = _fitted(_pixels(data, row, rules), shape, row, rules)
    return images


def check_image(data: bytes | None, row: int, rules: ImageRules) -> None:
    """Decode an image file and forget its pixels.

    Raises:
        ImageError: it is no image, cut short or too large.
    """
    with _own_limit():
        pixels = _pixels(data, row, rules)
        if rules.options.size is not None:
            resized(pixels, *rules.options.size, row, rules)


def fitted_pixels(image: bytes | Image.Image, row: int, shape: tuple[int, ...], place: str) -> Pixels:
    """One image of any size and kind as pixels of a given shape, uint8 [H, W, channels].

    It is resized and cropped as `data.image_size` does it; grey becomes colour, colour grey.

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
    rules = ImageRules(place)
    with _own_limit():
        pixels = _pixels(image, row, rules)
    if pixels.shape[2] > shape[2]:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return np.broadcast_to(resized(pixels, shape[0], shape[1], row, rules), shape)


def resized(pixels: Pixels, height: int, width: int, row: int, rules: ImageRules) -> Pixels:
    """Pixels [h, w, channels] as [height, width, channels]: resized until they cover that, then the middle of them.

    By torchvision's `resize` (bilinear, with antialiasing) and `center_crop`, as its published networks are evaluated:
    for a square the shorter side becomes the square's.

    Args:
        pixels: uint8, of 1 or 3 channels.
        height, width: wanted.
        row: its number, for messages.
        rules: of which `max_pixels` holds for the resized image too.

    Raises:
        ImageError: the image is so narrow that it would become too large.
    """
    given_height, given_width = pixels.shape[:2]
    if (given_height, given_width) == (height, width):
        return pixels
    from torchvision.transforms import functional  # takes a second, and sets of one size do not need it

    covering = [height, max(width, given_width * height // given_height)]
    if given_width * height < width * given_height:
        covering = [max(height, given_height * width // given_width), width]
    if covering[0] * covering[1] > rules.options.max_pixels:
        found = f"is an image of {given_width:,} x {given_height:,} pixels, too narrow for {width} x {height}"
        raise _refused(rules, row, f"{found}; crop it or remove it")
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels)
    image = functional.center_crop(functional.resize(image, covering), [height, width])  # pyright: ignore[reportArgumentType]
    return np.asarray(image).reshape(height, width, pixels.shape[2])


def _fitted(image: Pixels, shape: tuple[int, ...], row: int, rules: ImageRules) -> Pixels:
    """[H, W, channels] in the shape of the set: grey becomes colour, as in ImageNet; anything else is refused."""
    if rules.options.size is not None:
        image = resized(image, shape[0], shape[1], row, rules)
    if image.shape[:2] != shape[:2]:
        raise _of_another_size(image.shape, shape, row, rules, proposed_size([image.shape, shape]))
    if image.shape[2] > shape[2]:
        problem = f"{rules.row_name(row)} has colour, the first rows are grey"
        raise UserError(f"{rules.place}: {problem}; bring all rows to grey or all to colour")
    return np.broadcast_to(image, shape)


def _of_another_size(
    found: Sequence[int], most: Sequence[int], row: int, rules: ImageRules, proposed: int
) -> OpenQuestionError:
    """The row, both sizes and the key that brings them to one."""
    here, others = (f"{each[0]} x {each[1]}" for each in (found, most))
    return OpenQuestionError(
        f"{rules.place}: {rules.row_name(row)} has {here} pixels (height x width), most of the first rows {others}; "
        f"data.image_size={proposed} brings all rows to one size",
        {"image_size": proposed},
    )


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
    most = rules.options.max_pixels
    if width * height > most:
        found = f"is an image of {width:,} x {height:,} pixels, data.max_pixels={most}"
        raise _refused(rules, row, f"{found}; make it smaller, remove it, or raise data.max_pixels")


def _refused(rules: ImageRules, row: int, reason: str) -> ImageError:
    error = ImageError(f"{rules.place}: {rules.row_name(row)} {reason}{rules.or_else}")
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
