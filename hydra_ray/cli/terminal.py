"""What commands print on, whatever it is: an ASCII terminal, a narrow one, a pipe, or nothing at all."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH_OF_NO_TERMINAL = 110  # of two unknown sets


def prepare_streams() -> None:
    """Letters that the terminal does not have are written as `\\xfc`; where a stream is closed nothing is written.

    Of matplotlib's lines the one that its first start on a slow machine takes a moment is left out.
    """
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(table: Table) -> None:
    """Print a table; one line for each of its cells where the terminal is too narrow for it."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_NO_TERMINAL)
    console.print()
    if _fits(table, console):
        console.print(table)
        return
    for line in _lines(table):
        print(line)


def _fits(table: Table, console: Console) -> bool:
    wide = console.options.update(width=10_000)
    return console.measure(table, options=wide).minimum <= console.width


def _lines(table: Table) -> Iterator[str]:
    """Each row's first cell, below it the others beside their column's heading."""
    headings = [" ".join(str(column.header).split()) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        yield str(cells[0])
        yield from (f"  {heading}: {cell}" for heading, cell in zip(headings[1:], cells[1:], strict=True))
