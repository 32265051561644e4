"""Studies: several recipes that share what they can, one table of them, and claims that the table decides.

A study is a YAML file in configs/studies/. Here are its keys and the rules among them; how figures become verdicts is
in `evaluation/claims.py`, and `runs/study.py` makes the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from hydra_ray.config.messages import explain, nearest
from hydra_ray.config.recipes import recipe_path, recipes_near
from hydra_ray.config.types import FolderName, NotEmpty, Section, Seed
from hydra_ray.config.yaml_files import read_recipe
from hydra_ray.errors import UserError

PREDICTOR = "*"
"""What stands in a column's path for the predictor of a row."""
_PACKAGE = Path(__file__).parents[1]
_SECTIONS = ("consensus", "cost", "decisions", "diversity", "fidelity", "robustness", "test", "unknown")


def _figure(path: str) -> str:
    first = path.partition(".")[0]
    if first not in _SECTIONS or "." not in path:
        raise ValueError(f"must be the path of a figure in metrics.json, e.g. test.*.accuracy; {_nearest(first)}")
    return path


def _nearest(word: str) -> str:
    return nearest(word, _SECTIONS)


def _row(text: str) -> str:
    variant, _, predictor = text.partition("/")
    if not variant or not predictor:
        raise ValueError("must be VARIANT/PREDICTOR, e.g. independent/ensemble")
    return text


class Variant(Section):
    """One recipe of a study: the study's own with other values."""

    name: FolderName
    """Its name, part of its runs' folders."""
    set: dict[str, Any] = {}
    """Dotted keys of the recipe and their values, e.g. `{ensemble.objective: joint}`."""
    at: dict[str, float] = {}
    """Where it stands in a picture with lines: numbers that its figures are drawn against."""


class Claim(Section):
    """One comparison: `of - over`, or as a share of `best - over` where that is named, above or below a bound."""

    figure: str
    """A column."""
    of: str
    """A row."""
    over: str
    """The row that it is compared with."""
    best: str | None = None
    """The row whose distance from `over` counts as 1."""
    above: float | None = None
    """The bound that the comparison exceeds where the claim holds."""
    below: float | None = None
    """The bound that it stays under where the claim holds."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("a claim has a bound on one side: give either above or below")
        return self


class Statement(Section):
    """What a study says in words, and the claims that must all hold for it."""

    says: NotEmpty
    """One sentence."""
    claims: list[Claim] = Field(min_length=1)
    """What is measured for it."""


class Picture(Section):
    """How the table is drawn."""

    kind: Literal["dots", "scatter_matrix", "lines"] = "dots"
    """`dots`: rows by name, a panel a column; `scatter_matrix`: every column against every other; `lines`: a panel a
    column, against a number of the variants."""
    columns: list[str] | None = Field(default=None, min_length=1)
    """The columns that are drawn, none for all."""
    x: str | None = None
    """Of `lines`: the number in `at` on the x axis."""
    lines: str | None = None
    """Of `lines`: the number in `at` that tells lines apart."""

    @model_validator(mode="after")
    def _axes(self) -> Self:
        if (self.kind == "lines") != (self.x is not None):
            raise ValueError("picture.x names the x axis of kind lines, and of no other")
        return self


class Study(Section):
    """A study."""

    name: FolderName
    """Folder of its runs under `storage`; by default the file's name."""
    title: NotEmpty
    """What it is about, in a line."""
    recipe: NotEmpty
    """The recipe that all variants change: a shipped one's name, or a path."""
    set: dict[str, Any] = {}
    """Dotted keys of the recipe and their values, for all variants."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0, 1, 2]
    """Every variant is run with each; intervals are over them."""
    variants: list[Variant] = Field(min_length=1)
    """The recipes."""
    rows: dict[str, Annotated[str, AfterValidator(_row)]] | None = None
    """Rows of the table, name -> `VARIANT/PREDICTOR`. None: one for each variant, and columns name predictors."""
    columns: dict[str, Annotated[str, AfterValidator(_figure)]] = Field(min_length=1)
    """Columns of the table, name -> path in metrics.json, with `*` for the row's predictor."""
    picture: Picture = Picture()
    """The picture."""
    statements: list[Statement] = []
    """What is to be found out."""

    @property
    def table_rows(self) -> Mapping[str, tuple[str, str | None]]:
        """Row -> its variant and its predictor."""
        if self.rows is None:
            return {variant.name: (variant.name, None) for variant in self.variants}
        parts = {name: text.partition("/") for name, text in self.rows.items()}
        return {name: (variant, predictor) for name, (variant, _, predictor) in parts.items()}

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [variant.name for variant in self.variants]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"variants: {name} stands there twice; name every variant differently")
        for row, (variant, _) in self.table_rows.items():
            _check_known(f"rows.{row}", "variant", variant, names)
        for column, path in self.columns.items():
            if self.rows is None and PREDICTOR in path:
                raise ValueError(f"columns.{column}={path}: {PREDICTOR} stands for a row's predictor: give rows")
        self._check_claims()
        self._check_picture()
        return self

    def _check_claims(self) -> None:
        for number, statement in enumerate(self.statements):
            for place, claim in enumerate(statement.claims):
                key = f"statements.{number}.claims.{place}"
                _check_known(f"{key}.figure", "column", claim.figure, self.columns)
                for part in ("of", "over", "best"):
                    row = getattr(claim, part)
                    if row is not None:
                        _check_known(f"{key}.{part}", "row", row, self.table_rows)

    def _check_picture(self) -> None:
        for column in self.picture.columns or ():
            _check_known("picture.columns", "column", column, self.columns)
        for key, number in (("x", self.picture.x), ("lines", self.picture.lines)):
            if number is not None:
                for variant in self.variants:
                    _check_known(f"picture.{key}", f"number in at of variant {variant.name}", number, variant.at)


def _check_known(key: str, what: str, name: str, known: Any) -> None:
    if name not in known:
        raise ValueError(f"{key}={name}: no such {what}; {nearest(name, known)}")


def shipped_studies() -> dict[str, Path]:
    """Name -> path: the wheel holds them in the package, a checkout beside it in configs/studies/."""
    folders = [_PACKAGE / "configs" / "studies", _PACKAGE.parent / "configs" / "studies"]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def load_study(name_or_path: str) -> Study:
    """The study in a file, or the shipped one of that name.

    Raises:
        UserError: there is no such study, its recipe is not there, or it is not valid.
    """
    path = Path(name_or_path)
    if not path.is_file():
        known = shipped_studies()
        if name_or_path not in known:
            raise UserError(f"{name_or_path}: no such study; {nearest(name_or_path, known)}")
        path = known[name_or_path]
    try:
        study = Study.model_validate({"name": path.stem, **read_recipe(path)})
    except ValidationError as error:
        raise UserError(explain(error, str(path), Study)) from None
    if not recipe_path(study.recipe).is_file():
        beside = path.parent / study.recipe
        if not beside.is_file():
            raise UserError(f"{path}: recipe={study.recipe}: no such recipe; {recipes_near(Path(study.recipe))}")
        study = study.model_copy(update={"recipe": str(beside)})
    return study
