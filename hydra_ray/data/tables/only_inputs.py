"""The column of inputs in a file that is only to be answered: it has no label, and no training rows' file decides."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.tables.column_types import is_tensor
from hydra_ray.data.tables.columns import Columns, considered, image_column, is_list_of_features, only
from hydra_ray.data.tables.options import ANY_TABLE, listed
from hydra_ray.errors import UserError


def find_arrays(schema: pa.Schema, place: str, *, of_images: bool) -> Columns:
    """The one column that holds whole rows, for files that are only to be answered.

    Args:
        schema: of a file.
        place: as messages name it.
        of_images: image files or pixels are wanted, else lists of numbers.

    Raises:
        UserError: no column holds any, or several could be meant.
    """
    fields, _ = considered(schema, ANY_TABLE, place)
    images = image_column(fields, place)
    lists = [field.name for field in fields if is_tensor(field.type) and is_list_of_features(field.type)]
    if of_images and images is not None:
        kind, chosen = images
        return Columns((chosen,), kind, kind == "encoded" and pat.is_struct(schema.field(chosen).type), label=None)
    if not of_images and lists:
        return Columns((only(lists, fields, place),), "tensor", is_struct=False, label=None)
    what = "images" if of_images else "lists of numbers"
    raise UserError(f"{place}: has no column of {what}; its columns are {listed(list(schema))}")
