"""A page in headless Chromium, driven over its debugging port: choose a file, click, read what is shown."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian's package is called chromium")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-port=0"
)


class Page:
    """One tab."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0

    def call(self, method: str, **facts: Any) -> dict[str, Any]:
        """One command of the DevTools protocol; its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": facts}))
        while True:
            found = json.loads(self._socket.recv(timeout=30))
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]

    def value(self, script: str) -> Any:
        """What a JavaScript expression is worth."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """The expression's value, as soon as it is true."""
        end = time.monotonic() + 30
        while not (found := self.value(script)):
            shown = self.value("document.body.innerText")
            assert time.monotonic() < end, f"{script}: not within 30 s; the page says {shown}"
            time.sleep(0.05)
        return found

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file in an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def screenshot(self) -> bytes:
        """As a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])


@contextmanager
def opened(url: str, folder: Path) -> Iterator[Page]:
    """The page at a URL; the browser's profile is in `folder`."""
    from websockets.sync.client import connect

    words = [str(CHROMIUM), *QUIET.split(), f"--user-data-dir={folder}", "--window-size=900,1100", url]
    browser = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        port = folder / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not port.exists() or len(port.read_text().splitlines()) < 2:
            assert time.monotonic() < end, "Chromium does not start"
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json") as found:
            tab = next(each for each in json.load(found) if each["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            page = Page(socket)
            page.wait_for(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")
            yield page
    finally:
        browser.terminate()
        browser.wait(20)
