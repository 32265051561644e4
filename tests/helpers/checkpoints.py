"""Checkpoints of a test's fit."""

from hydra_ray.storage.folder import Folder
from hydra_ray.training.checkpoints import Checkpoints


def checkpoints_in(place, owner="a fit", say=lambda line: None) -> Checkpoints:
    """Those in a local folder."""
    return Checkpoints(Folder.open(str(place)), owner, say)
