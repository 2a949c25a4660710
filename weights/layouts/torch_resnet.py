"""ResNets as torch modules: of torchvision's structure, and changed to compute what MSRA's nets compute.

Imported only by those who have torch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prototxt.errors import RequestError
from prototxt.resnets import IMAGENET_BLOCKS
from weights.layouts.family import EPS, Stride, units

log = logging.getLogger(__name__)


def make_resnet(depth: int, classes: int) -> nn.Module:
    """torchvision's class where it can be imported, else ours; both as torchvision has them, not patched.

    Raises:
        RequestError: a depth that the paper does not have.
    """
    units(depth)  # says so
    torchvision = _torchvision()
    if torchvision is None:
        return TorchResNet(depth, classes)
    made: nn.Module = getattr(torchvision, f"resnet{depth}")(weights=None, num_classes=classes)
    return made


def _torchvision() -> ModuleType | None:
    try:
        return import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:  # RuntimeError: one that was built for another torch
        log.info("torchvision is not used: %s", error)
        return None


class TorchResNet(nn.Module):
    """A ResNet with torchvision's module names and torchvision's ("v1.5") strides and pooling."""

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        block = Bottleneck if depth >= 50 else BasicBlock
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64, EPS)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, count in enumerate(IMAGENET_BLOCKS[depth], 1):
            width = 32 << stage
            blocks: list[nn.Module] = []
            for index in range(count):
                blocks.append(block(channels, width, 2 if stage > 1 and index == 0 else 1))
                channels = width * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores N×classes, before any softmax, for images N×3×H×W."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return cast(Tensor, self.fc(self.avgpool(x).flatten(1)))


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1, with four times the width at its end."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, EPS)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, EPS)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width, EPS)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(channels, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return cast(Tensor, self.relu(y + (x if self.downsample is None else self.downsample(x))))


class BasicBlock(nn.Module):
    """Two 3×3."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, EPS)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, EPS)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return cast(Tensor, self.relu(y + (x if self.downsample is None else self.downsample(x))))


def _projection(channels: int, out: int, stride: int) -> nn.Module | None:
    if channels == out and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out, EPS))


class Classifier(nn.Module):
    """A torchvision-named ResNet under mmpretrain's names: `backbone` and `head.fc`."""

    def __init__(self, resnet: nn.Module) -> None:
        super().__init__()
        self.backbone = resnet
        self.head = nn.Module()
        self.head.fc = resnet.fc
        resnet.fc = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Scores N×classes."""
        return cast(Tensor, self.head.fc(self.backbone(x)))  # type: ignore[operator]


def patch_resnet(model: nn.Module, stride: Stride) -> nn.Module:
    """See `torchvision.patch`."""
    stages = [getattr(model, f"layer{stage}", None) for stage in range(1, 5)]
    if not all(isinstance(stage, nn.Sequential) for stage in stages) or not hasattr(model, "maxpool"):
        raise RequestError(f"a {type(model).__name__} is no ResNet like torchvision's: it lacks maxpool or layer1 to 4")
    model.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    for stage in stages:
        first = cast(nn.Sequential, stage)[0]
        if isinstance(getattr(first, "conv3", None), nn.Conv2d):
            _move_stride(first, stride)
    return model


def _move_stride(block: nn.Module, stride: Stride) -> None:
    convolutions = [cast(nn.Conv2d, block.conv1), cast(nn.Conv2d, block.conv2)]
    whole = max(conv.stride for conv in convolutions)
    at = convolutions[0 if stride == "1x1" else 1]
    for conv in convolutions:
        conv.stride = whole if conv is at else (1, 1)


class PaddedConv2d(nn.Conv2d):
    """A convolution that pads with a value a channel."""

    def __init__(self, old: nn.Conv2d, values: Tensor) -> None:
        super().__init__(old.in_channels, old.out_channels, old.kernel_size, old.stride, bias=old.bias is not None)  # type: ignore[arg-type]
        self.weight, self.bias = old.weight, old.bias
        self.border: tuple[int, int] = (
            old.border if isinstance(old, PaddedConv2d) else cast(tuple[int, int], old.padding)
        )
        self.register_buffer("values", values, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of `x`, N×C×H×W, amid its border."""
        high, wide = self.border
        values = cast(Tensor, self.values).to(x)
        amid = values.expand(len(x), -1, x.shape[2] + 2 * high, x.shape[3] + 2 * wide).clone()
        amid[:, :, high : high + x.shape[2], wide : wide + x.shape[3]] = x
        return F.conv2d(amid, self.weight, self.bias, self.stride)


def pad_conv1(model: nn.Module, values: Sequence[float]) -> nn.Module:
    """See `torchvision.pad_with`."""
    conv = getattr(model, "conv1", None)
    if not isinstance(conv, nn.Conv2d):
        raise RequestError(f"a {type(model).__name__} has no conv1 to pad")
    if len(values) not in (1, conv.in_channels):
        raise RequestError(f"{len(values)} values for the {conv.in_channels} channels of conv1")
    given = torch.tensor(list(values), dtype=conv.weight.dtype).reshape(1, -1, 1, 1)
    model.conv1 = PaddedConv2d(conv, given.expand(1, conv.in_channels, 1, 1).contiguous())
    return model
