"""Layers that move values without changing them: joining, cutting, flattening (Caffe: concat, slice, crop …)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import (
    UNLIMITED,
    BottomsDifferError,
    OnnxOps,
    TorchOps,
    at_least_one,
    canonical_axis,
    fault,
    register,
    require,
)
from converter.matching.operation import Operation
from converter.node import REFUSED, Layer, by_message_alone
from prototxt import NetLayer
from prototxt.caffe_pb2 import LayerParameter
from prototxt.errors import NetError, UnsupportedError

if TYPE_CHECKING:
    from converter.node import Node
    from converter.tensor import Array


@register
class Concat(Layer):
    """Bottoms side by side along an axis (Caffe: concat_layer.cpp)."""

    types = ("Concat",)
    acts_on = "channels"
    joins = True
    axis_fields = ("concat_param", "axis", "concat_dim")
    gradient_memory = "joined"
    bottoms = (1, UNLIMITED)
    axis: int = 1

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> Concat:
        p = source.param.concat_param
        if p.HasField("axis") and p.HasField("concat_dim"):
            raise fault(source, "both axis and concat_dim are given; expected one", "concat_param", "concat_dim")
        return cls(p.concat_dim if p.HasField("concat_dim") else p.axis)

    @classmethod
    def memory(cls, source: NetLayer) -> Sequence[int]:
        """A single bottom is no copy."""
        return [0] if len(source.bottoms) == 1 else super().memory(source)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        axis = canonical_axis(self.axis, len(inputs[0]))
        rest = {(*map(int, s[:axis]), *map(int, s[axis + 1 :]), len(s)) for s in inputs}
        if len(rest) != 1:
            raise BottomsDifferError(f"bottoms differ in another axis than {axis}")
        return [(*inputs[0][:axis], sum(s[axis] for s in inputs), *inputs[0][axis + 1 :])]

    def known(self, node: Node, inputs: Sequence[Array | None]) -> Array | None:
        parts = [values for values in inputs if values is not None]
        return np.concatenate(parts, canonical_axis(self.axis, len(node.shape))) if len(parts) == len(inputs) else None

    def computes(self, node: Node) -> Operation:
        return Operation("concatenation", {"axis": canonical_axis(self.axis, len(node.shape))})

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return x[0] if len(x) == 1 else g.op("Concat", *x, axis=canonical_axis(self.axis, len(node.shape)))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return x[0] if len(x) == 1 else f"torch.cat([{', '.join(x)}], dim={canonical_axis(self.axis, len(node.shape))})"


@register
class Slice(Layer):
    """One blob cut along an axis, at the given points or into equal parts (Caffe: slice_layer.cpp)."""

    types = ("Slice",)
    acts_on = "channels"
    axis_fields = ("slice_param", "axis", "slice_dim")
    gradient_memory = "joined"
    tops = (1, UNLIMITED)
    axis: int = 1
    slice_point: tuple[int, ...] = ()
    parts: int = 1

    @classmethod
    def read(cls, source: NetLayer) -> Slice:
        p = source.param.slice_param
        if p.HasField("axis") and p.HasField("slice_dim"):
            raise fault(source, "both axis and slice_dim are given; expected one", "slice_param", "slice_dim")
        points, parts = tuple(p.slice_point), len(source.tops)
        if points and len(points) != parts - 1:
            raise fault(source, f"{len(points)} slice_point for {parts} tops; expected {parts - 1}", "slice_param")
        return cls(p.slice_dim if p.HasField("slice_dim") else p.axis, points, parts)

    @classmethod
    def memory(cls, source: NetLayer) -> Sequence[int]:
        """A single top is no copy."""
        return [0] if len(source.tops) == 1 else super().memory(source)

    def _bounds(self, shape: Shape) -> list[int]:
        axis = canonical_axis(self.axis, len(shape))
        size = shape[axis]
        require(not is_free(size) or self.parts == 1, f"axis {axis} is cut; it can't be left free")
        if not self.slice_point:
            require(size % self.parts == 0, f"{size} can't be cut into {self.parts} equal parts along axis {axis}")
            return [i * (size // self.parts) for i in range(self.parts)] + [size]
        bounds = [0, *self.slice_point, size]
        require(
            all(a < b for a, b in pairwise(bounds)),
            f"slice points {', '.join(map(str, self.slice_point))} do not rise between 0 and {size}",
        )
        return bounds

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        (shape,) = inputs
        axis, bounds = canonical_axis(self.axis, len(shape)), self._bounds(shape)
        return [(*shape[:axis], b - a, *shape[axis + 1 :]) for a, b in pairwise(bounds)]

    def computes(self, node: Node) -> Operation:
        return Operation(
            "slice", {"axis": canonical_axis(self.axis, len(node.shape)), "bounds": tuple(self._bounds(node.shape))}
        )

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        if self.parts == 1:
            return [x[0]]
        bounds = self._bounds(node.shape)
        axis = canonical_axis(self.axis, len(node.shape))
        sizes = g.ints([b - a for a, b in pairwise(bounds)], "sizes")
        return g.multi("Split", x[0], sizes, outputs=self.parts, axis=axis)

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        if self.parts == 1:
            return [x[0]]
        bounds = self._bounds(node.shape)
        lead = ":, " * canonical_axis(self.axis, len(node.shape))
        return [f"{x[0]}[{lead}{a}:{b}]" for a, b in pairwise(bounds)]


@register
class Split(Layer):
    """The same blob under several names (Caffe: split_layer.cpp)."""

    types = ("Split",)
    acts_on = "values"
    tops = (1, UNLIMITED)
    copies: int = 1

    @classmethod
    def read(cls, source: NetLayer) -> Split:
        return cls(len(source.tops))

    @property
    def in_place(self) -> str:
        return REFUSED

    @classmethod
    def memory(cls, source: NetLayer) -> Sequence[int]:
        return [0] * len(source.tops)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [inputs[0]] * self.copies

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        return [x[0]] * self.copies

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        return [x[0]] * self.copies


@register
class Silence(Layer):
    """Nothing: it only keeps a blob from becoming an output of the net (Caffe: silence_layer.cpp)."""

    types = ("Silence",)
    bottoms = (1, UNLIMITED)
    tops = (0, 0)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return []

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        return []

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        return []


@register
class Flatten(Layer):
    """The axes from `axis` to `end_axis`, both included, as one (Caffe: flatten_layer.cpp)."""

    types = ("Flatten",)
    acts_on = "shape"
    gradient_memory = "taken"
    axis: int = 1
    end_axis: int = -1

    @classmethod
    def read(cls, source: NetLayer) -> Flatten:
        return cls(source.param.flatten_param.axis, source.param.flatten_param.end_axis)

    @property
    def in_place(self) -> str:
        return REFUSED

    @classmethod
    def memory(cls, source: NetLayer) -> Sequence[int]:
        return [0]

    def _span(self, shape: Shape) -> tuple[int, int]:
        first, last = canonical_axis(self.axis, len(shape)), canonical_axis(self.end_axis, len(shape))
        require(first <= last + 1, f"axis {first} lies behind end_axis {last}")
        return first, last

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        first, last = self._span(inputs[0])
        return [(*inputs[0][:first], count(inputs[0][first : last + 1]), *inputs[0][last + 1 :])]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        first, last = self._span(node.shape)
        if first == last:
            return x[0]
        if first == 1 and last == len(node.shape) - 1:
            return g.op("Flatten", x[0], axis=1)
        return g.reshape(x[0], node.shape, node.outputs[0].shape)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        first, last = self._span(node.shape)
        if last < first:
            return f"{x[0]}.unsqueeze({first})"
        return f"torch.flatten({x[0]}, {first})" if last == len(node.shape) - 1 else f"{x[0]}.flatten({first}, {last})"


@register
class Crop(Layer):
    """The first bottom cut to the second's size from `axis` on, at the given offsets (Caffe: crop_layer.cpp).

    The Crop of FCN's branch (`--dialect Crop=fcn`), which HED and others were made with, has no fields and takes the
    offsets from the layers between its bottoms. A net in the form of 2014 has that one in any case, as AutoCrop.
    """

    types = ("Crop",)
    bottoms = (2, 2)
    axis: int = 2
    offset: tuple[int, ...] = ()

    @classmethod
    def read(cls, source: NetLayer) -> Crop:
        if source.dialect == "fcn" and len(source.bottoms) == 2:
            from prototxt.coordinates import cut_off  # and fractions, which no other layer here needs

            return cls(2, cut_off(source))
        p = source.param.crop_param
        return cls(p.axis, tuple(p.offset))

    def make_plain(self, param: LayerParameter) -> None:
        if tuple(param.crop_param.offset) != self.offset:  # they come from the layers, where BVLC's has them stated
            param.type, param.crop_param.axis = "Crop", self.axis
            param.crop_param.offset[:] = self.offset

    def _offsets(self, shape: Shape) -> dict[int, int]:
        """Offset by axis."""
        axis = canonical_axis(self.axis, len(shape))
        axes = range(axis, len(shape))
        require(
            len(self.offset) in (0, 1, len(axes)),
            f"{len(self.offset)} offset values for {len(axes)} axes; expected none, 1 or {len(axes)}",
        )
        values = self.offset or (0,)
        return dict(zip(axes, values * len(axes) if len(values) == 1 else values, strict=True))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        first, second = inputs
        if len(first) != len(second):
            raise NetError(f"bottoms differ in rank: {format_shape(first)} and {format_shape(second)}")
        offsets = self._offsets(first)
        for axis, offset in offsets.items():
            require(
                offset + second[axis] <= first[axis],
                f"offset {offset} plus {second[axis]} goes beyond {first[axis]} on axis {axis}",
            )
        return [tuple(second[i] if i in offsets else d for i, d in enumerate(first))]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        offsets = self._offsets(node.shape)
        axes = list(offsets)
        starts = g.ints(list(offsets.values()), "start")
        if not any(is_free(node.inputs[1].shape[a]) for a in axes):
            stops = g.ints([offsets[a] + node.inputs[1].shape[a] for a in axes], "stop")
        else:
            sizes = g.op("Gather", g.op("Shape", x[1]), g.ints(axes, "which"), axis=0)
            stops = g.op("Add", sizes, starts)
        return g.op("Slice", x[0], starts, stops, g.ints(axes, "axes"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        offsets = self._offsets(node.shape)
        cuts = [":"] * len(node.shape)
        for axis, offset in offsets.items():
            size = f"{x[1]}.shape[{axis}]"
            cuts[axis] = f"{offset}:{offset} + {size}" if offset else f":{size}"
        return f"{x[0]}[{', '.join(cuts)}]"


@register
class Permute(Layer):
    """Axes in another order; those not named follow in theirs (Caffe SSD: permute_layer.cpp)."""

    types = ("Permute",)
    gradient_memory = "taken"
    order: tuple[int, ...] = ()

    @classmethod
    def read(cls, source: NetLayer) -> Permute:
        order = tuple(source.param.permute_param.order)
        if len(set(order)) != len(order):
            raise fault(source, f"order {order} names an axis twice", "permute_param", "order")
        return cls(order)

    @classmethod
    def memory(cls, source: NetLayer) -> Sequence[int]:
        """Without anything to move it is no copy."""
        order = list(source.param.permute_param.order)
        return [0] if order == list(range(len(order))) else super().memory(source)

    def _full(self, rank: int) -> tuple[int, ...]:
        require(all(0 <= a < rank for a in self.order), f"order {self.order} for a blob of {rank} axes")
        return (*self.order, *(a for a in range(rank) if a not in self.order))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [tuple(inputs[0][a] for a in self._full(len(inputs[0])))]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Transpose", x[0], perm=self._full(len(node.shape)))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]}.permute({', '.join(map(str, self._full(len(node.shape))))})"


@register
class Tile(Layer):
    """A blob repeated along an axis (Caffe: tile_layer.cpp).

    Attributes:
        tiles: how often, where `tiles_from_axis` is None.
        tiles_from_axis: as often as the bottom is long on this axis (bottom-up-attention's fork).
    """

    types = ("Tile",)
    axis: int = 1
    tiles: int = 1
    tiles_from_axis: int | None = None

    @classmethod
    def read(cls, source: NetLayer) -> Tile:
        p = source.param.tile_param
        if p.HasField("tiles_from_axis"):
            source.without_effect("tiles_from_axis outweighs it", "tile_param.tiles")
            return cls(p.axis, tiles_from_axis=p.tiles_from_axis)
        at_least_one(source, "tile_param", "tiles")
        return cls(p.axis, p.tiles)

    def _repeats(self, shape: Shape) -> list[int]:
        axis, tiles = canonical_axis(self.axis, len(shape)), self.tiles
        if self.tiles_from_axis is not None:
            size = shape[canonical_axis(self.tiles_from_axis, len(shape))]
            if is_free(size):
                raise UnsupportedError(f"tiles_from_axis {self.tiles_from_axis} counts {size}, which is not fixed")
            tiles = int(size)
            require(tiles > 0, f"tiles_from_axis {self.tiles_from_axis} has no values")
        return [tiles if i == axis else 1 for i in range(len(shape))]

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [tuple(d * r for d, r in zip(inputs[0], self._repeats(inputs[0]), strict=True))]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Tile", x[0], g.ints(self._repeats(node.shape), "repeats"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]}.repeat({', '.join(map(str, self._repeats(node.shape)))})"
