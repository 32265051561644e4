"""`serve`: a student behind HTTP against its ensemble served the same way: latency and requests a second."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any

import numpy as np
import torch

from benchmarks.latency import BODY, MEMBER, SHAPE, student_spec
from benchmarks.pairs import Table
from benchmarks.workplace import Setting
from hydra_ray.cluster.serve import serving
from hydra_ray.inference import Student
from hydra_ray.models import Ensemble, Normalise, build_member, build_student

COLUMNS = ["M", "served", "clients", "ms, p50", "ms, p99", "requests / s", "rounds"]
_ABOUT = {
    "kind": "hydra",
    "task": "classification",
    "data": "MNIST",
    "classes": [str(number) for number in range(10)],
    "inputs": {"shape": list(SHAPE)},
}


def _ensemble_replica() -> type[Any]:
    """All members behind the same door; the place is their number. Ray is imported here, when it may be."""
    from hydra_ray.cluster.serve_app import Replica

    class EnsembleReplica(Replica):
        def load(self, place: str, device: torch.device) -> Student:
            members = [build_member(MEMBER, number) for number in range(int(place))]
            network: Any = Ensemble(members)
            return Student(network.eval(), _ABOUT)

    return EnsembleReplica


def serve(setting: Setting) -> list[Table]:
    """Requests of one image each, from one client and from 64."""
    number = setting.pick(20, 5)
    requests = setting.pick(1500, 50)
    rounds = setting.pick(3, 1)
    place = setting.place / "student"
    normalise = Normalise(torch.full((1,), 33.0), torch.full((1,), 79.0))
    Student(build_student(student_spec(number), 0, normalise).eval(), _ABOUT).save_pretrained(place)
    served = {"student": (str(place), None), "ensemble": (str(number), _ensemble_replica())}
    found: dict[tuple[str, int], list[list[float]]] = {}
    for _ in range(rounds):
        for name, (what, replica) in served.items():
            with serving(what, port=_free_port(), replicas=1, replica=replica) as url:
                asyncio.run(_asked(url, 50, 8))
                for clients in (1, 64):
                    found.setdefault((name, clients), []).append(asyncio.run(_asked(url, requests, clients)))
    title = (
        f"MNIST, {number} members {MEMBER.options['hidden']}, student {BODY['hidden']}; one replica of one thread, one "
        "image a request as JSON, clients on the same machine; medians over rounds, which took turns."
    )
    rows = [[number, name, clients, *_summary(each), rounds] for (name, clients), each in found.items()]
    return [Table("serve", title, COLUMNS, rows)]


def _summary(rounds: list[list[float]]) -> list[str]:
    columns = zip(*rounds, strict=True)
    return [f"{statistics.median(values):.3g}" for values in columns]


async def _asked(url: str, requests: int, clients: int) -> list[float]:
    """p50 and p99 in ms, and requests a second."""
    import aiohttp

    rng = np.random.default_rng(0)
    body = json.dumps({"rows": rng.integers(0, 256, (1, *SHAPE)).tolist()}).encode()
    left = iter(range(requests))
    seconds: list[float] = []

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in left:
            begin = time.perf_counter()
            async with session.post(f"{url}/predict", data=body, headers={"content-type": "application/json"}) as reply:
                assert reply.status == 200, await reply.text()
                await reply.read()
            seconds.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    whole = time.perf_counter() - begin
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return [float(p50), float(p99), requests / whole]


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
