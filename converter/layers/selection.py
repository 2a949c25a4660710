"""Items taken out of a batch by their number or by a mark (Caffe: batch_reindex_layer.cpp, filter_layer.cpp)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.graph import FreeDim, Shape, count, format_shape
from converter.layers.base import UNLIMITED, BottomsDifferError, OnnxOps, TorchOps, fault, register, require
from converter.layers.shared.sizes import INT64
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node


@register
class BatchReindex(Layer):
    """Items of the first bottom in the order that the second lists, repeated or left out (batch_reindex_layer.cpp).

    Indices are floats, truncated.
    """

    types = ("BatchReindex",)
    bottoms = (2, 2)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        first, index = inputs
        require(len(first) >= 1, "the first bottom is a scalar; expected a batch")
        require(len(index) == 1, f"the second bottom is {format_shape(index)}; expected a list of indices")
        return [(index[0], *first[1:])]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Gather", x[0], g.op("Cast", x[1], to=INT64), axis=0)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]}.index_select(0, {x[1]}.long())"


@register
class Filter(Layer):
    """Of each bottom but the last, the items at which the last is not 0 (Caffe: filter_layer.cpp).

    How many are left is known only when the net runs, so that axis of each top is free; shapes behind it are worked out
    as if all were kept.
    """

    types = ("Filter",)
    bottoms = (2, UNLIMITED)
    tops = (1, UNLIMITED)
    kept: str = "kept"

    @classmethod
    def read(cls, source: NetLayer) -> Filter:
        if len(source.tops) != len(source.bottoms) - 1:
            raise fault(source, f"{len(source.tops)} tops; expected one for each bottom but the last")
        return cls(re.sub(r"\W", "_", f"kept_by_{source.name}"))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        *shapes, mark = inputs
        require(
            len(mark) >= 1 and count(map(int, mark[1:])) == 1, f"the selector is {format_shape(mark)}; expected a list"
        )
        if any(not s or int(s[0]) != int(mark[0]) for s in shapes):
            raise BottomsDifferError("bottoms differ in their number of items")
        kept = FreeDim(int(mark[0]), self.kept)
        return [(kept, *s[1:]) for s in shapes]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        marks = x[-1] if len(node.inputs[-1].shape) == 1 else g.op("Reshape", x[-1], g.ints([-1], "shape"))
        # Compress says the same, but OpenCV 5 lacks it.
        kept = g.places(marks)
        return [g.op("Gather", name, kept, axis=0) for name in x[:-1]]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        kept = t.let("kept", f"{x[-1]}.flatten() != 0")
        return [f"{name}[{kept}]" for name in x[:-1]]
