"""The little of W&B's server that runs need to be sent: a real `wandb` talks to it, over HTTP on loopback.

It knows one account and one project, keeps each run's history and exit code, and whatever it was told.
"""

import gzip
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_WHERE = {"id": "p", "name": "hydra-ray", "entity": {"id": "e", "name": "me"}}


class WandbServer(ThreadingHTTPServer):
    """Runs by their ID: `history` has their rows, `groups`, `names`, `configs`, and `exit_codes`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.groups: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.exit_codes: defaultdict[str, list[int]] = defaultdict(list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    def answer(self, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        """To a GraphQL operation."""
        run = variables.get("name", "")
        if name == "Viewer":
            return {"viewer": {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        if name == "RunResumeStatus":
            return {"model": {**_WHERE, "bucket": self._bucket(run) if run in self.history else None}}
        if name == "UpsertBucket":
            is_new = run not in self.history
            self.history.setdefault(run, [])
            self.groups.setdefault(run, variables.get("groupName"))
            self.names.setdefault(run, variables.get("displayName"))
            self.configs[run] = self.configs.get(run, {}) | json.loads(variables.get("config") or "{}")
            return {"upsertBucket": {"bucket": {"id": run, "project": _WHERE, **self._bucket(run)}, "inserted": is_new}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/file/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}
        return {}

    def _bucket(self, run: str) -> dict[str, Any]:
        lines = [json.dumps(row) for row in self.history[run]]
        counts = {"historyLineCount": len(lines), "logLineCount": 0, "eventsLineCount": 0}
        tails = {"historyTail": json.dumps(lines[-1:]), "eventsTail": "[]", "tags": []}
        config = json.dumps(self.configs[run])
        known = {"summaryMetrics": "{}", "config": config, "wandbConfig": json.dumps({"t": {"value": 1}})}
        return {"name": run, "displayName": self.names.get(run), "sweepName": None, **counts, **tails, **known}

    def stream(self, run: str, sent: dict[str, Any]) -> None:
        """Rows of a run's history, and its end."""
        file = sent.get("files", {}).get("wandb-history.jsonl")
        if file:
            self.history[run][file["offset"] :] = [json.loads(line) for line in file["content"]]
        if sent.get("complete"):
            self.exit_codes[run].append(sent["exitcode"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        self._content()
        self._reply({})

    def do_POST(self) -> None:
        content = self._content()
        sent = {}
        with suppress(ValueError):
            sent = json.loads(content)
        stream = re.search(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        if stream:
            self.server.stream(stream[1], sent)
            self._reply({})
        else:
            operation = re.search(r"(?:query|mutation)\s+(\w+)", sent.get("query", ""))
            self._reply({"data": self.server.answer(operation[1] if operation else "", sent.get("variables") or {})})

    def _content(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def _reply(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A server until the `with` block ends."""
    server = WandbServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
