"""Views: seeded, named, batched transforms of a data set's rows, and the transfer set that is made of them.

Reads no file and asks no network.
"""

from hydra_ray.views.ods import apply_ods, check_gradients
from hydra_ray.views.registry import VIEWS, apply_view, augment, check_view, view_block_rows
from hydra_ray.views.transfer_set import IDENTITY, NumberedView, number_views, source_split

__all__ = [
    "IDENTITY",
    "VIEWS",
    "NumberedView",
    "apply_ods",
    "apply_view",
    "augment",
    "check_gradients",
    "check_view",
    "number_views",
    "source_split",
    "view_block_rows",
]
