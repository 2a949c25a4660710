"""Forks' layers that cut images into pieces and put pieces together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import (
    UNLIMITED,
    BottomsDifferError,
    OnnxOps,
    TorchOps,
    fault,
    register,
    require,
    unsupported,
)
from converter.layers.shaping import Crop
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import MergeCropParameter
from prototxt.coordinates import cut_off

if TYPE_CHECKING:
    import numpy.typing as npt

    from converter.node import Node

Corner = tuple[int, int]
"""Row and column at which a piece starts."""


@register
class AutoCrop(Crop):
    """The piece of the first bottom that lies on the second, in whose height and width (FCN's auto_crop_layer.cpp).

    Where it begins follows from the kernels, strides and paddings of the layers between the two and the blob that both
    come from, once for the net: it is not the middle where that is another place. RCF has it, and FCN's branch as the
    CROP of nets in the form of 2014.
    """

    types = ("AutoCrop",)

    @classmethod
    def read(cls, source: NetLayer) -> AutoCrop:
        return cls(2, cut_off(source) if len(source.bottoms) == 2 else ())

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for shape in inputs:
            require(len(shape) == 4, f"a bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        return super().infer(inputs)


@register
class CropCenter(Layer):
    """Each axis without `crop_size` values at its start and as many at its end (waifu2x: crop_center_layer.cpp)."""

    types = ("CropCenter",)
    crop_size: tuple[int, ...] = ()

    @classmethod
    def read(cls, source: NetLayer) -> CropCenter:
        crop = tuple(source.param.crop_center_param.crop_size)
        if any(size < 0 for size in crop):
            message = f"crop_size is {min(crop)}; expected 0 or more"
            raise fault(source, message, "crop_center_param", "crop_size")
        return cls(crop)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(
            len(self.crop_size) == len(shape),
            f"{len(self.crop_size)} crop_size for {len(shape)} axes; expected one for each",
        )
        for axis, (size, cut) in enumerate(zip(shape, self.crop_size, strict=True)):
            require(2 * cut < int(size), f"crop_size {cut} leaves nothing of axis {axis}, which holds {size}")
        return [tuple(size - 2 * cut for size, cut in zip(shape, self.crop_size, strict=True))]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        axes = [axis for axis, cut in enumerate(self.crop_size) if cut]
        if not axes:
            return x[0]
        starts, ends = [self.crop_size[a] for a in axes], [-self.crop_size[a] for a in axes]
        return g.op("Slice", x[0], g.ints(starts, "starts"), g.ints(ends, "ends"), g.ints(axes))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        cuts = [f"{cut}:-{cut}" if cut else ":" for cut in self.crop_size]
        while cuts and cuts[-1] == ":":
            cuts.pop()
        return f"{x[0]}[{', '.join(cuts)}]" if cuts else x[0]


def _corners(source: NetLayer, section: str, count: int) -> tuple[Corner, ...]:
    """`ycoord` and `xcoord` of each piece."""
    p = getattr(source.param, section)
    for name in ("xcoord", "ycoord"):
        given = getattr(p, name)
        if len(given) != count:
            raise fault(source, f"{len(given)} {name} for {count} pieces; expected one for each", section, name)
        if any(at < 0 for at in given):
            raise fault(source, f"{name} is {min(given)}; expected 0 or more", section, name)
    return tuple(zip(p.ycoord, p.xcoord, strict=True))


@register
class Division(Layer):
    """A piece of `height` × `width` for each top, from its row `ycoord` and column `xcoord` on.

    Of JAA-Net (division_layer.cpp).
    """

    types = ("Division",)
    tops = (1, UNLIMITED)
    size: tuple[int, int] = (1, 1)
    corners: tuple[Corner, ...] = ()

    @classmethod
    def read(cls, source: NetLayer) -> Division:
        p, section = source.param.division_param, "division_param"
        if min(p.height, p.width) < 1:
            raise fault(source, f"a piece is {p.height}×{p.width}; expected at least 1×1", section)
        return cls((p.height, p.width), _corners(source, section, len(source.tops)))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        for corner in self.corners:
            for axis, (at, piece) in enumerate(zip(corner, self.size, strict=True), 2):
                fits = at + piece <= int(shape[axis])
                require(fits, f"a piece ends at {at + piece}, outside axis {axis}, which holds {shape[axis]}")
        return [(*shape[:2], *self.size) for _ in self.corners]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        height, width = self.size
        tops = []
        for row, column in self.corners:
            starts, ends = [row, column], [row + height, column + width]
            tops.append(g.op("Slice", x[0], g.ints(starts, "starts"), g.ints(ends, "ends"), g.ints([2, 3])))
        return tops

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        height, width = self.size
        return [f"{x[0]}[:, :, {r}:{r + height}, {c}:{c + width}]" for r, c in self.corners]


@register
class Combination(Layer):
    """Pieces side by side, each from its row `ycoord` and column `xcoord` on (JAA-Net: combination_layer.cpp).

    The last piece says how large the whole is. Here the pieces have to fill it, row by row, as those of a Division do;
    in the fork they may overlap or leave gaps.
    """

    types = ("Combination",)
    bottoms = (1, UNLIMITED)
    corners: tuple[Corner, ...] = ()

    @classmethod
    def read(cls, source: NetLayer) -> Combination:
        corners = _corners(source, "combination_param", len(source.bottoms))
        if corners != tuple(sorted(corners)):
            raise unsupported(source, "pieces that do not follow row by row", "combination_param", "ycoord")
        return cls(corners)

    def _rows(self) -> list[list[int]]:
        """The pieces of each row, by number."""
        starts = sorted({row for row, _ in self.corners})
        return [[i for i, (row, _) in enumerate(self.corners) if row == start] for start in starts]

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for shape in inputs:
            require(len(shape) == 4, f"a bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
            require(not any(map(is_free, shape[2:])), "a piece's height and width can't be left free")
            if tuple(map(int, shape[:2])) != tuple(map(int, inputs[0][:2])):
                raise BottomsDifferError("pieces differ in batch or channels")
        height, width = self.corners[-1][0] + inputs[-1][2], self.corners[-1][1] + inputs[-1][3]
        below = 0
        for row in self._rows():
            right = 0
            for i in row:
                fits = self.corners[i] == (below, right) and int(inputs[i][2]) == int(inputs[row[0]][2])
                require(
                    fits, f"piece {i} starts at {self.corners[i]}; expected ({below}, {right}), without gap or overlap"
                )
                right += int(inputs[i][3])
            require(right == width, f"a row of pieces is {right} wide; expected {width}")
            below += int(inputs[row[0]][2])
        require(below == height, f"the pieces are {below} high; expected {height}")
        return [(*inputs[0][:2], height, width)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        rows = [[x[i] for i in row] for row in self._rows()]
        joined = [g.op("Concat", *row, axis=3) if len(row) > 1 else row[0] for row in rows]
        return g.op("Concat", *joined, axis=2) if len(joined) > 1 else joined[0]

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        rows = [f"torch.cat([{', '.join(x[i] for i in row)}], 3)" for row in self._rows()]
        return f"torch.cat([{', '.join(rows)}], 2)" if len(rows) > 1 else rows[0]


@register
class MergeCrop(Layer):
    """The first bottom and the middle of the second, behind each other or added (Greentea's fork: mergecrop_layer.cu).

    The middle starts at (second - first) / 2 of each axis behind the channels, rounded down. `forward: false` puts
    zeros for a bottom. STACK counts channels on through the batch, as the fork's GPU code does, the only one that there
    is: with a and b channels, top channel c of item n is of the first bottom where c / a is even, its channel
    (n (a + b) + c) mod a, else of the second, its channel (n (a + b) + c) mod b. Where both have as many that is one
    behind the other, and in a batch of one where b divides a.
    """

    types = ("MergeCrop",)
    bottoms = (2, 2)
    operation: Literal["STACK", "ADD"] = "STACK"
    forward: tuple[bool, bool] = (True, True)
    backward: tuple[bool, bool] = (True, False)

    @classmethod
    def read(cls, source: NetLayer) -> MergeCrop:
        p, section = source.param.mergecrop_param, "mergecrop_param"
        for name, given in (("forward", p.forward), ("backward", p.backward)):
            if len(given) > 2:
                raise fault(source, f"{len(given)} {name} for 2 bottoms; expected one for each", section, name)
        forward, backward = (*p.forward, True, True), (*p.backward, *(True, False)[len(p.backward) :])
        operation: Literal["STACK", "ADD"] = "ADD" if p.operation == MergeCropParameter.ADD else "STACK"
        return cls(operation, (forward[0], forward[1]), (backward[0], backward[1]))

    @property
    def untrainable(self) -> str:
        odd = any(back and not fore for fore, back in zip(self.forward, self.backward, strict=True))
        return "a bottom with forward: false and backward: true gets the gradient of numbers that it did not give" * odd

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        first, second = inputs
        require(len(first) > 2, f"the first bottom is {format_shape(first)}; expected 3 axes or more")
        if len(first) != len(second):
            raise BottomsDifferError("bottoms differ in their number of axes")
        require(not any(map(is_free, (*first[1:], *second[1:]))), "sizes behind the batch can't be left free")
        alike = 1 if self.operation == "STACK" else 2
        if tuple(map(str, first[:alike])) != tuple(map(str, second[:alike])):
            raise BottomsDifferError(f"bottoms differ in {'batch' if alike == 1 else 'batch or channels'}")
        for axis, (small, large) in enumerate(zip(first[2:], second[2:], strict=True), 2):
            require(int(small) <= int(large), f"axis {axis} of the second bottom is {large}; expected {small} or more")
        if self.operation == "ADD":
            return [first]
        plain = int(first[1]) == int(second[1])
        require(plain or not is_free(first[0]), "with unlike channels their order follows the batch; give its size")
        return [(first[0], first[1] + second[1], *first[2:])]

    def _order(self, node: Node) -> npt.NDArray[np.int64] | None:
        """For each item and top channel the place among the channels of both bottoms; None for one behind the other."""
        a, b = (int(value.shape[1]) for value in node.inputs)
        if a == b:
            return None
        counted = np.arange(int(node.shape[0]) * (a + b)).reshape(-1, a + b)
        of_second = np.arange(a + b) // a % 2 == 1
        order = np.where(of_second, a + counted % b, counted % a)
        return None if (order == np.arange(a + b)).all() else order

    def _cuts(self, node: Node) -> list[tuple[int, int]]:
        """Where the second bottom's piece starts and ends, for each axis behind the channels."""
        sizes = list(zip(map(int, node.shape[2:]), map(int, node.inputs[1].shape[2:]), strict=True))
        return [((large - small) // 2, (large - small) // 2 + small) for small, large in sizes]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        cuts, axes = self._cuts(node), list(range(2, len(node.shape)))
        second = x[1]
        if tuple(map(int, node.shape[2:])) != tuple(map(int, node.inputs[1].shape[2:])):
            starts, ends = ([cut[i] for cut in cuts] for i in (0, 1))
            second = g.op("Slice", second, g.ints(starts, "starts"), g.ints(ends, "ends"), g.ints(axes))
        parts = [
            part if shown else g.op("Mul", part, g.scalar(0.0, "zero"))
            for part, shown in zip((x[0], second), self.forward, strict=True)
        ]
        if self.operation == "ADD":
            return g.op("Add", *parts)
        y, order = g.op("Concat", *parts, axis=1), self._order(node)
        if order is None:
            return y
        if (order == order[0]).all():
            return g.op("Gather", y, g.ints(order[0].tolist(), "order"), axis=1)
        batch, channels = order.shape
        sizes = [int(size) for size in node.shape[2:]]
        flat = g.op("Reshape", y, g.ints([1, batch * channels, *sizes], "flat"))
        places = (order + np.arange(batch)[:, None] * channels).ravel().tolist()
        chosen = g.op("Gather", flat, g.ints(places, "order"), axis=1)
        return g.op("Reshape", chosen, g.ints([batch, channels, *sizes], "shape"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        cut = "".join(f", {start}:{end}" for start, end in self._cuts(node))
        parts = [x[0], f"{x[1]}[:, :{cut}]"]
        parts = [part if back else f"{part}.detach()" for part, back in zip(parts, self.backward, strict=True)]
        parts = [part if shown else f"{part} * 0" for part, shown in zip(parts, self.forward, strict=True)]
        if self.operation == "ADD":
            return f"{parts[0]} + {parts[1]}"
        y, order = f"torch.cat([{', '.join(parts)}], 1)", self._order(node)
        if order is None:
            return y
        if (order == order[0]).all():
            return f"{y}[:, {order[0].tolist()}]"
        batch, channels = order.shape
        places = (order + np.arange(batch)[:, None] * channels).ravel().tolist()
        return f"{y}.flatten(0, 1)[{places}].unflatten(0, ({batch}, {channels}))"
