"""`hydra-ray serve`: what a user can mend is one line before Ray starts."""

import socket

import pytest
from helpers.untrained import untrained


@pytest.fixture
def student(tmp_path):
    """A student's folder."""
    untrained("classification", shape=(5,)).save_pretrained(tmp_path / "student")
    return tmp_path / "student"


@pytest.fixture(autouse=True)
def no_session(monkeypatch):
    """Starting Ray fails the test."""
    monkeypatch.setattr("hydra_ray.cluster.serve.session", None)


def refused(call, *words) -> str:
    code, printed, errors = call("serve", *words)
    assert (code, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    return errors


def test_a_folder_without_a_student(call, tmp_path):
    assert "holds no student" in refused(call, tmp_path)
    assert "no such folder" in refused(call, tmp_path / "nowhere")


def test_a_port_that_somebody_listens_on(call, student):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused(call, student, "--port", port)
    assert f"--port {port}: cannot listen on 127.0.0.1" in said
    assert "choose another" in said


@pytest.mark.parametrize("port", [70_000, 1 << 40])
def test_a_port_that_there_is_not(call, student, port):
    assert f"--port {port}: must be from 0 to 65535" in refused(call, student, "--port", port)


def test_an_address_that_is_not_this_machines(call, student):
    assert "cannot listen on 192.0.2.1" in refused(call, student, "--host", "192.0.2.1")


@pytest.mark.parametrize("number", [0, -1, 1000])
def test_replicas_for_which_there_is_no_room(call, student, number):
    assert f"--replicas {number}" in refused(call, student, "--replicas", number)


def test_without_its_packages(call, student, monkeypatch):
    monkeypatch.setattr("hydra_ray.cluster.serve.find_spec", lambda name: None)
    assert "pip install 'hydra-ray[serve]'" in refused(call, student)
