"""`export`: a student as a graph for other runtimes, and a table of what each file is worth."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from hydra_ray.cli.terminal import show

if TYPE_CHECKING:
    from hydra_ray.inference.export import Exported
    from hydra_ray.report.tables import TextTable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """STUDENT, EXPORTED, --format, --int8."""
    parser.add_argument("student", metavar="STUDENT", help="a folder like runs/digits/students/hydra, or a Hub name")
    parser.add_argument("exported", metavar="EXPORTED", help="folder to write: empty, not there, or a former export")
    parser.add_argument("--format", action="append", metavar="NAME", help="onnx or torch, or both; both unless told")
    parser.add_argument("--int8", action="store_true", help="also an ONNX file with weights in int8")


def call(arguments: argparse.Namespace) -> None:
    """Export, then print the table."""
    import torch

    from hydra_ray.inference import load_student
    from hydra_ray.inference.export import FORMATS, check_export, export
    from hydra_ray.report import as_terminal
    from hydra_ray.storage import Folder

    target = Folder.open(arguments.exported, "EXPORTED")
    formats: Any = arguments.format or FORMATS
    check_export(target, formats, int8=arguments.int8)
    student = load_student(arguments.student)
    found = export(arguments.student, student, target, formats, int8=arguments.int8)
    show(as_terminal(table_of(found)))
    print(f"\nerrors against the student on {found.rows}; times on this CPU, {torch.get_num_threads()} thread(s)")
    print(f"how to use the files: {found.folder}/README.md")


def table_of(found: Exported) -> TextTable:
    """Sizes, differences from the student, and latencies."""
    from hydra_ray.inference.export_checks import LATENCY_BATCHES
    from hydra_ray.report.formats import decimal, milliseconds
    from hydra_ray.report.tables import TextTable

    outputs = list(found.files[0].comparison.differences)
    shown = [name for name in outputs if name in (outputs[0], "knowledge")]
    ranks = [each.comparison.rank_correlation for each in found.files]
    has_rank = any(rank is not None for rank in ranks)
    columns = ["graph", "kB", *(f"largest error\nof {name}" for name in shown)]
    columns += ["rank corr.\nof knowledge"] if has_rank else []
    columns += [f"batch {size}" for size in LATENCY_BATCHES]
    rows = []
    for each in found.files:
        cells = [each.name or "student, in PyTorch", "-" if each.num_bytes is None else f"{each.num_bytes / 1e3:,.0f}"]
        cells += [f"{each.comparison.differences[name]:.1e}" for name in shown]
        cells += [decimal(each.comparison.rank_correlation, 5)] if has_rank else []
        cells += [milliseconds(each.milliseconds[size]) for size in LATENCY_BATCHES]
        rows.append(tuple(cells))
    return TextTable("Exported", tuple(columns), tuple(rows))
