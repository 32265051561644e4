"""Checkpoints of a test's fit."""

from hydra_ray.checkpoints import Checkpoints
from hydra_ray.storage.folder import Folder


def checkpoints_in(place, owner="a fit", say=lambda line: None) -> Checkpoints:
    """Those in a local folder."""
    return Checkpoints(Folder.open(str(place)), owner, say)
