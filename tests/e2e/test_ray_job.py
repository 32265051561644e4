"""A cluster that is there already: the command as a Ray job, with the user's own network in the working directory."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from support import MARK, REPO, Command, events, leftovers, processes, wait_for

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]
BIN = Path(sys.executable).parent


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def answers(address):
    with suppress(OSError):
        return urllib.request.urlopen(f"{address}/api/version", timeout=1).status == 200
    return False


@pytest.fixture(scope="module")
def environment():
    """As after `. .venv/bin/activate`: the cluster's `python` is the one that has everything installed."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    own = {"PATH": f"{BIN}:{os.environ['PATH']}", "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(REPO)}
    return {**inherited, **own, MARK: uuid.uuid4().hex}


@pytest.fixture(scope="module")
def cluster(environment):
    """`ray start --head` on ports of its own: the address for jobs."""
    port, dashboard, client, agent = free_ports(4)
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a short path: sockets lie in it
    ports = [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    words = ["start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
    subprocess.Popen(
        [BIN / "ray", *words, *ports, f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        wait_for(lambda: answers(address), 120, "the cluster's job server")
        yield address
    finally:
        for process in processes(environment[MARK]):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_job_trains_members_of_the_users_own_on_the_cluster(cluster, environment, project, tmp_path):
    words = ["job", "submit", "--address", cluster, "--working-dir", project, "--"]
    command = ["python", "-m", "pipelines.train_ensemble", "tiny.yaml", f"storage={tmp_path}", "ensemble.epochs=1"]
    job = subprocess.run(
        [BIN / "ray", *words, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert job.returncode == 0, job.stdout + job.stderr
    assert "[4/4] member" in job.stdout
    assert sorted(each["member"] for each in events(tmp_path / "tiny", event="member")) == [0, 1, 2, 3]
    assert leftovers(tmp_path / "tiny") == []


def test_a_job_wants_storage_that_outlives_it(project):
    as_a_job = {"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}
    refused = Command(["pipelines.run", "tiny.yaml", "storage=kept"], project, as_a_job).finish(60)
    assert refused.code == 2
    assert refused.err.startswith("error: storage=kept: would lie in the job's copy of the working directory")
    assert not (project / "kept").exists()
