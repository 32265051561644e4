"""Image files of mixed kinds: one rule whatever row comes first, orientation followed, what is broken named."""

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest
from helpers.dataset_files import encoded, hub_column, message, opened, pictures, read, write
from PIL import Image

from hydra_ray.config.load import load_config
from hydra_ray.data import ImageOptions
from hydra_ray.data import images as module
from hydra_ray.errors import UserError
from hydra_ray.runs.run import Run


def source_of(folder, files, kind=None, **options):
    column = pa.array(files, kind or pa.binary())
    path = write(folder / "rows.parquet", {"image": column, "label": np.arange(len(files)) % 2})
    return read(path, **options)


def inputs_of(folder, files, kind=None) -> np.ndarray:
    return source_of(folder, files, kind).read(0, len(files)).inputs


def saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


# ---------------------------------------------------------------- orientation


def oriented(pixels: np.ndarray, orientation: int, kind: str) -> bytes:
    """A file whose stored pixels, turned as the tag says, are `pixels`."""
    back = {6: 8, 8: 6}.get(orientation, orientation)  # the two quarter turns undo each other
    image = Image.fromarray(pixels)
    stored = image.transpose(module._UPRIGHT[back]) if back in module._UPRIGHT else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_as_viewers_show_them(tmp_path, orientation, kind):
    from PIL import ImageOps

    upright = pictures(1, (8, 5, 3))[0]
    data = oriented(upright, orientation, kind)
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))), upright)
    np.testing.assert_array_equal(inputs_of(tmp_path, [data, encoded(upright)]), [upright, upright])


def test_jpegs_as_cameras_store_them(tmp_path):
    """Case 09: half of the pictures upside down with a tag; sky above, or below."""
    rng, labels = np.random.default_rng(0), np.arange(40) % 2
    pixels = rng.integers(0, 60, (40, 16, 16, 3)).astype(np.uint8)
    pixels[labels == 1, :8] += 150
    pixels[labels == 0, 8:] += 150
    files = [oriented(each, 3 if row % 3 else 1, "JPEG") for row, each in enumerate(pixels)]
    means = inputs_of(tmp_path, files).astype(float).mean((2, 3))
    np.testing.assert_array_equal(means[:, :8].mean(1) > means[:, 8:].mean(1), labels == 1)


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01", b"x" * 50]
)
def test_a_damaged_tag_is_no_tag(tmp_path, exif):
    data = saved(Image.fromarray(pictures(1, (4, 4, 3))[0]), "JPEG", exif=exif)
    np.testing.assert_array_equal(inputs_of(tmp_path, [data])[0], np.asarray(Image.open(io.BytesIO(data))))


# ---------------------------------------------------------------- one rule for all modes


def mixed() -> dict[str, tuple[bytes, np.ndarray]]:
    """A file of every kind, and what colour becomes of it."""
    colour = pictures(1, (6, 5, 3))[0]
    grey = pictures(1, seed=1)[0]
    alpha = pictures(1, seed=2)[0]
    on_white = np.asarray(
        Image.alpha_composite(Image.new("RGBA", (5, 6), "white"), Image.fromarray(np.dstack([colour, alpha])))
    )[..., :3]
    deep = (grey.astype(np.uint16) * 257).astype(np.uint16)
    palette = Image.fromarray(colour).quantize(16)
    cmyk = saved(Image.fromarray(colour).convert("CMYK"), "TIFF")
    three = grey[..., None].repeat(3, -1)
    return {
        "grey": (encoded(grey), three),
        "colour": (encoded(colour), colour),
        "opaque": (encoded(np.dstack([colour, np.full((6, 5), 255, np.uint8)])), colour),
        "transparent": (encoded(np.dstack([colour, alpha])), on_white),
        "transparent grey": (encoded(np.dstack([grey, np.zeros((6, 5), np.uint8)])), np.full((6, 5, 3), 255)),
        "palette": (saved(palette, "PNG"), np.asarray(palette.convert("RGB"))),
        "cmyk": (cmyk, np.asarray(Image.open(io.BytesIO(cmyk)).convert("RGB"))),
        "16 bits": (encoded(deep), three),
        "bilevel": (encoded(grey, mode="1"), bilevel_of(grey)),
        "gif": (saved(palette, "GIF"), np.asarray(palette.convert("RGB"))),
        "bmp": (encoded(colour, "BMP"), colour),
    }


def bilevel_of(grey: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(grey).convert("1").convert("RGB"))


@pytest.mark.parametrize("first", mixed())
def test_what_becomes_of_a_row_does_not_depend_on_the_first(tmp_path, first):
    files = mixed()
    names = sorted(files, key=lambda name: name != first)
    found = inputs_of(tmp_path, [files[name][0] for name in names])
    assert found.shape == (len(files), 6, 5, 3)
    for name, pixels in zip(names, found, strict=True):
        np.testing.assert_array_equal(pixels, files[name][1], err_msg=name)


@pytest.mark.parametrize("kind", ["binary", "large_binary", "binary_view"])
def test_bytes_of_every_arrow_type_are_files(tmp_path, kind):
    images = pictures(4)
    found = inputs_of(tmp_path, [encoded(each) for each in images], getattr(pa, kind)())
    np.testing.assert_array_equal(found[..., 0], images)


@pytest.mark.parametrize("bits", [16, "I;16B"])
def test_16_bits_are_scaled_to_8(tmp_path, bits):
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    if bits == 16:
        data = encoded(values)
    else:
        data = saved(Image.frombytes("I;16B", (6, 1), values.astype(">u2").tobytes()), "TIFF")
    found = inputs_of(tmp_path, [data])[0]
    assert found.shape == (1, 6, 1)
    assert found.ravel().tolist() == [0, 0, 1, 1, 128, 255]


def test_pixels_of_32_bits_are_refused(tmp_path):
    data = saved(Image.fromarray(np.zeros((6, 5), np.float32)), "TIFF")
    with pytest.raises(UserError, match="neither 8 nor 16 bits") as raised:
        inputs_of(tmp_path, [encoded(pictures(1)[0]), data])
    assert "row 1" in message(raised)


def test_grey_sets_beside_one_in_colour_become_colour(tmp_path):
    for split, shape in (("train", (6, 5, 3)), ("test", (6, 5))):
        write(tmp_path / f"{split}.parquet", {"image": hub_column(pictures(20, shape)), "label": np.arange(20) % 2})
    rows = opened(tmp_path).splits["test"].read_all()
    np.testing.assert_array_equal(rows.inputs, pictures(20)[..., None].repeat(3, -1))


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("place", [0, 2, 4])
def test_the_row_of_another_size_is_named_wherever_it_is(tmp_path, place):
    images = list(pictures(4))
    images.insert(place, pictures(1, (7, 5))[0])
    with pytest.raises(UserError, match=f"row {place} has 7 x 5 pixels") as raised:
        source_of(tmp_path, [encoded(each) for each in images])
    assert "6 x 5" in message(raised)


def test_colour_after_many_grey_rows_is_refused_and_not_made_grey(tmp_path, monkeypatch):
    from hydra_ray.data.tables import source as tables

    monkeypatch.setattr(tables, "ROWS_LOOKED_AT", 3)
    files = [encoded(each) for each in [*pictures(3), pictures(1, (6, 5, 3))[0]]]
    with pytest.raises(UserError, match="row 3 has colour, the first rows are grey") as raised:
        inputs_of(tmp_path, files)
    message(raised)


def broken() -> dict[str, bytes | None]:
    """Files that no decoder can make a whole image of."""
    colour = pictures(1, (40, 30, 3))[0]
    png, jpeg = encoded(colour), encoded(colour, "JPEG")
    return {
        "nothing": None,
        "empty": b"",
        "text": b"<html>404 not found</html>",
        "png cut short": png[:-60],
        "png header alone": png[:40],
        "jpeg cut short": jpeg[: len(jpeg) // 2],
        "jpeg header alone": jpeg[:20],
        "gif cut short": saved(Image.fromarray(colour).quantize(), "GIF")[:30],
    }


@pytest.mark.parametrize("name", broken())
def test_a_broken_row_is_named(tmp_path, name):
    files = [*[encoded(each) for each in pictures(3, (40, 30, 3))], broken()[name]]
    with pytest.raises(UserError) as raised:
        inputs_of(tmp_path, files)
    assert "row 3" in message(raised)
    assert "rows.parquet" in message(raised)


def test_of_several_files_the_one_is_named(tmp_path):
    for part in range(2):
        files = [encoded(each) for each in pictures(3)] + ([b"damaged"] if part else [])
        write(tmp_path / f"train-{part:05}-of-00002.parquet", {"image": pa.array(files, pa.binary())})
    with pytest.raises(UserError, match="row 6") as raised:
        read(tmp_path).read(0, 7)
    assert "data.source=" in message(raised)


# ---------------------------------------------------------------- decompression bombs


def bomb(width: int, height: int) -> bytes:
    """A PNG that says how large it is, with hardly any bytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [8193, 10_000, 12_000, 30_000, 1_000_000])
@pytest.mark.parametrize("place", [0, 2])
def test_an_image_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, side, place):
    files = [encoded(each) for each in pictures(2)]
    files.insert(place, bomb(side, side))
    with pytest.raises(UserError) as raised:
        source_of(tmp_path, files)
    expected = f"row {place} is an image of {side:,} x {side:,} pixels, data.max_pixels=67108864"
    assert expected in message(raised)
    assert "rows.parquet" in message(raised)


def test_a_bomb_behind_the_first_rows_is_refused_too(tmp_path, monkeypatch):
    from hydra_ray.data.tables import source as tables

    monkeypatch.setattr(tables, "ROWS_LOOKED_AT", 2)
    source = source_of(tmp_path, [*[encoded(each) for each in pictures(2)], bomb(30_000, 30_000)])
    with pytest.raises(UserError, match=r"row 2 is an image of 30,000 x 30,000 pixels"):
        source.read(0, 3)


def test_the_limit_is_a_key(tmp_path):
    path = write(tmp_path / "rows.parquet", {"image": hub_column(pictures(30)), "label": np.arange(30) % 2})
    (tmp_path / "recipe.yaml").write_text(f"storage: {tmp_path}/runs\ndata: {{source: {path}}}\n")
    assert Run(load_config(tmp_path / "recipe.yaml", ["data.max_pixels=30"])).data.input_shape == (6, 5, 1)
    with pytest.raises(UserError, match=r"row 0 is an image of 5 x 6 pixels, data\.max_pixels=29"):
        _ = Run(load_config(tmp_path / "recipe.yaml", ["data.max_pixels=29"])).data
    with pytest.raises(UserError, match=r"data\.unknown\.u=.*row 0 is an image"):
        opened("digits", unknown={"u": str(path)}, images=ImageOptions(max_pixels=10))


def test_pillows_own_limit_is_left_as_it_was(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    inputs_of(tmp_path, [encoded(each) for each in pictures(2)])
    with pytest.raises(UserError):
        source_of(tmp_path, [bomb(30_000, 30_000)])
    assert before == Image.MAX_IMAGE_PIXELS
