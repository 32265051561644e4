"""`hydra-ray apply`: what a user can mend is one line and exit code 2, before Ray is started."""

import json

import numpy as np
import pytest
from helpers.rows_to_answer import frame, write_images
from helpers.small_students import image_student, table_student

from hydra_ray.inference import AnswerFolder, key_of, open_row_files
from hydra_ray.inference.answer_files import answered, write_answers
from hydra_ray.storage import Folder

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_session(monkeypatch):
    def started(*_, **__):
        raise AssertionError("work has begun")

    monkeypatch.setattr("hydra_ray.cluster.apply.session", started)
    monkeypatch.setattr("hydra_ray.cluster.apply.stream", started)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """Folder of a student of a table."""
    place = tmp_path_factory.mktemp("student")
    table_student().save_pretrained(place)
    return place


@pytest.fixture
def rows(tmp_path):
    """A CSV file that it can answer."""
    frame(30).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


@pytest.fixture
def finished(student, rows, tmp_path):
    """Answers about it, without Ray."""
    table = table_student()
    files = open_row_files(str(rows), table.inputs, None, ())
    place = AnswerFolder(Folder.open(str(tmp_path / "answers")), key_of(table, files))
    place.begin()
    (part,) = files.parts
    read = files.reader.read(part)
    write_answers(place, part.name, read.own, answered(table, read.inputs, 100), [], None)
    place.end(files)
    return tmp_path / "answers"


def test_finished_answers_are_left_alone(call, student, rows, finished):
    code, out, errors = call("apply", student, rows, finished)
    assert (code, errors) == (0, "")
    assert "nothing is done again" in out
    assert "| rows | not readable | abstained | above drift limit | rows a second |" in out


def test_a_folder_without_a_student(refused, rows, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no student, there is no config.json" in refused(
        "apply", tmp_path / "empty", rows, tmp_path / "answers"
    )
    assert "no such folder" in refused("apply", tmp_path / "nowhere", rows, tmp_path / "answers")
    assert not (tmp_path / "answers").exists()


def test_an_empty_folder_and_an_unknown_column(refused, student, rows, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no Parquet files or CSV files" in refused("apply", student, tmp_path / "empty", tmp_path / "answers")
    said = refused("apply", student, rows, tmp_path / "answers", "--keep", "nota", "--keep", "id")
    assert said.startswith("--keep=nota: ")
    assert "did you mean note?" in said
    assert not (tmp_path / "answers").exists()


def test_a_device_that_is_not_there(refused, student, rows, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    said = refused("apply", student, rows, tmp_path / "answers", "--device", "cuda")
    assert said == "--device=cuda: there is no GPU here; use --device=cpu"


def test_answers_in_the_folder_of_the_input(refused, student, rows):
    assert "lies in the folder of the input" in refused("apply", student, rows.parent, rows.parent / "answers")


def test_a_folder_of_other_files(refused, student, rows, tmp_path):
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "letter.txt").write_text("dear")
    assert "holds files that are not answers" in refused("apply", student, rows, tmp_path / "answers")
    assert [path.name for path in (tmp_path / "answers").iterdir()] == ["letter.txt"]


def of_another_student(folder, student, rows):
    image = table_student()
    changed = type(image)(image.network, {**image.about, "calibration": 2.0}, image.thresholds)
    changed.save_pretrained(folder / "another")
    return folder / "another", rows, []


def of_other_content(folder, student, rows):
    frame(30).assign(age=np.arange(30.0)).to_csv(rows, index=False)
    return student, rows, []


def of_another_file(folder, student, rows):
    frame(30).to_csv(folder / "others.csv", index=False)
    return student, folder / "others.csv", []


OTHERS = {
    "another student": (of_another_student, "holds another student's answers; give another folder"),
    "other content": (of_other_content, "holds answers about other rows (rows.csv has changed)"),
    "another file": (of_another_file, "holds answers about other rows (rows.csv is not there; others.csv is new)"),
    "other columns": (
        lambda folder, student, rows: (student, rows, ["--keep", "id"]),
        "holds answers beside other columns (weight, age, height, note, id); give the same --keep",
    ),
}


@pytest.mark.parametrize("state", ["finished", "unfinished"])
@pytest.mark.parametrize("case", OTHERS)
def test_a_folder_of_other_answers(refused, student, rows, finished, tmp_path, case, state):
    if state == "unfinished":
        (finished / "manifest.json").rename(finished / "unfinished.json")
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    make, said = OTHERS[case]
    place, inputs, words = make(tmp_path, student, rows)
    assert said in refused("apply", place, inputs, finished, *words)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_damaged_answers(refused, student, rows, finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    (finished / "manifest.json").write_text(json.dumps({**manifest, "totals": {}}))
    assert "its checksum differs" in refused("apply", student, rows, finished)
    (finished / "manifest.json").write_text(json.dumps(manifest))
    next(finished.glob("part-*")).unlink()
    assert "is gone; delete" in refused("apply", student, rows, finished)


def test_a_copy_of_the_student_is_the_same_student(call, student, rows, finished, tmp_path):
    table_student().save_pretrained(tmp_path / "copy")
    assert call("apply", tmp_path / "copy", rows, finished)[0] == 0


def test_images_for_a_student_of_tables(refused, student, tmp_path):
    image_student()
    write_images(tmp_path / "images")
    said = refused("apply", student, tmp_path / "images", tmp_path / "answers")
    assert "the student takes rows of a table with the columns age, height, weight" in said
