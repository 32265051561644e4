"""A student's graph as ONNX: converted, weights in int8, and asked; needs the extra `export`.

Its packages are imported by the functions that need them. Which files there are and what stands beside them is in
`export.py`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.export import ExportedProgram

from hydra_ray.errors import UserError, reason_of
from hydra_ray.inference.graph import HEADS, INPUT

if TYPE_CHECKING:
    import onnxruntime

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_OPSET = 20
_SCOPES = "pkg.torch.onnx.name_scopes"
_SHIFT = 8  # psi of x + 8 by its series is exact to 1e-14 for x >= 1
_SERIES = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760)
"""B_2k / 2k, of Abramowitz and Stegun 6.3.18."""


def require_packages() -> None:
    """Check that the extra is there.

    Raises:
        UserError: it is not.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format onnx: needs {' and '.join(missing)}, not installed here: pip install 'hydra-ray[export]', or "
            "give --format torch alone"
        )


def write_onnx(program: ExportedProgram, outputs: Sequence[str], path: Path) -> list[str]:
    """Write a graph as ONNX.

    Args:
        program: of the student.
        outputs: names of its outputs.
        path: of the file.

    Returns:
        The names of its nodes that belong to the heads.

    Raises:
        UserError: the network has an operator that ONNX lacks.
    """
    try:
        with _quiet():
            converted = torch.onnx.export(
                program,
                verbose=False,
                opset_version=_OPSET,
                input_names=[INPUT],
                output_names=outputs,
                dynamic_shapes={INPUT: {0: "batch"}},
                custom_translation_table={torch.ops.aten.digamma.default: _digamma()},
            )
    except Exception as error:  # whatever the converter raises
        raise UserError(
            f"--format onnx: this network cannot be converted ({reason_of(error, 200)}); give --format torch alone"
        ) from error
    assert converted is not None
    graph = converted.model.graph
    of_heads = [node.name or "" for node in graph if f"'{HEADS}'" in node.metadata_props.get(_SCOPES, "")]
    for node in graph:
        node.metadata_props.clear()
    _rename_values_within(graph, [INPUT, *outputs])
    converted.save(path)
    return of_heads


def write_int8(source: Path, target: Path, left_out: Sequence[str]) -> None:
    """Write a copy of an ONNX file whose weights are int8, and whose activations become so as it runs.

    Args:
        source: the file.
        target: its copy.
        left_out: nodes that stay in float32. The heads ought to: their differences are what knowledge uncertainty is
            made of, and rounding is about as large.
    """
    from onnxruntime.quantization import quantize_dynamic

    with _quiet():
        # weights of 7 bits: with 8, CPUs without VNNI instructions overflow in silence
        quantize_dynamic(source, target, nodes_to_exclude=list(left_out), per_channel=True, reduce_range=True)


def opened_onnx(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function that asks an ONNX file on this machine's CPU, on as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session: onnxruntime.InferenceSession = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def ask(rows: np.ndarray) -> dict[str, np.ndarray]:
        found: Any = session.run(names, {INPUT: rows})
        return dict(zip(names, found, strict=True))

    return ask


def _rename_values_within(graph: Any, names: Sequence[str]) -> None:
    """Values inside a graph get other names than its inputs and outputs; the converter calls any mean `mean`."""
    outside = {id(value) for value in (*graph.inputs, *graph.outputs)}
    for node in graph:
        for value in node.outputs:
            if value.name in names and id(value) not in outside:
                value.name = f"{value.name}_within"


def _digamma() -> Callable[..., Any]:
    """psi(x) for x >= 1, which ONNX lacks: psi(x) = psi(x + 8) - sum 1 / (x + k), and psi by its asymptotic series."""
    import onnxscript

    op: Any = getattr(onnxscript, f"opset{_OPSET}")

    def digamma(x: Any) -> Any:
        def constant(value: float) -> Any:
            return op.CastLike(op.Constant(value=_tensor(value)), x)

        shifted = x
        below = op.Sub(x, x)
        for step in range(_SHIFT):
            shifted = op.Add(x, constant(step))
            below = op.Add(below, op.Reciprocal(shifted))
        last = op.Add(x, constant(_SHIFT))
        inverse = op.Reciprocal(last)
        square = op.Mul(inverse, inverse)
        series = constant(0.0)
        for factor in reversed(_SERIES):
            series = op.Mul(op.Add(series, constant(factor)), square)
        near = op.Sub(op.Log(last), op.Mul(inverse, constant(0.5)))
        return op.Sub(op.Sub(near, series), below)

    return digamma


def _tensor(value: float) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor("value", TensorProto.DOUBLE, [], [value])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice of converters, which is for their developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
