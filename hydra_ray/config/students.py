"""What the configuration knows of each kind of student: its own keys, the keys of `distill` it reads, what suits it.

A kind is one class here and one module of its name in `training/kinds/`, which says how it learns and what it
predicts. Nothing else lists the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from hydra_ray.config.types import NotNegative, Positive, Section, Several, Share

_READ_BY_ALL = frozenset(
    {
        "body", "body_options", "train", "head", "cut", "head_width", "head_depth", "mean_phase_epochs", "epochs",
        "batch_size", "optimizer", "learning_rate", "weight_decay", "warmup_fraction", "clip_norm", "precision",
        "disagreement_sampling", "average",
    }
)  # fmt: skip


class OwnTerm(Section):
    """A term of the user's own in what a student minimises."""

    import_path: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """A function `package.module:function`, as docs/recipes.md has one."""
    weight: Positive
    """Of its mean over rows."""


class StudentConfig(Section):
    """One entry of `students`: a kind and its own keys."""

    reads: ClassVar[frozenset[str]] = _READ_BY_ALL
    """Keys of `distill` that change a student of this kind."""
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    """What it can learn."""
    least_members: ClassVar[int] = 1
    """Members it takes."""
    imitates_members: ClassVar[bool] = False
    """Whether it has a head for each member, so that `validation_member_kl` can be measured."""
    knows_disagreement: ClassVar[bool] = True
    """Whether it gives knowledge uncertainty, which it may be compared by."""

    kind: Any
    """Its name; each section has a Literal of its own."""
    terms: list[OwnTerm] = []
    """Terms of the user's own, added to what it minimises."""

    def learns_from(self, num_members: int) -> int:
        """How many of the members it learns from: the first so many."""
        return num_members

    def resolved(self, num_members: int) -> Self:
        """With the keys filled in that follow from the number of members."""
        return self

    def check(self, num_members: int, among: str) -> None:
        """Raises ValueError where its keys do not suit the number of members, which the key `among` says."""

    @classmethod
    def own_keys(cls) -> set[str]:
        """Keys of its own section."""
        return set(cls.model_fields) - {"kind"}

    @classmethod
    def searched_keys(cls) -> set[str]:
        """Keys of `tune.space` that change a student of this kind."""
        return (cls.own_keys() - {"terms"}) | cls.reads


class HydraConfig(StudentConfig):
    """One body, and a head for each member that imitates it (Tran et al. 2020)."""

    reads = _READ_BY_ALL | {"temperature", "standardise", "label_weight", "calibration"}
    imitates_members = True

    kind: Literal["hydra"] = "hydra"
    num_heads: Several | None = None
    """Heads: head m imitates member m. None: one for each member."""
    head_init_noise: NotNegative = 0.1
    """Phase 2 starts all heads from that of phase 1, moved by noise of this share of each tensor's deviation."""
    diversity_weight: NotNegative = 0.0
    """Weight of the squared difference of ln MI (regression: ln knowledge variance) of heads and members, by rows."""
    correlation_weight: NotNegative = 0.05
    """Weight of 1 - Pearson's correlation, over the batch, of ln MI (or ln knowledge variance) of heads and members."""
    deviation_weight: NotNegative = 0.0
    """Weight of the squared error of heads' deviations from their mean, in units of the members' spread on the row."""

    def learns_from(self, num_members: int) -> int:
        """As many members as it has heads."""
        return self.num_heads or num_members

    def resolved(self, num_members: int) -> Self:
        """With `num_heads`."""
        return self.model_copy(update={"num_heads": self.learns_from(num_members)})

    def check(self, num_members: int, among: str) -> None:
        """Each head has a member."""
        if self.learns_from(num_members) > num_members:
            raise ValueError(
                f"students.hydra.num_heads={self.num_heads}, but {among}: use {num_members} heads or fewer, or take "
                "more members"
            )


class KdConfig(StudentConfig):
    """One head that is taught the members' mean."""

    reads = _READ_BY_ALL | {"temperature", "standardise", "label_weight"}
    knows_disagreement = False

    kind: Literal["kd"] = "kd"


class KdTemperatureConfig(StudentConfig):
    """One head that is taught the members' mean, and by a temperature for each row how much they disagree."""

    reads = _READ_BY_ALL | {"temperature", "standardise", "label_weight"}
    tasks = ("classification",)
    least_members = 2

    kind: Literal["kd_temperature"] = "kd_temperature"
    temperature_weight: Positive = 0.1
    """Weight of the squared difference of ln knowledge uncertainty and ln MI of members, from which it is learnt."""


class LabelsConfig(StudentConfig):
    """The control: one head that is taught by labels, and by no member."""

    reads = _READ_BY_ALL - {"disagreement_sampling"}
    knows_disagreement = False

    kind: Literal["labels"] = "labels"


class End2Config(StudentConfig):
    """One head that gives a Dirichlet distribution (Malinin et al. 2020)."""

    tasks = ("classification",)
    least_members = 2

    kind: Literal["end2"] = "end2"
    first_temperature: Positive = 10.0
    """Temperature of the members when the fit begins; it is cooled to 1."""
    cooling: Share = 0.75
    """Share of the fit in which the temperature is cooled, by the same factor at every step; then it is 1."""
    smoothing: Share = 1e-3
    """How far members' probabilities are drawn towards uniform, so that their logarithms are bounded."""


class ProxyEnd2Config(StudentConfig):
    """One head that gives a Dirichlet distribution, by way of a proxy for the members' own (Ryabinin et al. 2021)."""

    tasks = ("classification",)
    least_members = 2

    kind: Literal["proxy_end2"] = "proxy_end2"
    max_precision: Positive = 1e4
    """Largest precision of the proxy, infinite where all members agree."""


class PriorNetworkConfig(StudentConfig):
    """The control with unknown rows: one head that gives a Dirichlet distribution, taught by labels where a row of the
    transfer set has one, and to know nothing where it has none (Malinin & Gales 2019)."""

    reads = _READ_BY_ALL - {"disagreement_sampling"}
    tasks = ("classification",)

    kind: Literal["prior_network"] = "prior_network"
    label_precision: Positive = 100.0
    """How sharp the Dirichlet of a row with a label shall be: parameters of 1, and of 1 + this at the label."""
    unknown_weight: Positive = 1.0
    """Weight of the rows without a label, whose Dirichlet shall be flat."""


_AnyStudent = (
    HydraConfig | KdConfig | KdTemperatureConfig | LabelsConfig | End2Config | ProxyEnd2Config | PriorNetworkConfig
)
STUDENTS: dict[str, type[StudentConfig]] = {
    section.model_fields["kind"].default: section for section in get_args(_AnyStudent)
}
"""Kind -> its section, in the order in which reports list them."""


def _known(kind: str) -> str:
    if kind not in STUDENTS:
        raise ValueError(f"must be one of {', '.join(STUDENTS)}")
    return kind


def _entry(entry: Any) -> Any:
    """A bare name is a kind with its defaults."""
    if isinstance(entry, StudentConfig):
        return entry
    found = entry if isinstance(entry, Mapping) else {"kind": entry}
    if "kind" not in found:
        raise ValueError("kind is missing: write the name of a kind, or {kind: NAME, ...}")
    _known(str(found["kind"]))
    return found


StudentKind = Annotated[str, AfterValidator(_known)]
Student = Annotated[_AnyStudent, Field(discriminator="kind"), BeforeValidator(_entry)]
