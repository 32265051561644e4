"""`check-teachers`: a row a member, and a line for each thing that is odd; what `write-transfer` refuses."""

import re

import pytest

RECIPE = """
data: {source: digits}
ensemble:
  num_members: 4
  teachers: {kind: callable, function: "odd_teachers:make", outputs: logits}
"""
MODULE = """
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

def make(oddity=""):
    images, labels = load_digits(return_X_y=True)
    models = [LogisticRegression(max_iter=60, C=10.0 ** -n).fit(images[n::4], labels[n::4]) for n in range(4)]

    def logits(number, batch):
        flat = batch.reshape(len(batch), -1) / 16
        found = models[number].decision_function(flat)
        if number == 2 and oddity == "order":
            return np.roll(found, 1, axis=1)
        if number == 2 and oddity == "constant":
            return np.full_like(found, 0.1)
        if number == 2 and oddity == "equal":
            return logits(0, batch)
        return models[number].predict_proba(flat) if number == 2 and oddity == "probabilities" else found

    return [lambda batch, number=number: logits(number, batch) for number in range(4)]
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "odd_teachers", raising=False)
    (tmp_path / "odd_teachers.py").write_text(MODULE)
    (tmp_path / "odd.yaml").write_text(RECIPE)
    return tmp_path / "odd.yaml"


@pytest.mark.parametrize(
    ("oddity", "lines"),
    [
        ("", ["nothing"]),
        (
            "order",
            [
                r"member 2 agrees with \d\.\d% of the labels, less than by chance \(10\.0%\): are its classes in "
                r"another order\? \(class 0 is its 1, 1 is its 2, 2 is its 3, 3 is its 4, 4 is its 5, \.\.\.\)"
            ],
        ),
        ("constant", ["member 2 gives every row the same answer"]),
        ("equal", ["members 0 and 2 say the same"]),
        ("probabilities", [r"member 2 gives logits that add up to 1: are they probabilities .*"]),
    ],
)
def test_each_member_has_a_row_and_what_is_odd_a_line(recipe, call, oddity, lines):
    code, out, errors = call("check-teachers", recipe, f"ensemble.teachers.options={{oddity: '{oddity}'}}")
    assert (code, errors) == (0, "")
    table = [line.split() for line in out.splitlines() if re.match(r"\d+ ", line)]
    assert [row[0] for row in table] == ["0", "1", "2", "3"]
    assert all(float(row[2]) > 0.85 for row in table if row[0] != "2")
    assert all(float(row[4].replace(",", "")) > 0 for row in table)
    found = [line.removeprefix("odd       ") for line in out.splitlines() if line.startswith("odd")]
    assert len(found) == len(lines)
    for line, pattern in zip(found, lines, strict=True):
        assert re.fullmatch(pattern, line)
    ensemble = next(line for line in out.splitlines() if line.startswith("ensemble"))
    assert re.search(r"nll [\d.]+, accuracy 0\.[89]\d+, mutual information [\d.]+, disagreement [\d.]+", ensemble)


def test_members_that_are_trained_here_are_no_teachers(refused):
    assert "ensemble.teachers.kind=trained: the members are trained here" in refused("check-teachers", "digits")


def test_the_plan_says_who_answers_and_trains_nothing(recipe, call, tmp_path):
    code, out, errors = call("plan", recipe, f"storage={tmp_path}/runs", "ensemble.teachers.outputs=logits")
    assert (code, errors) == (0, "")
    assert "teachers        4 members of kind callable: odd_teachers:make" in out
    assert "train_ensemble  off    ensemble.teachers.kind=callable\n" in out


def test_a_folder_that_holds_something_is_not_written_to(refused, recipe, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "holds something already" in refused("write-transfer", recipe, tmp_path / "out")
    line = refused("write-transfer", "digits", tmp_path / "new", "transfer.views=[{view: ods}]")
    assert "a view moves rows by the members' gradients; leave it out" in line
    line = refused("write-transfer", recipe, tmp_path / "new", "predict.shards=x", "ensemble.teachers.kind=trained")
    assert "\n" not in line
