"""Teachers of Hugging Face's transformers: a folder of an image classifier a member, with its own image processor.

B rows, C classes.
"""

from __future__ import annotations

from typing import Any

import torch

from hydra_ray.errors import UserError
from hydra_ray.teachers.asked import Function, Loaded, ModelFiles
from hydra_ray.teachers.class_order import ClassOrder, class_order, said_order
from hydra_ray.teachers.network_inputs import device_here, require_images, with_channels


class Options(ClassOrder):
    """Of the kind `transformers`."""


def load(files: ModelFiles) -> Loaded:
    """Load classifiers and processors from their folders, which answer with logits; nothing is downloaded.

    Raises:
        UserError: the data set is a regression, or a model has other classes.
    """
    if files.num_classes is None:
        raise UserError("answers for classifications; the data set is a regression")
    return Loaded([_asked(path, files) for path in files.paths], "logits")


def _asked(path: str, files: ModelFiles) -> Function:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    device = device_here()
    processor = AutoImageProcessor.from_pretrained(path, local_files_only=True)
    network = AutoModelForImageClassification.from_pretrained(path, local_files_only=True)
    network = network.eval().requires_grad_(False).to(device)
    channels = getattr(network.config, "num_channels", 3)
    order = _order(network.config.id2label, files)

    @torch.inference_mode()
    def answer(batch: Any) -> Any:
        images = with_channels(require_images(batch), channels)
        inputs = processor(images=list(images), input_data_format="channels_last", return_tensors="pt")
        return network(inputs["pixel_values"].to(device)).logits.float().cpu().numpy()[:, order]

    return answer


def _order(names: dict[int, str], files: ModelFiles) -> Any:
    """By the model's own names, but where it has none (`LABEL_0`) or the option says them."""
    found = [names[number] for number in range(len(names))]
    assert isinstance(files.options, Options)
    if files.options.classes or found == [f"LABEL_{number}" for number in range(len(found))]:
        return said_order(files)
    return class_order(found, files)
