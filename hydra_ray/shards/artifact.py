"""A split's shards as an artifact: when they can be used, and when only new members need to predict.

Their schema is in `schema.py`, their key in `runs/fingerprints.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hydra_ray.storage import Artifact, fingerprint


@dataclass(frozen=True)
class Shards(Artifact):
    """A split's shards; those of more members than needed can be used as well, those of fewer are extended.

    This is not so where members move the rows (views `ods` and `conf_ods`), as another ensemble makes other rows.

    Attributes:
        members: digests of the members needed, in order; the last entry of the key.
        rows_follow_members: whether a view needs the members' gradients.
    """

    members: tuple[str, ...] = ()
    rows_follow_members: bool = False

    @property
    def lineage(self) -> str:
        """Identifies the shards of the first member, which shards of more members extend."""
        return self.digest_of([0])

    def reusable(self) -> tuple[int | None, ...]:
        """For each member, the place of its predictions in the published shards; None where it has to be asked."""
        manifest = self.manifest()
        if manifest is None or self.rows_follow_members or not self._same_rows(manifest):
            return (None,) * len(self.members)
        places = {digest: place for place, digest in enumerate(manifest["key"]["members"])}
        return tuple(map(places.get, self.members))

    def digest_of(self, places: Iterable[int]) -> str:
        """Hash of what a student of the members at these places depends on."""
        read = self.members if self.rows_follow_members else [self.members[place] for place in places]
        return fingerprint({**self.key, "members": list(read)})

    def _serves(self, published: list[str]) -> bool:
        """Whether shards of these members hold what is needed."""
        held = published if self.rows_follow_members else published[: len(self.members)]
        return held == list(self.members)

    def _is_mine(self, manifest: dict[str, Any]) -> bool:
        return self._same_rows(manifest) and self._serves(manifest["key"].get("members", []))

    def _same_rows(self, manifest: dict[str, Any]) -> bool:
        def without_members(key: dict[str, Any]) -> str:
            return fingerprint({name: value for name, value in key.items() if name != "members"})

        return without_members(manifest["key"]) == without_members(self.key)
