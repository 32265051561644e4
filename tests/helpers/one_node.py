"""A node of a cluster on loopback, until it is killed: `python one_node.py ADDRESS CPUS STORE_BYTES`.

`ray start --address` refuses to join a cluster on loopback (`RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0`), so this starts the
processes that it would start, as Ray's own fake provider of nodes does.
"""

import signal
import sys

from ray._private.node import Node
from ray._private.parameter import RayParams

if __name__ == "__main__":
    address, cpus, store = sys.argv[1:]
    Node(
        RayParams(
            gcs_address=address,
            redis_address=address,
            node_ip_address="127.0.0.1",
            num_cpus=int(cpus),
            num_gpus=0,
            object_store_memory=int(store),
            min_worker_port=0,
            max_worker_port=0,
            dashboard_agent_listen_port=0,
        ),
        head=False,
        shutdown_at_exit=True,
        spawn_reaper=False,
    )
    print("Ray runtime started", flush=True)
    signal.pause()
