"""serve: a student behind HTTP on Ray Serve, one replica a GPU, or a CPU, until the command is stopped."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hydra_ray.cluster.pipeline import check_own_session
from hydra_ray.cluster.session import available, is_private, session
from hydra_ray.config import ClusterConfig
from hydra_ray.errors import UserError
from hydra_ray.inference import load_student

if TYPE_CHECKING:
    from hydra_ray.cluster.serve_app import Replica

LOOPBACK = "127.0.0.1"
_LOOK_EVERY = 0.2  # seconds


def serve_student(
    place: str,
    *,
    host: str = LOOPBACK,
    port: int = 8000,
    replicas: int | None = None,
) -> None:
    """Serve until a signal comes.

    Args:
        place: of the student's folder, or its name on the Hub.
        host: address to listen on; others than loopback let everybody in who reaches this machine.
        port: to listen on.
        replicas: processes with the student; None for one a GPU, or a CPU where there is none.

    Raises:
        UserError: there is no student, the port is taken, there are too few CPUs or GPUs, or Ray Serve is not
            installed.
    """
    _require_serve()
    student = load_student(place)
    _check_port(host, port)
    with serving(place, host=host, port=port, replicas=replicas) as url:
        print(f"serving {place} ({student.about['kind']}, {student.about['task']}) at {url}")
        print(f"  curl -X POST {url}/predict -H 'content-type: application/json' -d '{{\"rows\": [...]}}'")
        print(f"  the page: {url}/   what it takes: {url}/metadata   stop: Ctrl-C", flush=True)
        while True:
            time.sleep(_LOOK_EVERY)


@contextmanager
def serving(
    place: str,
    *,
    host: str = LOOPBACK,
    port: int = 8000,
    replicas: int | None = None,
    replica: type[Replica] | None = None,
) -> Iterator[str]:
    """A Ray session in which the student answers at the URL that is yielded; `replica` may be a class of one's own."""
    cluster = ClusterConfig()
    if is_private():
        check_own_session(cluster)
        _replicas(replicas, *available(cluster))
    with session(cluster):
        from ray import serve
        from ray.serve.config import HTTPOptions, ProxyLocation

        from hydra_ray.cluster.serve_app import Replica

        answering: Any = replica or Replica
        cpus, gpus = available(cluster)
        number = _replicas(replicas, cpus, gpus)
        options = {"num_cpus": 0 if gpus else 1, "num_gpus": 1 if gpus else 0}
        deployment: Any = serve.deployment(
            answering, name="student", num_replicas=number, ray_actor_options=options, max_ongoing_requests=512
        )
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location=ProxyLocation.HeadOnly, http_options=HTTPOptions(host=host, port=port))
        try:
            serve.run(deployment.bind(place, ClusterConfig(use_gpu=gpus > 0)), name="student", route_prefix="/")
            yield f"http://{host}:{port}"
        finally:
            with suppress(Exception):  # Ray may have gone already; what ended the command is what counts
                serve.shutdown()


def _replicas(asked: int | None, cpus: float, gpus: float) -> int:
    """How many to start.

    Raises:
        UserError: fewer than one, or more than there are GPUs, or CPUs where there is no GPU: they would be waited for.
    """
    most = max(1, int(gpus or cpus))
    number = most if asked is None else asked
    if not 1 <= number <= most:
        what = "GPUs" if gpus else "CPUs"
        raise UserError(f"--replicas {number}: must be from 1 to {most}, one for each of the {what} here")
    return number


def _require_serve() -> None:
    """Raises UserError where the packages of Ray's extra are missing; ray itself is imported later."""
    if any(find_spec(name) is None for name in ("fastapi", "starlette", "uvicorn")):
        raise UserError("serve: needs Ray Serve, which is not installed; pip install 'hydra-ray[serve]'")


def _check_port(host: str, port: int) -> None:
    """Raises UserError where nobody may listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"--port {port}: cannot listen on {host} ({error.strerror}); choose another") from None
        except OverflowError:
            raise UserError(f"--port {port}: must be from 0 to 65535") from None
