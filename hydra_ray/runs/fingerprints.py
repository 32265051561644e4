"""Parts of keys that more than one result has: which rows a split has and what is in them, and a user's own code.

What each result depends on is put together in `stages.py`.
"""

from __future__ import annotations

from typing import Any

from hydra_ray.config import Config, DataConfig, ViewConfig
from hydra_ray.data import DataSet
from hydra_ray.models import code_of
from hydra_ray.views import view_code


def data_key(data: DataConfig, found: DataSet, split: str) -> dict[str, Any]:
    """What decides which rows a split has, and what is in them.

    Shares are those that were taken: a source with a validation or test split of its own has none, so that a key that
    is not used makes nothing stale, and a validation file that turns up makes the members anew.
    """
    shares = found.splits[split].shares
    set_later = {"target": data.target, "test_split": data.test_split}
    return {
        "source": found.splits[split].source.fingerprint(),
        "class_names": list(found.class_names),
        "num_outputs": found.num_outputs,
        "validation_fraction": shares.validation if shares else None,
        "test_fraction": shares.test if shares else None,
        "max_train_rows": shares.max_train_rows if shares else None,
        **{key: value for key, value in set_later.items() if value is not None},
    }


def member_code(config: Config, found: DataSet, num_outputs: int) -> dict[str, Any]:
    """`code` of the members' architecture and of the view they are trained on, where it is the user's own."""
    ensemble = config.ensemble
    code = code_of(ensemble.architecture, found.input_shape, num_outputs, ensemble.options)
    augment = view_key(ensemble.augment, found) if ensemble.augment else {}
    return {**({"code": code} if code else {}), **({"augment": augment} if augment else {})}


def view_key(view: ViewConfig, found: DataSet) -> dict[str, Any]:
    """`code` of a view, where it is the user's own."""
    code = view_code(view.view, view.options, found.input_shape)
    return {"code": code} if code else {}


def body_code(config: Config, found: DataSet, *others: str | None) -> dict[str, Any]:
    """`code` of a student's body, and of `others` that a search tries, where any is the user's own."""
    ensemble, distill = config.ensemble, config.distill
    options = ensemble.options if distill.body_options is None else distill.body_options
    names = [body or ensemble.architecture for body in (distill.body, *others)]
    codes = [code_of(name, found.input_shape, found.num_outputs, options) for name in names]
    return {"code": codes} if any(codes) else {}


def searched_bodies(config: Config) -> list[str | None]:
    """The bodies that a search chooses from, beside the configuration's."""
    found = config.tune.space.get("body") if config.tune.num_trials else None
    return found if isinstance(found, list) else []
