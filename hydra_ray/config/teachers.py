"""Who answers in the members' place: `ensemble.teachers`, whose `kind` decides which of its other keys there are.

What a kind of a library's own needs is in `hydra_ray/teachers/`, beside the code that asks it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from hydra_ray.config.types import Count, NotEmpty, NotNegative, Section

OutputsSaid = Literal["logits", "probabilities", "mean_variance", "mean"]
Kind = Literal[
    "trained",
    "callable",
    "arrays",
    "sklearn",
    "lightgbm",
    "xgboost",
    "catboost",
    "torch_checkpoints",
    "timm",
    "transformers",
    "autogluon",
    "torch_uncertainty",
    "onnx",
]
LIBRARIES: tuple[str, ...] = get_args(Kind)[3:]
"""Kinds of teachers that a library's files are, each a module of its name in `hydra_ray/teachers/`."""
_OF_TRAINED: frozenset[str] = frozenset()
_OF_CALLABLE = frozenset({"function", "outputs", "options", "files", "batch_size", "weights"})
_OF_ARRAYS = frozenset({"arrays", "outputs", "id", "folds", "weights"})
_OF_LIBRARY = frozenset({"files", "options", "trust", "batch_size", "weights"})
_NEEDED = {"callable": ("function", "outputs"), "arrays": ("arrays", "outputs")}


class TeachersConfig(Section):
    """Who answers in the members' place (docs/teachers.md)."""

    kind: Kind = "trained"
    """`trained`: the members are trained here. `callable`: a function of your own is asked. `arrays`: predictions that
    exist already. All others: models of a library, from the files that it writes."""
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    """`callable`: `package.module:function`, which is called with `options` and returns what answers for a batch: one
    function [B, M, C], or a list of M functions [B, C]."""
    files: list[NotEmpty] = []
    """Of a library: one file (or folder) a member, or one for all. Of `callable`: files that the function reads; when
    their content changes, it is asked again."""
    options: dict[str, Any] = {}
    """What the function is called with; of a library those of the kind, whose model stands in `hydra_ray/teachers/`."""
    arrays: dict[str, NotEmpty | list[NotEmpty]] = {}
    """`arrays`: for `train`, `validation`, `test`, each unknown set, and where views are answered `transfer` and
    `validation_views` the file of [N, M, C] numbers, or a
    list of one file [N, C] a member: `.npy`, `.npz`, `.csv` or Parquet. Rows cut off the training rows for validation
    or test are looked up in `train`."""
    outputs: OutputsSaid | None = None
    """What the numbers are: of a classification `logits` or `probabilities`; of a regression means and variances, or
    means alone, whose variance is then each member's mean squared error on validation rows."""
    id: str | None = None
    """`arrays`: column of the files, and of the data set, by which rows are matched; none for their positions."""
    folds: str | None = None
    """`arrays`: file with a whole number a training row. Row n is learnt from those members m alone that left it out:
    m modulo the number of folds is its fold."""
    weights: list[NotNegative] | None = None
    """Weight of each member in the mixture and in every loss and measure; none for equal ones."""
    trust: bool = False
    """Load files that run code when they are opened (pickle, joblib): only from people whom you trust."""
    batch_size: Count = 512
    """Rows of one call."""

    @property
    def are_trained(self) -> bool:
        """Whether the members are trained here."""
        return self.kind == "trained"

    @property
    def are_asked(self) -> bool:
        """Whether somebody else's models are asked about rows, views among them."""
        return self.kind == "callable" or self.kind in LIBRARIES

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> Self:
        keys = {"trained": _OF_TRAINED, "callable": _OF_CALLABLE, "arrays": _OF_ARRAYS}.get(self.kind, _OF_LIBRARY)
        fields = type(self).model_fields
        others = [name for name in fields if name not in keys and name != "kind"]
        strange = [name for name in others if getattr(self, name) != fields[name].default]
        if strange:
            known = f"its keys are {', '.join(sorted(keys))}" if keys else "it has no other keys"
            raise ValueError(f"kind={self.kind} has no {strange[0]}; {known}")
        for key in _NEEDED.get(self.kind, () if self.kind == "trained" else ("files",)):
            if not getattr(self, key):
                raise ValueError(f"kind={self.kind} needs {key}: add ensemble.teachers.{key}")
        if self.weights is not None and not any(self.weights):
            raise ValueError("weights are all 0: give some member more")
        return self
