"""The deployment behind `hydra-ray serve`: requests in, the student's answers out, many requests in one pass.

GET /          a page on which a person drops an image, or types a row
GET /healthz   whether the replica lives
GET /metadata  what the student is and takes
POST /predict  rows (`inference/requests.py`) -> {"rows": [{prediction, probability_..., total_uncertainty, ...}]}

What a client can mend is answered with 4xx and one line, {"error": ...}; the replica lives on.
"""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from ray import serve
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.config import ClusterConfig
from hydra_ray.errors import UserError
from hydra_ray.inference import Prediction, Student, batches_of, load_student, rows_of_request, to_rows

MOST_BYTES = 20_000_000
"""Of one request's body."""
_MOST_AT_ONCE = 256
_TOLD = ("kind", "task", "data", "classes", "inputs", "calibration")
_PATIENCE = 0.002  # seconds that a request waits for others to be answered with


class Replica:
    """One process with the student."""

    def __init__(self, place: str, cluster: ClusterConfig) -> None:
        """Load the student.

        Args:
            place: of its folder.
            cluster: whether the replica has a GPU, and how many CPUs.
        """
        self._student = self.load(place, set_up_worker(cluster))
        self._form = self._student.inputs
        self._page = _page(self._metadata())

    def load(self, place: str, device: torch.device) -> Student:
        """The student that it answers with."""
        return load_student(place, device)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        known = {
            ("GET", "/"): self._show_page,
            ("GET", "/healthz"): self._say_it_lives,
            ("GET", "/metadata"): self._say_what_it_is,
            ("POST", "/predict"): self._predict,
        }
        answer = known.get((request.method, request.url.path))
        if answer is None:
            return _refused(404, f"{request.method} {request.url.path}: not known; POST /predict, GET /metadata")
        return await answer(request)

    async def _show_page(self, request: Request) -> Response:
        return HTMLResponse(self._page)

    async def _say_it_lives(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _say_what_it_is(self, request: Request) -> Response:
        return JSONResponse(self._metadata())

    async def _predict(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > MOST_BYTES:
            return _refused(413, f"request: {len(body):,} bytes, at most {MOST_BYTES:,}; send fewer rows")
        try:
            rows = await asyncio.to_thread(self._stored, body, request.headers.get("content-type", ""))
            found: Prediction = await self._answer(rows)
        except UserError as error:
            return _refused(400, str(error))
        return JSONResponse({"rows": to_rows(found.columns())})

    def _stored(self, body: bytes, content_type: str) -> np.ndarray:
        """The request's rows as the network takes them."""
        rows = rows_of_request(body, content_type, self._form)
        return self._student.checked(np.concatenate(list(batches_of(rows, self._form, _MOST_AT_ONCE))))

    @serve.batch(max_batch_size=_MOST_AT_ONCE, batch_wait_timeout_s=_PATIENCE)
    async def _answer(self, requests: list[np.ndarray]) -> list[Prediction]:
        """Answers to several requests, asked about in one pass."""
        found = await asyncio.to_thread(self._student.answer, np.concatenate(requests))
        ends = np.cumsum([len(rows) for rows in requests]).tolist()
        starts = [0, *ends[:-1]]
        return [found.part(slice(start, end)) for start, end in zip(starts, ends, strict=True)]

    def _metadata(self) -> dict[str, Any]:
        student = self._student
        about = {key: student.about.get(key) for key in _TOLD}
        quantiles = {} if student.thresholds is None else student.thresholds.to_json()["quantiles"]
        return {**about, "quantiles": quantiles, "most_bytes": MOST_BYTES}


def _refused(status: int, line: str) -> Response:
    return JSONResponse({"error": line}, status_code=status)


def _page(metadata: dict[str, Any]) -> str:
    template = files("hydra_ray.cluster").joinpath("serve_page.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(template).render(about=metadata)
