"""The architectures `mlp`, `cnn` and `resnet20`, each beside the model of its options.

It is: modules that say where their body ends and their head begins, because a student takes the body alone.
It is not: a choice of architecture by name (`networks.py`), nor normalisation of stored inputs
(`members.py`). Further architectures for tables are in `tabular_architectures.py`.

Shapes: B batch, D input features, H x W pixels, ch channels, F features of the body, C outputs.
    images [B, ch, H, W] float or vectors [B, D] float -> body -> features_BF -> head -> logits_BC
`input_shape` is that of ONE stored row: (H, W, ch) or (D,).
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hydra_ray.config import Section
from hydra_ray.errors import UserError
from hydra_ray.models.embeddings import table_inputs
from hydra_ray.models.registry import Network, architecture

Norm = Literal["batch", "group", "none"]
Count = Annotated[int, Field(ge=1)]


class MlpOptions(Section):
    """Widths of the layers."""

    hidden: list[Count] = Field(default=[200, 200])
    """Units of each hidden layer; none for a linear model."""


@architecture(MlpOptions, takes_categories=True)
def mlp(
    input_shape: tuple[int, ...], num_outputs: int, options: MlpOptions, categories: tuple[int, ...] = ()
) -> Network:
    """Linear layers of the `hidden` widths with ReLU (the body), then one linear layer (the head).

    Images are flattened, categories embedded (`embeddings.py`). `hidden=[]` is a linear model, its body has no more
    than that.
    """
    first, width_in = table_inputs(input_shape, categories)
    widths = [width_in, *options.hidden]
    body = nn.Sequential(first)
    for width_in, width_out in pairwise(widths):
        body.extend([nn.Linear(width_in, width_out), nn.ReLU()])
    return Network(body, nn.Linear(widths[-1], num_outputs), widths[-1])


class CnnOptions(Section):
    """Widths, depth and normalisation of the stages."""

    widths: list[Count] = Field(default=[16, 32, 64], min_length=1)
    """Channels of each stage."""
    depth: Count = 1
    """Convolutions of a stage."""
    norm: Norm = "batch"


@architecture(CnnOptions)
def cnn(input_shape: tuple[int, ...], num_outputs: int, options: CnnOptions) -> Network:
    """A small convolutional network for images of 8 x 8 to 32 x 32 pixels.

    One stage a width: `depth` times (3 x 3 convolution, `norm`, ReLU); 2 x 2 max-pooling between stages; the
    mean over pixels makes the features.
    """
    channels = [image_channels("cnn", input_shape), *options.widths]
    depth = options.depth
    make_norm = _norm(options.norm)
    body = nn.Sequential()
    for stage, (width_in, width_out) in enumerate(pairwise(channels)):
        if stage > 0:
            body.append(nn.MaxPool2d(2))
        for layer in range(depth):
            body.extend(_convolution(width_out if layer else width_in, width_out, make_norm))
    body.append(GlobalMean())
    return Network(body, nn.Linear(channels[-1], num_outputs), channels[-1])


class ResNetOptions(Section):
    """Width, depth and normalisation."""

    width: Count = 16
    """Channels of the first stage; the others have twice and four times as many."""
    blocks_per_stage: Count = 3
    norm: Norm = "batch"


@architecture(ResNetOptions)
def resnet20(input_shape: tuple[int, ...], num_outputs: int, options: ResNetOptions) -> Network:
    """The residual network for small images of He et al. 2016 (arXiv 1512.03385, section 4.2).

    Three stages of `blocks_per_stage` basic blocks, widths w, 2w, 4w, shortcuts without parameters (their
    option A). By default 269,722 parameters and 40.55 M multiply-adds for 3 x 32 x 32 and 10 classes; n
    blocks a stage make 6n + 2 layers.
    """
    channels = image_channels("resnet20", input_shape)
    make_norm = _norm(options.norm)
    width = options.width
    num_blocks = options.blocks_per_stage
    body = nn.Sequential(*_convolution(channels, width, make_norm))
    width_in = width
    for width_out in (width, 2 * width, 4 * width):
        for _ in range(num_blocks):
            body.append(BasicBlock(width_in, width_out, make_norm))
            width_in = width_out
    body.append(GlobalMean())
    _he_normal(body)
    return Network(body, nn.Linear(width_in, num_outputs), width_in)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; where the width grows, the block halves the image.

    [B, width_in, H, W] -> [B, width_out, H, W], or [B, width_out, ceil(H/2), ceil(W/2)] where it grows.
    """

    def __init__(self, width_in: int, width_out: int, make_norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        is_wider = width_in != width_out
        self.conv1 = nn.Conv2d(width_in, width_out, 3, 2 if is_wider else 1, padding=1, bias=False)
        self.norm1 = make_norm(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1, bias=False)
        self.norm2 = make_norm(width_out)
        self.shortcut = ZeroPadded(width_out - width_in) if is_wider else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        hidden = F.relu(self.norm1(self.conv1(images)))
        return F.relu(self.norm2(self.conv2(hidden)) + self.shortcut(images))


class ZeroPadded(nn.Module):
    """The shortcut of option A: every second pixel, new channels filled with zeros.

    Images of several networks may lie side by side, `groups` of [B, ch, H, W] in one: each gets its own new channels.
    """

    def __init__(self, num_new_channels: int, groups: int = 1) -> None:
        super().__init__()
        self.num_new_channels = num_new_channels
        self.groups = groups

    def forward(self, images: Tensor) -> Tensor:
        """[B, groups * ch, H, W] -> [B, groups * (ch + new), ceil(H/2), ceil(W/2)]."""
        halved = images[:, :, ::2, ::2].unflatten(1, (self.groups, -1))
        return F.pad(halved, (0, 0, 0, 0, 0, self.num_new_channels)).flatten(1, 2)


class GlobalMean(nn.Module):
    """The mean over pixels, [B, ch, H, W] -> [B, ch]: the pooling that `vmap` can batch."""

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return images.mean((2, 3))


def image_channels(architecture: str, input_shape: tuple[int, ...]) -> int:
    """Channels of (H, W, channels).

    Raises:
        UserError: the rows are vectors, not images.
    """
    if len(input_shape) != 3:
        raise UserError(
            f"architecture={architecture} takes images of shape [H, W, channels], the data set's inputs are "
            f"{list(input_shape)}; use architecture=mlp"
        )
    return input_shape[2]


def _convolution(width_in: int, width_out: int, make_norm: Callable[[int], nn.Module]) -> list[nn.Module]:
    norm = make_norm(width_out)
    conv = nn.Conv2d(width_in, width_out, 3, padding=1, bias=isinstance(norm, nn.Identity))
    return [conv, norm, nn.ReLU()]


def _norm(name: Norm) -> Callable[[int], nn.Module]:
    """Width -> normalisation layer. GroupNorm keeps no running statistics: of use where batches are small."""
    makers: dict[Norm, Callable[[int], nn.Module]] = {
        "batch": nn.BatchNorm2d,
        "group": lambda width: nn.GroupNorm(math.gcd(8, width), width),
        "none": lambda width: nn.Identity(),
    }
    return makers[name]


def _he_normal(body: nn.Module) -> None:
    """He initialisation of convolutions, as in the residual networks' paper (fan out, ReLU)."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
