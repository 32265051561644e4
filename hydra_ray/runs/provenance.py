"""Provenance of figures: the commit, versions and machine that stand beside them in reports."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import torch


def software_facts() -> dict[str, str]:
    """`commit` of this checkout, `python`, `torch` and `machine`."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return {
        "commit": _commit() or "not a git checkout",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}{gpu}",
    }


def _commit() -> str:
    """As git names it; nothing where there is no git or no checkout."""
    words = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(
            words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        ).stdout.strip()
    except OSError:  # images of clusters often have none
        return ""
