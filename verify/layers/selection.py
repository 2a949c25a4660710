"""Items taken out of a batch by number or by mark (Caffe: batch_reindex_layer.cpp, filter_layer.cpp)."""

from __future__ import annotations

import numpy as np

from verify.layers.registry import Array, Call, Feeding, Sensitivity, jumps, marks, register


def _whole(array: Array) -> list[int]:
    return [int(v) for v in array.ravel()]


def _items(feeding: Feeding) -> Array:
    """Indices into the batch of the first bottom."""
    return feeding.whole(feeding.shapes.get(feeding.layer.bottoms[0], (1,))[0])


@register("BatchReindex", bottoms=2, error=lambda call, tops: [Sensitivity(1, (1.0, np.inf))], feeds={1: _items})
def batch_reindex(call: Call) -> list[Array]:
    """Items of the first bottom, in the order that the second lists."""
    items = _whole(call.bottoms[1])
    size = call.x.shape[0]
    call.require(call.bottoms[1].ndim == 1, "the second bottom is no list of indices")
    call.require(all(0 <= i < size for i in items), f"an index is not within 0 and {size - 1}")
    return [call.x[items]]


@register("Filter", bottoms=(2, None), error=jumps, feeds={-1: marks})
def filter_layer(call: Call) -> list[Array]:
    """Of each bottom but the last, the items where the last is not 0."""
    *inputs, selector = call.bottoms
    call.require(selector.ndim > 0 and selector.size == selector.shape[0], "the selector has more than one axis")
    call.require(all(b.shape[0] == selector.shape[0] for b in inputs), "bottoms differ in their number of items")
    keep = np.flatnonzero(selector)
    return [b[keep] for b in inputs]
