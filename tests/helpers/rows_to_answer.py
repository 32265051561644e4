"""Files of rows for students to answer, of every sort that there is."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from helpers.small_students import digits, plane
from PIL import Image

NAMES = ["age", "height", "weight"]


def frame(number: int = 800) -> pd.DataFrame:
    """Rows of the plane, in another order of columns, with further ones."""
    rows = pd.DataFrame(plane()[0][:number].astype(np.float64), columns=NAMES)
    return rows[["weight", "age", "height"]].assign(note=[f"row {n}" for n in range(number)], id=range(number))


def png(pixels: np.ndarray) -> bytes:
    """A grey image's file."""
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(content, "png")
    return content.getvalue()


def write_images(folder: Path, number: int = 40) -> np.ndarray:
    """Digits as files in the folder and in one below it, and two that are no images; the pixels in order of paths."""
    pixels = digits()[0][:number]
    (folder / "below").mkdir(parents=True)
    for place, image in enumerate(pixels):
        name = f"{place:03d}.png" if place < number // 2 else f"below/{place:03d}.png"
        (folder / name).write_bytes(png(image))
    (folder / "000-empty.jpg").write_bytes(b"")
    (folder / "below" / "cut.png").write_bytes(png(pixels[0])[:40])
    (folder / "labels.txt").write_text("not asked for")
    (folder / ".hidden.png").write_bytes(b"")
    return np.concatenate([pixels[number // 2 :], pixels[: number // 2]])  # "below/..." comes after digits


def write_digits(path: Path, *, as_pixels: bool = False, broken: int | None = None, times: int = 1) -> np.ndarray:
    """Digits as Parquet in the hub's layout, or as tensors, so many times over; the pixels."""
    pixels, _, labels = (np.concatenate([part] * times) for part in digits())
    if as_pixels:
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)
    else:
        files = [png(image) for image in pixels]
        if broken is not None:
            files[broken] = b"no image"
        column = pa.array([{"bytes": file, "path": None} for file in files])
    pq.write_table(pa.table({"image": column, "label": labels}), path, row_group_size=200)
    return pixels
