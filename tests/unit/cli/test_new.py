"""`hydra-ray new`: the recipe suits the data that are there, and `plan` accepts it."""

import numpy as np
import pytest
from helpers.dataset_files import encoded, write, write_hub

from hydra_ray.config import load_config

ROWS = np.arange(120)
TABLE = {"size": ROWS / 10, "weight": np.sin(ROWS), "price": ROWS**1.5}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory with a table of numbers, one with classes, and two folders of images."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "houses.parquet", TABLE)
    write(tmp_path / "kinds.parquet", {**TABLE, "kind": np.array(["cat", "dog", "eel"])[ROWS % 3].tolist()})
    jobs = np.array(["nurse", "pilot", "baker"])[ROWS // 2 % 3].tolist()
    write(tmp_path / "people.parquet", {"job": jobs, "age": ROWS % 50, "label": ROWS % 2})
    write_hub(tmp_path / "pictures", num_rows=60, shape=(12, 12))
    write_hub(tmp_path / "photos", num_rows=60, shape=(40, 40, 3))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected", "seen"),
    [
        (["houses.parquet", "data.target=price"], ("mlp", "gaussian_noise"), "regression; "),
        (["kinds.parquet"], ("mlp", "gaussian_noise"), "classification, 3 classes; "),
        (["people.parquet"], ("mlp", "swap"), "classification, 2 classes; "),
        (["pictures"], ("mlp", "affine"), "classification, 3 classes; "),
        (["photos"], ("cnn", "affine"), "training rows of 40 x 40 x 3 pixels"),
        (["digits"], ("mlp", "affine"), "classification, 10 classes; "),
    ],
)
def test_the_recipe_suits_the_data_and_plans(words, expected, seen, call, place):
    code, out, errors = call("new", "mine", "--data", *words)
    assert (code, errors) == (0, "")
    assert "hydra-ray plan mine.yaml" in out
    config = load_config("mine.yaml")
    assert (config.ensemble.architecture, config.transfer.views[1].view) == expected
    text = (place / "mine.yaml").read_text()
    assert seen in text.splitlines()[0]
    assert max(map(len, text.splitlines())) <= 120
    assert call("plan", "mine.yaml", "cluster.num_workers=1")[0] == 0


def test_a_folder_of_photographs_gets_a_size_and_the_way_to_trained_bodies(call, place):
    rng = np.random.default_rng(0)
    for row in range(40):
        image = rng.integers(0, 256, (*rng.integers(140, 200, 2), 3), dtype=np.uint8)
        (place / "pets" / "cd"[row % 2]).mkdir(parents=True, exist_ok=True)
        (place / "pets" / "cd"[row % 2] / f"{row}.jpg").write_bytes(encoded(image, "JPEG"))
    code, out, errors = call("new", "mine", "--data", "pets")
    assert (code, errors) == (0, "")
    assert "assumed         data.image_size=128, as " in out
    assert load_config("mine.yaml").data.image_size == 128
    text = (place / "mine.yaml").read_text()
    (place / "mine.yaml").write_text(
        text.replace("  # weights", "  weights").replace("  # train: head", "  train: head")
    )
    config = load_config("mine.yaml")
    assert (config.ensemble.weights, config.ensemble.train) == ("ResNet18_Weights.DEFAULT", "head")


def test_what_a_messy_table_leaves_open_is_assumed_and_said(call, place):
    """Several columns that could be the label, names, and numbers with a word in them: no round of errors."""
    rng = np.random.default_rng(0)
    lines = ["person, town, age, weight, income"]
    for row in range(120):
        weight = "about 80" if row == 3 else str(60 + row)
        town = ["Ulm", "Bonn", "?"][rng.integers(3)]
        lines.append(f"name {row}, {town}, {rng.integers(20, 70)}, {weight}, {['<=50K', '>50K'][row % 2]}")
    (place / "people.csv").write_text("\n".join(lines) + "\n")
    code, out, errors = call("new", "mine", "--data", "people.csv")
    assert (code, errors) == (0, "")
    assert 'assumed         data.label="income", as data.source=people.csv: town or age or income could be' in out
    text = (place / "mine.yaml").read_text()
    assert '  label: "income"   # assumed: the file leaves it open\n' in text
    assert '  ignore: ["person"]   # assumed' in text
    data = load_config("mine.yaml").data
    assert (data.label, data.ignore, data.columns) == ("income", ["person"], {"weight": "number"})
    assert call("plan", "mine.yaml", "cluster.num_workers=1")[0] == 0


@pytest.mark.parametrize("line", ["  # unknown:", "  #   outside:"])
def test_unknown_sets_are_a_comment_that_can_be_used(line, call, place):
    assert call("new", "mine", "--data", "kinds.parquet")[0] == 0
    text = (place / "mine.yaml").read_text()
    assert line in text
    used = text.replace("  # unknown:", "  unknown:").replace("  #   outside:", "    outside:")
    (place / "mine.yaml").write_text(used)
    code, out, errors = call("plan", "mine.yaml", "cluster.num_workers=1")
    assert (code, errors) == (0, "")
    assert "unknown-outside" in out


def test_what_is_there_is_not_written_over(refused, place):
    (place / "mine.yaml").write_text("mine")
    assert refused("new", "mine", "--data", "kinds.parquet").startswith("mine.yaml: is there already")
    assert (place / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a/b", "--data", "kinds.parquet"], "becomes a folder's name"),
        (["mine", "--data", "nowhere.csv"], "data.source=nowhere.csv: no such file"),
        (["mine", "--data", "kinds.parquet", "seed=1"], "only keys of data are settled here"),
        (["mine", "--data", "kinds.parquet", "data.sauce=1"], "data.sauce"),
    ],
)
def test_what_gives_no_recipe_is_one_line(refused, words, expected, place):
    assert expected in refused("new", *words)
    assert not list(place.glob("*.yaml"))
