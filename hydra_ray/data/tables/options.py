"""What a configuration may say of tables, and how messages speak of columns and of these keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from hydra_ray.data.tables.labels import shortened
from hydra_ray.data.tables.numbers import Decimal

Role = Literal["category", "number"]
"""What a column of features is."""


@dataclass(frozen=True)
class TableOptions:
    """Keys of `data` that are about tables; None where the file shall speak for itself."""

    target: str | None = None
    """The column that a regression predicts."""
    label: str | None = None
    """The column of classes."""
    ignore: tuple[str, ...] | None = None
    """Columns left out; an empty list: none is left out unasked."""
    header: bool | None = None
    """Whether a CSV file's first line holds names."""
    decimal: Decimal | None = None
    """What stands between ones and tenths in CSV."""
    columns: tuple[tuple[str, Role], ...] | None = None
    """What columns of features are, by name."""
    unseen: tuple[tuple[str, tuple[str, ...]], ...] | None = field(default=None, metadata={"key": "held_out"})
    """Values of columns that shall be as if no training row had them, as those that have them are held out."""

    def ignoring(self, names: Iterable[str]) -> str:
        """The key that leaves these columns out too, as one writes it."""
        return f"data.ignore=[{', '.join([*(self.ignore or ()), *names])}]"

    def with_columns(self, names: Iterable[str], role: Role) -> str:
        """The key that makes these columns what `role` says too, as one writes it."""
        roles = {**dict(self.columns or ()), **dict.fromkeys(names, role)}
        return f"data.columns={{{', '.join(f'{name}: {each}' for name, each in roles.items())}}}"


ANY_TABLE = TableOptions()
"""Nothing is said."""


def listed(fields: Sequence[pa.Field]) -> str:
    """Columns with their types, for messages."""
    return shortened([f"{field.name} ({field.type})" for field in fields], most=20)
