"""An object store on loopback that does nothing but refuse, for S3's protocol: no right, no such bucket, no answer."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

_ANSWERS = {
    "wrong credentials": (403, "<Error><Code>InvalidAccessKeyId</Code><Message>No such key</Message></Error>"),
    "no such bucket": (404, "<Error><Code>NoSuchBucket</Code><Message>No such bucket</Message></Error>"),
    "too busy": (503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>"),
}


@contextmanager
def refusing_store(how: str) -> Iterator[str]:
    """Its `host:port` while a `with` block runs; with `no answer` it takes connections and says nothing."""

    class Handler(BaseHTTPRequestHandler):
        answers: ClassVar = _ANSWERS

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            if how not in self.answers:
                time.sleep(60)
                return
            code, text = self.answers[how]
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()
