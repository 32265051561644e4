"""Modules as a user writes and edits them, each time as a new process would find them."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_module(folder: Path, monkeypatch, forget: Callable[[], None]) -> Iterator[Callable[[str], str]]:
    """A function that writes a module below `folder`, and says its name; `forget` empties what was cached of it."""
    monkeypatch.syspath_prepend(folder)
    name = f"own_{folder.name}"

    def write(text: str) -> str:
        (folder / f"{name}.py").write_text(text)
        for pyc in folder.glob("__pycache__/*"):
            pyc.unlink()
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        forget()
        return name

    yield write
    sys.modules.pop(name, None)
