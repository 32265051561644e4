"""Predictions that exist already: found by position or id, in every form of file, masked where they are missing."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from hydra_ray.config import load_config
from hydra_ray.data import Rows
from hydra_ray.errors import UserError
from hydra_ray.runs import Run, check_networks, check_settings

N, M, C = 90, 4, 3
RECIPE = """
data: {source: table.csv, label: species, ignore: [number]}
ensemble: {num_members: 4, teachers: {kind: arrays, outputs: logits, arrays: {train: all.npy}}}
"""


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(N, M, C)).astype(np.float32)


@pytest.fixture
def run(tmp_path, monkeypatch, logits):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    table = {"number": rng.permutation(N) + 1000, "a": rng.normal(size=N), "b": rng.normal(size=N)}
    pa.csv.write_csv(pa.table({**table, "species": ["x", "y", "z"] * (N // 3)}), "table.csv")
    np.save("all.npy", logits)
    (tmp_path / "arrays.yaml").write_text(RECIPE)

    def run_of(*words: str) -> Run:
        return Run(load_config("arrays.yaml", [f"storage={tmp_path}/runs", *words]))

    return run_of


def looked_up(run: Run, split: str = "transfer", rows_of: str = "train", view: int = 0):
    row_id = run.data.splits[rows_of].row_ids()
    return row_id, run.teachers.answer(split, rows_of, Rows(row_id, np.empty(0), None), view)


def check_all(run: Run) -> None:
    check_settings(run)
    check_networks(run)
    looked_up(run)


def test_rows_are_found_by_their_positions_whichever_split_they_were_cut_for(run, logits):
    for split, rows_of in (("transfer", "train"), ("validation", "validation"), ("test", "test")):
        row_id, found = looked_up(run(), split, rows_of)
        assert np.array_equal(found.outputs_NMC, logits[row_id])
        assert found.mask_NM is None


def write_npz(logits):
    np.savez("made.npz", *logits.transpose(1, 0, 2))
    return "made.npz"


def write_tensor(logits):
    pq.write_table(pa.table({"logits": pa.FixedShapeTensorArray.from_numpy_ndarray(logits)}), "made.parquet")
    return "made.parquet"


def write_lists(logits):
    pq.write_table(pa.table({"logits": logits.tolist()}), "made.parquet")
    return "made.parquet"


def write_columns(logits):
    flat = logits.reshape(N, -1)
    pa.csv.write_csv(pa.table({f"m{place // C}_c{place % C}": flat[:, place] for place in range(M * C)}), "made.csv")
    return "made.csv"


def write_one_a_member(logits):
    names = []
    for member in range(M):
        names.append(f"member-{member}.csv")
        columns = {f"class {number}": logits[:, member, number] for number in range(C)}
        pa.csv.write_csv(pa.table(columns), names[-1])
    return names


@pytest.mark.parametrize("write", [write_npz, write_tensor, write_lists, write_columns, write_one_a_member])
def test_every_form_of_file_holds_the_same(run, logits, write):
    files = write(logits)
    row_id, found = looked_up(run(f"ensemble.teachers.arrays={{train: {files}}}"))
    assert found.outputs_NMC == pytest.approx(logits[row_id], rel=1e-6)


def test_rows_are_found_by_an_id_in_whatever_order(run, logits, tmp_path):
    numbers = pa.csv.read_csv("table.csv").column("number").to_numpy()
    order = np.random.default_rng(2).permutation(N)
    pq.write_table(pa.table({"number": numbers[order], "logits": logits[order].tolist()}), "made.parquet")
    words = ["ensemble.teachers.arrays={train: made.parquet}", "ensemble.teachers.id=number"]
    row_id, found = looked_up(run(*words))
    assert np.array_equal(found.outputs_NMC, logits[row_id])
    pq.write_table(pa.table({"number": numbers[order[1:]], "logits": logits[order[1:]].tolist()}), "short.parquet")
    where = next(name for name, split in run().data.splits.items() if order[0] in split.row_ids())
    split = "transfer" if where == "train" else where
    with pytest.raises(UserError, match=f"has no row whose number is {numbers[order[0]]}; add it"):
        looked_up(run("ensemble.teachers.arrays={train: short.parquet}", words[1]), split, where)


def test_views_are_found_by_row_id_and_view(run, logits):
    keys = [(row, view) for view in (0, 1) for row in range(N)]
    table = pa.table(
        {
            "row_id": [row for row, _ in keys],
            "view": pa.array([view for _, view in keys], pa.int32()),
            "a": np.zeros(2 * N),  # a column of the table itself, as write-transfer leaves it there
            "probabilities": np.concatenate([softmax(logits), softmax(logits[::-1])]).tolist(),
        }
    ).take(np.random.default_rng(3).permutation(2 * N))
    Path("answers").mkdir()
    pq.write_table(table.slice(0, 50), "answers/part-0.parquet")
    pq.write_table(table.slice(50), "answers/part-1.parquet")
    words = ["ensemble.teachers.arrays={train: all.npy, transfer: answers}", "ensemble.teachers.outputs=probabilities"]
    row_id, found = looked_up(run(*words), view=1)
    assert softmax(found.outputs_NMC) == pytest.approx(softmax(logits[::-1][row_id]), abs=3e-4)


def softmax(logits):
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def test_missing_answers_become_the_mask(run, logits):
    logits[5, 1] = np.nan
    logits[:, 3] = np.nan
    np.save("all.npy", logits)
    teachers = run().teachers
    found = teachers.answer("transfer", "train", Rows(np.array([4, 5]), np.empty(0), None), 0)
    assert found.mask_NM.tolist() == [[True, True, True, False], [True, False, True, False]]
    assert np.isfinite(found.outputs_NMC).all()
    logits[6, 0, 1] = np.nan
    np.save("all.npy", logits)
    with pytest.raises(UserError, match="member 0 answers row 6 with a number that is not finite"):
        run("storage=other").teachers.answer("transfer", "train", Rows(np.array([6]), np.empty(0), None), 0)


def test_a_row_that_is_measured_has_an_answer(run, logits):
    first = int(run().data.splits["test"].row_ids()[0])
    logits[first] = np.nan
    np.save("all.npy", logits)
    with pytest.raises(UserError, match=f"no member has an answer for test row {first}"):
        looked_up(run("storage=other"), "test", "test")


def test_rows_are_learnt_from_members_that_left_them_out(run, logits):
    folds = np.arange(N) % 2
    np.save("folds.npy", folds)
    row_id, found = looked_up(run("ensemble.teachers.folds=folds.npy"))
    expected = np.where(folds[row_id][:, None] == 0, [True, False, True, False], [False, True, False, True])
    assert np.array_equal(found.mask_NM, expected)
    np.save("all.npy", logits[:, 0])  # predicted out of fold alone
    row_id, found = looked_up(run("ensemble.teachers.folds=folds.npy", "storage=other"))
    assert np.array_equal(found.outputs_NMC[found.mask_NM].reshape(len(row_id), 2, C)[:, 1], logits[row_id, 0])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ensemble.teachers.arrays={train: none.npy}"], "none.npy: no such file"),
        (["ensemble.teachers.arrays={train: short.npy}"], "has 80 rows, but table.csv has 90"),
        (["ensemble.teachers.arrays={train: [short.npy, all.npy]}"], "all.npy has 90 rows, short.npy has 80"),
        (["ensemble.teachers.arrays={train: [one.npy, one.npy]}"], "2 files, but ensemble.num_members=4: set"),
        (["ensemble.teachers.arrays={train: five.npy}"], "are of 5 members, but ensemble.num_members=4: set"),
        (["ensemble.teachers.arrays={train: flat.npy}"], r"flat.npy holds \[90\] numbers; give \[rows, members"),
        (["ensemble.teachers.arrays={train: broken.npy}"], "broken.npy: cannot be read"),
        (["ensemble.teachers.arrays={train: pickled.npy}"], "pickled.npy: cannot be read"),
        (["ensemble.teachers.arrays={test: all.npy}"], "arrays.train is missing, which holds the predictions for"),
        (["ensemble.teachers.folds=one.npy"], r"holds \[90, 3\] numbers, but there are 90 training rows"),
        (["ensemble.teachers.folds=flat.npy"], "row 4 has the fold 4; folds are whole numbers from 0, fewer than"),
        (["ensemble.teachers.id=nothing"], "ensemble.teachers.id=nothing: all.npy has no such column"),
        (["transfer.views=[{view: gaussian_noise}]"], "has predictions for untouched rows alone; leave transfer.views"),
        (
            ["ensemble.teachers.outputs=probabilities"],
            "for row 0 are negative; if these are logits, say outputs: logits",
        ),
        (
            ["ensemble.teachers.arrays={train: all.npy, transfer: views.parquet}"],
            "has no row of row_id .*, view 0; add it",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(run, logits, words, line):
    np.save("short.npy", logits[:80])
    np.save("one.npy", logits[:, 0])
    np.save("five.npy", np.concatenate([logits, logits[:, :1]], axis=1))
    np.save("flat.npy", np.arange(N))
    np.save("pickled.npy", np.array([None] * N), allow_pickle=True)
    pq.write_table(pa.table({"row_id": [0, 1], "view": [0, 0], "logits": logits[:2].tolist()}), "views.parquet")
    Path("broken.npy").write_bytes(b"\x93NUMPY nothing")
    with pytest.raises(UserError, match=line) as refused:
        check_all(run(*words))
    assert "\n" not in str(refused.value)


def test_ids_that_stand_there_twice_are_refused(run, logits):
    pq.write_table(pa.table({"number": [7] * N, "logits": logits.tolist()}), "made.parquet")
    with pytest.raises(UserError, match="89 rows have an id that stands there before"):
        looked_up(run("ensemble.teachers.arrays={train: made.parquet}", "ensemble.teachers.id=number"))
