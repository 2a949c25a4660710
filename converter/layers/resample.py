"""FlowNet's layers that resize images, by sums of the pixels around a place, over the sum of their weights.

In all the weight of a pixel is a product of one for its row and one for its column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import UNLIMITED, OnnxOps, TorchOps, at_least_one, fault, register, require
from converter.layers.shared.separable import Matrix, onnx_separable, torch_separable
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import ResampleParameter

if TYPE_CHECKING:
    from typing_extensions import Self

    from converter.node import Node

Floats = npt.NDArray[np.float64]
F32 = np.float32


class _Resized(Layer):
    """A top of stated height and width, or of those of a second bottom."""

    bottoms = (1, 2)
    tabulates = True
    size: tuple[int, int] | None = None

    @property
    def untrainable(self) -> str:
        return "its fork has no backward pass for it"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for shape in inputs:
            require(len(shape) == 4, f"a bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        height, width = self.size or inputs[1][2:]
        free = any(map(is_free, (*inputs[0][2:], height, width)))
        require(not free, "the sizes of the images can't be left free")
        self.matrices(tuple(map(int, inputs[0][2:])), (int(height), int(width)))
        return [(*inputs[0][:2], height, width)]

    def tabulated(self, inputs: Sequence[Shape], tops: Sequence[Shape]) -> Sequence[Shape]:
        return list(zip(inputs[0][2:], tops[0][2:], strict=True))

    def matrices(self, before: tuple[int, ...], after: tuple[int, int]) -> tuple[Matrix, Matrix]:
        """What the rows and the columns are made of."""
        raise NotImplementedError

    def _matrices_of(self, node: Node) -> tuple[Matrix, Matrix]:
        height, width = map(int, node.outputs[0].shape[2:])
        return self.matrices(tuple(map(int, node.shape[2:])), (height, width))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return onnx_separable(g, x[0], *self._matrices_of(node))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return torch_separable(t, x[0], *self._matrices_of(node))


@register
class Resample(_Resized):
    """Nearest pixels, or sums weighted by a triangle or a cubic curve (FlowNet2: resample_layer.cu).

    Pixel i lies at i · in / out + in / out / 2 - 0.5, where the second ratio is that of the other axis. With
    `antialias` the curve is as wide as a step on both axes if either is made smaller; without it pixels between are
    left out.
    """

    types = ("Resample",)
    kind: int = ResampleParameter.LINEAR
    antialias: bool = True

    @classmethod
    def read(cls, source: NetLayer) -> Self:
        p, section = source.param.resample_param, "resample_param"
        if p.type == p.AREA:
            raise fault(source, "type AREA, which the fork lacks; expected NEAREST, LINEAR or CUBIC", section, "type")
        if p.type == p.NEAREST:
            source.without_effect("the nearest pixel is taken", f"{section}.antialias")
        if len(source.bottoms) > 1:
            source.without_effect("the second bottom has the size", f"{section}.height", f"{section}.width")
            return cls(None, p.type, p.antialias)
        at_least_one(source, section, "height", "width")
        return cls((p.height, p.width), p.type, p.antialias)

    def matrices(self, before: tuple[int, ...], after: tuple[int, int]) -> tuple[Matrix, Matrix]:
        steps = [F32(b) / F32(a) for b, a in zip(before, after, strict=True)]
        smaller = max(steps) > 1
        made = []
        for size, out, step, other in zip(before, after, steps, reversed(steps), strict=True):
            places = (np.arange(out) * float(step) + float(other) / 2).astype(F32) - F32(0.5)
            if self.kind == ResampleParameter.NEAREST:
                made.append(_nearest(places, size))
            else:
                made.append(self._weighted(places, size, step, step if smaller and self.antialias else F32(1)))
        return made[0], made[1]

    def _weighted(self, places: npt.NDArray[np.float32], size: int, step: np.float32, spread: np.float32) -> Matrix:
        cubic = self.kind == ResampleParameter.CUBIC
        narrow = F32(1) / spread
        reach = 2 if step < 1 else int(np.ceil(F32(4 if cubic else 2) / narrow))
        pixels = np.arange(size)
        distance = float(narrow) * np.subtract.outer(places, pixels)
        weights = (_cubic if cubic else _triangle)(distance)
        weights[np.abs(pixels - _rounded(places)[:, None]) > reach] = 0
        return _shares(weights)


def _rounded(places: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """C's round: halves go away from 0."""
    return np.trunc(places + np.copysign(0.5, places.astype(np.float64))).astype(np.int64)


def _nearest(places: npt.NDArray[np.float32], size: int) -> Matrix:
    pixels = _rounded(places)
    require(bool((pixels >= 0).all() and (pixels < size).all()), "the nearest pixels lie outside of the image")
    matrix: Matrix = np.zeros((len(places), size), F32)
    matrix[np.arange(len(places)), pixels] = 1
    return matrix


def _triangle(x: Floats) -> Floats:
    weights: Floats = np.maximum(0, 1 - np.abs(x))
    return weights


def _cubic(x: Floats) -> Floats:
    """Keys' curve of a = -0.5."""
    d = np.abs(x)
    inner, outer = d * d * (1.5 * d - 2.5) + 1, d * (d * (-0.5 * d + 2.5) - 4) + 2
    return np.where(d <= 1, inner, np.where(d < 2, outer, 0))


def _shares(weights: Floats) -> Matrix:
    """Each row over its sum; a row without weights stays 0."""
    total = weights.sum(axis=1, keepdims=True)
    shares: Matrix = np.divide(weights, total, out=np.zeros_like(weights), where=total != 0).astype(F32)
    return shares


@register
class Downsample(_Resized):
    """Sums weighted by how near pixels lie, corners falling on corners (FlowNet: downsample_layer.cu).

    A top of the bottom's size is its memory. What is no number is left out there and counts here.
    """

    types = ("Downsample",)

    @classmethod
    def read(cls, source: NetLayer) -> Self:
        p, section = source.param.downsample_param, "downsample_param"
        if len(source.bottoms) > 1:
            source.without_effect("the second bottom has the size", f"{section}.top_height", f"{section}.top_width")
            return cls(None)
        at_least_one(source, section, "top_height", "top_width")
        return cls((p.top_height, p.top_width))

    @classmethod
    def memory(cls, source: NetLayer) -> Sequence[int]:
        return (0,)

    def matrices(self, before: tuple[int, ...], after: tuple[int, int]) -> tuple[Matrix, Matrix]:
        if before == after:
            return np.eye(before[0], dtype=F32), np.eye(before[1], dtype=F32)
        sizes = f"{format_shape(before)} to {format_shape(after)}"
        require(min(*before, *after) > 1, f"an image of one row or column can't be resized, {sizes}")
        require(count(before) != count(after), f"as many pixels in another shape, {sizes}")
        made = []
        for size, out in zip(before, after, strict=True):
            step = F32(size - 1) / F32(out - 1)
            places = np.arange(out, dtype=F32) / F32(out - 1) * F32(size - 1)
            pixels = np.arange(size)
            weights = _triangle(np.subtract.outer(places.astype(np.float64), pixels) / float(step))
            weights[np.abs(pixels - _rounded(places)[:, None]) > int(np.ceil(step))] = 0
            made.append(_shares(weights))
        return made[0], made[1]


@register
class Accum(Layer):
    """Bottoms of any size, each resized in straight lines, one behind another (FlowNet2: accum_layer.cpp).

    Corners fall on corners. With `have_reference` the size is that of the last bottom, of which no more is taken, else
    the largest height and width; a stated one, or a multiple of `size_divisible_by`, where both its sides are larger.
    """

    types = ("Accum",)
    bottoms = (1, UNLIMITED)
    tabulates = True
    have_reference: bool = False
    divisor: int = 0
    least: tuple[int, int] = (0, 0)

    @classmethod
    def read(cls, source: NetLayer) -> Self:
        p, section = source.param.accum_param, "accum_param"
        if p.have_reference:
            names = ("top_height", "top_width", "size_divisible_by")
            source.without_effect("the last bottom has the size", *(f"{section}.{name}" for name in names))
            if len(source.bottoms) < 2:
                raise fault(source, "have_reference with one bottom; expected 2 or more", section, "have_reference")
            return cls(True)
        if p.HasField("size_divisible_by"):
            source.without_effect("size_divisible_by counts", f"{section}.top_height", f"{section}.top_width")
            at_least_one(source, section, "size_divisible_by")
            return cls(False, p.size_divisible_by)
        return cls(False, 0, (p.top_height, p.top_width))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for shape in inputs:
            require(len(shape) == 4, f"a bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
            require(not any(map(is_free, shape[1:])), "only the number of images can be left free")
        put = inputs[:-1] if self.have_reference else inputs
        same = len({str(shape[0]) for shape in put}) == 1
        require(same, "bottoms differ in their number of items")
        largest = [max(int(shape[axis]) for shape in put) for axis in (2, 3)]
        if self.have_reference:
            sizes = [int(size) for size in inputs[-1][2:]]
        else:
            stated = [-(-size // self.divisor) * self.divisor for size in largest] if self.divisor else [*self.least]
            sizes = stated if all(s > size for s, size in zip(stated, largest, strict=True)) else largest
        require(min(sizes) > 1, f"a top of {format_shape(sizes)}; expected two rows and columns at least")
        return [(put[0][0], sum(int(shape[1]) for shape in put), *sizes)]

    def _matrices(self, node: Node) -> list[tuple[Matrix, Matrix]]:
        put = node.inputs[:-1] if self.have_reference else node.inputs
        out = [int(size) for size in node.outputs[0].shape[2:]]
        return [(_corners(int(value.shape[2]), out[0]), _corners(int(value.shape[3]), out[1])) for value in put]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        parts = [onnx_separable(g, name, *both) for name, both in zip(x, self._matrices(node), strict=False)]
        return g.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        parts = [torch_separable(t, name, *both) for name, both in zip(x, self._matrices(node), strict=False)]
        return f"torch.cat([{', '.join(parts)}], 1)" if len(parts) > 1 else parts[0]


def _corners(size: int, out: int) -> Matrix:
    """Straight lines between pixels, the first and last of both on one another."""
    places = np.arange(out, dtype=F32) / F32(out - 1) * F32(size - 1)
    low = np.floor(places)
    matrix: Matrix = np.zeros((out, size + 1), F32)
    matrix[np.arange(out), low.astype(int)] = 1 - (places - low)
    matrix[np.arange(out), low.astype(int) + 1] += places - low
    return np.ascontiguousarray(matrix[:, :size])
