"""The subcommand `new`: looks at data and writes a recipe for them, to be read and changed."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_ray.config import Config, validate
from hydra_ray.config.yaml_files import assigned, split_override
from hydra_ray.errors import OpenQuestionError, UserError

if TYPE_CHECKING:
    from hydra_ray.data import DataSet

_ROWS_OF_TRAINING = 600_000  # that a member sees, over all epochs
_SMALL_SIDE = 32  # pixels, up to which grey images are left to an MLP
_CNN_SIDE = 64  # pixels, up to which images are left to the small CNN
_MOST_WORKERS = 4
_MOST_QUESTIONS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, --data PATH and data.key=value words."""
    parser.add_argument("name", metavar="NAME", help="of the recipe, which becomes NAME.yaml here, and of its runs")
    parser.add_argument(
        "--data", required=True, metavar="PATH", help="a Parquet or CSV file, a folder of them or of images, a name"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="data.key=value", help="how to read them, e.g. data.target=price"
    )


def call(arguments: argparse.Namespace) -> None:
    """Write the recipe, and say what was seen and how to go on."""
    path = Path(f"{arguments.name}.yaml")
    given = _given(arguments.data, arguments.overrides)
    config = _config(arguments.name, given)
    if path.exists():
        raise UserError(f"{path}: is there already; choose another name, or delete it")
    config, data, questions = _opened(config, given)
    path.write_text(recipe_text(config, given, data), encoding="utf-8")
    for line in data.lines():
        print(f"data            {line}")
    for question in questions:
        assumed = " ".join(f"data.{key}={_written(value)}" for key, value in question.proposal.items())
        print(f"assumed         {assumed}, as {question}")
    print(f"\n{path} is written. Read it, then")
    print(f"  hydra-ray plan {path} --time   # what it would do, and how long here")
    print(f"  hydra-ray run {path}")


def _config(name: str, data: Mapping[str, Any]) -> Config:
    return validate({"name": name, "data": dict(data)}, "command line", overridden=["name"])


def _opened(config: Config, given: Mapping[str, Any]) -> tuple[Config, DataSet, list[OpenQuestionError]]:
    """The data, the configuration under which they can be read, and the questions that were answered for it."""
    from hydra_ray.runs import Run

    questions: list[OpenQuestionError] = []
    for _ in range(_MOST_QUESTIONS):
        try:
            return config, Run(config).data, questions
        except OpenQuestionError as question:
            questions.append(question)
            answers = {key: value for each in questions for key, value in each.proposal.items()}
            config = _config(config.name, {**given, **answers})
    return config, Run(config).data, questions


def _given(source: str, words: Sequence[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {"data": {"source": source}}
    for key, value in map(split_override, words):
        if not key.startswith("data."):
            raise UserError(f"command line: {key}: only keys of data are settled here; write others into the recipe")
        tree = assigned(tree, key, value, "command line")
    return tree["data"]


def recipe_text(config: Config, given: Mapping[str, Any], data: DataSet) -> str:
    """The recipe.

    Args:
        config: its name and data, whose keys are either the user's or assumed.
        given: the keys of `data` that the user has set.
        data: what was found there.
    """
    rows = data.splits["train"].num_rows
    size = " x ".join(map(str, data.input_shape))
    is_image = len(data.input_shape) == 3
    task = f"classification, {data.num_classes} classes" if data.class_names else "regression"
    lines = [f"  {key}: {_written(value)}" for key, value in given.items()]
    assumed = {key: value for key in _ANSWERS if key not in given and (value := getattr(config.data, key)) is not None}
    lines += [f"  {key}: {_written(value)}{_REMARKS.get(key, _ASSUMED)}" for key, value in assumed.items()]
    own_test = data.splits["test"].source is not data.splits["train"].source
    batch_size = 128 if rows >= 5000 else 64 if rows >= 1000 else 32
    epochs = min(60, max(10, round(_ROWS_OF_TRAINING / rows)))
    return _TEMPLATE.format(
        name=config.name,
        seen=f"{task}; {rows:,} training rows of {size} {'pixels' if is_image else 'features'}",
        data="\n".join(lines if is_image or {"target", "label"} & {*given, *assumed} else [*lines, _TARGET]),
        splits=_SPLITS_OF_FILES if own_test else _SPLITS_MADE,
        unknown=_UNKNOWN_IMAGES if is_image else _UNKNOWN_FEATURES,
        members=_members(data.input_shape),
        epochs=epochs,
        student_epochs=min(40, max(10, epochs)),
        batch_size=batch_size,
        student_batch_size=2 * batch_size,
        views=_views(is_image, data.categories),
        num_workers=min(_MOST_WORKERS, len(os.sched_getaffinity(0))),
    )


def _views(is_image: bool, categories: tuple[int, ...]) -> str:
    if is_image:
        return _IMAGE_VIEWS
    return _CATEGORY_VIEWS if any(categories) else _FEATURE_VIEWS


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _members(input_shape: tuple[int, ...]) -> str:
    if len(input_shape) != 3:
        return _MLP.format(hidden="[100, 100]")
    height, width, channels = input_shape
    if channels == 1 and max(height, width) <= _SMALL_SIDE:
        return _MLP.format(hidden="[200, 200]")
    return _CNN if max(height, width) <= _CNN_SIDE else _RESNET


_TEMPLATE = """# {name}: {seen}.
# Written by `hydra-ray new`, to be changed; every key and its meaning stand in hydra_ray/config/sections.py.
#   hydra-ray plan {name}.yaml --time   # what it would do, and how long that takes here
#   hydra-ray run {name}.yaml

data:
{data}
{splits}
{unknown}

ensemble:                     # the members: networks that differ by their seeds alone
  num_members: 8              # more give better uncertainties, and cost as much more
{members}
  epochs: {epochs}
  batch_size: {batch_size}
  learning_rate: 1e-3

transfer:                     # inputs on which members are asked and the student learns; members disagree on views
  views:
{views}

students:
  - hydra                                   # one body, a head a member: keeps the disagreement
  - kd                                      # one head, taught the members' mean: what hydra is compared with
  - labels                                  # the control: the same network, taught by labels alone

distill:                      # the student's body is the members' own: body and body_options choose a smaller one
  epochs: {student_epochs}
  batch_size: {student_batch_size}
  learning_rate: 2e-3

cluster:
  num_workers: {num_workers}              # train members side by side; each has a GPU where there are enough
"""
_REMARKS = {"image_size": "              # images are resized, and their middle cropped, to so many pixels a side"}
_ANSWERS = ("label", "ignore", "columns", "image_size")  # keys of data that an open question may be answered with
_ASSUMED = "   # assumed: the file leaves it open"
_SPLITS_OF_FILES = "  validation_fraction: 0.1    # of the training rows, where there is no file of validation rows"
_SPLITS_MADE = """  validation_fraction: 0.1    # of the training rows, held out to choose and calibrate on
  test_fraction: 0.2          # of all rows: there is no file of test rows"""
_TARGET = "  # target: COLUMN            # a regression: the column of numbers to predict; label: COLUMN names classes"
_UNKNOWN_IMAGES = """  # unknown:                  # inputs of another kind, on which disagreement should rise
  #   other: path/to/other    # a file or folder as above; its labels are not used
  #   shifted: {view: cyclic_shift}   # or the test rows under a view"""
_UNKNOWN_FEATURES = """  # unknown:                  # inputs of another kind, on which disagreement should rise
  #   other: path/to/other    # a file or folder as above, with the same columns
  #   outside: {view: outside_box}    # or rows out of the training rows' range"""
_MLP = """  architecture: mlp           # or an import path to a network of your own, my_package.nets:tiny
  options: {{hidden: {hidden}}}
  stack_size: auto            # small networks are trained several at a time where that is faster"""
_CNN = """  architecture: cnn           # or resnet20, a torchvision.models name, my_package.nets:tiny"""
_RESNET = """  architecture: resnet18      # of torchvision.models; wants a GPU. Or timm:NAME, or my_package.nets:tiny
  # weights: ResNet18_Weights.DEFAULT   # start from a trained body; data.download=true fetches it
  # train: head               # and leave the body as it is"""
_IMAGE_VIEWS = """    - {view: identity}
    - {view: affine, count: 2}      # turned, shifted, sized
    - {view: elastic}               # bent
    - {view: smooth_noise}          # no object at all
    - {view: mixup}                 # between two rows"""
_FEATURE_VIEWS = """    - {view: identity}
    - {view: gaussian_noise, count: 4}   # a share of each feature's deviation
    - {view: resample, count: 2}         # each feature from another row"""
_CATEGORY_VIEWS = """    - {view: identity}
    - {view: swap, count: 3}             # a tenth of the cells from other rows
    - {view: resample, count: 2}         # each feature from another row"""
