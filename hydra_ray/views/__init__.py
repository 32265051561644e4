"""Views: seeded, named, batched transforms of a data set's rows, and the transfer set that is made of them.

Reads no file and asks no network. A module of views registers them when it is imported, which happens here.
"""

from hydra_ray.views import elementwise, image, mixing, tabular  # noqa: F401
from hydra_ray.views.apply import apply_view, apply_with_members, augment
from hydra_ray.views.asked_members import asked_members
from hydra_ray.views.batch import BlockOptions, ViewBatch
from hydra_ray.views.ods import check_gradients
from hydra_ray.views.own_view import check_own_view, view_code
from hydra_ray.views.registry import VIEWS, View, check_view, view, view_block_rows, view_named, view_options
from hydra_ray.views.transfer_set import IDENTITY, NumberedView, number_views, source_split

__all__ = [
    "IDENTITY",
    "VIEWS",
    "BlockOptions",
    "NumberedView",
    "View",
    "ViewBatch",
    "apply_view",
    "apply_with_members",
    "asked_members",
    "augment",
    "check_gradients",
    "check_own_view",
    "check_view",
    "number_views",
    "source_split",
    "view",
    "view_block_rows",
    "view_code",
    "view_named",
    "view_options",
]
