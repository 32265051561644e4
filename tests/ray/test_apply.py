"""apply: the files hold what `student.predict` answers, whatever the input's sort; what was killed goes on."""

import json
import shutil
import signal
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.rows_to_answer import frame, write_digits, write_images
from helpers.small_students import image_student, plane, table_student
from support import REPO, Command, leftovers, wait_for

from hydra_ray.cluster import apply as module
from hydra_ray.cluster import apply_steps, item_streams
from hydra_ray.cluster.apply import apply
from hydra_ray.errors import UserError
from hydra_ray.runs import small_work

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    """Folders of a student of images and one of a table."""
    folder = tmp_path_factory.mktemp("students")
    image_student().save_pretrained(folder / "images")
    table_student().save_pretrained(folder / "table")
    return folder


def applied(student, inputs, answers, **options):
    """What `apply` returns, and all answers as one table."""
    lines = []
    found = apply(str(student), str(inputs), str(answers), say=lines.append, **options)
    paths = sorted(answers.glob("part-*.parquet"))
    manifest = json.loads((answers / "manifest.json").read_text())
    assert manifest["totals"]["rows"] == found.totals.rows
    assert {path.name for path in paths} == {name for name in manifest["files"] if name != "errors.parquet"}
    assert leftovers(answers) == []
    assert not (answers / "unfinished.json").exists()
    return found, pa.concat_tables(pq.read_table(path) for path in paths), lines


def assert_same_answers(table, answer):
    """The columns of answers, in their order and at the end of the table."""
    expected = answer.columns()
    assert table.column_names[-len(expected) :] == list(expected)
    for name, values in expected.items():
        found = table.column(name).to_pylist()
        if isinstance(values[0], float):
            np.testing.assert_allclose(found, values, rtol=2e-4, atol=1e-6, err_msg=name)
        else:
            assert [tuple(each) if isinstance(each, list) else each for each in found] == list(values), name


def test_a_folder_of_images(students, tmp_path):
    """Files that are no images are listed and nothing else; the path is that below the folder."""
    pixels = write_images(tmp_path / "images")
    found, table, _ = applied(students / "images", tmp_path / "images", tmp_path / "answers")
    paths = table["path"].to_pylist()
    assert len(paths) == 40
    order = [int(path[-7:-4]) for path in paths]
    assert paths == sorted(paths)
    assert set(order) == set(range(40))
    in_order = pixels[[(number + 20) % 40 for number in order]]
    assert_same_answers(table, image_student().predict(in_order))
    errors = pq.read_table(tmp_path / "answers" / "errors.parquet").to_pylist()
    assert [(each["file"], each["row"]) for each in errors] == [("000-empty.jpg", None), ("below/cut.png", None)]
    assert all("no image we can read" in each["reason"] for each in errors)
    assert found.totals.errors == 2
    assert found.totals.abstained == sum(table["abstain"].to_pylist())
    limit = image_student().thresholds.drift_limit("knowledge")
    assert found.totals.above == (table["knowledge_uncertainty"].to_numpy() > limit).sum()
    assert found.rows_a_second > 0


def test_a_folder_without_one_image_that_can_be_read(students, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(b"no image")
    found, table, _ = applied(students / "images", tmp_path / "images", tmp_path / "answers")
    assert (found.totals.rows, found.totals.errors) == (0, 1)
    assert "set_90" in table.column_names


@pytest.mark.parametrize("as_pixels", [False, True], ids=["image files", "tensors"])
def test_parquet_with_images(students, tmp_path, as_pixels):
    pixels = write_digits(tmp_path / "digits.parquet", as_pixels=as_pixels)
    found, table, _ = applied(students / "images", tmp_path / "digits.parquet", tmp_path / "answers")
    assert table.column_names[:2] == ["label", "prediction"]
    assert found.totals.rows == len(pixels)
    assert len(list((tmp_path / "answers").glob("part-*"))) == 9
    assert_same_answers(table, image_student().predict(pixels))


def test_parquet_with_an_image_that_is_none(students, tmp_path):
    pixels = write_digits(tmp_path / "digits.parquet", broken=700)
    _, table, _ = applied(students / "images", tmp_path / "digits.parquet", tmp_path / "answers")
    assert_same_answers(table, image_student().predict(np.delete(pixels, 700, axis=0)))
    (error,) = pq.read_table(tmp_path / "answers" / "errors.parquet").to_pylist()
    assert (error["file"], error["row"]) == ("digits.parquet", 700)


@pytest.mark.parametrize("sort", ["csv", "several csv", "parquet", "several parquet"])
def test_tables(students, tmp_path, sort):
    """Columns by name, in any order; what several files have as integers and as decimals is one column of decimals."""
    rows = frame()
    place = tmp_path / "rows"
    place.mkdir()
    second = rows[300:].assign(id=rows.id[300:] + 0.5)
    parts = {"a": rows[:300], "b": second} if "several" in sort else {"a": rows}
    for name, part in parts.items():
        if "csv" in sort:
            part.to_csv(place / f"{name}.csv", index=False)
        else:
            part.to_parquet(place / f"{name}.parquet", row_group_size=70)
    found, table, _ = applied(students / "table", place, tmp_path / "answers")
    assert table.column_names[:5] == list(rows)
    assert table["note"].to_pylist() == list(rows.note)
    assert table["id"].to_pylist() == [value for part in parts.values() for value in part.id]
    assert found.totals.abstained is None
    assert_same_answers(table, table_student().predict(plane()[0]))


def test_keep_chooses_columns(students, tmp_path):
    frame(50).to_csv(tmp_path / "rows.csv", index=False)
    _, table, _ = applied(students / "table", tmp_path / "rows.csv", tmp_path / "answers", keep=["id", "age"])
    assert table.column_names[:3] == ["id", "age", "mean"]


def test_lists_of_features_without_names(tmp_path):
    """A student of arrays takes Parquet with a column of lists."""
    import hydra_ray

    rows, outputs, targets = plane()
    settings = {"epochs": 1, "batch_size": 64, "outputs": "mean_variance"}
    student = hydra_ray.distill(rows, outputs, labels=targets, **settings)
    student.save_pretrained(tmp_path / "student")
    pq.write_table(pa.table({"x": list(rows), "id": range(len(rows))}), tmp_path / "rows.parquet")
    _, table, _ = applied(tmp_path / "student", tmp_path / "rows.parquet", tmp_path / "answers")
    assert table.column_names[:2] == ["id", "mean"]
    assert_same_answers(table, student.predict(rows))


def test_an_object_store(students, tmp_path):
    """Input, student and answers behind a URI."""
    frame(60).to_csv(tmp_path / "rows.csv", index=False)
    _, table, _ = applied(students / "table", tmp_path / "rows.csv", tmp_path / "answers")
    uris = [f"file://{path}" for path in (students / "table", tmp_path / "rows.csv", tmp_path / "remote")]
    apply(*uris, say=str)
    (path,) = (tmp_path / "remote").glob("part-*.parquet")
    assert pq.read_table(path).equals(table)


def test_actors_beside_tasks_write_the_same_files(students, tmp_path, monkeypatch):
    """The way of rows with GPUs, whose number is 0 here: read by tasks, answered by an actor, written by tasks."""
    write_digits(tmp_path / "digits.parquet", broken=3)
    applied(students / "images", tmp_path / "digits.parquet", tmp_path / "here")
    monkeypatch.setattr(small_work, "SMALL_SECONDS", 0.0)
    applied(students / "images", tmp_path / "digits.parquet", tmp_path / "tasks")
    steps = (apply_steps.ReadPart, apply_steps.AskStudent, apply_steps.WriteAnswers)

    def by_actors(items, cluster, make):
        read, ask, write = steps
        return item_streams.by_actors(items, cluster, read(make.work), ask, make.work, write(make.work))

    monkeypatch.setattr(item_streams, "by_tasks", by_actors)
    applied(students / "images", tmp_path / "digits.parquet", tmp_path / "actors")
    assert contents(tmp_path / "tasks") == contents(tmp_path / "actors") == contents(tmp_path / "here")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# again


def test_what_is_finished_is_not_done_again(students, tmp_path):
    write_digits(tmp_path / "digits.parquet")
    first, _, _ = applied(students / "images", tmp_path / "digits.parquet", tmp_path / "answers")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()}
    again, _, lines = applied(students / "images", tmp_path / "digits.parquet", tmp_path / "answers")
    assert again.totals == first.totals
    assert again.rows_a_second is None
    assert "nothing is done again" in lines[-1]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()} == before


def test_killed_and_started_again_the_same_contents(students, tmp_path):
    """In the middle, by SIGKILL, and at once; one of the finished files loses its end meanwhile."""
    write_digits(tmp_path / "digits.parquet", broken=500, times=20)
    words = [str(students / "images"), str(tmp_path / "digits.parquet"), str(tmp_path / "killed")]
    command = Command(["pipelines.apply", *words, "--batch-size", "10"], REPO)
    wait_for(lambda: list((tmp_path / "killed").glob("part-*.parquet")) or not command.is_running, 200, "first part")
    command.send(signal.SIGKILL)
    command.finish()
    assert not (tmp_path / "killed" / "manifest.json").exists(), "it was killed too late"
    there = sorted((tmp_path / "killed").glob("part-*.parquet"))
    there[0].write_bytes(there[0].read_bytes()[:-9])
    kept = {path: path.stat().st_mtime_ns for path in there[1:]}
    shutil.copy(there[0], there[0].with_name(f".{there[0].name}.0123"))

    _, table, _ = applied(*(students / "images", tmp_path / "digits.parquet", tmp_path / "killed"), batch_size=10)

    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    whole, other, _ = applied(students / "images", tmp_path / "digits.parquet", tmp_path / "whole", batch_size=10)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert table.equals(other)
    assert whole.totals.errors == 1


# what only a worker finds


@pytest.mark.parametrize("most", [small_work.SMALL_SECONDS, 0.0], ids=["here", "in a task"])
def test_a_value_that_is_missing_ends_the_command_and_leaves_no_manifest(students, tmp_path, monkeypatch, most):
    monkeypatch.setattr(small_work, "SMALL_SECONDS", most)
    rows = frame(50)
    rows.loc[31, "height"] = np.nan
    rows.to_csv(tmp_path / "rows.csv", index=False)
    line = r"rows\.csv: column height: row 31 has no value, and no training row lacks one there"
    with pytest.raises(UserError, match=line) as raised:
        apply(str(students / "table"), str(tmp_path / "rows.csv"), str(tmp_path / "answers"), say=str)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "answers" / "manifest.json").exists()
    assert not list((tmp_path / "answers").glob("part-*"))
    rows.fillna(0).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(UserError, match=r"answers about other rows \(rows\.csv has changed\)"):
        apply(str(students / "table"), str(tmp_path / "rows.csv"), str(tmp_path / "answers"), say=str)


def test_input_that_changes_meanwhile_is_noticed(students, tmp_path, monkeypatch):
    write_images(tmp_path / "images")
    stream = module._Command._stream

    def and_then(self, parts, cluster):
        stream(self, parts, cluster)
        time.sleep(0.01)
        (tmp_path / "images" / "001.png").write_bytes(b"another")

    monkeypatch.setattr(module._Command, "_stream", and_then)
    with pytest.raises(UserError, match="has changed while it was answered"):
        apply(str(students / "images"), str(tmp_path / "images"), str(tmp_path / "answers"), say=str)
    assert not (tmp_path / "answers" / "manifest.json").exists()
