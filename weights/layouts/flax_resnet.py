"""MSRA's ResNets in flax.linen, with the tree of Flax's ImageNet example.

Imported only by those who have Flax. Padding is given in numbers: Flax's `SAME` puts an odd pixel behind.
"""

# mypy: disable-error-code="misc, untyped-decorator, import-not-found"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from weights.layouts.family import EPS


def _convolution(width: int, kernel: int, stride: int, name: str | None = None) -> nn.Conv:
    pad = kernel // 2
    return nn.Conv(
        width, (kernel, kernel), (stride, stride), padding=((pad, pad), (pad, pad)), use_bias=False, name=name
    )


def _norm(name: str | None = None) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True, epsilon=EPS, name=name)


class BottleneckResNetBlock(nn.Module):
    """1×1, 3×3, 1×1; the stride is that of the first or of the second."""

    width: int
    stride: int
    project: bool
    stride_first: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """The block's output for N×H×W×C."""
        first, second = (self.stride, 1) if self.stride_first else (1, self.stride)
        y = nn.relu(_norm()(_convolution(self.width, 1, first)(x)))
        y = nn.relu(_norm()(_convolution(self.width, 3, second)(y)))
        y = _norm()(_convolution(4 * self.width, 1, 1)(y))
        if self.project:
            x = _norm("norm_proj")(_convolution(4 * self.width, 1, self.stride, "conv_proj")(x))
        return nn.relu(x + y)


class ResNetBlock(nn.Module):
    """Two 3×3."""

    width: int
    stride: int
    project: bool
    stride_first: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """The block's output for N×H×W×C."""
        y = nn.relu(_norm()(_convolution(self.width, 3, self.stride)(x)))
        y = _norm()(_convolution(self.width, 3, 1)(y))
        if self.project:
            x = _norm("norm_proj")(_convolution(self.width, 1, self.stride, "conv_proj")(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    """The whole net: scores N×classes, before any softmax, for images N×H×W×3."""

    blocks: Sequence[int]
    classes: int
    bottleneck: bool
    stride_first: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """The scores."""
        x = nn.relu(_norm("bn_init")(_convolution(64, 7, 2, "conv_init")(x)))
        # Caffe's windows begin at the first pixel and the last one overhangs; what it overhangs never is the largest.
        overhang = [(0, (size - 3) % 2) for size in x.shape[1:3]]
        x = nn.max_pool(x, (3, 3), (2, 2), overhang)
        block = BottleneckResNetBlock if self.bottleneck else ResNetBlock
        for stage, count in enumerate(self.blocks):
            for index in range(count):
                stride = 2 if stage and not index else 1
                project = not index and (stage > 0 or self.bottleneck)
                x = block(64 << stage, stride, project, self.stride_first)(x)
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))
