"""Closes a private Ray session to others: its sockets are on loopback, and only its processes know its token.

Whoever reaches one of Ray's ports can run code, and Ray listens on all interfaces unless the machine's address is
loopback. Clusters that RAY_ADDRESS names are configured by their owners.
"""

from __future__ import annotations

import os
import secrets
import sys
from typing import Any

_INTERFACE = "lo0" if sys.platform == "darwin" else "lo"
_CLOSED = {
    # Ray takes 127.0.0.1 for this machine's address, as it always does on Windows and macOS; `ray.init` has no option
    # for it, as `_node_ip_address="127.0.0.1"` is looked up again
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "GLOO_SOCKET_IFNAME": _INTERFACE,
    "NCCL_SOCKET_IFNAME": _INTERFACE,
}


def close_to_others() -> None:
    """Set loopback and a new token for this process and those that it starts; called before `ray.init`.

    The user's values of these variables are replaced: RAY_AUTH_MODE=disabled may be meant for another cluster. The
    token is kept in the environment, since Ray would otherwise write one into the home directory.
    """
    from ray import _raylet
    from ray._private import ray_constants

    os.environ.update(_CLOSED, RAY_AUTH_TOKEN=secrets.token_hex(32))
    # what Ray has read when it was imported
    ray_constants.ENABLE_RAY_CLUSTER = False
    rays: Any = _raylet  # its types do not say what is in it
    rays.Config.initialize("")
    rays.AuthenticationTokenLoader.instance().reset_cache()
