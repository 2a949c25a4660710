"""Forks' layers that cut images into pieces and put pieces together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
from prototxt.coordinates import cut_off

if TYPE_CHECKING:
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
