"""write-transfer in this process: its rows, and a failure as one line."""

import pyarrow.parquet as pq
import pytest
from helpers.finished import loaded, recipe

from hydra_ray.cluster import predict_steps
from hydra_ray.cluster.write_transfer import write_transfer
from hydra_ray.errors import StageError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("hydra_ray.cluster.write_transfer.session", None)  # none is needed
    return loaded(recipe(tmp_path))


def test_all_rows_are_written(run, tmp_path):
    written = write_transfer(run, str(tmp_path / "out"))
    assert written.splits == run.split_names
    found = {split: pq.read_table(tmp_path / "out" / split).num_rows for split in written.splits}
    assert found == {split: run.num_rows(split) for split in written.splits}
    assert sum(found.values()) == written.rows
    assert run.config.cluster.local == "auto"


def test_a_view_that_fails_is_told_in_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_steps, "apply_view", lambda *_, **__: 1 / 0)
    with pytest.raises(StageError) as raised:
        write_transfer(run, str(tmp_path / "out"))
    line = str(raised.value)
    assert line.startswith("write-transfer: ZeroDivisionError: division by zero (")
    assert line.endswith(f"traceback in {tmp_path}/out/error.log")
    assert "\n" not in line
    assert "Traceback" in (tmp_path / "out" / "error.log").read_text()
