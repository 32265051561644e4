"""Data sets: a name or a path becomes train, validation, test and unknown splits that are read in slices.

Nothing here transforms rows (`hydra_ray/views/registry.py`) or moves them between machines; sources and splits hold
names and paths, so that they are cheap to send to a worker, which then reads its own slice.
"""

from hydra_ray.data.catalog import open_source, split_names
from hydra_ray.data.data_set import DataSet, open_data
from hydra_ray.data.rows import Rows, Source, concatenate
from hydra_ray.data.splits import Split
from hydra_ray.data.standard_splits import standard_splits

__all__ = [
    "DataSet",
    "Rows",
    "Source",
    "Split",
    "concatenate",
    "open_data",
    "open_source",
    "split_names",
    "standard_splits",
]
