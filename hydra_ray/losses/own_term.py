"""A user's own term: called in training, tried on two rows before anything starts, and as a digest for fingerprints.

The digest changes with the text of the function's module and with what the term makes of two fixed rows, which also
follows code that the module imports.

B = 2 fixed rows, H heads, M members, C outputs.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from hydra_ray.config import error_in_short, import_own, source_of
from hydra_ray.data import TaskName
from hydra_ray.errors import UserError
from hydra_ray.losses.sums import Summed
from hydra_ray.losses.terms import Term
from hydra_ray.shards import NO_LABEL

_NEEDED = "return Summed(total, num_rows), as sum_rows(values_B) does"


def own_term(import_path: str) -> Term:
    """The term that a function `package.module:function` computes, in classification and regression alike.

    Raises:
        UserError: there is no such function; the line does not name the key.
    """
    function = import_own(import_path)
    if not callable(function):
        raise UserError(f"is a {type(function).__name__}, not a function; name a function")
    form = partial(_called, function)
    return Term(import_path, classification=form, regression=form)


def _called(function: Any, *inputs: Any) -> Summed:
    return Summed(*function(*inputs))


def check_own_term(import_path: str, task: TaskName, num_heads: int, num_members: int, num_outputs: int) -> None:
    """Try a term on two rows, with all members and with a mask.

    Raises:
        UserError: the function is not there or fails, or what it returns is no finite sum that follows from the
            student's outputs.
    """
    own_term(import_path)
    for is_masked in (False, True):
        inputs = _two_rows(task, num_heads, num_members, num_outputs, is_masked=is_masked)
        try:
            found = import_own(import_path)(*inputs)
        except Exception as error:  # a user's function may fail in any way
            rows = f"two rows of {num_heads} heads and {num_members} members"
            raise UserError(f"fails on {rows} ({error_in_short(error)}); mend it") from error
        _check_sum(found)


def _check_sum(found: Any) -> None:
    if not isinstance(found, tuple) or len(found) != 2:
        raise UserError(f"returns a {type(found).__name__}; {_NEEDED}")
    total, num_rows = found
    if not isinstance(total, Tensor) or total.ndim:
        shape = f"of shape {list(total.shape)}" if isinstance(total, Tensor) else f"that is a {type(total).__name__}"
        raise UserError(f"returns a total {shape}, not a scalar tensor; {_NEEDED}")
    if not (isinstance(num_rows, int) or (isinstance(num_rows, Tensor) and not num_rows.ndim)):
        raise UserError(f"returns {num_rows!r} as number of rows; {_NEEDED}")
    if not total.isfinite():
        raise UserError("returns a total that is not finite; mend it")
    if not total.requires_grad:
        raise UserError("returns a total without a gradient; compute it from the student's outputs by torch alone")


def own_term_code(import_path: str, task: TaskName, num_outputs: int) -> str:
    """16 hexadecimal digits of a term; one that fails is refused by `check_own_term`, here it is only different."""
    return _code(import_path, task, num_outputs)


@lru_cache(maxsize=64)
def _code(import_path: str, task: TaskName, num_outputs: int) -> str:
    try:
        with torch.no_grad():
            found = own_term(import_path).form(task)(*_two_rows(task, 3, 3, num_outputs, is_masked=True))
        answers = [f"{float(value):.2e}" for value in found]
    except Exception:  # a user's function may fail in any way
        return "fails"
    return hashlib.sha256(json.dumps([source_of(import_path), answers]).encode()).hexdigest()[:16]


def _two_rows(
    task: TaskName, num_heads: int, num_members: int, num_outputs: int, *, is_masked: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Fixed outputs from -2 to 2 of student and members, a label and none, and a mask that leaves one member out."""
    labels = {"classification": torch.tensor([0, NO_LABEL]), "regression": torch.tensor([0.5, torch.nan])}
    values = torch.arange(2 * (num_heads + num_members) * num_outputs) * 0.618033988749895 % 1
    student_BHC, members_BMC = (4 * values - 2).reshape(2, -1, num_outputs).split([num_heads, num_members], dim=1)
    mask_BM = torch.ones(2, num_members, dtype=torch.bool)
    mask_BM[0, 0] = num_members == 1
    return student_BHC.clone().requires_grad_(), members_BMC.clone(), labels[task], mask_BM if is_masked else None
