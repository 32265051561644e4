"""The sections of the configuration tree: their keys, each with its type, default and meaning.

Part of `tree.py`, through which they are imported. Those of the transfer set are in `transfer.py`, those of kinds of
students in `students.py`, those of teachers in `teachers.py`, those of the machine in `cluster.py`.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hydra_ray.config.attacks import Attacks
from hydra_ray.config.member_groups import Weights, with_architecture, with_first_group
from hydra_ray.config.objectives import DexDeepFmConfig, Objective
from hydra_ray.config.students import StudentKind
from hydra_ray.config.teachers import TeachersConfig
from hydra_ray.config.types import (
    ConsensusRule,
    Count,
    CountOrNone,
    HeadKind,
    NotEmpty,
    NotNegative,
    OnlyTrue,
    Positive,
    Samples,
    Section,
    Several,
    SeveralOrNone,
    Share,
    Side,
    SplitChoice,
    Width,
)


class ViewConfig(Section):
    """One seeded transform of the data set's rows (`hydra_ray/views/`)."""

    view: str
    """Its name, e.g. `identity`, `affine`, `elastic`, `smooth_noise`, or an import path `package.module:function`."""
    count: Several = 1
    """How many times every row appears under this view, each time with other random numbers."""
    options: dict[str, Any] = {}
    """Those of the view that `view` names, e.g. `{degrees: 15}`; their model stands beside the view's function."""


class DataConfig(Section):
    """Where rows come from and how they are split."""

    source: str
    """`digits`, `spirals`, `multi_view`, `gaussian_mixture`, `MNIST`, `FashionMNIST`, `CIFAR10`, `CIFAR100`, `SVHN`;
    regression: `diabetes`, `wave`; or a Parquet or CSV file, or a folder of them; or a folder of image files, a class a
    folder."""
    torchvision_root: str = "data"
    """Folder in which torchvision sets lie."""
    download: bool = False
    """Let torchvision fetch a missing set into `data.torchvision_root`, scikit-learn `data/adult` from OpenML, and
    published `ensemble.weights` be fetched."""
    target: str | None = None
    """The column of Parquet or CSV that a regression predicts from all other columns of numbers."""
    label: str | None = None
    """The column of Parquet or CSV that holds the classes. None: one called `label`, `target`, `class`, `y` or the
    like, else the only one that could."""
    ignore: list[str] | None = None
    """Columns to leave out. Numbers of rows (`id`, 0, 1, 2, ..., pandas' index) are left out in any case, unless the
    list is empty: then nothing is."""
    columns: dict[str, Literal["category", "number"]] | None = None
    """What columns of features are, where the file leaves that open: `{zip: category, weight: number}`. Text that is no
    number then counts as missing in a column of numbers."""
    header: bool | None = None
    """Whether the first line of CSV files holds the names of their columns. None: found from the line."""
    decimal: Literal[".", ","] | None = None
    """What stands between ones and tenths in CSV. None: found from the values."""
    test_split: SplitChoice | None = None
    """Test rows of standard split k, the column `test_split_k`; `all`, or a range such as `0-9`, runs one after the
    other."""
    validation_fraction: Share = 0.1
    """Share of the training rows held out; everything that is chosen is chosen on them."""
    validation_views: list[ViewConfig] | None = None
    """Views of the validation rows on which calibration is fitted and students are chosen, beside the rows themselves:
    rows that members disagree about more. None: of images `affine`, `elastic` and `smooth_noise`, of feature rows
    `gaussian_noise` and `resample`, of a table with categories `swap` and `resample`. `[]`: no views."""
    test_fraction: Share = 0.2
    """Share of the rows held out for test, where the source has no test split of its own."""
    max_train_rows: Count | None = None
    """Keep a seeded subset of the training rows."""
    image_size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    """Pixels of a side to which image files are resized, their middle cropped where they are no square; or
    `[height, width]`. None: all have one size."""
    skip_broken: bool = False
    """Leave image files out that cannot be read, cut short or are too large; else they are refused."""
    max_pixels: Count = 67_108_864
    """Pixels that an image file may have (8192 x 8192); larger ones are refused before they are decoded."""
    unknown: dict[str, str | ViewConfig] = {}
    """Unknown (out-of-distribution) sets: our name -> source, or a view of the test rows, `{view: cyclic_shift}`."""
    held_out: dict[str, dict[str, list[str | int | float | bool]]] | None = None
    """Further unknown sets: our name -> column -> values, `{mexico: {native-country: [Mexico]}}`; rows that have one of
    them are in none of train, validation and test."""


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
    warmup_fraction: Share = 0.05
    """Share of the steps with linear warm-up."""
    clip_norm: Positive | None = None
    """Largest gradient norm, none to leave gradients alone."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 autocast on GPUs that have it, float32 elsewhere; heads and outputs are float32 in any case."""
    compile: bool = False
    """Compile the network with `torch.compile`, which takes a minute and pays for long fits on GPUs."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """What workers that train one network together keep: `ddp`, all of it each; `fsdp`, a share of its weights,
    gradients and optimiser state each, for networks whose training does not fit on one card."""


class MemberGroup(Section):
    """Members of one architecture, where members differ (`ensemble.members`)."""

    architecture: str
    """As `ensemble.architecture`."""
    options: dict[str, Any] = {}
    """Those of the architecture."""
    weights: Weights | None = None
    """As `ensemble.weights`."""
    count: Several = 1
    """How many of the members are built so."""

    @model_validator(mode="before")
    @classmethod
    def _follow(cls, given: Any) -> Any:
        return with_architecture(given)


class EnsembleConfig(Optimisation):
    """The members: M networks that differ by their seeds alone unless `members` says otherwise, or teachers in their
    place."""

    num_members: Several = 8
    """M. Follows from the counts of `members`, where that is set."""
    min_members: Several | None = None
    """Go on without members that failed for good, as long as so many are there; the report names those left out. None:
    all have to be there. Without this key the others are tried again."""
    architecture: str = "mlp"
    """`mlp`, `cnn`, `resnet20`, for tables also `tabm`, `tabular_resnet`, `xdeepfm` and `dexdeepfm`, a
    `torchvision.models` name, `timm:NAME`, or an import path `package.module:function`. Where published `weights` are
    named it follows from them, and where `members` is set from the first of these."""
    options: dict[str, Any] = {}
    """Those of the architecture, e.g. `{hidden: [200, 200]}`; their model stands beside it in
    `hydra_ray/models/architectures.py`, `tabular_architectures.py` and `click_architectures.py`."""
    weights: Weights | None = None
    """Start every member's body from trained weights, under a new head of its own: a path of a `.safetensors` file, a
    name of torchvision's such as `ResNet18_Weights.DEFAULT`, or `timm:NAME`. Normalisation is that of the weights."""
    train: Literal["all", "head"] = "all"
    """`head` trains the heads alone and leaves bodies as they are: those that `weights` bring, or else random ones, so
    that members are random features with a linear model on them."""
    members: list[MemberGroup] | None = Field(default=None, min_length=1)
    """Members of several architectures, `[{architecture: cnn, options: {...}, count: 3}, ...]`, numbered in this order.
    A student's body is that of the first, unless `distill.body` is set."""
    stack_size: Several | Literal["auto"] = 1
    """Members that a worker fits as one network; `auto`: as many as a measurement at the start finds fastest. A member
    is the same up to rounding, whatever it is."""
    workers_per_member: Several = 1
    """Workers that train one member together, each on its part of every batch; members as many at a time as there are
    teams of so many. For networks too large, or too slow, for one worker."""
    likelihood: Literal["gaussian", "mse"] | None = None
    """Regression: a mean and a variance for every input (`gaussian`, the default), or a mean with one variance for
    all inputs (`mse`), so that disagreement is the only uncertainty that varies."""
    augment: ViewConfig | None = None
    """A view drawn anew for every row and epoch while members train."""
    objective: Objective | None = None
    """What members minimise: `independent` (the default), each its own loss; or one loss of a group that is trained
    together on the same rows: `joint`, `negative_correlation`, `adp`, `trs`, or `{kind: adp, volume_weight: 1.0}` with
    a kind's own keys. `dexdeepfm` is of each member by itself, for that architecture."""
    group_size: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """K, members of a group; none for all that are built alike."""
    folds: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Every member leaves out one of so many folds of the training rows, for views with `held_out`."""
    teachers: TeachersConfig = TeachersConfig()
    """Who answers in the members' place; by default nobody."""

    @model_validator(mode="before")
    @classmethod
    def _follow(cls, given: Any) -> Any:
        return with_architecture(with_first_group(given))

    @property
    def groups(self) -> list[MemberGroup]:
        """Members that are built alike, in the order of their numbers."""
        alike = MemberGroup(
            architecture=self.architecture, options=self.options, weights=self.weights, count=self.num_members
        )
        return self.members or [alike]

    @property
    def objective_of_groups(self) -> Objective | None:
        """What groups minimise; None where each member minimises its own loss."""
        return self.objective if self.objective is not None and self.objective.is_of_groups else None

    @property
    def own_objective(self) -> DexDeepFmConfig | None:
        """What each member minimises by itself beside how well it predicts; None where that is all."""
        return self.objective if isinstance(self.objective, DexDeepFmConfig) else None

    @property
    def trained_together(self) -> list[range]:
        """Numbers of the members that one loss trains, for each group; each member alone where losses are its own."""
        if self.objective_of_groups is None:
            return [range(number, number + 1) for number in range(self.num_members)]
        found = []
        start = 0
        for alike in self.groups:
            size = self.group_size or alike.count
            found += [range(first, first + size) for first in range(start, start + alike.count, size)]
            start += alike.count
        return found

    def group_of(self, member: int) -> int:
        """The place among `groups` of a member's."""
        ends = accumulate(group.count for group in self.groups)
        return next(place for place, end in enumerate(ends) if member < end)


class PredictConfig(Section):
    """How the members' predictions are written."""

    rows_per_shard: Count = 5000
    """Source rows behind one Parquet file."""
    batch_size: Count = 512
    """Rows of one forward pass."""
    dtype: Literal["float16", "float32"] | None = None
    """Type of the stored logits, by default float16; a regression's means and log variances are float32."""
    members_per_row: Several | None = None
    """Ask each row of the transfer set of so many members alone, a random choice, and learn it from these; none for
    all. Asking costs that share of the time."""
    shards: NotEmpty | None = None
    """Folder of shards that somebody else wrote, which are taken in place of members' predictions (docs/shards.md)."""


class DistillConfig(Optimisation):
    """What kinds of students share; all read the same shards and take the same number of steps."""

    kind: StudentKind | None = None
    """Train this one of `students` alone."""
    members: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=1)
    """Numbers of the members that students learn from, from 0 on: a team (`hydra-ray teams` finds one), `[0]` for one
    member alone. None for all. No member is asked again."""
    body: str | None = None
    """Architecture of the student's body, none for the members' own."""
    body_options: dict[str, Any] | None = None
    """Its options, none for the members' own."""
    train: Literal["head"] | None = None
    """`head` leaves the body at its random start and trains the heads alone: a student that is random features, as
    members with `ensemble.train=head` are. None: all is trained."""
    head: HeadKind | None = None
    """What a head is, from the cheapest: `linear`, one map of the body's features; `mlp`, hidden layers on them;
    `conv1x1`, 1 x 1 convolutions of its own before pooling; `block`, the network's last blocks for itself. None:
    `conv1x1` where the body ends in a mean over pixels, else `mlp`."""
    cut: Several | None = None
    """Heads with blocks: how many of the network's last ones each has for itself, none for 1."""
    head_width: Width = 32
    """Units of each hidden layer of a head, or channels of its convolutions."""
    head_depth: SeveralOrNone = 1
    """Hidden layers of a head, or its convolutions; 0 is one linear map."""
    temperature: Positive = 2.0
    """T: logits are divided by it in the loss, the loss multiplied by its square. A regression has none."""
    standardise: OnlyTrue = None
    """`temperature` is in units of the member's deviation over classes, on every row; else in those of logits."""
    label_weight: NotNegative = 0.0
    """Weight of the negative log likelihood of labels, for rows that have one, under the heads' mixture."""
    disagreement_sampling: Annotated[float, Field(ge=1)] | None = None
    """Draw rows more often the more members disagree on them: at most so many times as often as the average row, and at
    least its reciprocal. An epoch has as many rows as without."""
    mean_phase_epochs: CountOrNone = 2
    """Phase 1: epochs in which one head learns the members' mean."""
    average: Annotated[float, Field(gt=0, le=0.28)] | None = None
    """Each phase ends with the average of the student's weights over its last steps: the standard deviation of that
    stretch, as a share of the phase. None: with the weights after the last step."""
    calibration: Literal["curve", "scale"] = "curve"
    """How heads that disagree too little are given the members' disagreement, fitted on validation rows and views of
    them: by a row's own factor, from a curve over its knowledge uncertainty, or by one factor for all rows."""
    checkpoint_every: Count = 200
    """Steps between checkpoints: what a killed worker costs at most."""
    use_best_trial: bool = False
    """Take what `tune` found best for a kind (tune/<kind>/best.yaml) over the values here."""


class EvaluateConfig(Section):
    """What the report measures."""

    bootstrap_samples: Samples = 200
    """Bootstrap samples behind the intervals of fidelity; 0 leaves them out."""
    consensus: list[ConsensusRule] | None = None
    """Ways to make one answer of the members' that the report compares: `mean`, `plurality`, `majority`, `weighted`,
    `learned`. None: the mean alone, which students learn."""
    latency_repeats: Count = 20
    """Forward passes behind each latency (their median)."""
    attacks: Attacks | None = None
    """Attacks on members, ensemble and students, images alone: `[fgsm, pgd, mim]`, or with keys of their own, `{kinds:
    [pgd], eps: [0.03], rows: 1000}`. None tries none."""


class TrackingConfig(Section):
    """Where figures go beside events.jsonl."""

    wandb: Literal["off", "offline", "online"] = "off"
    """Weights & Biases: `offline` needs no account."""
    project: NotEmpty | None = None
    """W&B project; none for that of WANDB_PROJECT, else `hydra-ray`."""
