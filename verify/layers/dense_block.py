"""DenseNet's block in one layer (caffe_ocr's fork: DenseBlock_layer.cpp and .cu).

x <- x, conv3×3(relu(norm(x)))  or  x, conv3×3(relu(norm(conv1×1(relu(norm(x))))))
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from verify.layers.convolution import convolve
from verify.layers.inner_product import row_norm
from verify.layers.registry import Array, Call, Sensitivity, largest, narrow, register, wide
from verify.layers.shared.rounding import LAMBDA, PROBE, SHAKES, UNIT_ROUNDOFF
from verify.layers.shared.window import Window


class _Block:
    """DenseBlock's blobs, by group and transition."""

    def __init__(self, call: Call) -> None:
        p = call.param.denseblock_param
        self.count, self.growth, self.inner = p.numTransition, p.growthRate, 4 * p.growthRate if p.use_BC else 0
        call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
        call.require(self.count > 0 and self.growth > 0, f"{self.count} transitions of {self.growth} are not positive")
        wide_ones = [call.x.shape[1] + i * self.growth for i in range(self.count)]
        inner = [self.inner] * self.count
        shapes: list[tuple[int, ...]] = [(self.growth, c, 3, 3) for c in (inner if self.inner else wide_ones)]
        shapes += [(1, c, 1, 1) for c in wide_ones] * 4
        if self.inner:
            shapes += [(self.inner, c, 1, 1) for c in wide_ones]
            shapes += [(1, c, 1, 1) for c in inner] * 4
        *blobs, factor = call.parameters.take([*shapes, (1,)])
        self.groups = [blobs[start : start + self.count] for start in range(0, len(blobs), self.count)]
        self.factor = float(factor[0]) or 1.0

    def rectified(self, x: Array, group: int, transition: int, noise: np.random.Generator | None) -> Array:
        """relu of the normalisation whose factors are group `group`; eps is 1e-5. With noise each value may be off."""
        factor, summand, mean, variance = (wide(g[transition]) for g in self.groups[group : group + 4])
        slope, mean = factor / np.sqrt(variance / self.factor + 1e-5), mean / self.factor
        y = slope * (wide(x) - mean) + summand
        if noise is not None:
            sizes = np.abs(slope) * (np.abs(wide(x)) + np.abs(mean)) + np.abs(summand)
            y += UNIT_ROUNDOFF * sizes * noise.standard_normal(y.shape)
        return narrow(np.maximum(y, 0))

    def kernels(self, transition: int) -> Iterator[tuple[int, Array]]:
        """(group of the normalisation before, filters) of a transition's convolutions; 3×3 turned by half a circle."""
        if self.inner:
            yield 1, self.groups[5][transition]
        yield (6 if self.inner else 1), self.groups[0][transition][:, :, ::-1, ::-1]


def _dense_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Many layers in one, of which slopes multiplied would say nothing: it runs with noise as its sums may round.

    The gain is what the probe finds.
    """
    runs = [_dense_top(call, call.x, np.random.default_rng(draw)) for draw in range(SHAKES)]
    own = LAMBDA * np.sqrt(np.mean([(wide(run) - tops[0]) ** 2 for run in runs], axis=0))
    size = PROBE * max(float(np.sqrt((wide(call.x) ** 2).mean())), 1e-30)
    moved = narrow(call.x + size * np.random.default_rng(0).standard_normal(call.x.shape))
    gain = largest(wide(_dense_top(call, moved)) - tops[0]) / max(largest(wide(moved) - call.x), 1e-30)
    return [Sensitivity(1, (gain,), largest(own))]


@register("DenseBlock", error=_dense_error)
def dense_block(call: Call) -> list[Array]:
    """growthRate channels more with each transition."""
    return [_dense_top(call, call.x)]


def _dense_top(call: Call, x: Array, noise: np.random.Generator | None = None) -> Array:
    block = _Block(call)
    n, c, h, w = x.shape
    call.room((n, c + block.count * block.growth, h, w))
    for transition in range(block.count):
        y = x
        for group, kernel in block.kernels(transition):
            pad = (kernel.shape[2] // 2,) * 2
            window = Window(kernel.shape[2:], (1, 1), pad, pad, (1, 1))
            given, rows = block.rectified(y, group, transition, noise), kernel.reshape(kernel.shape[0], -1)
            y = convolve(given, np.ascontiguousarray(kernel), None, window, 1)
            if noise is not None:
                size = UNIT_ROUNDOFF * math.sqrt(rows.shape[1]) * row_norm(rows) * largest(given)
                y = narrow(y + size * noise.standard_normal(y.shape))
        x = np.concatenate([x, y], axis=1)
    return x
