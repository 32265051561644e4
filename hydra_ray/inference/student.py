"""A finished student: loaded from its folder, asked about rows as people have them, saved and shared.

Its folder holds `config.json` (what to build, kind, calibration, inputs, classes), `model.safetensors`,
`thresholds.json` and `README.md`, the card; a run's `students/KIND/` is such a folder, and so is a repository of the
Hugging Face Hub. Nothing is unpickled; an architecture that is an import path imports that function, so load such a
student only from whom you trust.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from torch import Tensor, nn

from hydra_ray.data import InputFormat
from hydra_ray.errors import UserError, reason_of
from hydra_ray.inference.answering import answering_of
from hydra_ray.inference.inputs import batches_of
from hydra_ray.inference.prediction import Prediction
from hydra_ray.inference.thresholds import Thresholds
from hydra_ray.models import (
    WEIGHTS,
    HydraStudent,
    check_inputs,
    check_values,
    from_model_json,
    load_model,
    to_model_json,
    to_safetensors_bytes,
)
from hydra_ray.shards import is_labelled
from hydra_ray.storage import Folder, describe, find_published, fingerprint, read_checked, sealed
from hydra_ray.tasks import Prediction as Outputs
from hydra_ray.tasks import Task, task_named
from hydra_ray.training import Calibration, calibration_from_json, kind_named
from hydra_ray.training import predict as outputs_of

CONFIG = "config.json"
THRESHOLDS = "thresholds.json"
CARD = "README.md"
EXPORT = "export"
"""In the config.json of a folder that `export.py` wrote."""

_RISK = 0.05
_BATCH = 2048
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class Student(nn.Module, PyTorchModelHubMixin):
    """One network that answers with the ensemble's predictions and its disagreement.

    N rows, M heads, C classes.
    """

    def __init__(
        self, network: HydraStudent, about: Mapping[str, Any], thresholds: Thresholds | None = None, card: str = ""
    ) -> None:
        """Put together by `load_student` and `distill`.

        Args:
            network: with its weights.
            about: `kind`, `task`, `classes`, `inputs` and, where there is one, `calibration`; what else stands in
                config.json is kept.
            thresholds: rules for when not to trust it.
            card: its README.md.
        """
        super().__init__()
        self.network = network
        self.about = dict(about)
        self.thresholds = thresholds
        self.card = card

    @property
    def task(self) -> Task:
        """Classification or regression."""
        return task_named(self.about["task"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in order; none in a regression."""
        return tuple(self.about["classes"])

    @property
    def inputs(self) -> InputFormat:
        """The rows it takes."""
        return InputFormat.from_json(self.about["inputs"])

    @property
    def calibration(self) -> Calibration | None:
        """What gives the heads' disagreement the ensemble's size; None for a student without."""
        found = self.about.get("calibration")
        return None if found is None else calibration_from_json(found)

    def forward(self, inputs: Tensor) -> Tensor:
        """Stored rows, uint8 [B, H, W, channels] or float32 [B, D] -> outputs [B, M, C], not calibrated."""
        return self.network(inputs)

    def predict(
        self,
        inputs: Any,
        *,
        calibrated: bool = True,
        risk: float = _RISK,
        coverage: float | None = None,
        batch_size: int = _BATCH,
    ) -> Any:
        """Predictions with their uncertainties.

        Args:
            inputs: images as uint8 array or tensor [N, H, W, channels], Pillow images, paths or bytes of image files;
                of a table an array [N, D], a pandas frame, an Arrow table or a mapping of columns. A single image or
                row is a batch of one.
            calibrated: give the heads' disagreement the ensemble's size; False for the heads as they are.
            risk: share of wrong answers that is accepted, for `abstain`: 0.01, 0.02 or 0.05.
            coverage: of `sets` or `interval`: 0.9 or 0.95; None for 0.9 in a classification, 0.95 in a regression.
            batch_size: rows that are worked on at once.

        Returns:
            `ClassPrediction` or `RegressionPrediction`, of all rows.

        Raises:
            UserError: rows that are not what it was trained on, or a risk or coverage without thresholds.
        """
        parts: list[Prediction] = [
            self.answer(rows, calibrated=calibrated, risk=risk, coverage=coverage)
            for rows in batches_of(inputs, self.inputs, batch_size)
        ]
        return type(parts[0]).joined(parts)

    def answer(
        self, rows: np.ndarray, *, calibrated: bool = True, risk: float = _RISK, coverage: float | None = None
    ) -> Any:
        """As `predict`, of stored rows, uint8 [N, H, W, channels] or float32 [N, D], all at once."""
        answering = answering_of(self.task)
        found = self.outputs(rows, calibrated=calibrated)
        coverage = answering.coverage if coverage is None else coverage
        return answering.answer(found, self.classes, self.thresholds, risk, coverage)

    def checked(self, rows: np.ndarray) -> np.ndarray:
        """Stored rows, which the network would take too.

        Raises:
            UserError: another shape or type, or a value that is not finite.
        """
        tensor = torch.from_numpy(rows)
        check_inputs(tensor, self.inputs.shape, "student")
        check_values(tensor)
        return rows

    def members(self, inputs: Any, *, calibrated: bool = True, batch_size: int = _BATCH) -> np.ndarray:
        """What each head says: probabilities [N, M, C], or in a regression means and log variances [N, M, 2].

        Args:
            inputs: as for `predict`.
            calibrated: with the ensemble's size of disagreement.
            batch_size: rows that are worked on at once.

        Raises:
            UserError: the student has no heads that imitate members; or see `predict`.
        """
        parts = []
        for rows in batches_of(inputs, self.inputs, batch_size):
            found = self.outputs(rows, calibrated=calibrated)
            if found.outputs_NMC is None:
                raise UserError(f"members: a student of kind {self.about['kind']} has no heads that imitate members")
            parts.append(self.task.likelihood.each_distribution(found.outputs_NMC).numpy())
        return np.concatenate(parts)

    def outputs(self, rows: np.ndarray, *, calibrated: bool = True) -> Outputs:
        """What the network says of stored rows, uint8 [N, H, W, channels] or float32 [N, D]."""
        kind = kind_named(self.about["kind"])
        calibration = self.calibration if calibrated else None
        return kind.prediction(self.task, outputs_of(self.network, rows), calibration, self.about.get("member_weights"))

    def fit_thresholds(self, rows: np.ndarray, labels_N: np.ndarray, seed: int) -> None:
        """Fit the rules for when not to trust it, on validation rows; where none has a label there are none.

        Args:
            rows: stored rows.
            labels_N: numbers of classes or targets, as shards have them.
            seed: of the student.
        """
        has_label_N = is_labelled(labels_N)
        if has_label_N.any():
            found = self.outputs(rows[has_label_N])
            self.thresholds = answering_of(self.task).fit(found, labels_N[has_label_N], seed)

    # files

    def digest(self) -> str:
        """Hash of all that its answers depend on: network, calibration, classes, inputs and thresholds."""
        about = {name: self.about.get(name) for name in ("kind", "task", "classes", "inputs", "calibration")}
        if "member_weights" in self.about:
            about["member_weights"] = self.about["member_weights"]
        network = [to_model_json(self.network.spec, {}), hashlib.sha256(to_safetensors_bytes(self.network)).hexdigest()]
        rules = None if self.thresholds is None else self.thresholds.to_json()
        return fingerprint({"about": about, "network": network, "thresholds": rules})

    def files_beside(self) -> dict[str, bytes]:
        """The files of its folder beside weights, config.json and card."""
        if self.thresholds is None:
            return {}
        return {THRESHOLDS: json.dumps(self.thresholds.to_json(), indent=1).encode()}

    def _save_pretrained(self, save_directory: Path) -> None:
        """See `save_pretrained`, which is huggingface_hub's."""
        folder = Folder.open(str(save_directory))
        files = {WEIGHTS: to_safetensors_bytes(self.network), **self.files_beside()}
        for name, content in files.items():
            folder.write(name, content)
        if self.card:
            folder.write(CARD, self.card.encode())
        written = {name: describe(folder, name) for name in files}
        about = to_model_json(self.network.spec, self.about)
        origin = {"key": {}, "fingerprint": fingerprint({"files": written})}
        folder.write_json(CONFIG, sealed({**origin, **about, "files": written}))

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        strict: bool = False,
        **_: Any,
    ) -> Self:
        """See `from_pretrained`, which is huggingface_hub's."""
        if Path(model_id).is_dir():
            return cls._from_folder(Folder.open(str(model_id)), map_location)
        place = snapshot_download(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        return cls._from_folder(Folder.open(place), map_location)

    @classmethod
    def _from_folder(cls, folder: Folder, device: str | torch.device) -> Self:
        about, inside = find_published(folder, CONFIG)
        if about is None:
            raise UserError(
                f"{folder}: holds no student, there is no {CONFIG}; give a folder like runs/NAME/students/hydra"
            )
        if EXPORT in about:
            raise UserError(
                f"{folder}: holds an exported student, for other runtimes (its {CARD} says how); give the student's "
                f"own folder, {about[EXPORT]['student']}"
            )
        missing = [name for name in ("kind", "task", "classes", "inputs", "spec") if name not in about]
        if missing:
            raise UserError(f"{folder}/{CONFIG}: is not of a student, it has no {missing[0]}; distil the student again")
        files = about.pop("files")
        network = load_model(from_model_json(about), read_checked(inside, WEIGHTS, files), device)
        assert isinstance(network, HydraStudent)
        thresholds = None
        if THRESHOLDS in files:
            thresholds = Thresholds.from_json(json.loads(read_checked(inside, THRESHOLDS, files)))
        card = inside.read(CARD).decode() if CARD in inside.files() else ""
        return cls(network, about, thresholds, card).eval()


def load_student(place: str | Path, device: str | torch.device = "cpu") -> Student:
    """The student in a folder, ready to predict.

    Args:
        place: a run's `students/KIND`, or what `save_pretrained` wrote: a local path or URI (s3://...); else the name
            of a repository of the Hugging Face Hub, `owner/name`.
        device: where it computes.

    Raises:
        UserError: there is no student, it is damaged, or the Hub has none or cannot be reached.
    """
    text = str(place)
    folder = Folder.open(text, "student")
    if folder.exists():
        return Student._from_folder(folder, device)
    if not _HUB_NAME.fullmatch(text):
        raise UserError(
            f"{text}: no such folder; give one like runs/NAME/students/hydra, or the name of a Hub repository"
        )
    try:
        return Student._from_folder(Folder.open(snapshot_download(text)), device)
    except UserError:
        raise
    except Exception as error:  # huggingface_hub's and whatever its HTTP library raises
        raise UserError(f"{text}: no such folder, and no repository of the Hub ({reason_of(error, 120)})") from None
