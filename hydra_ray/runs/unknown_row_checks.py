"""Checks of the rows that a Prior Network is taught to know nothing about, before the first worker starts."""

from __future__ import annotations

import numpy as np

from hydra_ray.config import Config, ViewConfig
from hydra_ray.errors import UserError
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.shards import is_labelled
from hydra_ray.views import view_named

_KEY = "students.prior_network"


def check_unknown_rows(run: Run) -> None:
    """Check that the transfer set has rows without a label, that these are no training rows, and none is judged on.

    Raises:
        UserError: for the first problem found.
    """
    labels = run.data.splits["train"].read_labels()
    missing = 0 if labels is None else int(np.count_nonzero(~is_labelled(labels)))
    if missing:
        raise UserError(
            f"{_KEY}: {missing:,} training rows have no label and would be taught as unknown; give them labels, or "
            "leave this student out"
        )
    views = run.views(TRANSFER).values()
    if all(view.has_labels and view_named(view.view.view).keeps_label for view in views):
        names = ", ".join(dict.fromkeys(view.view.view for view in views))
        raise UserError(
            f"{_KEY}: no row of transfer.views ({names}) is unknown; add another data set, {{view: identity, source: "
            "NAME}, or a view without labels, such as uniform_box for features, or leave this student out"
        )
    _check_none_is_judged_on(run.config)


def _check_none_is_judged_on(config: Config) -> None:
    """Check that no unknown set of the report is a part of the transfer set."""
    for place, view in enumerate(config.transfer.views or ()):
        for name, unknown in config.data.unknown.items():
            key = f"transfer.views.{place}"
            if isinstance(unknown, ViewConfig):
                is_same = view.source is None and (view.view, view.options) == (unknown.view, unknown.options)
                said = f"{key}.view={view.view}"
            else:
                is_same = view.source == unknown
                said = f"{key}.source={view.source}"
            if is_same:
                raise UserError(
                    f"{said}: is data.unknown.{name} too, and {_KEY} would be judged on what it was taught; use "
                    "another, or leave this student out"
                )
