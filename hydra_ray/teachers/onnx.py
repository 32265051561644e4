"""Teachers as ONNX graphs, answered by onnxruntime: a file a member, or one whose output is [B, M, C].

B rows, M members, C outputs, D features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hydra_ray.config import OutputsSaid
from hydra_ray.errors import UserError
from hydra_ray.teachers.asked import Function, Loaded, ModelFiles
from hydra_ray.teachers.class_order import said_order
from hydra_ray.teachers.network_inputs import NetworkInput, network_floats

_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
_PIXELS = "tensor(uint8)"
_OF_COLUMNS = {**_FLOATS, "tensor(int64)": np.int64, "tensor(bool)": np.bool_, "tensor(string)": np.str_}


class Options(NetworkInput):
    """Of the kind `onnx`."""

    outputs: OutputsSaid | None = None
    """What the graphs answer; none for logits, of a regression for means."""
    output: str | None = None
    """Name of the output; none for the first one of floats."""


def load(files: ModelFiles) -> Loaded:
    """Open the graphs, on the GPU where onnxruntime knows one.

    Raises:
        UserError: an input or output that does not suit the data set.
    """
    import onnxruntime

    assert isinstance(files.options, Options)
    providers = onnxruntime.get_available_providers()
    sessions = [onnxruntime.InferenceSession(path, providers=providers) for path in files.paths]
    answers = [_asked(session, path, files) for session, path in zip(sessions, files.paths, strict=True)]
    outputs = files.options.outputs or ("mean" if files.num_classes is None else "logits")
    has_members = len(answers) == 1 and len(_output(sessions[0], files.paths[0], files).shape) == 3
    return Loaded(answers[0] if has_members else answers, outputs)


def _asked(session: Any, path: str, files: ModelFiles) -> Function:
    nodes = session.get_inputs()
    for node in nodes:
        if isinstance(node.shape[0], int):
            raise UserError(f"{path} takes {node.shape[0]} rows at a time; export it with a batch of any size")
    output = _output(session, path, files).name
    order = said_order(files)

    def answer(batch: Any) -> Any:
        (found,) = session.run([output], _fed(nodes, batch, files))
        return found[:, None] if found.ndim == 1 else found[..., order]

    return answer


def _output(session: Any, path: str, files: ModelFiles) -> Any:
    """The output that holds predictions."""
    assert isinstance(files.options, Options)
    name = files.options.output
    nodes = session.get_outputs()
    found = [node for node in nodes if (node.type in _FLOATS if name is None else node.name == name)]
    if not found:
        known = ", ".join(f"{node.name} ({node.type})" for node in nodes)
        wanted = "output of floats" if name is None else f"output {name}"
        raise UserError(f"{path} has no {wanted}, but {known}; name one by options.output, or export floats")
    return found[0]


def _fed(nodes: Any, batch: Any, files: ModelFiles) -> dict[str, npt.NDArray[Any]]:
    """A graph's inputs by name: one for all of a row, or one a column of a table [B, 1]."""
    assert isinstance(files.options, Options)
    if len(nodes) == 1 and nodes[0].type in (*_FLOATS, _PIXELS):
        return {nodes[0].name: _whole(nodes[0], batch, files.options)}
    if not isinstance(batch, pd.DataFrame):
        raise UserError(f"the graph has {len(nodes)} inputs, but rows of the data set are one array")
    return {node.name: _column(node, batch) for node in nodes}


def _column(node: Any, batch: pd.DataFrame) -> npt.NDArray[Any]:
    if node.name not in batch.columns:
        raise UserError(f"the graph's input {node.name} is no column of the data set")
    if node.type not in _OF_COLUMNS:
        raise UserError(f"the graph's input {node.name} is a {node.type}; export it with floats, int64 or strings")
    return batch[node.name].to_numpy(_OF_COLUMNS[node.type])[:, None]


def _whole(node: Any, batch: Any, options: Options) -> npt.NDArray[Any]:
    """Everything of a row in one array, in the graph's layout; pixels of a graph of uint8 as they are."""
    is_image = getattr(batch, "ndim", 2) == 4
    rank = len(node.shape)
    first = is_image and rank == 4 and _channels_first(node.shape, batch.shape[3], options)
    if node.type == _PIXELS:
        if not is_image:
            raise UserError("the graph takes pixels, but the data set is a table")
        values = np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if first else batch
    else:
        values = network_floats(batch, options.model_copy(update={"channels_first": first})).astype(_FLOATS[node.type])
    return values.reshape(len(values), -1) if rank == 2 else values


def _channels_first(shape: list[Any], channels: int, options: Options) -> bool:
    """As the option says; else by the graph's shape, and first where that leaves it open."""
    if options.channels_first is not None:
        return options.channels_first
    return not (shape[3] == channels and shape[1] != channels)
