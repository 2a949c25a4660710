"""ICNet's pyramid as Synopsys' fork has it in one layer (icnet_subgraph_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, narrow, register, wide
from verify.layers.resize import between

WINDOWS = ((33, 65, 33, 65), (17, 33, 16, 32), (13, 25, 10, 20), (8, 15, 5, 10))
"""Height, width and steps of each average, as the source has them."""


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    terms = call.x.shape[2] * call.x.shape[3] + max(call.x.shape[2:]) ** 2 // 4
    return [Sensitivity(terms, (float(1 + len(WINDOWS)),))]


def _averages(x: Wide, height: int, width: int, down: int, across: int) -> Wide:
    """Averages of windows, the last of which may hang over the end; those divide by what lies in the image."""
    rows, columns = (
        -(-(x.shape[2 + i] - size) // step) + 1 for i, (size, step) in enumerate([(height, down), (width, across)])
    )
    y = np.empty((*x.shape[:2], rows, columns))
    for i, j in np.ndindex(rows, columns):
        window = x[:, :, i * down : i * down + height, j * across : j * across + width]
        y[:, :, i, j] = window.mean(axis=(2, 3))
    return y


@register("ICNetSubgraph", error=_error)
def icnet_subgraph(call: Call) -> list[Array]:
    """x plus four averages of it, each interpolated to the size of x with corners on corners."""
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    call.require(call.x.shape[2] >= 33 and call.x.shape[3] >= 65, "needs an image of 33×65 or more")
    x = wide(call.x)
    total = x.copy()
    for height, width, down, across in WINDOWS:
        level = _averages(x, height, width, down, across)
        for axis in (2, 3):
            level = np.moveaxis(between(np.moveaxis(level, axis, 0), x.shape[axis]), 0, axis)
        total += level
    return [narrow(total)]
