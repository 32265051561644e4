"""A split's shards as a result in a run folder: when they serve, and when only new members need to be asked.

What is in them is `predictions.py`; what their key holds, `stages.py` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra_ray.storage import Artifact, fingerprint


@dataclass(frozen=True)
class Shards(Artifact):
    """A split's shards; those of more members than asked for serve as well, those of fewer are extended.

    Not so where members move the rows (views `ods` and `conf_ods`): another ensemble makes other rows.

    Attributes:
        members: digests of the members asked for, in order; the last entry of the key.
        rows_follow_members: whether a view takes the members' gradients.
    """

    members: tuple[str, ...] = ()
    rows_follow_members: bool = False

    @property
    def lineage(self) -> str:
        """Shards of the first member, which those of more extend."""
        return self.digest_of(1)

    def num_reusable(self) -> int:
        """Published members at the head of the list that need not be asked again."""
        manifest = self.manifest()
        if manifest is None or self.rows_follow_members or not self._same_rows(manifest):
            return 0
        published = manifest["key"]["members"]
        same = published == list(self.members[: len(published)])
        return len(published) if same else 0

    def digest_of(self, num_members: int) -> str:
        """What a student of the first `num_members` depends on."""
        of_first = self.members if self.rows_follow_members else self.members[:num_members]
        return fingerprint({**self.key, "members": of_first})

    def _serves(self, published: list[str]) -> bool:
        """Whether shards of these members hold what is asked for."""
        held = published if self.rows_follow_members else published[: len(self.members)]
        return held == list(self.members)

    def _is_mine(self, manifest: dict[str, Any]) -> bool:
        return self._same_rows(manifest) and self._serves(manifest["key"].get("members", []))

    def _same_rows(self, manifest: dict[str, Any]) -> bool:
        def without_members(key: dict[str, Any]) -> str:
            return fingerprint({name: value for name, value in key.items() if name != "members"})

        return without_members(manifest["key"]) == without_members(self.key)
