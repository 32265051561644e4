"""What a configuration names and a run reads: its data set, and the trained weights that members start from."""

from __future__ import annotations

from typing import Any

from hydra_ray.config import Config, DataConfig, EnsembleConfig, MemberGroup
from hydra_ray.data import DataSet, ImageOptions, TableOptions, open_data
from hydra_ray.errors import UserError
from hydra_ray.models import Pretrained, load_pretrained, weights_key
from hydra_ray.views import source_split


def table_options(data: DataConfig) -> TableOptions:
    """How a data set's tables are read."""
    ignore = None if data.ignore is None else tuple(data.ignore)
    columns = None if data.columns is None else tuple(data.columns.items())
    return TableOptions(data.target, data.label, ignore, data.header, data.decimal, columns)


def image_options(data: DataConfig) -> ImageOptions:
    """How a data set's image files are read."""
    size = data.image_size
    height_width = None if size is None else (size, size) if isinstance(size, int) else (size[0], size[1])
    return ImageOptions(height_width, data.skip_broken, data.max_pixels)


def data_of(config: Config) -> DataSet:
    """The data set with all its splits that are data sets of their own.

    Raises:
        UserError: the data are not there or do not fit the configuration.
    """
    data = config.data
    if isinstance(data.test_split, str):
        several = "stands for several splits, each a run of its own, which `hydra-ray run` makes one after the other"
        raise UserError(f"data.test_split={data.test_split}: {several}; name one of them, e.g. data.test_split=0")
    return open_data(
        data.source,
        root=data.torchvision_root,
        download=data.download,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        seed=config.seed,
        max_train_rows=data.max_train_rows,
        unknown={name: place for name, place in data.unknown.items() if isinstance(place, str)},
        unlabelled={
            source_split(place): (f"transfer.views.{place}.source", view.source)
            for place, view in enumerate(config.transfer.views or ())
            if view.source is not None
        },
        options=table_options(data),
        split=data.test_split,
        images=image_options(data),
        held_out=data.held_out,
    )


def group_weights(config: Config, place: int, data: DataSet) -> Pretrained | None:
    """The trained body that the members of one of `ensemble.groups` start from; None for fresh ones.

    Raises:
        UserError: see `load_pretrained`; the line names the key.
    """
    group = config.ensemble.groups[place]
    if group.weights is None:
        return None
    try:
        return load_pretrained(
            group.weights,
            group.architecture,
            data.input_shape,
            group.options,
            data.categories,
            download=config.data.download,
        )
    except UserError as error:
        raise UserError(f"ensemble.weights={error}") from None


def key_of_weights(ensemble: EnsembleConfig, group: MemberGroup) -> dict[str, Any]:
    """The weights that members start from, by their content or their publisher's name, and whether bodies stay as they
    are; nothing where there are none and all is trained."""
    trained = {"train": ensemble.train} if ensemble.train != "all" else {}
    if group.weights is None:
        return trained
    try:
        found = {"weights": weights_key(group.weights)}
    except UserError as error:
        raise UserError(f"ensemble.weights={error}") from None
    return {**found, **trained}
