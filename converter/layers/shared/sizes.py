"""Sizes as values of the graph: a constant where the net fixes them, an operator where an axis is left free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.emission import OnnxOps
from converter.graph import Shape, count, is_free

if TYPE_CHECKING:
    from converter.node import Node

FLOAT, INT64, BOOL = 1, 7, 9
"""TensorProto's numbers of the types that Cast is given."""


def int_size(g: OnnxOps, x: str, shape: Shape, axis: int) -> str:
    """The size of one axis of `x`, an int64 scalar."""
    if not is_free(shape[axis]):
        return g.constant(np.asarray(int(shape[axis]), np.int64), "size")
    return g.op("Gather", g.op("Shape", x), g.constant(np.asarray(axis, np.int64), "axis"), axis=0)


def float_count(g: OnnxOps, x: str, shape: Shape, axes: Sequence[int]) -> str:
    """The product of some sizes of `x`, a float32 scalar."""
    size = count(shape[a] for a in axes)
    if not is_free(size):
        return g.scalar(float(size), "count")
    sizes = g.op("Gather", g.op("Shape", x), g.ints(axes, "axes"), axis=0)
    return g.op("Cast", g.reduce("ReduceProd", sizes, [0], keepdims=False), to=FLOAT)


def filled(g: OnnxOps, value: str, like: str, shape: Sequence[int] | None) -> str:
    """A value everywhere in the shape of `like`, which is given where it is known."""
    return g.op("Expand", value, g.op("Shape", like) if shape is None else g.ints(shape, "size"))


def torch_dims(x: str, shape: Shape) -> list[str]:
    """Each size of `x` as a Python expression: a number, or `x.shape[i]` where it is left free."""
    return [f"{x}.shape[{i}]" if is_free(d) else str(int(d)) for i, d in enumerate(shape)]


def turned_around(g: OnnxOps, x: str, axis: int) -> str:
    """`x` from the end of an axis to its start, whatever its size."""
    return g.slice(x, axis, -1, -(2**63) + 1, -1)


def beside_channels(node: Node) -> Shape:
    """The shape that lines a vector of channels up with axis 1."""
    return (node.shape[1] if len(node.shape) > 1 else 1, *[1] * (len(node.shape) - 2))
