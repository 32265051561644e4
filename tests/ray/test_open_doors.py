"""Nobody but its user gets into a private session: every socket of a run is on loopback, and asks for the token.

What answers without the token is listed in `OPEN_TO_THIS_MACHINE` and, with why, in docs/reliability.md.
"""

import http.client
import os
import subprocess
import sys
import urllib.error
import urllib.request

import grpc
import pytest
from helpers.listeners import accepts, listeners, other_addresses, ports_of_others

pytestmark = [pytest.mark.timeout(500), pytest.mark.usefixtures("ray_session")]

METHODS = [
    "/ray.rpc.NodeInfoGcsService/CheckAlive",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Push",
    "/ray.rpc.ReporterService/HealthCheck",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
]
OPEN_TO_THIS_MACHINE = ("# HELP ",)  # figures for Prometheus


def test_every_socket_of_a_run_is_on_loopback(watched_run):
    _, found = watched_run
    for title in ("gcs_server", "raylet/raylet", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "RayTrainWorker"):
        assert any(title in each.title for each in found), f"nothing seen of {title}"
    assert [each for each in found if not each.is_on_loopback] == []


def test_no_other_address_of_this_machine_gets_a_connection():
    found = [each for each in listeners() if each.port not in ports_of_others()]
    assert len(found) > 6
    closed = {each for each in found if not accepts("127.0.0.1", each.port)}
    assert not closed & listeners()  # a worker with nothing to do may have ended in between
    for address in other_addresses():
        assert [each for each in found if accepts(address, each.port)] == []


def test_every_socket_asks_for_the_token():
    heard = {each: answer_of(each.port) for each in listeners()}
    answers = {f"{each.title[:60]} {each.port}": heard[each] for each in listeners() if each in heard}
    assert {place: answer for place, answer in answers.items() if not is_refusal(answer)} == {}
    assert sum("UNAUTHENTICATED" in answer for answer in answers.values()) >= 5
    assert sum("401" in answer for answer in answers.values()) >= 1


def test_a_client_without_the_token_does_not_get_in():
    from ray._private.worker import _global_node

    program = f"import ray; ray.init(address={_global_node.gcs_address!r}); print('inside')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    client = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert client.returncode != 0
    assert "inside" not in client.stdout
    assert "Failed to connect" in client.stderr


def is_refusal(answer):
    return answer.startswith(("UNAUTHENTICATED", "401", *OPEN_TO_THIS_MACHINE))


def answer_of(port):
    """What somebody without the token hears: by HTTP, else by the first of the gRPC methods that is there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/version", timeout=10) as answer:
            return answer.read(50).decode()
    except urllib.error.HTTPError as error:
        return str(error.code)
    except (OSError, ValueError, http.client.HTTPException):
        return next((found for found in map(call_of(port), METHODS) if found != "UNIMPLEMENTED"), "no method of ours")


def call_of(port):
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def call(method):
        try:
            return f"answered {channel.unary_unary(method)(b'', timeout=10)!r}"
        except grpc.RpcError as error:
            return error.code().name

    return call
