"""Dates as text: found by how all of a column's values are written, and read as the moments they are."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from helpers.dataset_files import opened, write

from hydra_ray.data.tables.text_times import ISO, as_times, format_of


@pytest.mark.parametrize(
    ("texts", "written", "first"),
    [
        (["2021-03-01", "2021-12-31"], ISO, datetime.datetime(2021, 3, 1)),
        (["2021-03-01 10:30", "2021-12-31T00:00:01"], ISO, datetime.datetime(2021, 3, 1, 10, 30)),
        (["2021/3/1", "2021/12/31"], "%Y/%m/%d", datetime.datetime(2021, 3, 1)),
        (["1.3.2021", "31.12.2021"], "%d.%m.%Y", datetime.datetime(2021, 3, 1)),
        (["13/3/2021", "01/12/2021"], "%d/%m/%Y", datetime.datetime(2021, 3, 13)),
        (["3/13/2021", "12/01/2021"], "%m/%d/%Y", datetime.datetime(2021, 3, 13)),
        (["3/1/2021", "12/01/2021"], "%m/%d/%Y", datetime.datetime(2021, 3, 1)),
        (["13/3/2021 08:15", "01/12/2021 23:59"], "%d/%m/%Y %H:%M", datetime.datetime(2021, 3, 13, 8, 15)),
        (["13-Mar-2021", "01-Dec-2021"], "%d-%b-%Y", datetime.datetime(2021, 3, 13)),
        (["Mar 13, 2021", "Dec 1, 2021"], "%b %d, %Y", datetime.datetime(2021, 3, 13)),
    ],
)
def test_dates_are_known_by_all_of_their_values(texts, written, first):
    assert format_of(texts) == written
    assert as_times(pa.array(texts), written).to_pylist()[0] == first


@pytest.mark.parametrize(
    "texts", [[], ["red"], ["2021-13-01"], ["2021-03-01", "soon"], ["1.2.3"], ["12-34-5678"], ["31/31/2021"]]
)
def test_other_text_is_no_date(texts):
    assert format_of(texts) is None


def test_dates_of_text_are_as_good_as_dates(tmp_path):
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=7 * row) for row in range(60)]
    label = ["yes", "no"] * 30
    texts = [day.strftime("%d.%m.%Y") for day in days]
    plain = opened(write(tmp_path / "dates.parquet", {"when": days, "label": label}))
    text = opened(write(tmp_path / "texts.parquet", {"when": texts, "label": label}))
    rows = [data.splits["train"].source.read(0, 60).inputs for data in (plain, text)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert "dates written as when (%d.%m.%Y)" in text.lines()[0]
    assert text.frame(rows[1])["when"].tolist() == texts


def test_a_further_file_may_write_its_dates_in_another_way(tmp_path):
    label = ["yes", "no"] * 30
    days = [f"2024-01-{1 + row % 28:02}" for row in range(60)]
    write(tmp_path / "set/train.parquet", {"when": days, "label": label})
    write(tmp_path / "set/test.parquet", {"when": ["28.1.2024", "?"][:1] * 2, "label": label[:2]})
    data = opened(tmp_path / "set")
    first = data.splits["test"].read_all().inputs[0]
    np.testing.assert_array_equal(first, data.splits["train"].source.read(27, 28).inputs[0])
