"""The units of MSRA's ResNets: each a convolution with its BatchNorm and Scale, and what they hold.

The names are those of `prototxt.resnets`: `conv1`, `bn_conv1`, `scale_conv1`, `res2a_branch1`, `bn2a_branch1`, …,
`fc1000`. Other frameworks keep the same numbers, so a `ResNet` here is the form that every layout converts from and to:

    weight                outputs × inputs × height × width
    bias                  of the convolution; in MSRA's files conv1 of ResNet-50 has one, and no other convolution
    mean, variance        BatchNorm's, divided by its stored factor
    scale, shift          Scale's:  shift + scale · (weight * x + bias - mean) / sqrt(variance + 1e-5)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final, Literal, TypeAlias

import numpy as np

from prototxt import resnet
from prototxt.errors import RequestError
from prototxt.resnets import IMAGENET_BLOCKS
from prototxt.words import listed
from weights.layouts.arrays import LazyArray, held
from weights.model import Shape

EPS: Final = 1e-5
"""Caffe's default, and torch's; MSRA's nets use it."""

DEPTHS: Final = tuple(IMAGENET_BLOCKS)
Role: TypeAlias = Literal["weight", "bias", "mean", "variance", "scale", "shift"]
Stride: TypeAlias = Literal["1x1", "3x3"]
Variant: TypeAlias = Literal["msra", "own"]
NORM_ROLES: Final[tuple[Role, ...]] = ("mean", "variance", "scale", "shift")
_BRANCH: Final = re.compile(r"res([2-5])([a-z])(\d*)_branch(1|2[abc])")


@dataclass(frozen=True)
class Unit:
    """A convolution with its BatchNorm and Scale.

    Attributes:
        conv, norm, affine: the three layers' names.
        stage: 1 for conv1, 2 to 5 for the blocks.
        block: number of the block in its stage, from 0.
        branch: `1` for the projection, `2a`, `2b`, `2c` for the others, empty for conv1.
        shape: of the weights.
        bias: whether the convolution has a bias in MSRA's nets.
        stride: of the convolution in MSRA's nets.
    """

    conv: str
    norm: str
    affine: str
    stage: int
    block: int
    branch: str
    shape: Shape
    bias: bool = False
    stride: int = 1

    @property
    def outputs(self) -> int:
        """Channels that it gives."""
        return self.shape[0]


@dataclass(frozen=True)
class Head:
    """The last layer, classes × features."""

    weight: LazyArray
    bias: LazyArray


@dataclass(frozen=True)
class ResNet:
    """The parameters of a net of the family, whatever file they are in.

    Attributes:
        depth: 18, 34, 50, 101 or 152.
        units: by unit, in the net's order; a unit without "bias" has none.
        head: None where the file has no last layer, as for a detector's backbone.
        stride: where the file says that a bottleneck's stride is, in its first 1×1 or its 3×3; None where it is silent.
        left_out: names of what else the file holds.
    """

    depth: int
    units: Mapping[Unit, Mapping[Role, LazyArray]] = field(repr=False)
    head: Head | None = field(default=None, repr=False)
    stride: Stride | None = None
    left_out: tuple[str, ...] = ()

    @property
    def classes(self) -> int | None:
        """Width of the last layer; None without one."""
        return None if self.head is None else self.head.weight.shape[0]

    @property
    def bottleneck(self) -> bool:
        """Whether its blocks are 1×1, 3×3, 1×1."""
        return self.depth >= 50

    def with_unit(self, unit: Unit, roles: Mapping[Role, LazyArray]) -> ResNet:
        """The same net with other parameters in one unit."""
        return replace(self, units={**self.units, unit: roles})


@cache
def units(depth: int) -> tuple[Unit, ...]:
    """The units of a net, in its order.

    Raises:
        RequestError: a depth that the paper does not have, or one of its nets for CIFAR.
    """
    if depth not in DEPTHS:
        raise RequestError(
            f"no ResNet-{depth} among those for ImageNet; expected a depth of {listed(list(map(str, DEPTHS)), 'or')}"
        )
    net = resnet(depth)
    found, channels = [], {"data": 3}
    for place, layer in enumerate(net.layer):
        if layer.type == "Convolution":
            param = layer.convolution_param
            kernel = param.kernel_size[0]
            shape = (param.num_output, channels[layer.bottom[0]], kernel, kernel)
            names = (layer.name, net.layer[place + 1].name, net.layer[place + 2].name)
            found.append(Unit(*names, *parsed(layer.name), shape, param.bias_term, param.stride[0]))
            channels[layer.top[0]] = param.num_output
        elif layer.type in ("Pooling", "Eltwise"):
            channels[layer.top[0]] = channels[layer.bottom[0]]
    return tuple(found)


def parsed(name: str) -> tuple[int, int, str]:
    """Stage, block and branch of a convolution by its name; `res3b2_branch2a` and `res3c_branch2a` are of block 2.

    Raises:
        ValueError: it is not named like MSRA's.
    """
    if name == "conv1":
        return 1, 0, ""
    match = _BRANCH.fullmatch(name)
    if match is None:
        raise ValueError(name)
    stage, letter, number, branch = match.groups()
    return int(stage), int(number) if number else ord(letter) - ord("a"), branch


def features(depth: int) -> int:
    """Width of what the last layer reads."""
    return 2048 if depth >= 50 else 512


def bias_of(roles: Mapping[Role, LazyArray], count: int) -> LazyArray:
    """The convolution's bias, zeros where it has none."""
    return roles.get("bias") or held(np.zeros(count, np.float32))


def without_bias(roles: Mapping[Role, LazyArray]) -> dict[Role, LazyArray]:
    """The same unit with the convolution's bias taken into the mean: W x + b - mean = W x - (mean - b)."""
    kept = dict(roles)
    bias, mean = kept.pop("bias", None), kept["mean"]
    if bias is not None:
        kept["mean"] = LazyArray(mean.shape, lambda: mean.wide() - bias.wide())
    return kept
