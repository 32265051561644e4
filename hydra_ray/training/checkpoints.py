"""Checkpoints: what training resumes from after its worker was killed, and how a damaged one is noticed.

A checkpoint is a safetensors file whose name holds its number of steps and a hash of its bytes, so that file and
checksum appear in one rename. The last two are kept. A damaged one (cut short, a flipped bit, a folder, another
network's) is removed with a line, and training resumes from the one before, or starts again: it ends with the same bits
either way, as everything random follows from seeds. What a checkpoint holds is in `loop.py`; no Ray here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from safetensors.torch import load as load_tensors
from torch import Tensor

from hydra_ray.models import to_safetensors
from hydra_ray.storage import Folder

_KEPT = 2


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one network in training.

    Attributes:
        folder: where they are; it may hold other files, and other networks' checkpoints.
        owner: the fingerprint of what is trained; a checkpoint written by another owner counts as damaged.
        say: tells the user a line.
        is_writer: whether this process writes and removes them; other ranks only read.
        name: starts their file names; it tells the parts of an owner apart.
    """

    folder: Folder
    owner: str
    say: Callable[[str], None]
    is_writer: bool = True
    name: str = "checkpoint"

    def of_part(self, name: str) -> Checkpoints:
        """The checkpoints of one part of the training, such as a phase."""
        return replace(self, name=f"{name}-checkpoint")

    def write(self, state: Mapping[str, Tensor]) -> None:
        """Write a state (`TrainState.state`); of the older ones only the last is kept."""
        if not self.is_writer:
            return
        data = to_safetensors(state)
        step = int(state["num_done"])
        self.folder.write(f"{self.name}-{step:09d}-{self._checksum(data)}.safetensors", data)
        for old in self._names()[_KEPT:]:
            self._remove(old)

    def newest(self) -> dict[str, Tensor] | None:
        """The undamaged state with the most steps, or None; damaged ones are removed."""
        damaged: list[str] = []
        found = None
        for name in self._names():
            data = self._read(name)
            if data is not None and self._checksum(data) in name:
                found = load_tensors(data)
                break
            damaged.append(name)
        if self.is_writer:
            self._set_aside(damaged, None if found is None else int(found["num_done"]))
        return found

    def _names(self) -> list[str]:
        """Whatever has the name of such a checkpoint, folders too, the most steps first."""
        pattern = re.compile(rf"{re.escape(self.name)}-\d{{9,}}-[0-9a-f]+\.safetensors")
        present = [*self.folder.files(), *self.folder.folders()]
        return sorted((name for name in present if pattern.fullmatch(name)), key=_steps, reverse=True)

    def _read(self, name: str) -> bytes | None:
        try:
            return self.folder.read(name)
        except OSError:  # a folder, a bad disk, or removed by the first rank, which has found it damaged
            return None

    def _set_aside(self, names: list[str], step: int | None) -> None:
        then = "begins anew" if step is None else f"goes on from step {step}"
        for name in names:
            self._remove(name)
            self.say(f"{self.folder}/{name}: damaged, or another's; it is removed and the fit {then}")

    def _remove(self, name: str) -> None:
        if name in self.folder.folders():
            (self.folder / name).remove()
        else:
            self.folder.delete(name)

    def _checksum(self, data: bytes) -> str:
        digest = hashlib.sha256(f"{self.owner}/{self.name}/".encode())
        digest.update(data)
        return digest.hexdigest()[:32]


def _steps(name: str) -> int:
    return int(name.rsplit("-", 2)[1])
