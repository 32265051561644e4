"""Import paths in a recipe: a user's own function `package.module:function`, and the text of its module for keys."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from hydra_ray.config.member_groups import TIMM
from hydra_ray.errors import UserError, reason_of


def is_own(name: str) -> bool:
    """Whether a name is an import path, and not the name of something of ours."""
    return ":" in name and not name.startswith(TIMM)


def import_own(path: str) -> Any:
    """What `package.module:function` names.

    Raises:
        UserError: there is no such module or function, or the module fails; the line does not name the key.
    """
    module_name, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except Exception as error:  # a user's module may fail in any way
        raise UserError(
            f"cannot be imported ({error_in_short(error)}); write package.module:function, of a module that every "
            "worker can import"
        ) from error


def source_of(path: str) -> str:
    """The text of an imported function's module as it is in its file now; empty for a module without one."""
    module = sys.modules[path.partition(":")[0]]
    file = getattr(module, "__file__", None)
    if file and file.endswith(".py"):
        return Path(file).read_text(errors="replace")
    try:
        return inspect.getsource(module)
    except (OSError, TypeError):
        return ""


def error_in_short(error: Exception) -> str:
    """An exception of a user's code in part of a line: its type and the start of what it says."""
    return f"{type(error).__name__}: {reason_of(error, 200)}"
