"""A cluster that is there already: the command as a Ray job, with the user's own network in the working directory."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.listeners import listeners
from helpers.nodes import BIN, free_ports
from support import MARK, REPO, Command, events, leftovers, processes, wait_for

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


def status_of(address, token=None):
    """What the job server says to somebody with this token; None where nobody answers."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        request = urllib.request.Request(f"{address}/api/jobs/", headers=headers)
        return urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def jobs_of(address, token):
    """What the job server tells of jobs: the page of Ray's dashboard shows it."""
    request = urllib.request.Request(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    return json.load(urllib.request.urlopen(request, timeout=30))


def files_in(*folders):
    return [path for folder in folders for path in Path(folder).resolve().rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def environment():
    """As after `. .venv/bin/activate`: the cluster's `python` is the one that has everything installed."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    own = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(REPO), MARK: uuid.uuid4().hex}
    closed = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}  # see hydra_ray/cluster/loopback.py
    secret = {"RAY_AUTH_TOKEN": secrets.token_hex(32), "WANDB_API_KEY": secrets.token_hex(20)}
    return {**inherited, **own, **closed, **secret}


@pytest.fixture(scope="module")
def cluster(environment):
    """`ray start --head` on ports of its own, on loopback and with a token: the address for jobs, and Ray's folder."""
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
        token = environment["RAY_AUTH_TOKEN"]
        wait_for(lambda: status_of(address, token) == 200, 120, "the cluster's job server")
        yield address, Path(folder)
    finally:
        for process in processes(environment[MARK]):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def test_nobody_else_gets_into_the_cluster(cluster, environment):
    """Every socket of it is on loopback, and its job server asks for the token."""
    titles = ("gcs_server", "raylet/raylet", "dashboard")

    def found():
        return listeners(processes(environment[MARK]))

    address, _ = cluster
    wait_for(
        lambda: all(any(title in each.title for each in found()) for title in titles), 60, "sockets of all daemons"
    )
    assert [each for each in found() if not each.is_on_loopback] == []
    assert [status_of(address), status_of(address, "0" * 64)] == [401, 403]


def test_a_job_trains_members_of_the_users_own_on_the_cluster(cluster, environment, project, tmp_path):
    """Its events name the job, and W&B's key, which is in the cluster's environment, is nowhere."""
    address, rays_folder = cluster
    words = ["job", "submit", "--address", address, "--submission-id", "by-hand", "--working-dir", project, "--"]
    command = ["python", "-m", "pipelines.train_ensemble", "tiny.yaml", f"storage={tmp_path}", "ensemble.epochs=1"]
    job = subprocess.run(
        [BIN / "ray", *words, *command, "tracking.wandb=offline"],
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
    lines = events(tmp_path / "tiny")
    assert {line["job"] for line in lines} == {"by-hand"}
    assert {line["run"] for line in lines} == {line["attempt"] for line in lines}
    key = environment["WANDB_API_KEY"]
    shown = [job.stdout + job.stderr, json.dumps(jobs_of(address, environment["RAY_AUTH_TOKEN"]))]
    shown += [path.read_bytes().decode(errors="replace") for path in files_in(tmp_path, rays_folder / "session_latest")]
    assert "by-hand" in shown[1]
    assert not [text for text in shown if key in text]


def test_a_job_wants_storage_that_outlives_it(project):
    as_a_job = {"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}
    refused = Command(["pipelines.run", "tiny.yaml", "storage=kept"], project, as_a_job).finish(60)
    assert refused.code == 2
    assert refused.err.startswith("error: storage=kept: would lie in the job's copy of the working directory")
    assert not (project / "kept").exists()
