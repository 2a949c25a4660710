"""Images that a second bottom bends: by a flow (FlowNet2, PWC-Net), to places, or by a matrix (spatial transformers).

    y[n, c, i, j] = x[n, c] at a row and a column between its pixels

What is read outside of the image differs, see `shared.between`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import BottomsDifferError, OnnxOps, TorchOps, fault, register, require, unsupported
from converter.layers.shared.between import Edge, onnx_between, torch_between
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Self

    from converter.node import Node


class _Warp(Layer):
    """What a second bottom N×2×H×W, columns before rows, says of each pixel of the top: where it comes from."""

    bottoms: ClassVar[tuple[int, int]] = (2, 2)
    edge: ClassVar[Edge]

    @property
    def moves(self) -> bool:
        """Whether the second bottom is added to the pixel's own place."""
        return True

    @property
    def untrainable(self) -> str:
        return "its fork's gradient at the edges of the image is not the derivative"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x, places = inputs
        require(len(x) == len(places) == 4, "its bottoms need 4 axes each (N×C×H×W)")
        require(not any(map(is_free, (*x[1:], *places[1:]))), "only the number of images can be left free")
        if (str(places[0]), *places[1:]) != (str(x[0]), 2, *x[2:]):
            wanted = f"expected {format_shape((x[0], 2, *x[2:]))}, columns and rows of each pixel"
            raise BottomsDifferError(f"the second bottom is {format_shape(places)}; {wanted}")
        return [x]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return self._onnx_warped(g, node, *x)[0]

    def _onnx_warped(self, g: OnnxOps, node: Node, *x: str) -> tuple[str, str]:
        height, width = map(int, node.shape[2:])
        flat = g.op("Reshape", x[1], g.ints([0, 2, height * width], "shape"))
        if self.moves:
            grid = np.indices((height, width))[::-1].reshape(1, 2, -1).astype(np.float32)
            flat = g.op("Add", flat, g.constant(grid, "grid"))
        columns, rows = (g.op("Squeeze", g.slice(flat, 1, i, i + 1), g.ints([1])) for i in (0, 1))
        return onnx_between(g, x[0], node.shape, (rows, columns), (height, width), self.edge)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("moved_places", MOVED_PLACES)
        places = f"moved_places({x[1]})" if self.moves else f"({x[1]}[:, 1], {x[1]}[:, 0])"
        return f"{torch_between(t)}({x[0]}, *{places}, {self.edge!r})"


MOVED_PLACES = '''
def moved_places(flow):
    """The rows and columns to which a flow N×2×H×W, columns first, moves each pixel."""
    rows, columns = (torch.arange(size, device=flow.device) for size in flow.shape[2:])
    return flow[:, 1] + rows[:, None], flow[:, 0] + columns
'''


@register
class FlowWarp(_Warp):
    """x where the flow of the second bottom points, columns first (FlowNet2: flow_warp_layer.cpp).

    A place outside of 0 ≤ place < size is 0, or no number where `fill_value` says so.
    """

    types = ("FlowWarp",)
    edge = "repeated"
    fills_nan: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> FlowWarp:
        p = source.param.flow_warp_param
        return cls(p.fill_value == p.NOT_A_NUMBER)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        y, inside = self._onnx_warped(g, node, *x)
        if not self.fills_nan:
            return y
        inside = g.op("Reshape", inside, g.ints([0, 1, *node.shape[2:]], "shape"))
        return g.op("Where", inside, y, g.scalar(float("nan"), "nan"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        y = super().torch(t, node, *x)
        return f"{y}.masked_fill(outside({x[1]}), torch.nan)" if self._marks(t) else y

    def _marks(self, t: TorchOps) -> bool:
        if self.fills_nan:
            t.helper("outside", OUTSIDE)
        return self.fills_nan


OUTSIDE = '''
def outside(flow):
    """N×1×H×W: which pixels a flow moves out of the image."""
    rows, columns = moved_places(flow)
    inside = (rows >= 0) & (rows < flow.shape[2]) & (columns >= 0) & (columns < flow.shape[3])
    return ~inside.unsqueeze(1)
'''


@register
class Warp(_Warp):
    """x where the second bottom points, columns first (PWC-Net's and LiteFlowNet's forks: warp_layer.cu).

    PWC-Net's is a flow, and a place beyond the first or last pixel gives 0. LiteFlowNet's has the places themselves,
    and the image fades out over a pixel.
    """

    types = ("Warp",)
    flow: bool = True

    @classmethod
    def read(cls, source: NetLayer) -> Self:
        return cls(source.dialect == "pwc_net")

    @property
    def moves(self) -> bool:
        return self.flow

    @property
    def edge(self) -> Edge:  # type: ignore[override]
        return "inside" if self.flow else "faded"


@register
class Grid(Layer):
    """The column and the row of each pixel, N×2×H×W, whatever the bottom has there (LiteFlowNet: grid_layer.cpp)."""

    types = ("Grid",)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x = inputs[0]
        require(len(x) == 4, f"the bottom is {format_shape(x)}; expected 4 axes (N×C×H×W)")
        require(not any(map(is_free, x[2:])), "only the number of images can be left free")
        return [(x[0], 2, *x[2:])]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        grid = np.indices(tuple(map(int, node.shape[2:])))[None, ::-1].astype(np.float32)
        if not is_free(node.shape[0]):
            return g.constant(np.repeat(grid, int(node.shape[0]), 0), "grid")
        items = g.slice(g.op("Shape", x[0]), 0, 0, 1)
        sizes = g.op("Concat", items, g.ints([1, 1, 1], "ones"), axis=0)
        return g.op("Expand", g.constant(grid, "grid"), sizes)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{t.helper('pixel_places', PIXEL_PLACES)}({x[0]})"


PIXEL_PLACES = '''
def pixel_places(x):
    """The column and the row of each pixel of N×C×H×W, as N×2×H×W."""
    rows, columns = (torch.arange(size, dtype=x.dtype, device=x.device) for size in x.shape[2:])
    rows, columns = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((columns, rows)).expand(x.shape[0], -1, -1, -1)
'''


@register
class SpatialTransformer(Layer):
    """x at the places that a 2×3 matrix of the second bottom makes of each pixel's own (daerduoCarey's st_layer.cpp).

    Places reach from -1 at the first row or column to 1 behind the last, rows before columns: pixel i of n lies at
    2 i / n - 1, in the top and the bottom alike. Numbers of the matrix that the prototxt fixes are not in the bottom,
    and pixels outside of the image are 0.
    """

    types = ("SpatialTransformer",)
    bottoms = (2, 2)
    size: tuple[int | None, int | None] = (None, None)
    fixed: tuple[float | None, ...] = (None,) * 6
    derives: bool = True

    @classmethod
    def read(cls, source: NetLayer) -> SpatialTransformer:
        p, section = source.param.st_param, "st_param"
        for name, only in (("transform_type", "affine"), ("sampler_type", "bilinear")):
            if getattr(p, name) != only:
                raise fault(source, f"{name} is {getattr(p, name)!r}; expected {only!r}", section, name)
        if p.de_transform:
            raise unsupported(source, "de_transform, the inverse of the matrix", section, "de_transform")
        for name in ("output_H", "output_W"):
            if p.HasField(name) and getattr(p, name) < 1:
                raise fault(source, f"{name} is {getattr(p, name)}; expected at least 1", section, name)
        height, width = (getattr(p, name) if p.HasField(name) else None for name in ("output_H", "output_W"))
        names = [f"theta_{row}_{column}" for row in (1, 2) for column in (1, 2, 3)]
        fixed = tuple(float(np.float32(getattr(p, name))) if p.HasField(name) else None for name in names)
        return cls((height, width), fixed, p.to_compute_dU)

    @property
    def untrainable(self) -> str:
        return "" if self.derives else "to_compute_dU is false: the first bottom gets no gradient"

    @property
    def free(self) -> int:
        """How many numbers of the matrix the second bottom has."""
        return self.fixed.count(None)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x, theta = inputs
        require(len(x) == 4, f"the first bottom is {format_shape(x)}; expected 4 axes (N×C×H×W)")
        require(not any(map(is_free, x[1:])), "only the number of images can be left free")
        fits = len(theta) > 1 and str(theta[0]) == str(x[0]) and count(theta[1:]) == self.free
        wanted = f"expected {self.free} for each item, those of a 2×3 matrix that are not fixed"
        if not fits:
            raise BottomsDifferError(f"the second bottom is {format_shape(theta)}; {wanted}")
        height, width = (n if own is None else own for n, own in zip(x[2:], self.size, strict=True))
        return [(*x[:2], height, width)]

    def tabulated(self, inputs: Sequence[Shape], tops: Sequence[Shape]) -> Sequence[Shape]:
        return [(3, *tops[0][2:])]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        out = tuple(map(int, node.outputs[0].shape[2:]))
        theta = g.reshape(x[1], node.inputs[1].shape, (node.shape[0], self.free))
        if self.free < 6:
            chosen = np.zeros((self.free, 6), np.float32)
            chosen[range(self.free), [i for i, value in enumerate(self.fixed) if value is None]] = 1
            rest = np.asarray([value or 0.0 for value in self.fixed], np.float32)
            theta = g.op("Add", g.op("MatMul", theta, g.constant(chosen, "chosen")), g.constant(rest, "fixed"))
        grid = g.constant(_grid(out), "grid")
        places = []
        for axis, size in enumerate(node.shape[2:]):
            place = g.op("MatMul", g.slice(theta, 1, 3 * axis, 3 * axis + 3), grid)
            half = g.op("Div", g.op("Add", place, g.scalar(1.0, "one")), g.scalar(2.0, "two"))
            places.append(g.op("Mul", half, g.scalar(float(size), "size")))
        return onnx_between(g, x[0], node.shape, places, out, "faded")[0]

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("transformed_places", TRANSFORMED_PLACES)
        out = tuple(map(int, node.outputs[0].shape[2:]))
        fixed = "" if self.free == 6 else f", {self.fixed!r}"
        places = f"transformed_places({x[1]}, {tuple(map(int, node.shape[2:]))}, {out}{fixed})"
        return f"{torch_between(t)}({x[0]}, *{places}, 'faded')"


def _grid(out: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Row, column and 1 of each place of the top, from -1 on, as 3 × places."""
    rows, columns = (i.ravel() / size * 2 - 1 for i, size in zip(np.indices(out), out, strict=True))
    grid: npt.NDArray[np.float32] = np.stack([rows, columns, np.ones_like(rows)]).astype(np.float32)
    return grid


TRANSFORMED_PLACES = '''
def transformed_places(theta, sizes, out, fixed=(None,) * 6):
    """Rows and columns N×h×w of an image of `sizes`, for each pixel of one of `out`, by a 2×3 matrix an item.

    `theta` has the numbers of the matrix that are not fixed. Places go from -1 to 1.
    """
    theta = theta.flatten(1)
    chosen = iter(theta.unbind(1))
    matrix = torch.stack([next(chosen) if f is None else theta.new_full(theta.shape[:1], f) for f in fixed], 1)
    rows, columns = (torch.arange(n, dtype=torch.float64, device=theta.device) / n * 2 - 1 for n in out)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij") + (torch.ones_like(columns.expand(out)),))
    places = (matrix.unflatten(1, (2, 3)) @ grid.flatten(1).to(theta.dtype)).unflatten(2, out)
    return [(places[:, axis] + 1) / 2 * size for axis, size in enumerate(sizes)]
'''
