"""CSV as people have it: encodings, delimiters, headers, gzip, blank lines; one line where it is no table."""

import gzip

import numpy as np
import pytest
from helpers.dataset_files import message, opened, read

from hydra_ray.errors import UserError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2)).round(4)
CLASSES = (X[:, 0] > 0).astype(int)


def body(separator: str = ",", end: str = "\n") -> str:
    rows = zip(X, CLASSES, strict=True)
    return end.join(separator.join((f"{a:.4f}", f"{b:.4f}", str(c))) for (a, b), c in rows) + end


def quoted() -> str:
    return '"length, width and height, cm";"b, kg";label\n' + body(";")


FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "plain": (f"a,b,label\n{body()}".encode(), ("a", "b")),
    "semicolons": (f"a;b;label\n{body(';')}".encode(), ("a", "b")),
    "tabs": (f"a\tb\tlabel\n{body(chr(9))}".encode(), ("a", "b")),
    "bars": (f"a|b|label\n{body('|')}".encode(), ("a", "b")),
    "spaces": (f"a  b   label\n{body('   ')}".encode(), ("a", "b")),
    "aligned": (("a b label\n" + "".join(f"  {line}  \n" for line in body("\t ").splitlines())).encode(), ("a", "b")),
    "spaces after commas": (f"a, b, label\n{body(', ')}".encode(), ("a", "b")),
    "windows": (f"a,b,label\r\n{body(end=chr(13) + chr(10))}".encode(), ("a", "b")),
    "old mac": (f"a,b,label\r{body(end=chr(13))}".encode(), ("a", "b")),
    "mark": (f"a,b,label\n{body()}".encode("utf-8-sig"), ("a", "b")),
    "mark and quotes": (f'"a","b","label"\r\n{body()}'.encode("utf-8-sig"), ("a", "b")),
    "latin-1": ("größe,b,label\n".encode("latin-1") + body().encode(), ("größe", "b")),
    "utf-16": (f"größe,b,label\n{body()}".encode("utf-16"), ("größe", "b")),
    "utf-16 without a mark": (f"a,b,label\n{body()}".encode("utf-16-be"), ("a", "b")),
    "utf-32": (f"a,b,label\n{body()}".encode("utf-32"), ("a", "b")),
    "quoted commas": (quoted().encode(), ("length, width and height, cm", "b, kg")),
    "quotes after spaces": (('"a", "b, kg", "label"\n' + body(", ")).encode(), ("a", "b, kg")),
    "a name of two lines": (f'"a\n(cm)",b,label\n{body()}'.encode(), ("a (cm)", "b")),
    "a line for Excel": (f"sep=;\na;b;label\n{body(';')}".encode(), ("a", "b")),
    "gzip": (gzip.compress(f"a,b,label\n{body()}".encode()), ("a", "b")),
    "blank lines": (("\n \na,b,label\n" + body().replace("\n", "\n\n", 3) + "\n\n").encode(), ("a", "b")),
    "no end of line": (f"a,b,label\n{body()}".encode().rstrip(), ("a", "b")),
    "no header": (body().encode(), ("f0", "f1")),
    "no header, spaces": (body("   ").encode(), ("f0", "f1")),
    "no header, same values": (("0.5000,0.5000,1\n" + body()).encode(), ("f0", "f1")),
    "header of numbers and a name": (f"0,1,label\n{body()}".encode(), ("0", "1")),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_is_read_with_the_same_values(tmp_path, kind):
    content, names = FILES[kind]
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    data = opened(path)
    source = data.splits["train"].source
    assert (source.feature_names, data.class_names) == (names, ("0", "1"))
    rows = source.read(source.num_rows - 60, source.num_rows)
    np.testing.assert_array_equal(rows.inputs, X.astype(np.float32))
    np.testing.assert_array_equal(rows.labels, CLASSES)


@pytest.mark.parametrize("name", ["ROWS.CSV", "rows.data", "rows.tsv", "rows.csv.gz", "rows.Data", "rows.txt"])
def test_the_name_of_the_file_does_not_matter(tmp_path, name):
    content = f"a,b,label\n{body()}".encode()
    (tmp_path / name).write_bytes(gzip.compress(content, mtime=0) if name.endswith("gz") else content)
    assert opened(tmp_path / name).input_shape == (2,)


def test_classes_in_the_first_line_are_no_header(tmp_path):
    lines = [f"{a},{b},{('setosa', 'virginica')[c]}" for (a, b), c in zip(X, CLASSES, strict=True)]
    (tmp_path / "iris.data").write_text("\n".join(lines) + "\n")
    data = opened(tmp_path / "iris.data")
    assert data.class_names == ("setosa", "virginica")
    assert data.splits["train"].source.num_rows == 60


@pytest.mark.parametrize("first", ["0,1,2", "2020,2021,label", "0,0.5,label"])
def test_a_first_line_that_could_be_either_is_a_question(tmp_path, first):
    (tmp_path / "rows.csv").write_text(f"{first}\n{body()}")
    with pytest.raises(
        UserError, match=f"the first line .{first.replace(',', ', ')}. may hold names or values"
    ) as raised:
        opened(tmp_path / "rows.csv")
    assert "data.header=true or data.header=false" in message(raised)
    assert read(tmp_path / "rows.csv", header=True, label=first.split(",")[2]).num_rows == 60
    if "label" not in first:
        assert read(tmp_path / "rows.csv", header=False, label="f2").num_rows == 61


def test_the_answer_is_said(tmp_path):
    (tmp_path / "rows.csv").write_bytes(FILES["latin-1"][0])
    assert "read as cp1252" in opened(tmp_path / "rows.csv").lines()[0]
    (tmp_path / "rows.csv").write_text(body())
    line = opened(tmp_path / "rows.csv").lines()[0]
    assert "no header line, columns are f0, f1, ..." in line
    assert "label f2, 2 classes 0, 1" in line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "holds no rows"),
        (b"\n\n", "holds no rows"),
        (b"a,b,label\n", "holds no rows"),
        (b"a,b,label\n1,2,0\n1,2\n", "is no table"),
        (b'a,b,label\n1,"2,0\n', "is no table"),
        (b"PK\x03\x04" + bytes(100), "an Excel or zip file; save the table as CSV"),
        (b"PAR1" + bytes(100), "a Parquet file; call it .parquet"),
        (b"\x1f\x8b\x08\x00broken", "is damaged"),
        (gzip.compress(b"a,b,label\n1,2,0\n" * 99, mtime=0)[:-9], "is damaged"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)), "is no text"),
        (b"\xff\xfea\x00,", "is no text in utf-16"),
        ("a,b,label\n1,2,0\n".encode("utf-16") + b"\n", "is no text in utf-16"),
    ],
)
def test_what_is_no_table_is_a_line(tmp_path, content, expected):
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(UserError) as raised:
        opened(tmp_path / "rows.csv")
    assert expected in message(raised)
    assert "rows.csv" in message(raised)


def test_parts_whose_types_differ_are_one_table(tmp_path):
    for part, values in enumerate((["1", "2"], ["3", "?"])):
        text = "a,label\n" + "".join(f"{value},{row}\n" for row, value in enumerate(values))
        (tmp_path / f"train-0000{part}-of-00002.csv").write_text(text)
    rows = read(tmp_path).read(0, 4).inputs
    np.testing.assert_array_equal(rows, [[1, 0], [2, 0], [3, 0], [2, 1]])


def test_quoted_cells_after_a_space_may_hold_the_delimiter(tmp_path):
    cells = ['"dark, red"', '"blue ""navy"""', "green"]
    lines = [f"{row}, {cells[row % 3]}, {row % 2}" for row in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["n, colour, label", *lines]) + "\n")
    source = read(tmp_path / "rows.csv", ignore=())
    assert dict(source.columns.reading.codes) == {"colour": ('blue "navy"', "dark, red", "green")}


@pytest.mark.parametrize("header", ["a,,label", "a,b,"])
def test_a_column_without_a_name_is_named_by_its_place(tmp_path, header):
    (tmp_path / "rows.csv").write_text(f"{header}\n{body()}")
    place = 1 + header.split(",").index("")
    with pytest.raises(
        UserError, match=f"column {place} of 3 has no name; give it one, or leave it out with"
    ) as raised:
        opened(tmp_path / "rows.csv", label="label" if "label" in header else "b")
    assert 'data.ignore=[""]' in message(raised)
    if "label" in header:
        assert opened(tmp_path / "rows.csv", ignore=("",)).input_shape == (1,)


def test_a_comma_at_the_end_of_every_line_is_no_column(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b,label,\n" + body().replace("\n", ",\n"))
    data = opened(tmp_path / "rows.csv")
    assert data.input_shape == (2,)
    assert "left out '' (no value in any row)" in data.lines()[0]
