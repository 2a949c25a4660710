"""Synopsys' layers that trade pixels for channels or images, by TensorFlow's rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, fault, register, require
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from typing_extensions import Self

    from converter.node import Node

Sides = tuple[tuple[int, int], ...]


@register
class DepthToSpace(Layer):
    """The b·b parts of the depth as the pixels of a square (Synopsys' fork: depth_to_space_layer.cpp).

    `data_format` NHWC has the depth last; NCHW and DCR have it before the rows, its parts being whole images of pixels.
    In CRD each channel has its b·b parts together, as in PixelShuffle.
    """

    types = ("DepthToSpace",)
    block_size: int = 1
    data_format: str = "NHWC"

    @classmethod
    def read(cls, source: NetLayer) -> DepthToSpace:
        p, section = source.param.depth_to_space_param, "depth_to_space_param"
        at_least_one(source, section, "block_size")
        if p.data_format not in ("NHWC", "NCHW", "DCR", "CRD"):
            message = f"data_format {p.data_format}; expected NHWC, NCHW, DCR or CRD"
            raise fault(source, message, section, "data_format")
        return cls(p.block_size, p.data_format)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape, b = list(inputs[0]), self.block_size
        last = self.data_format == "NHWC"
        layout = "N×H×W×C" if last else "N×C×H×W"
        require(len(shape) == 4, f"the bottom is {format_shape(inputs[0])}; expected 4 axes ({layout})")
        depth, rows = (3, 1) if last else (1, 2)
        require(not is_free(shape[depth]), "the depth can't be left free")
        require(shape[depth] % (b * b) == 0, f"a depth of {shape[depth]} is no multiple of block_size {b} squared")
        shape[depth] //= b * b
        shape[rows], shape[rows + 1] = shape[rows] * b, shape[rows + 1] * b
        return [tuple(shape)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        mode = "CRD" if self.data_format == "CRD" else "DCR"
        if self.data_format != "NHWC":
            return g.op("DepthToSpace", x[0], blocksize=self.block_size, mode=mode)
        moved = g.op("DepthToSpace", g.op("Transpose", x[0], perm=(0, 3, 1, 2)), blocksize=self.block_size, mode=mode)
        return g.op("Transpose", moved, perm=(0, 2, 3, 1))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.data_format == "CRD":
            return f"{t.module('nn.PixelShuffle', self.block_size)}({x[0]})"
        t.helper("depth_to_space", DEPTH_TO_SPACE)
        if self.data_format != "NHWC":
            return f"depth_to_space({x[0]}, {self.block_size})"
        return f"depth_to_space({x[0]}.permute(0, 3, 1, 2), {self.block_size}).permute(0, 2, 3, 1)"


DEPTH_TO_SPACE = '''
def depth_to_space(x, block):
    """The parts of the depth as the pixels of a square; each part holds all channels (TensorFlow's order)."""
    n, depth, height, width = x.shape
    parts = x.reshape(n, block, block, depth // block**2, height, width)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(n, depth // block**2, height * block, width * block)
'''


class _Blocks(Layer):
    """What both directions share: a block size and two amounts for each axis from 1 on."""

    section: ClassVar[str]
    amounts: ClassVar[str]
    block_shape: tuple[int, ...] = ()
    sides: Sides = ()

    @classmethod
    def read(cls, source: NetLayer) -> Self:
        p, section = getattr(source.param, cls.section), cls.section
        block, amounts = tuple(p.block_shape), tuple(getattr(p, cls.amounts))
        if not block or min(block) < 1:
            message = f"block_shape is {list(block)}; expected sizes of 1 and more"
            raise fault(source, message, section, "block_shape")
        if len(amounts) != 2 * len(block) or min(amounts) < 0:
            message = f"{cls.amounts} are {list(amounts)}; expected {2 * len(block)} of 0 and more, two an axis"
            raise fault(source, message, section, cls.amounts)
        return cls(block, tuple(zip(amounts[::2], amounts[1::2], strict=True)))

    def _check(self, shape: Shape) -> None:
        sizes = len(self.block_shape)
        message = f"{sizes} sizes in block_shape for a bottom of {format_shape(shape)}; expected fewer than axes"
        require(len(shape) > sizes, message)

    @property
    def _cut(self) -> list[int]:
        """The axes that blocks of more than one cut."""
        return [i + 1 for i, b in enumerate(self.block_shape) if b > 1]

    def _of(self, axis: int) -> int:
        return self.block_shape[axis - 1]


@register
class SpaceToBatchND(_Blocks):
    """Pixels of one place in their blocks as an image of its own, behind a border of 0 (space_to_batch_nd_layer.cpp).

    Of Synopsys' fork. The first top images are those of the first place, in the batch's order.
    """

    types = ("SpaceToBatchND",)
    section = "space_to_batch_nd_param"
    amounts = "paddings"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        self._check(inputs[0])
        shape = self._padded(inputs[0])
        for axis in self._cut:
            fits = int(shape[axis]) % self._of(axis) == 0
            require(fits, f"axis {axis} has {shape[axis]} values with its paddings; expected a multiple of its block")
            shape[axis] = shape[axis] // self._of(axis)
        shape[0] = shape[0] * count(self.block_shape)
        return [tuple(shape)]

    def _padded(self, shape: Shape) -> list[int]:
        sides = [(0, 0), *self.sides] + [(0, 0)] * (len(shape) - 1 - len(self.sides))
        return [size + before + behind for size, (before, behind) in zip(shape, sides, strict=True)]

    def _split(self, shape: Shape) -> tuple[list[int], list[int]]:
        """The padded shape with each axis that is cut as two, and the order that brings the blocks first."""
        parts: list[int] = []
        order: list[int] = []
        first: list[int] = []
        for axis, size in enumerate(self._padded(shape)):
            order.append(len(parts))
            if axis not in self._cut:
                parts.append(size)
                continue
            first.append(len(parts) + 1)
            parts += [size // self._of(axis), self._of(axis)]
        return parts, first + order

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        shape, y = node.shape, x[0]
        if any(map(any, self.sides)):
            rest = [0] * (len(shape) - 1 - len(self.sides))
            pads = [0, *(a for a, _ in self.sides), *rest, 0, *(b for _, b in self.sides), *rest]
            y = g.op("Pad", y, g.ints(pads, "pads"), g.scalar(0.0, "zero"), mode="constant")
        if not self._cut:
            return y
        parts, order = self._split(shape)
        y = g.op("Transpose", g.reshape(y, tuple(self._padded(shape)), tuple(parts)), perm=order)
        return g.reshape(y, tuple(parts[i] for i in order), node.outputs[0].shape)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("space_to_batch", SPACE_TO_BATCH)
        return f"space_to_batch({x[0]}, {self.block_shape}, {self.sides})"


SPACE_TO_BATCH = '''
def space_to_batch(x, block, paddings):
    """Pixels of one place in their blocks as an image of its own; blocks lie along the axes from 1 on."""
    sides = list(paddings) + [(0, 0)] * (x.dim() - 1 - len(paddings))
    x = F.pad(x, [side for pair in reversed(sides) for side in pair])
    sizes, first, rest = [x.shape[0]], [], [0]
    for size, b in zip(x.shape[1:], list(block) + [1] * (x.dim() - 1 - len(block))):
        rest.append(len(sizes))
        first.append(len(sizes) + 1)
        sizes += [size // b, b]
    x = x.reshape(sizes).permute(first + rest)
    return x.flatten(0, len(first))
'''


@register
class BatchToSpaceND(_Blocks):
    """Images as the pixels of one place in blocks, then a border cut off: SpaceToBatchND undone.

    Of Synopsys' fork (batch_to_space_nd_layer.cpp).
    """

    types = ("BatchToSpaceND",)
    section = "batch_to_space_nd_param"
    amounts = "crops"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        self._check(inputs[0])
        shape, images = list(inputs[0]), count(self.block_shape)
        fits = int(shape[0]) % images == 0
        require(fits, f"{shape[0]} images; expected a multiple of the {images} pixels of a block")
        for axis, (before, behind) in enumerate(self.sides, 1):
            shape[axis] = shape[axis] * self._of(axis) - before - behind
            require(int(shape[axis]) > 0, f"crops of {before} and {behind} leave nothing of axis {axis}")
        shape[0] = shape[0] // images
        return [tuple(shape)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        y = self._onnx_spread(g, node, x[0]) if self._cut else x[0]
        for axis, (before, behind) in enumerate(self.sides, 1):
            if before or behind:
                y = g.slice(y, axis, before, -behind or 2**63 - 1)
        return y

    def _onnx_spread(self, g: OnnxOps, node: Node, x: str) -> str:
        shape, cut = node.shape, self._cut
        parts = (*(self._of(axis) for axis in cut), shape[0] // count(self.block_shape), *shape[1:])
        order = [len(cut)]
        for axis in range(1, len(shape)):
            order += [len(cut) + axis, *([cut.index(axis)] if axis in cut else [])]
        whole = (parts[len(cut)], *(d * self._of(a) if a in cut else d for a, d in enumerate(shape[1:], 1)))
        y = g.op("Transpose", g.reshape(x, shape, parts), perm=order)
        return g.reshape(y, tuple(parts[i] for i in order), whole)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("batch_to_space", BATCH_TO_SPACE)
        return f"batch_to_space({x[0]}, {self.block_shape}, {self.sides})"


BATCH_TO_SPACE = '''
def batch_to_space(x, block, crops):
    """Images as the pixels of one place in blocks along the axes from 1 on, then a border cut off."""
    spatial = len(block)
    x = x.unflatten(0, (*block, -1))
    order = [spatial]
    for i in range(spatial):
        order += [spatial + 1 + i, i]
    x = x.permute(order + list(range(2 * spatial + 1, x.dim())))
    for i, (before, behind) in enumerate(crops):
        x = x.flatten(i + 1, i + 2)
        x = x.narrow(i + 1, before, x.shape[i + 1] - before - behind)
    return x
'''
