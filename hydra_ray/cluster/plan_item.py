"""An item of predict's plan: which rows make one shard; as text it travels to tasks, in a column of their tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class PlanItem:
    """One shard to write.

    Attributes:
        split: predicted split, e.g. `transfer`.
        view: number of the view.
        start, stop: range of source rows.
    """

    split: str
    view: int
    start: int
    stop: int

    def name(self, rows_per_shard: int) -> str:
        """The shard's file name."""
        return f"part-{self.view:03d}-{self.start // rows_per_shard:05d}.parquet"

    def to_text(self) -> str:
        """For the way to a task and back, where a table's column `item` has it in each row."""
        return json.dumps([self.split, self.view, self.start, self.stop])

    @classmethod
    def of_text(cls, text: str) -> Self:
        """What `to_text` gave."""
        return cls(*json.loads(text))
