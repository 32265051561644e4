"""The prediction shards: the contract between whatever predicts and whatever trains on the predictions.

Their schema, their files, the checks of their content, and batches from them.
"""

from hydra_ray.shards.artifact import Shards
from hydra_ray.shards.checks import check_content, row_digest
from hydra_ray.shards.files import Sizes, count_rows, required_names, shard_names
from hydra_ray.shards.loader import Batch, BatchReader, Feed, windows_of
from hydra_ray.shards.schema import (
    NO_LABEL,
    ShardReader,
    ShardRows,
    concatenate,
    inputs_of,
    is_labelled,
    joined_logits,
    load,
    no_labels,
    read_finished,
    read_shard,
    rows_of,
    rows_table,
    with_inputs,
    with_logits,
    with_mask,
    write_shard,
)
from hydra_ray.shards.sharing import Sharing
from hydra_ray.shards.uneven_draws import UnevenDraws

__all__ = [
    "NO_LABEL",
    "Batch",
    "BatchReader",
    "Feed",
    "ShardReader",
    "ShardRows",
    "Shards",
    "Sharing",
    "Sizes",
    "UnevenDraws",
    "check_content",
    "concatenate",
    "count_rows",
    "inputs_of",
    "is_labelled",
    "joined_logits",
    "load",
    "no_labels",
    "read_finished",
    "read_shard",
    "required_names",
    "row_digest",
    "rows_of",
    "rows_table",
    "shard_names",
    "windows_of",
    "with_inputs",
    "with_logits",
    "with_mask",
    "write_shard",
]
