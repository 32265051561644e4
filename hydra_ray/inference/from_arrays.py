"""`hydra_ray.distill`: from arrays in memory to a student in one call, on this machine, without a recipe or a run.

The same kinds, losses and training loop as the stage of that name, in one process. There are no members to ask, so the
transfer set is the rows that are given: what views of them would add is missing (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from hydra_ray.config import Config, DistillConfig, StudentKind, validate
from hydra_ray.data import LABEL_DTYPES, InputFormat, TaskName
from hydra_ray.errors import UserError
from hydra_ray.inference.student import Student
from hydra_ray.models import check_architecture
from hydra_ray.randomness import numpy_generator, seed_of
from hydra_ray.shards import BatchReader, ShardRows, no_labels
from hydra_ray.tasks import task_named
from hydra_ray.training import Distillation, DistributedContext, HeldOut, InputOutputScaling, distil, facts_of, plan_of

Outputs = Literal["logits", "probabilities", "mean_variance"]

_PLACE = "distill"
_LEAST_PROBABILITY = 1e-7  # of a hard vote, whose logarithm would be infinite


def distill(
    inputs: np.ndarray,
    member_outputs: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    outputs: Outputs = "logits",
    classes: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    categories: Sequence[int] = (),
    kind: StudentKind = "hydra",
    body: str = "mlp",
    body_options: Mapping[str, Any] | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Callable[[dict[str, Any]], None] | None = None,
    **settings: Any,
) -> Student:
    """Distil an ensemble into one network from what its members say.

    Args:
        inputs: uint8 [N, H, W, channels] or float [N, D], rows as the student will take them.
        member_outputs: [N, M, C], what the M members say of them.
        labels: [N], numbers of classes (-1: none) or targets (NaN: none); thresholds are fitted to them.
        mask: bool [N, M], which members teach a row, or floats, how much; None for all alike.
        outputs: what `member_outputs` are: logits or probabilities of C classes, or means and variances (C = 2) of a
            regression.
        classes: names of the C classes.
        features: names of the D features, by which tables are read.
        categories: [D], of each feature how many codes it has (0: missing, 1: rare or unseen, ...), 0 for a number.
        kind: which student: hydra, kd, kd_temperature, labels, end2, proxy_end2 or prior_network.
        body: its network: mlp, tabm, tabular_resnet, xdeepfm, dexdeepfm, cnn, resnet20, a torchvision name or an import
            path.
        body_options: those of the network.
        validation_fraction: share of the rows that calibration and thresholds are fitted on.
        seed: every random choice follows from it.
        device: where it is trained.
        progress: called after each epoch with its figures.
        settings: keys of `distill` in a recipe, or of the kind's own: epochs, learning_rate, temperature, head_width,
            num_heads, diversity_weight, ...

    Raises:
        UserError: arrays that do not fit each other, values that are not finite, an unknown setting.
    """
    task: TaskName = "regression" if outputs == "mean_variance" else "classification"
    rows = _rows_of(np.asarray(inputs), np.asarray(member_outputs), labels, mask, outputs, task)
    num_members, num_outputs = rows.logits_NMC.shape[1:]
    names = _class_names(classes, num_outputs, task)
    chosen = _config(kind, body, body_options, settings, num_members, seed)
    train, validation = _split(rows.of_members(chosen.distill.members), validation_fraction, seed)
    form = InputFormat(rows.inputs.shape[1:], None if features is None else tuple(features))
    num_codes = _checked_categories(categories, rows.inputs)
    check_architecture(body, form.shape, num_outputs, dict(body_options or {}), num_codes)
    facts: dict[str, Any] = {"input_shape": form.shape, "num_outputs": num_outputs, "categories": num_codes}
    plan = plan_of(chosen, task_named(task), kind, num_members=train.logits_NMC.shape[1], **facts)
    about = {"data": "arrays", "task": task, "classes": list(names), "inputs": form.to_json()}
    return _trained(plan, train, validation, about, torch.device(device), progress)


def _trained(
    plan: Distillation,
    train: ShardRows,
    validation: ShardRows,
    about: Mapping[str, Any],
    device: torch.device,
    progress: Callable[[dict[str, Any]], None] | None,
) -> Student:
    batches = BatchReader(
        train,
        batch_size=plan.settings.batch_size,
        seed=seed_of(plan.seed, "student order", plan.objective.kind),
        num_members=plan.num_members,
        draws=plan.draws,
    )
    network = distil(
        plan,
        batches,
        HeldOut(validation),
        InputOutputScaling.of(plan.task, train, plan.num_members, plan.spec.categories),
        device=device,
        ranks=DistributedContext(),
        checkpoints=None,
        report=progress or (lambda figures: None),
    )
    student = Student(network.eval(), {**facts_of(plan, network, HeldOut(validation)), **about})
    student.fit_thresholds(validation.inputs, validation.labels, plan.seed)
    student.card = _card(student, len(train), len(validation))
    return student


def _card(student: Student, num_train: int, num_validation: int) -> str:
    """The model card of a student that has no run: what is known of it, which is on validation rows alone."""
    about = student.about
    figures = [f"| {name.removeprefix('validation_')} | {value:.4g} |" for name, value in about["figures"].items()]
    number = student.network.spec.num_heads
    heads = f"{number} head{'s' if number > 1 else ''}"
    return "\n".join(
        [
            "---\nlibrary_name: hydra-ray\ntags:\n- ensemble-distillation\n- uncertainty\n---\n",
            f"# A {about['kind']} student, from arrays\n",
            f"One network with {heads} ({about['task']}), distilled with `hydra_ray.distill` "
            f"from what the members said of {num_train:,} rows.\n",
            f"On {num_validation:,} further rows, which calibration and thresholds were fitted on:\n",
            "| figure | |\n|---|---|",
            *figures,
            "\nIt was tried on no test rows and no unknown inputs. Load it with "
            "`hydra_ray.load_student(FOLDER).predict(rows)`.\n",
        ]
    )


def _config(
    kind: StudentKind,
    body: str,
    options: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    members: int,
    seed: int,
) -> Config:
    """The settings as a recipe would have them."""
    shared = {key: value for key, value in settings.items() if key in DistillConfig.model_fields}
    own = {key: value for key, value in settings.items() if key not in shared}
    return validate(
        {
            "name": _PLACE,
            "seed": seed,
            "data": {"source": "arrays"},
            "ensemble": {"num_members": members},
            "students": [{"kind": kind, **own}],
            "distill": {**shared, "body": body, "body_options": dict(options or {})},
        },
        _PLACE,
    )


def _rows_of(
    inputs: np.ndarray,
    member_outputs: np.ndarray,
    labels: np.ndarray | None,
    mask: np.ndarray | None,
    outputs: Outputs,
    task: TaskName,
) -> ShardRows:
    if member_outputs.ndim != 3 or len(member_outputs) != len(inputs) or len(inputs) < 2:
        found = f"inputs {list(inputs.shape)} and member_outputs {list(member_outputs.shape)}"
        raise UserError(f"{_PLACE}: {found} do not fit: give [N, ...] and [N, members, classes] of at least 2 rows")
    for name, array, wanted in (("labels", labels, member_outputs.shape[:1]), ("mask", mask, member_outputs.shape[:2])):
        if array is not None and np.shape(array) != wanted:
            raise UserError(f"{_PLACE}: {name} {list(np.shape(array))}: must have the shape {list(wanted)}")
    images = inputs.ndim == 4
    rows = inputs if images else inputs.astype(np.float32)
    if images and inputs.dtype != np.uint8:
        raise UserError(f"{_PLACE}: inputs are {inputs.dtype}: give images as uint8 pixels, 0 to 255")
    logits_NMC = _as_logits(member_outputs.astype(np.float32), outputs)
    for name, array in (("inputs", rows), ("member_outputs", logits_NMC)):
        if not np.isfinite(array).all():
            raise UserError(f"{_PLACE}: {name} hold values that are not finite; mend or remove those rows")
    known = no_labels(len(rows), task) if labels is None else np.asarray(labels).astype(LABEL_DTYPES[task])
    number = np.arange(len(rows))
    mask_NM = None if mask is None else np.asarray(mask)
    if mask_NM is not None:
        mask_NM = mask_NM.astype(np.float32 if mask_NM.dtype.kind == "f" else np.bool_)
    return ShardRows(number, np.zeros(len(rows), np.int32), rows, known, logits_NMC, mask_NM)


def _checked_categories(categories: Sequence[int], inputs: np.ndarray) -> tuple[int, ...]:
    """The number of codes of each feature, after a look at all codes."""
    num_codes = tuple(int(number) for number in categories)
    if not any(num_codes):
        return ()
    if inputs.shape[1:] != (len(num_codes),):
        raise UserError(
            f"{_PLACE}: categories are {len(num_codes)}, but inputs {list(inputs.shape)}; give one number a feature"
        )
    for place, number in enumerate(num_codes):
        codes = inputs[:, place]
        odd = (codes != np.floor(codes)) | (codes < 0) | (codes >= number)
        if number == 1:
            raise UserError(
                f"{_PLACE}: feature {place} is a category of 1 code; 0 is for numbers, categories have 2 or more"
            )
        if number and odd.any():
            raise UserError(
                f"{_PLACE}: feature {place} is a category of {number} codes, but a row has {codes[odd][0]:g}; "
                f"give whole numbers from 0 to {number - 1}"
            )
    return num_codes


def _as_logits(member_outputs: np.ndarray, outputs: Outputs) -> np.ndarray:
    """What shards hold: logits, or means and log variances."""
    if outputs == "logits":
        return member_outputs
    if outputs == "probabilities":
        off = np.abs(member_outputs.sum(axis=-1) - 1).max()
        if (member_outputs < 0).any() or off > 1e-3:
            raise UserError(
                f"{_PLACE}: outputs=probabilities, but some are negative or add up to {1 + off:.4g}; "
                "normalise them, or pass outputs='logits'"
            )
        return np.log(np.maximum(member_outputs, _LEAST_PROBABILITY))
    if outputs != "mean_variance":
        raise UserError(f"{_PLACE}: outputs={outputs}: must be logits, probabilities or mean_variance")
    if member_outputs.shape[2] != 2 or not (member_outputs[..., 1] > 0).all():
        raise UserError(f"{_PLACE}: outputs=mean_variance needs [N, members, 2] with variances above 0")
    return np.stack([member_outputs[..., 0], np.log(member_outputs[..., 1])], axis=-1)


def _class_names(classes: Sequence[str] | None, num_outputs: int, task: TaskName) -> tuple[str, ...]:
    if task == "regression":
        return ()
    names = tuple(str(number) for number in range(num_outputs)) if classes is None else tuple(map(str, classes))
    if len(names) != num_outputs:
        raise UserError(
            f"{_PLACE}: {len(names)} classes, but member_outputs have {num_outputs}; name each of them once"
        )
    return names


def _split(rows: ShardRows, fraction: float, seed: int) -> tuple[ShardRows, ShardRows]:
    """Rows to train on and to validate on, a seeded choice."""
    number = round(len(rows) * fraction)
    if not 0 < number < len(rows):
        raise UserError(f"{_PLACE}: validation_fraction={fraction} leaves {number} of {len(rows)} rows; use 0.1 or so")
    order = numpy_generator(seed_of(seed, "split", "validation")).permutation(len(rows))
    return rows.take(np.sort(order[number:])), rows.take(np.sort(order[:number]))
