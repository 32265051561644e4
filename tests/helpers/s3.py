"""A small object store with S3's protocol on loopback, as far as pyarrow uses it: it counts, and fails on wish."""

import socket
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

BUCKET = "bucket"
REGION = "us-east-1"
ERRORS = {403: "AccessDenied", 404: "NoSuchKey", 500: "InternalError", 503: "SlowDown"}
_DATE = "Fri, 27 Nov 2026 00:00:00 GMT"


@dataclass
class Request:
    """What was asked: kind is put, get, head, list, delete, copy, start_upload, part, complete, abort or uploads."""

    kind: str
    key: str
    body: bytes = b""


@dataclass
class Failure:
    """The next `times` requests of a kind, for keys that start so, fail: a status, "reset", "silence" or "half"."""

    kind: str
    how: int | str = 503
    times: float = 1
    prefix: str = ""


@dataclass
class S3:
    """The store's content, and what was asked of it."""

    host: str = ""
    silence: float = 10.0  # seconds
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)

    def place(self, path: str = "runs") -> str:
        """A URI in its bucket."""
        return f"s3://{BUCKET}/{path}?endpoint_override={self.host}&scheme=http"

    def counts(self) -> dict[str, int]:
        """How many requests there were of each kind."""
        return dict(Counter(request.kind for request in self.requests))

    def bytes_written(self) -> int:
        """All bytes that came, those of failed requests too."""
        return sum(len(request.body) for request in self.requests if request.kind in ("put", "part"))

    def fail(self, kind: str, how: int | str = 503, times: float = 1, prefix: str = "") -> None:
        """Let requests fail, see `Failure`."""
        self.failures.append(Failure(kind, how, times, prefix))

    def fail_after(self, kind: str, times: float) -> None:
        """Let the first requests of a kind through, before those that fail."""
        self.failures.append(Failure(kind, "no", times))

    def failure_of(self, request: Request) -> int | str | None:
        with self.lock:
            self.requests.append(request)
            for failure in self.failures:
                if failure.kind == request.kind and request.key.startswith(failure.prefix) and failure.times > 0:
                    failure.times -= 1
                    return None if failure.how == "no" else failure.how
        return None


@contextmanager
def s3_store() -> Iterator[S3]:
    """The store while a `with` block runs."""
    store = S3()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    store.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what the failures are for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: S3
    wbufsize = -1  # one packet an answer

    def log_message(self, *_: object) -> None:
        pass

    def handle_expect_100(self) -> bool:
        found = super().handle_expect_100()
        self.wfile.flush()
        return found

    def answer(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        request = Request(self._kind(key, asked), key, self._body())
        how = self.store.failure_of(request)
        if how is not None:
            self._fail(how)
        elif bucket != BUCKET:
            self._error(404, "NoSuchBucket")
        else:
            with self.store.lock:
                getattr(self, f"_{request.kind}")(request, asked)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def _kind(self, key: str, asked: dict[str, str]) -> str:
        if not key and self.command in ("GET", "POST"):
            return "delete_many" if "delete" in asked else "uploads" if "uploads" in asked else "list"
        if self.command == "PUT":
            return "part" if "uploadId" in asked else "copy" if self.headers.get("x-amz-copy-source") else "put"
        if self.command == "POST":
            return "start_upload" if "uploads" in asked else "complete"
        if self.command == "DELETE":
            return "abort" if "uploadId" in asked else "delete"
        return self.command.lower()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = _joined_chunks(self.rfile)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            return _joined_chunks(BytesIO(body))
        return body

    def _fail(self, how: int | str) -> None:
        if isinstance(how, int):
            self._error(how, ERRORS[how])
            return
        if how == "silence":
            time.sleep(self.store.silence)
        if how == "half":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.get("Length") or str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _put(self, request: Request, _: dict[str, str]) -> None:
        self.store.objects[request.key] = request.body
        self._send(200, ETag=_etag(request.body))

    def _copy(self, request: Request, _: dict[str, str]) -> None:
        source = unquote(self.headers["x-amz-copy-source"]).lstrip("/").partition("/")[2]
        self.store.objects[request.key] = self.store.objects[source]
        etag = _etag(self.store.objects[source])
        self._send(200, f"<CopyObjectResult><ETag>{escape(etag)}</ETag></CopyObjectResult>".encode())

    def _get(self, request: Request, _: dict[str, str]) -> None:
        content = self.store.objects.get(request.key)
        if content is None:
            self._error(404, "NoSuchKey")
            return
        wanted = self.headers.get("Range")
        if wanted is None:
            self._send(200, content, ETag=_etag(content), Last_Modified=_DATE)
            return
        first, last = wanted.removeprefix("bytes=").split("-")
        start = int(first) if first else len(content) - int(last)
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        where = f"bytes {start}-{stop - 1}/{len(content)}"
        self._send(206, content[start:stop], Content_Range=where, ETag=_etag(content), Last_Modified=_DATE)

    def _head(self, request: Request, _: dict[str, str]) -> None:
        content = b"" if not request.key else self.store.objects.get(request.key)
        if content is None:
            self._send(404)
            return
        self._send(200, content, ETag=_etag(content), Last_Modified=_DATE)

    def _delete(self, request: Request, _: dict[str, str]) -> None:
        self.store.objects.pop(request.key, None)
        self._send(204)

    def _delete_many(self, request: Request, _: dict[str, str]) -> None:
        keys = [each.text or "" for each in ElementTree.fromstring(request.body).iter() if each.tag.endswith("Key")]
        for key in keys:
            self.store.objects.pop(key, None)
        deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self._send(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def _list(self, _: Request, asked: dict[str, str]) -> None:
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = asked.get("continuation-token", asked.get("start-after", ""))
        most = int(asked.get("max-keys", 1000))
        found: list[str] = []
        for key in sorted(self.store.objects):
            if not key.startswith(prefix) or key <= after:
                continue
            rest = key[len(prefix) :]
            folder = f"{prefix}{rest.split(delimiter)[0]}{delimiter}" if delimiter and delimiter in rest else ""
            shown = folder or key
            if shown not in found:
                found.append(shown)
        folders = {each for each in found if delimiter and each.endswith(delimiter) and each != prefix}
        listed = "".join(
            f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>"
            if each in folders
            else self._entry(each)
            for each in found[:most]
        )
        self._send(
            200,
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{BUCKET}</Name>'
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{min(len(found), most)}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>false</IsTruncated>{listed}</ListBucketResult>".encode(),
        )

    def _entry(self, key: str) -> str:
        content = self.store.objects[key]
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-27T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(_etag(content))}</ETag><Size>{len(content)}</Size></Contents>"
        )

    def _start_upload(self, request: Request, _: dict[str, str]) -> None:
        upload = uuid.uuid4().hex
        self.store.uploads[upload] = (request.key, {})
        names = f"<Bucket>{BUCKET}</Bucket><Key>{escape(request.key)}</Key><UploadId>{upload}</UploadId>"
        self._send(200, f"<InitiateMultipartUploadResult>{names}</InitiateMultipartUploadResult>".encode())

    def _part(self, request: Request, asked: dict[str, str]) -> None:
        self.store.uploads[asked["uploadId"]][1][int(asked["partNumber"])] = request.body
        self._send(200, ETag=_etag(request.body))

    def _complete(self, request: Request, asked: dict[str, str]) -> None:
        if asked["uploadId"] not in self.store.uploads:
            self._error(404, "NoSuchUpload")
            return
        key, parts = self.store.uploads.pop(asked["uploadId"])
        numbers = [each.text for each in ElementTree.fromstring(request.body).iter() if each.tag.endswith("PartNumber")]
        self.store.objects[key] = b"".join(parts[int(number or 0)] for number in numbers)
        facts = f"<Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key><ETag>{_etag(self.store.objects[key])}</ETag>"
        self._send(200, f"<CompleteMultipartUploadResult>{facts}</CompleteMultipartUploadResult>".encode())

    def _abort(self, _: Request, asked: dict[str, str]) -> None:
        self.store.uploads.pop(asked["uploadId"], None)
        self._send(204)


def _etag(content: bytes) -> str:
    return f'"{zlib.crc32(content):032x}"'


def _joined_chunks(stream: Any) -> bytes:
    """The content of HTTP's chunks, or of S3's own inside of them; trailers are left out."""
    whole = b""
    while (length := int(stream.readline().split(b";")[0], 16)) > 0:
        whole += stream.read(length)
        stream.readline()
    while stream.readline().strip():
        pass
    return whole
