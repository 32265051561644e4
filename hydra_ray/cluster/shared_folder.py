"""Checks that all machines of a cluster see a folder that workers are to write to."""

from __future__ import annotations

import os
import uuid
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hydra_ray.cluster.session import is_private
from hydra_ray.errors import UserError
from hydra_ray.storage import Folder

_SECONDS = 60.0  # for a process to start there


def check_shared(folder: Folder, key: str) -> None:
    """Have every machine that is there look for a file in a local folder; a URI is the same place everywhere.

    Machines that come later are not asked, nor those that go or do not answer meanwhile.

    Args:
        folder: which exists, or is made.
        key: of the configuration, as the message names it.

    Raises:
        UserError: a machine does not see it.
    """
    if is_private() or not folder.is_local:
        return
    name = f".seen-by-all-{uuid.uuid4().hex}"
    folder.write(name, b"")
    try:
        blind = _blind(f"{folder.path}/{name}")
    finally:
        folder.delete(name)
    if blind:
        raise UserError(
            f"{key}={folder.path}: {blind[0]} does not see this folder; use one that all machines of the cluster see, "
            f"such as a network mount, or a URI such as s3://bucket/runs"
        )


def _blind(path: str) -> list[str]:
    """Names of the machines from which a file is not there."""
    own = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != own]
    look: Any = ray.remote(num_cpus=0, max_retries=0)(os.path.exists)
    asked = {}
    for node in others:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[look.options(scheduling_strategy=there).remote(path)] = node["NodeManagerHostname"]
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_SECONDS) if asked else ([], [])
    return sorted(asked[each] for each in answered if _says_no(each))


def _says_no(answer: Any) -> bool:
    try:
        return not ray.get(answer)
    except RayError:  # it is gone; whoever works next there says so
        return False
