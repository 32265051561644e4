"""File systems that die: after so many changes every further one raises, as if the process had been killed."""

import pyarrow.fs as pafs
from fsspec.implementations.memory import MemoryFileSystem

CHANGES = ("create_dir", "open_output_stream", "move", "delete_file", "delete_dir")


class Killed(BaseException):
    """The process is gone."""


class Life:
    """Changes that are left before the end."""

    def __init__(self, changes: int) -> None:
        self.left = changes

    def spend(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


def _mortal(base: type) -> type:
    """A subclass of a file system or handler whose changes spend a life."""

    def spending(name):
        def method(self, *args, **kwargs):
            self.life.spend()
            return getattr(base, name)(self, *args, **kwargs)

        return method

    return type(f"Mortal{base.__name__}", (base,), {name: spending(name) for name in CHANGES})


_Local, _FSSpec = _mortal(pafs.LocalFileSystem), _mortal(pafs.FSSpecHandler)


class MortalMemory(MemoryFileSystem):
    """fsspec's memory, in which putting a file spends a life; its content is every instance's."""

    cachable = False

    def pipe_file(self, *args, **kwargs):
        self.life.spend()
        return super().pipe_file(*args, **kwargs)


def mortal(fs: pafs.FileSystem, changes: int) -> pafs.FileSystem:
    """The same place as `fs`, for so many changes."""
    if isinstance(fs, pafs.LocalFileSystem):
        found = _Local()
        found.life = Life(changes)
        return found
    handler = _FSSpec(MortalMemory())
    handler.life = handler.fs.life = Life(changes)
    return pafs.PyFileSystem(handler)
