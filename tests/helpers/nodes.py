"""A Ray cluster of several nodes on this machine: processes on loopback, with a token, ended by the test."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

from support import MARK, REPO, TESTS, processes, wait_for

BIN = Path(sys.executable).parent
_STORE = 100 << 20  # bytes of each node's object store


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _node_id(mark: str) -> str:
    """As Ray wants it: 56 hexadecimal digits."""
    return mark.ljust(56, "0")


class Nodes:
    """A head and nodes beside it, each with its own raylet."""

    def __init__(self, head_cpus: int = 0, node_types: dict[str, dict] | None = None) -> None:
        """Start the head.

        Args:
            head_cpus: of the head.
            node_types: kinds of nodes that the cluster may start by itself, as the cluster launcher's
                `available_node_types`; None for a cluster that stays as it is.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # a short path: sockets lie in it
        self._marks: list[str] = []
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self.environment = inherited | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": f"{REPO}:{TESTS}",  # whose modules workers import
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # see hydra_ray/cluster/loopback.py
        }
        port, client, agent = free_ports(3)
        self.address = f"127.0.0.1:{port}"
        words = [BIN / "ray", "start", "--head", "--block", "--disable-usage-stats", "--include-dashboard=false"]
        words += [f"--num-cpus={head_cpus}", f"--object-store-memory={_STORE}", f"--temp-dir={self.folder}"]
        words += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--ray-client-server-port={client}"]
        words += [f"--dashboard-agent-listen-port={agent}"]
        growing = {}
        if node_types is not None:
            (self.folder / "types.json").write_text(json.dumps(self._types(head_cpus, node_types)))
            words.append(f"--autoscaling-config={self.folder / 'types.json'}")
            growing = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        self.head = self._start(words, growing)

    @property
    def for_commands(self) -> dict[str, str]:
        """The environment of a command that works on this cluster."""
        ray = {key: value for key, value in self.environment.items() if key.startswith("RAY_")}
        return {"RAY_ADDRESS": self.address, **ray}

    def add(self, cpus: int = 1, *, hides: Path | None = None) -> str:
        """Start a node, and return its mark for `kill`; one that `hides` a folder sees an empty one in its place."""
        words = [sys.executable, TESTS / "helpers" / "one_node.py", self.address, str(cpus), str(_STORE)]
        if hides is not None:
            mounted = f'mount -t tmpfs none "{hides}" && exec "$@"'
            words = ["unshare", "--mount", "sh", "-c", mounted, "sh", *words]
        return self._start(words)

    def kill(self, mark: str) -> None:
        """SIGKILL to a node and all that runs on it."""
        for process in processes(mark):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def take_back(self, mark: str, seconds: int) -> None:
        """Announce that a node will be gone, as clouds do with spot machines, and end it then."""
        words = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", f"--address={self.address}"]
        words += [f"--node-id={_node_id(mark)}", f"--deadline-remaining-seconds={seconds}"]
        subprocess.run([BIN / "ray", "drain-node", *words], env=self.environment, check=True, capture_output=True)
        time.sleep(seconds)
        self.kill(mark)

    def end(self) -> None:
        """End all of it."""
        for mark in self._marks:
            self.kill(mark)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, words: list[str | Path], more: dict[str, str] | None = None) -> str:
        mark = uuid.uuid4().hex
        self._marks.append(mark)
        log = self.folder / f"{mark}.log"
        with log.open("w") as output:
            started = subprocess.Popen(
                words,
                env=self.environment | {MARK: mark} | (more or {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": _node_id(mark)}),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(lambda: "Ray runtime started" in log.read_text() or started.poll() is not None, 120, "a node")
        assert started.poll() is None, log.read_text()
        return mark

    def _types(self, head_cpus: int, node_types: dict[str, dict]) -> dict:
        head = {"resources": {"CPU": head_cpus}, "node_config": {}, "max_workers": 0}
        commands = ["initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray"]
        unused = {f"{name}_commands": [] for name in commands} | {"cluster_synced_files": []}
        unused |= {key: {} for key in ("file_mounts", "auth", "docker")}
        return {
            **unused,
            "file_mounts_sync_continuously": False,
            "cluster_name": "tests",
            "max_workers": sum(each["max_workers"] for each in node_types.values()),
            "idle_timeout_minutes": 10,
            "upscaling_speed": 100,
            "provider": {
                "type": "fake_multinode",
                "gcs_address": self.address,
                "launch_multiple": True,
                "disable_node_updaters": True,  # they would set a node up over ssh
            },
            "available_node_types": {"ray.head.default": head, **node_types},
            "head_node_type": "ray.head.default",
        }
