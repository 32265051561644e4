"""What is known of a shard once it is written, so that nobody has to read it again before it is published."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

from hydra_ray.evaluation.view_diversity import disagreement_sums
from hydra_ray.shards import ShardRows, row_digest
from hydra_ray.storage import WrittenFile
from hydra_ray.tasks import Task


@dataclass(frozen=True)
class ShardFacts:
    """Of one shard.

    Attributes:
        view: its number.
        digest: `row_digest` of its rows.
        sums: `disagreement_sums` of its rows.
        file: what the manifest says of it; None where another command wrote it.
    """

    view: int
    digest: str
    sums: dict[str, float]
    file: WrittenFile | None = None

    @classmethod
    def of(cls, task: Task, shard: ShardRows, file: WrittenFile | None = None) -> Self:
        """From its rows, all of one view."""
        view = int(shard.view[0])
        return cls(view, row_digest(view, shard.row_id), disagreement_sums(task, shard), file)

    def to_json(self) -> str:
        """As text, for the way from a task to the driver."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` gave."""
        found = json.loads(text)
        return cls(**{**found, "file": found["file"] and WrittenFile.from_json(found["file"])})
