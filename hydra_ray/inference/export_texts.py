"""What stands in words beside an exported student: Triton's `config.pbtxt`, and how to use the files, for its card."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from hydra_ray.inference.graph import Port

MAX_BATCH = 256
_TRITON_TYPES = {torch.uint8: "TYPE_UINT8", torch.float32: "TYPE_FP32"}
_MEANINGS = {
    "probabilities": "of the classes, in the order of `classes` in config.json",
    "mean": "the prediction, in units of the target",
    "std": "root of the total uncertainty",
    "total": "total uncertainty",
    "data": "the part of it that is noise in the data",
    "knowledge": "the part of it on which the ensemble's members would disagree",
}


def triton_config(takes: Port, gives: Sequence[Port]) -> str:
    """`config.pbtxt` for the ONNX file, with batches put together by the server.

    The model's name is that of its folder in Triton's repository, whatever that is.
    """
    outputs = ",\n".join(_triton_port(port) for port in gives)
    return (
        'backend: "onnxruntime"\n'
        f"max_batch_size: {MAX_BATCH}\n"
        f"input [\n{_triton_port(takes)}\n]\n"
        f"output [\n{outputs}\n]\n"
        "dynamic_batching { }\n"
    )


def _triton_port(port: Port) -> str:
    """Dimensions are without the batch; one number a row counts as one of a vector there."""
    sizes = ", ".join(str(size) for size in port.shape)
    dims = f"dims: [ {sizes} ]" if port.shape else "dims: [ 1 ] reshape { shape: [ ] }"
    return f'  {{ name: "{port.name}" data_type: {_TRITON_TYPES[port.dtype]} {dims} }}'


def usage(takes: Port, gives: Sequence[Port], files: Collection[str], *, has_thresholds: bool) -> str:
    """Markdown: the files, what goes in and comes out, and code that asks one of them."""
    ports = [f"| in | {_port_row(takes, 'rows as they are stored, not normalised')} |"]
    ports += [f"| out | {_port_row(port, _MEANINGS[port.name])} |" for port in gives]
    code = _onnx_code(takes, has_thresholds) if "onnx/model.onnx" in files else _torch_code(takes)
    return "\n".join(
        [
            "## Exported",
            "",
            f"The same student as one graph for other runtimes: {', '.join(f'`{name}`' for name in files)}.",
            "Calibration is inside. Any number of rows goes in at once. Values are not checked: NaN in, NaN out.",
            "",
            "| | name | type | shape | |",
            "|---|---|---|---|---|",
            *ports,
            "",
            "```python",
            *code,
            "```",
            "",
        ]
    )


def _port_row(port: Port, meaning: str) -> str:
    shape = ", ".join(["N", *(str(size) for size in port.shape)])
    return f"`{port.name}` | {str(port.dtype).removeprefix('torch.')} | [{shape}] | {meaning}"


def _onnx_code(takes: Port, has_thresholds: bool) -> list[str]:
    code = [
        "import json",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "import onnxruntime",
        "",
        'session = onnxruntime.InferenceSession("onnx/model.onnx")',
        "names = [output.name for output in session.get_outputs()]",
        f"rows = np.zeros((2, {', '.join(str(size) for size in takes.shape)}), "
        f'"{str(takes.dtype).removeprefix("torch.")}")',
        f'answer = dict(zip(names, session.run(names, {{"{takes.name}": rows}})))',
    ]
    return [*code, *_abstaining()] if has_thresholds else [*code, "print(answer)"]


def _abstaining() -> list[str]:
    return [
        'risks = json.loads(Path("thresholds.json").read_text())["risks"]',
        'threshold = risks["0.05"]["total"]["threshold"]  # None: no row may be answered at this risk',
        'abstain = answer["total"] > (-1 if threshold is None else threshold)',
        "print(answer, abstain)",
    ]


def _torch_code(takes: Port) -> list[str]:
    return [
        "import torch",
        "",
        'student = torch.export.load("torch/model.pt2").module()',
        f"rows = torch.zeros(2, {', '.join(str(size) for size in takes.shape)}, dtype={takes.dtype})",
        "print(student(rows))",
    ]
