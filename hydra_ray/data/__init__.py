"""Data sets: a name or a path becomes train, validation, test and unknown splits that are read in slices.

Nothing here transforms rows (`views/`); sources hold names and paths, so that they are cheap to send to a worker.
"""

from hydra_ray.data.catalog import open_source
from hydra_ray.data.data_set import DataSet, open_data
from hydra_ray.data.feature_stats import Features
from hydra_ray.data.folds import left_out
from hydra_ray.data.images import ImageError, ImageOptions, fitted_pixels
from hydra_ray.data.input_format import InputFormat
from hydra_ray.data.rows import LABEL_DTYPES, Ints, Rows, TaskName
from hydra_ray.data.splits import TEST, VALIDATION, VALIDATION_VIEWS, Split, SplitId, unknown_split
from hydra_ray.data.tables.labels import shortened
from hydra_ray.data.tables.options import TableOptions
from hydra_ray.data.tables.source import TableSource

__all__ = [
    "LABEL_DTYPES",
    "TEST",
    "VALIDATION",
    "VALIDATION_VIEWS",
    "DataSet",
    "Features",
    "ImageError",
    "ImageOptions",
    "InputFormat",
    "Ints",
    "Rows",
    "Split",
    "SplitId",
    "TableOptions",
    "TableSource",
    "TaskName",
    "fitted_pixels",
    "left_out",
    "open_data",
    "open_source",
    "shortened",
    "unknown_split",
]
