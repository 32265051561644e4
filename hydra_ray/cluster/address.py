"""Checks within seconds that a cluster answers at RAY_ADDRESS; `ray.init` alone tries for minutes.

`session.py` connects to it.
"""

from __future__ import annotations

import os
import re
import socket

from hydra_ray.errors import UserError, reason_of

_CLIENT_PORT = 10001  # of ray://host
_SECONDS = 15.0
_ADDRESS = re.compile(r"(?P<scheme>\w+://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+)(:(?P<port>\d{1,5}))?/?")
_WAYS = "give the host:port of a running cluster's head, e.g. 10.0.0.1:6379, or unset RAY_ADDRESS for a Ray of its own"


def check_address(address: str) -> None:
    """Check that a Ray cluster answers at `address`, the value of RAY_ADDRESS; `auto` is left to Ray.

    Raises:
        UserError: it is no address, nobody answers there, or what answers is not Ray.
    """
    if address == "auto":
        return
    host, port = _host_and_port(address)
    try:
        with socket.create_connection((host, port), timeout=_SECONDS):
            pass
    except OSError as error:
        raise UserError(f"RAY_ADDRESS={address}: nobody answers there ({error.strerror or error}); {_WAYS}") from None
    if os.environ.get("RAY_USE_TLS", "0").strip() not in ("", "0") or _speaks_grpc(host, port):
        return
    raise UserError(f"RAY_ADDRESS={address}: what answers there is no Ray; {_WAYS}")


def refused(address: str, error: Exception) -> UserError:
    """The error line for a cluster that answers, but refuses `ray.init`."""
    reason = reason_of(error, 200)
    return UserError(
        f"RAY_ADDRESS={address}: the cluster does not let this command in ({reason}); its token (RAY_AUTH_TOKEN, "
        f"RAY_AUTH_MODE) or its versions of Ray and Python may be others; {_WAYS}"
    )


def _host_and_port(address: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(address)
    scheme = found["scheme"] if found else None
    if scheme in ("http://", "https://"):
        raise UserError(
            f"RAY_ADDRESS={address}: is where a cluster takes jobs; hand the command in with `ray job submit --address "
            f"{address} -- hydra-ray run ...`, or {_WAYS}"
        )
    port = int(found["port"]) if found and found["port"] else _CLIENT_PORT if scheme == "ray://" else 0
    if found is None or scheme not in (None, "ray://") or not 0 < port < 65536:
        raise UserError(f"RAY_ADDRESS={address}: is no host:port; {_WAYS}")
    return found["host"].strip("[]"), port


def _speaks_grpc(host: str, port: int) -> bool:
    """Whether a gRPC server answers; it is asked for its health, for which Ray's servers need no token."""
    import grpc

    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=_SECONDS)
        except grpc.RpcError as error:
            return error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return True
