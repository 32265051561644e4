"""Ray's temporary folder, before Ray is started: there, and short enough for sockets."""

import os
import tempfile

import pytest

from hydra_ray.cluster.temporary_folder import check_temporary_folder
from hydra_ray.errors import UserError

LONG = "a" * 60


@pytest.fixture(params=["TMPDIR", "RAY_TMPDIR"])
def refusal(request, monkeypatch):
    """The line for a folder that one of the variables names."""

    def refusal(folder):
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        monkeypatch.setenv(request.param, str(folder))
        with pytest.raises(UserError) as raised:
            check_temporary_folder()
        text = str(raised.value)
        assert text.startswith(f"{request.param}={folder}: ")
        return text

    return refusal


def test_what_is_no_folder_and_cannot_become_one_is_named(refusal, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert f"{tmp_path}/file is no folder; name another" in refusal(tmp_path / "file")
    assert f"{tmp_path}/file is no folder" in refusal(tmp_path / "file/below/it")
    assert f"{tmp_path}/link is no folder" in refusal(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(refusal, tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot be written" in refusal(tmp_path / "new")


def test_a_folder_that_is_too_long_for_sockets_is_named(refusal, tmp_path):
    (tmp_path / LONG).mkdir()
    text = refusal(tmp_path / LONG)
    assert "bytes where 107 are the most; set RAY_TMPDIR to a folder of 39 letters or fewer" in text


def test_a_relative_folder_counts_with_the_folders_above_it(refusal, tmp_path, monkeypatch):
    (tmp_path / LONG / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / LONG)
    assert "107 are the most" in refusal("b")


def test_rays_own_variable_is_the_way_out(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_temporary_folder()


def test_folders_that_ray_can_use_are_let_through(monkeypatch):
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    check_temporary_folder()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        longest = os.path.join(folder, "x" * (38 - len(folder)))  # Ray makes it
        monkeypatch.setenv("TMPDIR", longest)
        check_temporary_folder()
