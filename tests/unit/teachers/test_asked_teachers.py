"""Teachers that are asked: a user's function is loaded and called, and whatever it does wrong is one line."""

import pickle

import numpy as np
import pytest

from hydra_ray.config import load_config
from hydra_ray.errors import UserError
from hydra_ray.runs import Run, check_networks, check_settings
from hydra_ray.teachers import AskedTeachers, teacher_digests

RECIPE = """
data: {source: digits}
ensemble:
  num_members: 3
  teachers: {kind: callable, function: "teachers_of_a_test:make", outputs: logits, batch_size: 100}
"""
MODULE = """
import numpy as np

def make(shift=0.0, fault=""):
    def ask(images):
        if fault == "raises":
            raise RuntimeError("out of memory")
        means = images.reshape(len(images), -1).mean(axis=1)
        logits = np.arange(30).reshape(3, 10) * 0.1 + means[:, None, None] + shift
        if fault == "rows":
            return logits[1:]
        return logits[:, :2] if fault == "members" else logits
    return "nothing" if fault == "nothing" else ask

def of_each():
    return [lambda images, number=number: np.full((len(images), 10), number) for number in range(3)]
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "teachers_of_a_test", raising=False)
    (tmp_path / "teachers_of_a_test.py").write_text(MODULE)
    (tmp_path / "own.yaml").write_text(RECIPE)

    def run_of(*words: str) -> Run:
        return Run(load_config(tmp_path / "own.yaml", [f"storage={tmp_path}/runs", *words]))

    return run_of


def test_every_row_is_answered_in_batches_as_it_is_stored(run):
    teachers = run().teachers
    rows = run().data.splits["train"].read(0, 300)
    found = teachers.ask(rows.inputs, rows.row_id)
    means = rows.inputs.reshape(len(rows), -1).mean(axis=1)
    assert found.shape == (len(rows), 3, 10)
    assert found[:, 2, 9] == pytest.approx(means + 2.9, rel=1e-6)


def test_a_list_is_one_function_a_member(run):
    teachers = run("ensemble.teachers.function=teachers_of_a_test:of_each").teachers
    rows = run().data.splits["test"].read(0, 20)
    assert np.array_equal(teachers.ask(rows.inputs, rows.row_id)[0, :, 0], [0, 1, 2])
    assert len(teachers.seconds_of_each(rows.inputs)) == 3


def test_they_travel_without_what_is_loaded(run):
    teachers = run().teachers
    rows = run().data.splits["test"].read(0, 20)
    before = teachers.ask(rows.inputs, rows.row_id)  # which loads a function that cannot be pickled
    sent = pickle.loads(pickle.dumps(teachers))
    assert isinstance(sent, AskedTeachers)
    assert np.array_equal(sent.ask(rows.inputs, rows.row_id), before)


def test_digests_follow_options_and_the_text_of_the_module_and_no_path(run, tmp_path):
    first = teacher_digests(run().config)
    assert len(set(first)) == 3
    assert teacher_digests(run("ensemble.teachers.batch_size=7").config) == first
    assert teacher_digests(run("ensemble.teachers.options={shift: 1.0}").config) != first
    assert teacher_digests(run("ensemble.teachers.weights=[1,2,3]").config) != first
    (tmp_path / "teachers_of_a_test.py").write_text(f"{MODULE}\n# another")
    assert teacher_digests(run().config) != first


def test_files_that_it_reads_are_part_of_what_it_is(run, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    words = [f"ensemble.teachers.files=['{folder}']"]
    first = teacher_digests(run(*words).config)
    (folder / "a.txt").write_text("two!")
    assert teacher_digests(run(*words).config) != first
    folder.rename(tmp_path / "moved")
    (tmp_path / "moved" / "a.txt").write_text("one")
    assert teacher_digests(run(f"ensemble.teachers.files=['{tmp_path}/moved']").config) == first


def check_all(run: Run) -> None:
    check_settings(run)
    check_networks(run)
    run.shards("test").status()


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("function=nowhere:make", "ensemble.teachers.function=nowhere:make: cannot be imported"),
        ("options={shift: 0.0, more: 1}", "fails when it is called with options .*TypeError"),
        ("options={fault: nothing}", "returns a str; return a function of a batch, or a list of one a member"),
        ("options={fault: raises}", r"ensemble.teachers: rows \d+ to \d+: the teachers fail .*out of memory"),
        ("options={fault: rows}", r"ensemble.teachers: rows \d+ to \d+: answers have shape \[1, 3, 10\] for 2 rows"),
        ("options={fault: members}", "are of 2 members, but ensemble.num_members=3: set ensemble.num_members=2"),
        ("outputs=probabilities", "add up to .*; if these are logits, say outputs: logits"),
        ("outputs=mean", "ensemble.teachers.outputs=mean: data.source=digits is a classification; use logits or"),
        ("files=[nowhere.txt]", "nowhere.txt: no such file"),
    ],
)
def test_what_is_wrong_with_them_is_one_line_before_anything_starts(run, word, line):
    with pytest.raises(UserError, match=line) as refused:
        check_all(run(f"ensemble.teachers.{word}"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ensemble.teachers.weights=[1,2]"], "has 2 weights, but ensemble.num_members=3: give one a member"),
        (["ensemble.teachers.weights=[0,0,0]"], "weights are all 0"),
        (["ensemble.teachers.weights=[1,-1,1]"], "weights.1=-1"),
        (["ensemble.folds=3"], "ensemble.folds=3: no member is trained here"),
        (["ensemble.teachers.id=name"], "kind=callable has no id; its keys are"),
        (["predict.shards=somewhere"], "predict.shards=somewhere beside ensemble.teachers.kind=callable"),
        (["ensemble.teachers.kind=sklearn"], "kind=sklearn has no function"),
        (["ensemble.teachers.kind=sklern"], "must be 'trained'"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(run, words, line):
    with pytest.raises(UserError, match=line):
        run(*words)


def test_views_that_need_networks_are_refused(run):
    with pytest.raises(UserError, match=r"transfer.views.0.view=ods: needs members that are trained here"):
        check_settings(run("transfer.views=[{view: ods}]"))
