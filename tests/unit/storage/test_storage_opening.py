"""Places that cannot be opened, and stores that do not let us in: one line within seconds."""

import time

import pytest
from helpers.object_store import refusing_store

from hydra_ray.errors import UserError
from hydra_ray.storage.folder import Folder


def refusal(call) -> str:
    began = time.monotonic()
    with pytest.raises(UserError) as raised:
        call()
    assert time.monotonic() - began < 40
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("~no-such-user/x", "storage=~no-such-user/x: no home folder is known for ~no-such-user; give the whole path"),
        ("a\0b", r"storage='a\x00b': holds a character that no path can have"),
        ("a\nb", r"storage='a\nb': holds a character that no path can have"),
        ("file:///tmp/a\0b", r"storage='file:///tmp/a\x00b': holds a character that no path can have"),
        ("n" * 300, "with a name of 300; at most 3,500 and 255: choose a shorter one"),
        ("ü" * 200, "with a name of 400; at most 3,500 and 255: choose a shorter one"),
        ("/tmp/" + "b/" * 3000, "a path of 6,004 bytes"),
        ("s3://", "storage=s3://: names no bucket; use s3://bucket/folder"),
        ("s3:///x", "storage=s3:///x: Missing bucket name"),
        ("s3://bucket/x?nonsense=1", "Unexpected query parameter in S3 URI: 'nonsense'"),
        ("gs://", "storage=gs://: names no bucket"),
        ("nosuch://x", "storage=nosuch://x: "),
    ],
)
def test_places_that_cannot_be(place, expected):
    assert expected in refusal(lambda: Folder.open(place))


def test_the_key_is_that_of_the_place():
    assert refusal(lambda: Folder.open("~no-such-user/x", "data.source")).startswith("data.source=~no-such-user/x: ")


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the working directory is gone" in refusal(lambda: Folder.open("runs"))
    assert str(Folder.open(str(tmp_path))) == str(tmp_path)


def test_paths_with_umlauts_and_spaces(tmp_path):
    folder = Folder.open(f"{tmp_path}/größe und Maß")
    folder.write("ä ö.json", b"{}")
    assert folder.files() == {"ä ö.json": 2}
    assert str(folder).endswith("größe und Maß")


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("by_environment", [False, True])
@pytest.mark.parametrize(
    ("how", "reason", "way_out"),
    [
        ("wrong credentials", "ACCESS_DENIED", "check the credentials in the environment"),
        ("no such bucket", "Bucket 'bucket' not found", "make the bucket, or mend its name"),
        pytest.param(
            "no answer",
            "NETWORK_CONNECTION",
            "nothing answers: check the network, the region and the endpoint",
            marks=pytest.mark.slow,
        ),
        ("too busy", "HTTP status 503", "nothing answers: check the network"),
    ],
)
def test_stores_that_do_not_let_us_in(monkeypatch, how, reason, way_out, by_environment):
    with refusing_store(how) as host:
        place = f"s3://bucket/runs?endpoint_override={host}&scheme=http"
        if by_environment:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}")
            place = "s3://bucket/runs"
        folder = Folder.open(place) / "digits"
        for check in (folder.check_place, folder.check_writable):
            text = refusal(lambda check=check: check("storage"))
            assert text.startswith("storage=s3://bucket/runs/digits: ")
            assert reason in text
            assert way_out in text


@pytest.mark.usefixtures("keys")
def test_nobody_is_there():
    folder = Folder.open("s3://bucket/runs?endpoint_override=127.0.0.1:9&scheme=http")
    assert "nothing answers" in refusal(lambda: folder.check_place("storage"))


def test_a_store_of_fsspec_that_never_answers(monkeypatch):
    folder = Folder.open("memory://never/runs")
    monkeypatch.setattr("hydra_ray.storage.opening._SECONDS", 0.2)
    monkeypatch.setattr(type(folder.fs.handler.fs), "ls", lambda *_, **__: time.sleep(5))
    assert "no answer within 0.2 s" in refusal(lambda: folder.check_place("storage"))
