"""RAY_ADDRESS of a cluster that is dead, of something else, or malformed: one line in seconds."""

import socket
import time

import pytest
from helpers.object_store import refusing_store

from hydra_ray.cluster import address as module
from hydra_ray.cluster.address import check_address, refused
from hydra_ray.cluster.session import is_private
from hydra_ray.errors import UserError


def refusal(address) -> str:
    began = time.monotonic()
    with pytest.raises(UserError) as raised:
        check_address(address)
    assert time.monotonic() - began < 60
    text = str(raised.value)
    assert "\n" not in text
    assert text.startswith(f"RAY_ADDRESS={address}: ")
    assert "unset RAY_ADDRESS" in text
    return text


MALFORMED = ["nonsense", "host", "host:0", "host:99999", "host:port", "1.2.3.4:", ":6379", "redis://h:1", "h:1/x"]


@pytest.mark.parametrize("address", MALFORMED)
def test_what_is_no_address(address):
    assert "is no host:port" in refusal(address)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "https://cluster"])
def test_the_address_of_jobs(address):
    assert "ray job submit" in refusal(address)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "[::1]:9", "no-such-host.invalid:6379"])
def test_nobody_there(address):
    assert "nobody answers there (" in refusal(address)


def test_something_else_answers():
    with refusing_store("wrong credentials") as host:
        assert "what answers there is no Ray" in refusal(host)


def test_something_that_says_nothing(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "what answers there is no Ray" in refusal(f"127.0.0.1:{server.getsockname()[1]}")


def test_a_cluster_that_does_not_let_us_in():
    text = str(refused("h:1", ConnectionError("Failed\nto connect")))
    assert text.startswith("RAY_ADDRESS=h:1: the cluster does not let this command in (Failed to connect)")


SESSIONS = [(None, True), ("", True), ("local", True), ("auto", False), ("h:1", False)]


@pytest.mark.parametrize(("value", "private"), SESSIONS)
def test_which_sessions_are_private(monkeypatch, value, private):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if value is not None:
        monkeypatch.setenv("RAY_ADDRESS", value)
    assert is_private() == private
