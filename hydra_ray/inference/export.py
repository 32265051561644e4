"""A student's folder for other runtimes: ONNX, `torch.export`, Triton; each file checked against the student.

    exported/onnx/model.onnx, model.int8.onnx     for onnxruntime, the second with weights in int8
            /torch/model.pt2                      for torch.export.load
            /config.pbtxt                         for Triton, of the ONNX file
            /config.json, thresholds.json         the student's, with names, types and shapes of the graph
            /README.md                            its card, and how to use the files

`config.json` is written last and lists the files with their checksums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn

from hydra_ray.errors import UserError
from hydra_ray.inference.export_checks import (
    Answers,
    Ask,
    Comparison,
    Name,
    compare,
    latencies,
    require_agreement,
    rows_to_check,
)
from hydra_ray.inference.export_texts import triton_config, usage
from hydra_ray.inference.graph import Port, StudentGraph
from hydra_ray.inference.onnx_files import opened_onnx, require_packages, write_int8, write_onnx
from hydra_ray.inference.student import CARD, CONFIG, EXPORT, Student
from hydra_ray.models import to_model_json
from hydra_ray.storage import Folder, describe, fingerprint, sealed

Format = Literal["onnx", "torch"]
FORMATS: tuple[Format, ...] = get_args(Format)

ONNX = "onnx/model.onnx"
INT8 = "onnx/model.int8.onnx"
TORCH = "torch/model.pt2"
TRITON = "config.pbtxt"
_FOLDERS = ("onnx", "torch")
_UNFINISHED = {EXPORT: "unfinished"}


@dataclass(frozen=True)
class ExportedFile:
    """One of the graphs, or the student itself.

    Attributes:
        name: its path in the folder; None for the student itself, in PyTorch.
        num_bytes: of the file.
        comparison: with the student's answers.
        milliseconds: of an answer on this machine, by batch.
    """

    name: Name
    num_bytes: int | None
    comparison: Comparison
    milliseconds: dict[int, float]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        rows: that the files were checked on, in words.
        files: the graphs, after the student in PyTorch.
    """

    folder: Folder
    rows: str
    files: list[ExportedFile]


def check_export(target: Folder, formats: Sequence[str], *, int8: bool) -> None:
    """Find what a user can mend before anything is loaded.

    Raises:
        UserError: a format that is not known, packages that are missing, or a folder that holds something else.
    """
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--format {name}: not known; there are {' and '.join(FORMATS)}")
    if int8 and "onnx" not in formats:
        raise UserError("--int8: is a file beside the ONNX one; give --format onnx too")
    if "onnx" in formats:
        require_packages()
    target.check_place("EXPORTED")
    _check_is_ours(target)


def export(place: str, student: Student, target: Folder, formats: Sequence[Format], *, int8: bool = False) -> Exported:
    """Write a student's graph and what belongs to it.

    Args:
        place: of the student; in a run's folder its validation rows are there to check with.
        student: what is exported.
        target: folder that is empty, not there, or holds a former export, which is replaced.
        formats: onnx, torch or both.
        int8: also an ONNX file whose weights are int8.

    Raises:
        UserError: see `check_export`; or the network cannot be exported.
        StageError: what was exported does not say what the student says.
    """
    check_export(target, formats, int8=int8)
    graph = StudentGraph(student)
    gives = graph.gives()
    rows, rows_in_words = rows_to_check(place, student)
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        asks = {None: _asked(graph), **_write_graphs(graph, [port.name for port in gives], root, formats, int8=int8)}
        files = _measured(asks, student, rows, root)
        _publish(target, student, graph.takes, gives, root, place)
    return Exported(target, rows_in_words, files)


def _write_graphs(
    graph: StudentGraph, outputs: Sequence[str], root: Path, formats: Sequence[Format], *, int8: bool
) -> dict[str, Ask]:
    """Write the files; a function that asks each, loaded from its file."""
    program = graph.program()
    for name in _FOLDERS:
        (root / name).mkdir()
    asks: dict[str, Ask] = {}
    if "onnx" in formats:
        of_heads = write_onnx(program, outputs, root / ONNX)
        asks[ONNX] = opened_onnx(root / ONNX)
        if int8:
            write_int8(root / ONNX, root / INT8, of_heads)
            asks[INT8] = opened_onnx(root / INT8)
    if "torch" in formats:
        torch.export.save(program, root / TORCH)
        asks[TORCH] = _asked(torch.export.load(root / TORCH).module())
    return asks


def _measured(asks: Mapping[Name, Ask], student: Student, rows: np.ndarray, root: Path) -> list[ExportedFile]:
    compared = {name: compare(ask, student, rows) for name, ask in asks.items()}
    for name, comparison in compared.items():
        if name != INT8:
            require_agreement(name, comparison)
    milliseconds = latencies(asks, rows)
    sizes = {name: None if name is None else (root / name).stat().st_size for name in asks}
    return [ExportedFile(name, sizes[name], compared[name], milliseconds[name]) for name in asks]


def _publish(target: Folder, student: Student, takes: Port, gives: Sequence[Port], root: Path, place: str) -> None:
    graphs = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    beside = student.files_beside()
    if ONNX in graphs:
        beside[TRITON] = triton_config(takes, gives).encode()
    has_thresholds = student.thresholds is not None and bool(student.thresholds.risks)
    text = usage(takes, gives, list(graphs), has_thresholds=has_thresholds)
    beside[CARD] = "\n\n".join(part for part in (student.card.rstrip(), text) if part).encode()
    files = {**graphs, **beside}

    _clear(target)
    for name, content in files.items():
        *folders, last = name.split("/")
        folder = target / folders[0] if folders else target
        folder.write(last, content)
    written = {name: describe(target, name) for name in files}
    about = to_model_json(student.network.spec, student.about)
    origin = {"key": {}, "fingerprint": fingerprint({"files": written})}
    graph = {"student": place, "inputs": [_port(takes)], "outputs": [_port(port) for port in gives]}
    target.write_json(CONFIG, sealed({**origin, **about, EXPORT: graph, "files": written}))


def _check_is_ours(target: Folder) -> None:
    names = [*target.files(), *target.folders()]
    about = target.read_json(CONFIG)
    if names and not (isinstance(about, dict) and EXPORT in about):
        raise UserError(f"{target}: holds something else ({names[0]}); give an empty folder, or one that is not there")


def _clear(target: Folder) -> None:
    """Leave nothing of a former export but the word that one is being written."""
    target.write_json(CONFIG, _UNFINISHED)
    for name in _FOLDERS:
        (target / name).remove()
    for name in target.files():
        if name != CONFIG:
            target.delete(name)


def _asked(module: nn.Module | Any) -> Ask:
    """A module of the graph as a function of arrays."""

    @torch.no_grad()
    def ask(rows: np.ndarray) -> Answers:
        return {name: values.numpy() for name, values in module(torch.from_numpy(rows)).items()}

    return ask


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": str(port.dtype).removeprefix("torch."), "shape": ["batch", *port.shape]}
