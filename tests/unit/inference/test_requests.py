"""Requests over HTTP: bodies as rows that a student takes; what a client can mend is one line."""

import json

import numpy as np
import pytest

from hydra_ray.data import InputFormat
from hydra_ray.data.tables.columns import Columns
from hydra_ray.data.tables.reading import Reading
from hydra_ray.errors import UserError
from hydra_ray.inference import rows_of_request
from hydra_ray.inference.requests import MOST_ROWS

IMAGES, TABLE = InputFormat((8, 8, 1)), InputFormat((2,), ("age", "height"))


def rows_of(content, form=IMAGES, kind="application/json; charset=utf-8"):
    return rows_of_request(json.dumps(content).encode(), kind, form)


@pytest.mark.parametrize("content", [{"rows": [[[1, 255], [0, 3]]]}, [[[1, 255], [0, 3.0]]]])
def test_pixels_become_bytes_however_they_are_written(content):
    found = rows_of(content)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [[[1, 255], [0, 3]]])


def test_a_body_that_is_no_json_is_an_image_file():
    assert rows_of_request(b"\x89PNG", "image/png", IMAGES) == b"\x89PNG"


def test_a_table_is_rows_of_numbers_or_objects():
    np.testing.assert_array_equal(rows_of([[1, 2.5]], TABLE), [[1, 2.5]])
    assert rows_of({"rows": [{"age": 1, "height": 2}]}, TABLE) == [{"age": 1, "height": 2}]


def test_a_table_with_categories_is_rows_of_objects():
    reading = Reading(codes=(("town", ("Bonn", "Ulm")),))
    form = InputFormat((2,), ("age", "town"), Columns(("age", "town"), "numbers", False, None, reading=reading))
    assert rows_of([{"age": 1, "town": "Ulm"}, {"age": 2, "town": None}], form)[1] == {"age": 2, "town": None}
    with pytest.raises(UserError, match="rows are arrays; send each row as an object with the columns age, town"):
        rows_of([[1, 3]], form)


REFUSED = {
    "nothing": (b"", "application/json", IMAGES, "empty"),
    "an image for a table": (b"\x89PNG", "image/png", TABLE, "takes a table"),
    "no content type for a table": (b"1", "", TABLE, "content type none"),
    "no JSON": (b"{", "application/json", IMAGES, "no JSON"),
    "letters that are none": (b"\xff", "application/json", IMAGES, "no JSON"),
    "a number": (b"3", "application/json", IMAGES, "no rows"),
    "rows that are no list": (b'{"rows": 3}', "application/json", IMAGES, "no rows"),
    "objects and lists": (b'[{"age": 1}, [1]]', "application/json", TABLE, "row 1 is no object"),
    "null": (b"[[null, 1]]", "application/json", TABLE, "something else than numbers"),
    "too many": (json.dumps([[0, 0]] * (MOST_ROWS + 1)).encode(), "application/json", TABLE, "at most 10,000"),
    "negative pixels": (b"[[[-1]]]", "application/json", IMAGES, "from 0 to 255"),
    "one row too flat": (b"[[1, 2, 3]]", "application/json", IMAGES, "rows have shape [3]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_request_is_one_line(case):
    body, kind, form, said = REFUSED[case]
    with pytest.raises(UserError) as raised:
        rows_of_request(body, kind, form)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
