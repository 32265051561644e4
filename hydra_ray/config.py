"""The typed configuration tree: the one interface of every command.

A recipe is a YAML file in `configs/`; `key=value` words on the command line override it. Unknown keys and wrong
types are refused with the place, the key, the value and the nearest valid name. This module imports neither torch
nor ray, so that a wrong key costs a fraction of a second. What needs the data or the cluster to be checked is not
here but in `preflight.py`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hydra_ray.errors import UserError

StudentKind = Literal["hydra", "kd"]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A frozen, strict part of the tree: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class DataConfig(Section):
    """Where rows come from and how they are split."""

    source: str
    """`digits`, a torchvision name (`MNIST`, `FashionMNIST`, `CIFAR10`, `CIFAR100`, `SVHN`), or a folder of Parquet files."""
    root: str = "data"
    """Folder in which torchvision sets lie."""
    download: bool = False
    """Let torchvision fetch a missing set into `data.root`."""
    validation_share: Share = 0.1
    """Share of the training rows held out; everything that is chosen is chosen on them."""
    test_share: Share = 0.2
    """Share of the rows held out for test, where the source has no test split of its own."""
    max_train_rows: Count | None = None
    """Keep a seeded subset of the training rows."""
    unknown: dict[str, str] = {}
    """Unknown (out-of-distribution) sets: our name -> source."""


class ViewConfig(Section):
    """One seeded transform of the data set's rows (`hydra_ray/transfer.py`)."""

    view: str
    """The view's name, e.g. `identity`, `affine`, `elastic`, `smooth_noise`."""
    count: Count = 1
    """How many times every row appears under this view, each time with other random numbers."""
    options: dict[str, Any] = {}
    """The view's own options, e.g. `{degrees: 15}`."""


class Optimisation(Section):
    """How one network is fitted; members and students share these words."""

    epochs: Count = 10
    """Passes over the training rows."""
    batch_size: Count = 128
    """Rows of one optimiser step, over all workers together."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9."""
    learning_rate: Positive = 1e-3
    """Peak learning rate, reached after the warm-up; cosine to zero from there."""
    weight_decay: NotNegative = 1e-4
    """Decoupled for AdamW, L2 for SGD."""
    warmup_share: Share = 0.05
    """Share of the steps with linear warm-up."""
    clip_norm: Positive | None = None
    """Largest gradient norm, none to leave gradients alone."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 autocast on GPUs that have it, float32 elsewhere."""


class EnsembleConfig(Optimisation):
    """The members: M networks that differ by their seeds alone."""

    num_members: Count = 8
    """M."""
    architecture: str = "mlp"
    """`mlp`, `cnn`, `resnet20`, a `torchvision.models` name, or an import path `package.module:function`."""
    options: dict[str, Any] = {}
    """The architecture's options, e.g. `{hidden: [200, 200]}`."""
    augment: ViewConfig | None = None
    """A view drawn anew for every row and epoch while members train."""


class TransferConfig(Section):
    """The transfer set: the inputs on which members are asked and students learn."""

    views: Annotated[list[ViewConfig], Field(min_length=1)] = [
        ViewConfig(view="identity"),
        ViewConfig(view="affine"),
        ViewConfig(view="elastic"),
        ViewConfig(view="smooth_noise"),
    ]
    """Members agree on the rows they were trained on; views are where their disagreement shows."""


class PredictConfig(Section):
    """How the members' predictions are written."""

    rows_per_shard: Count = 5000
    """Source rows behind one Parquet file."""
    batch_size: Count = 512
    """Rows of one forward pass."""
    dtype: Literal["float16", "float32"] = "float16"
    """Type of the stored logits."""


class DistillConfig(Optimisation):
    """One student; all kinds read the same shards and take the same number of steps."""

    kind: StudentKind | None = None
    """Train this kind alone, instead of all of `students`."""
    body: str | None = None
    """Architecture of the student's body, none for the members' own."""
    body_options: dict[str, Any] | None = None
    """Its options, none for the members' own."""
    num_heads: Count | None = None
    """Heads of the Hydra student: head m imitates member m. None: one for each member."""
    head_width: Count = 32
    """Units of each hidden layer of a head."""
    head_depth: CountOrNone = 1
    """Hidden layers of a head; 0 is one linear map."""
    temperature: Positive = 2.0
    """T: logits are divided by it in the loss, the loss multiplied by its square."""
    mean_epochs: CountOrNone = 2
    """Phase 1: epochs in which one head learns the members' mean."""
    init_noise: NotNegative = 0.1
    """Phase 2 starts all heads from that head, moved by noise of this share of each weight tensor's spread."""
    checkpoint_every: Count = 200
    """Steps between checkpoints: what a killed worker costs at most."""
    from_tune: bool = False
    """Take what `tune` found best (tune/best.yaml) over the values here."""


class TuneConfig(Section):
    """The search over the student, on the same shards: no member runs again."""

    num_trials: CountOrNone = 0
    """Trials; 0 leaves the search out."""
    space: dict[str, Any] = {}
    """distill key -> list of choices, or `{low:, high:, log: true}`."""
    search: Literal["random", "optuna"] = "random"
    """How trials are drawn."""
    scheduler: Literal["asha", "median", "none"] = "asha"
    """How trials are stopped early."""
    objective: Literal[
        "validation_nll", "validation_accuracy", "validation_member_kl", "validation_mutual_information_ratio"
    ] = "validation_nll"
    """The figure trials are compared by."""
    direction: Literal["min", "max"] = "min"
    """Whether less or more of it is better."""
    epochs: Count | None = None
    """Epochs of one trial, none for the student's own."""
    grace_epochs: Count = 1
    """Epochs no trial is stopped before."""
    workers_per_trial: Count = 1
    """1: a trial is a plain function; more: each trial is a Ray Train run of that many workers."""
    max_concurrent: Count | None = None
    """Trials at a time, none to compute it from the cluster's resources."""


class EvaluateConfig(Section):
    """What the report measures."""

    latency_repeats: Count = 20
    """Forward passes behind each latency (their median)."""


class ClusterConfig(Section):
    """What of the machine or cluster a stage may use."""

    num_workers: Count = 1
    """Processes that train members or one student."""
    use_gpu: bool = False
    """One GPU for each worker and prediction actor."""
    cpus_per_worker: Positive = 1.0
    """CPUs of one worker; also its number of threads."""
    num_actors: Count = 1
    """Processes that ask the members."""
    max_failures: CountOrNone = 3
    """Times a stage starts its workers again after one died."""
    rows_memory_mb: Count = 2048
    """Memory of one worker for transfer rows; a larger transfer set is read a window of shards at a time."""
    object_store_mb: Count = 1024
    """Object store of a private local session."""


class TrackingConfig(Section):
    """Where figures go beside events.jsonl."""

    wandb: Literal["off", "offline", "online"] = "off"
    """Weights & Biases: `offline` needs no account."""
    project: str = "hydra-ray"
    """W&B project."""


class Config(Section):
    """Everything a run is made of."""

    name: str
    """Folder of the run under `storage`; by default the recipe's file name."""
    storage: str = "runs"
    """A folder, or a URI such as s3://bucket/runs."""
    seed: int = 0
    """Every random choice derives from it."""
    data: DataConfig
    """The data set."""
    ensemble: EnsembleConfig = EnsembleConfig()
    """The members."""
    transfer: TransferConfig = TransferConfig()
    """The inputs students learn on."""
    predict: PredictConfig = PredictConfig()
    """The shards."""
    students: Annotated[list[StudentKind], Field(min_length=1)] = ["hydra"]
    """The students to train and compare."""
    distill: DistillConfig = DistillConfig()
    """How students are trained."""
    tune: TuneConfig = TuneConfig()
    """The search."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """The report."""
    cluster: ClusterConfig = ClusterConfig()
    """Resources."""
    tracking: TrackingConfig = TrackingConfig()
    """Figures' way out."""

    @property
    def student_kinds(self) -> list[StudentKind]:
        """Kinds that `distill` trains and `evaluate` compares."""
        return [self.distill.kind] if self.distill.kind else list(dict.fromkeys(self.students))

    @property
    def num_heads(self) -> int:
        """Heads of the Hydra student."""
        return self.distill.num_heads or self.ensemble.num_members

    @model_validator(mode="after")
    def _heads_have_members(self) -> Self:
        _require_heads("distill.num_heads", self.distill.num_heads, self.ensemble.num_members)
        for value in _choices(self.tune.space.get("num_heads")):
            _require_heads("tune.space.num_heads", value, self.ensemble.num_members)
        return self

    @model_validator(mode="after")
    def _batch_is_divisible(self) -> Self:
        for workers, key in ((self.cluster.num_workers, "cluster.num_workers"), (self.tune.workers_per_trial, "tune.workers_per_trial")):
            if self.distill.batch_size % workers:
                raise ValueError(f"distill.batch_size={self.distill.batch_size} does not divide by {key}={workers}: choose a multiple")
        return self

    @model_validator(mode="after")
    def _tune_is_usable(self) -> Self:
        for key in self.tune.space:
            if key not in DistillConfig.model_fields or key in ("kind", "from_tune"):
                hint = _nearest(key, DistillConfig.model_fields)
                raise ValueError(f"tune.space.{key}: not a key of distill that can be searched; {hint}")
        if self.tune.num_trials and not self.tune.space:
            raise ValueError(f"tune.num_trials={self.tune.num_trials}, but tune.space is empty: name keys to search")
        if self.distill.from_tune and not self.tune.num_trials:
            raise ValueError("distill.from_tune=true, but tune.num_trials=0: set tune.num_trials and tune.space")
        return self


def _require_heads(key: str, heads: Any, members: int) -> None:
    if isinstance(heads, int) and heads > members:
        raise ValueError(
            f"{key}={heads}, but ensemble.num_members={members}: raise ensemble.num_members or lower {key}"
        )


def _choices(domain: Any) -> Iterable[Any]:
    return domain if isinstance(domain, list) else []


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as a string; people mean a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str) -> Any:
    """YAML with 1e-3 as a number."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader subclass)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The recipe at `path` with `key=value` overrides applied.

    Raises:
        UserError: no such file, not YAML, an unknown key, a wrong type or values that contradict each other.
    """
    tree = _read_recipe(Path(path))
    tree.setdefault("name", Path(path).stem)
    given = [_split_override(word) for word in overrides]
    for key, value in given:
        _assign(tree, key, value)
    return validate(tree, str(path), overridden=[key for key, _ in given])


def validate(tree: Mapping[str, Any], place: str, *, overridden: Iterable[str] = ()) -> Config:
    """`tree` as a `Config`; errors name `place`, or the command line for an overridden key."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(_explain(error, place, list(overridden))) from None


def with_overlay(config: Config, overlay: Mapping[str, Any], place: str) -> Config:
    """`config` with the keys of `overlay` (a nested mapping, e.g. tune/best.yaml) laid over it."""
    tree = config.model_dump()
    for key, value in flatten(overlay).items():
        _assign(tree, key, value)
    return validate(tree, place)


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys; lists stay values."""
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: tree} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        tree = parse_yaml(path.read_text())
    except FileNotFoundError:
        known = sorted(str(found) for found in path.parent.glob("*.yaml")) or sorted(map(str, Path("configs").glob("*.yaml")))
        raise UserError(f"{path}: no such recipe; {_nearest(str(path), known)}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys, this is {type(tree).__name__}")
    return tree


def _split_override(word: str) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise UserError(f"command line: {word!r} is not key=value, e.g. ensemble.num_members=20")
    try:
        return key, parse_yaml(text)
    except yaml.YAMLError:
        raise UserError(f"command line: {word!r}: the value is not YAML; quote it") from None


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        below = tree.get(part)
        if below is None:
            below = tree[part] = {}
        if not isinstance(below, dict):
            raise UserError(f"command line: {key}: {'.'.join(parents[: depth + 1])} is a value, not a section")
        tree = below
    tree[last] = value


def _explain(error: ValidationError, place: str, overridden: list[str]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if not key:  # a rule across keys: its message names them
        return f"{place}: {first['msg'].removeprefix('Value error, ')}"
    if any(key == word or key.startswith(f"{word}.") for word in overridden):
        place = "command line"
    if first["type"] == "extra_forbidden":
        return f"{place}: {key}={_short(first['input'])}: unknown key; {_nearest(key, known_keys())}"
    if first["type"] == "missing":
        return f"{place}: {key} is missing: add it, or give {key}=... on the command line"
    return f"{place}: {key}={_short(first['input'])}: {first['msg'].removeprefix('Value error, ')}"


def known_keys(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Every dotted key of the tree."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
    return keys


def _nearest(word: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.4)
    if not close:  # the right last word in the wrong section
        close = [name for name in names if name.split(".")[-1] == word.split(".")[-1]][:1]
    return f"nearest: {close[0]}" if close else f"valid: {', '.join(names)}"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
