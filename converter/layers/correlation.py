"""How alike two images are at places that lie apart, as nets for optical flow and stereo ask (FlowNet, DispNet).

    y[n, d, i, j] = mean over channels c and the kernel's pixels p of a[n, c, p] · b[n, c, p + d]

d runs over all displacements, columns first; both images are padded with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import (
    BottomsDifferError,
    OnnxOps,
    TorchOps,
    at_least_one,
    fault,
    register,
    require,
    unsupported,
)
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from typing_extensions import Self

    from converter.node import Node

SECTION = "correlation_param"


class _Along(NamedTuple):
    """One axis: padding on each side, the place of the first pixel in the padded image, and the displacements."""

    pad: int
    first: int
    displacements: tuple[int, ...]

    def span(self, out: int, kernel: int, stride: int) -> int:
        """How many places `out` windows cover."""
        return (out - 1) * stride + kernel

    @property
    def overhang(self) -> int:
        """By how much the padded image is left at its start."""
        return max(0, -(self.first + min(self.displacements)))


@register
class Correlation(Layer):
    """Products of two images at places up to `max_displacement` apart, in steps of `stride_2` (correlation_layer.cu).

    With `correlation_type` SUBTRACT the size of the difference instead. Top sizes are those of windows that fit after
    the largest displacement, rounded up.
    """

    types: ClassVar[tuple[str, ...]] = ("Correlation",)
    bottoms = (2, 2)
    kernel: int
    stride: int
    rows: _Along
    columns: _Along
    subtracts: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> Self:
        p = source.param.correlation_param
        if p.kernel_size % 2 != 1:
            raise fault(source, f"kernel_size is {p.kernel_size}; expected an odd one", SECTION, "kernel_size")
        if not p.HasField("max_displacement"):
            raise fault(source, "max_displacement is missing", SECTION)
        at_least_one(source, SECTION, "stride_1", "stride_2")
        rows, columns = cls._along(source)
        return cls(p.kernel_size, p.stride_1, rows, columns, p.correlation_type == p.SUBTRACT)

    @classmethod
    def _along(cls, source: NetLayer) -> tuple[_Along, _Along]:
        p = source.param.correlation_param
        both = _Along(p.pad, p.max_displacement, _steps(p.max_displacement // p.stride_2, p.stride_2))
        return both, both

    def _out(self, size: int, along: _Along) -> int:
        """Windows that fit, a last one counted that only begins to."""
        room = size + 2 * along.pad - 2 * along.first - (self.kernel - 1)
        return -(-room // self.stride)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x, y = inputs
        require(len(x) == len(y) == 4, "its bottoms need 4 axes each (N×C×H×W)")
        require(not any(map(is_free, (*x[1:], *y[1:]))), "only the number of images can be left free")
        if tuple(map(str, x)) != tuple(map(str, y)):
            raise BottomsDifferError(f"bottoms differ in shape: {format_shape(x)} and {format_shape(y)}")
        sizes = [self._out(int(n), along) for n, along in zip(x[2:], (self.rows, self.columns), strict=True)]
        require(min(sizes) > 0, f"displacements and kernel don't fit the bottoms, {format_shape(x)}")
        return [(x[0], len(self.rows.displacements) * len(self.columns.displacements), *sizes)]

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(outputs[0]) * int(inputs[0][1]) * self.kernel**2

    def tabulated(self, inputs: Sequence[Shape], tops: Sequence[Shape]) -> Sequence[Shape]:
        return [tops[0][1:2], (len(self.columns.displacements), tops[0][3])]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        channels = int(node.shape[1])
        height, width = (int(n) for n in node.outputs[0].shape[2:])
        tall = self.rows.span(height, self.kernel, self.stride)
        wide = self.columns.span(width, self.kernel, self.stride)
        first, second = (self._onnx_padded(g, name) for name in x)
        top, left = (along.first + along.overhang for along in (self.rows, self.columns))
        first = g.slice(g.slice(first, 2, top, top + tall), 3, left, left + wide)
        lines = []
        for moved in self.rows.displacements:
            line = g.slice(second, 2, top + moved, top + moved + tall)
            lines.append(
                self._onnx_difference(g, first, line, wide)
                if self.subtracts
                else self._onnx_product(g, node, first, line, (tall, wide))
            )
        y = g.op("Concat", *lines, axis=2) if len(lines) > 1 else lines[0]
        y = g.op("Transpose", y, perm=[0, 2, 1, 3])
        if self.kernel > 1 or self.stride > 1:
            y = g.op("AveragePool", y, kernel_shape=[self.kernel] * 2, strides=[self.stride] * 2)
        return g.op("Div", y, g.scalar(channels, "channels"))

    def _onnx_padded(self, g: OnnxOps, x: str) -> str:
        tall, wide = self.rows, self.columns
        before = (0, 0, tall.pad + tall.overhang, wide.pad + wide.overhang)
        if not any((*before, tall.pad, wide.pad)):
            return x
        return g.op("Pad", x, g.ints((*before, 0, 0, tall.pad, wide.pad), "pads"))

    def _columns_of(self, wide: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """The column of the second image for each displacement and column of the first."""
        start = self.columns.first + self.columns.overhang
        return np.add.outer(np.asarray(self.columns.displacements, np.int64) + start, np.arange(wide))

    def _onnx_product(self, g: OnnxOps, node: Node, first: str, line: str, size: tuple[int, int]) -> str:
        """Each pixel of a row times each of the other image's row, of which those at the displacements are kept."""
        (tall, wide), whole = size, int(node.shape[3]) + 2 * self.columns.pad + self.columns.overhang
        first = g.op("Transpose", first, perm=[0, 2, 3, 1])
        line = g.op("Transpose", line, perm=[0, 2, 1, 3])
        pairs = g.op("Reshape", g.op("MatMul", first, line), g.ints([0, tall, wide * whole], "shape"))
        kept = self._columns_of(wide) + np.arange(wide) * whole
        return g.op("Gather", pairs, g.constant(kept, "kept"), axis=2)

    def _onnx_difference(self, g: OnnxOps, first: str, line: str, wide: int) -> str:
        moved = g.op("Gather", line, g.constant(self._columns_of(wide), "columns"), axis=3)
        return g.reduce("ReduceL1", g.op("Sub", g.unsqueeze(first, [3]), moved), [1], keepdims=False)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("correlation", CORRELATION)
        sizes = tuple(int(n) for n in node.outputs[0].shape[2:])
        parts = [*x, str(sizes), f"kernel={self.kernel}", f"stride={self.stride}"]
        parts += [f"rows={tuple(self.rows)}", f"columns={tuple(self.columns)}"]
        return f"correlation({', '.join(parts)}{', subtract=True' * self.subtracts})"


def _steps(radius: int, stride: int) -> tuple[int, ...]:
    return tuple(stride * i for i in range(-radius, radius + 1))


CORRELATION = '''
def correlation(x, y, sizes, kernel, stride, rows, columns, subtract=False):
    """The mean product (or the mean size of the difference) of x and of y at displacements, one a channel.

    `rows` and `columns` each have the padding, the first pixel in the padded image, and the displacements.
    """
    (top, first_row, downs), (left, first_column, alongs) = rows, columns
    tall, wide = ((size - 1) * stride + kernel for size in sizes)
    before = max(0, -first_column - min(alongs))
    x, y = (F.pad(each, (left + before, left, top, top)) for each in (x, y))
    first_column += before
    x, maps = x[:, :, first_row : first_row + tall, first_column : first_column + wide], []
    for row in downs:
        for column in alongs:
            moved = y[:, :, first_row + row :, first_column + column :][:, :, :tall, :wide]
            maps.append(((x - moved).abs() if subtract else x * moved).mean(1))
    return F.avg_pool2d(torch.stack(maps, 1), kernel, stride)
'''


@register
class Correlation1D(Correlation):
    """The same along the rows alone, perhaps to one side (DispNet, iResNet: correlation_layer1d.cu).

    To the left, `single_direction` -1, the displacements end one step before 0, so that the farthest may leave the
    padded row. The fork reads the end of the row before there, which is padding too.
    """

    types = ("Correlation1D",)

    @classmethod
    def _along(cls, source: NetLayer) -> tuple[_Along, _Along]:
        p = source.param.correlation_param
        if p.single_direction not in (-1, 0, 1):
            message = f"single_direction is {p.single_direction}; expected -1, 0 or 1"
            raise fault(source, message, SECTION, "single_direction")
        radius = p.max_displacement // p.stride_2
        steps = _steps(radius, p.stride_2)
        if p.single_direction > 0:
            steps = steps[radius:]
        elif p.single_direction < 0:
            steps = tuple(step - p.stride_2 for step in steps[: radius + 1])
        columns = _Along(p.pad, p.max_displacement, steps)
        if columns.overhang > p.pad:
            message = f"pad {p.pad} with displacements to {steps[0]}, which read the row before"
            raise unsupported(source, message, SECTION, "pad")
        return _Along(0, 0, (0,)), columns

    @property
    def caution(self) -> str:
        what = "its first value is 0 here; in the fork it is of what lies before the image in memory"
        return what if self.columns.overhang else ""
