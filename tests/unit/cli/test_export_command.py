"""`hydra-ray export`: its files and its table, and one line for what a user can mend."""

import sys

import pytest
from helpers.small_students import table_student
from helpers.untrained import untrained

pytestmark = pytest.mark.slow

EXTRA = "needs the extra: pip install 'hydra-ray[export]'"


@pytest.fixture
def student(tmp_path):
    """A student's folder."""
    untrained("classification", shape=(5,)).save_pretrained(tmp_path / "student")
    return tmp_path / "student"


def test_a_table_says_what_each_file_is_worth(call, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=EXTRA)
    table_student().save_pretrained(tmp_path / "student")
    words = (tmp_path / "student", tmp_path / "exported", "--format", "onnx", "--format", "torch", "--int8")
    code, printed, errors = call("export", *words)
    assert (code, errors) == (0, "")
    for text in ("student, in PyTorch", "onnx/model.onnx", "onnx/model.int8.onnx", "torch/model.pt2", "random rows"):
        assert text in printed
    assert {path.name for path in (tmp_path / "exported").iterdir()} == {
        "config.json", "thresholds.json", "README.md", "config.pbtxt", "onnx", "torch"
    }  # fmt: skip


def test_the_program_alone_needs_no_extra(call, student, tmp_path, monkeypatch):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    code, printed, errors = call("export", student, tmp_path / "exported", "--format", "torch")
    assert (code, errors) == (0, "")
    assert "torch/model.pt2" in printed
    assert not (tmp_path / "exported" / "onnx").exists()


def test_the_missing_extra_is_named_with_its_command(refused, student, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    said = refused("export", student, tmp_path / "exported")
    assert said.startswith("--format onnx: needs onnxscript, not installed here: pip install 'hydra-ray[export]'")
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "tensorrt"], "--format tensorrt: not known; there are onnx and torch"),
        (["--format", "torch", "--int8"], "--int8: is a file beside the ONNX one; give --format onnx too"),
    ],
)
def test_formats_that_do_not_fit_are_refused(refused, student, tmp_path, words, said):
    assert refused("export", student, tmp_path / "exported", *words) == said
    assert not (tmp_path / "exported").exists()


def test_a_place_without_a_student_is_refused(refused, tmp_path):
    words = (tmp_path / "exported", "--format", "torch")
    assert "no such folder" in refused("export", tmp_path / "nowhere", *words)
    (tmp_path / "empty").mkdir()
    assert "holds no student" in refused("export", tmp_path / "empty", *words)
    assert not (tmp_path / "exported").exists()


def test_a_folder_that_holds_something_else_is_left_alone(refused, student, tmp_path):
    before = {path.name: path.read_bytes() for path in student.iterdir()}
    said = refused("export", student, student, "--format", "torch")
    assert said.startswith(f"{student}: holds something else (")
    assert {path.name: path.read_bytes() for path in student.iterdir()} == before
    (tmp_path / "file").write_text("")
    assert "is a file" in refused("export", student, tmp_path / "file", "--format", "torch")
