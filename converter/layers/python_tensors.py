"""Synopsys' Python layers about shapes: a blob's shape, a border, a shape taken from a blob (its python folder)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import FreeDim, Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, fault, register, require, unsupported
from converter.layers.shared.sizes import FLOAT, INT64, torch_dims
from converter.node import Layer
from prototxt import NetLayer
from prototxt.param_dict import dict_of
from weights.blobproto import MAX_AXES

if TYPE_CHECKING:
    from converter.node import Node


@register
class TensorShape(Layer):
    """The sizes of a blob as floats, one an axis (Synopsys' python/shape.py)."""

    types = ("Python shape.TensorShape",)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [(len(inputs[0]),)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if any(map(is_free, node.shape)):
            return g.op("Cast", g.op("Shape", x[0]), to=FLOAT)
        return g.constant(np.asarray([int(d) for d in node.shape], np.float32), "shape")

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        sizes = ", ".join(torch_dims(x[0], node.shape))
        return f"torch.tensor([{sizes}], dtype={x[0]}.dtype, device={x[0]}.device)"


_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect"}
_TORCH = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}


@register
class PadTensor(Layer):
    """A border around the image, of 0, of its last pixels or mirrored (Synopsys' python/pad.py: numpy's pad).

    `param_str` names `pad_t`, `pad_b`, `pad_l`, `pad_r` and `pad_mode`: constant, edge or reflect.
    """

    types = ("Python pad.PadTensor",)
    rows: tuple[int, int] = (0, 0)
    columns: tuple[int, int] = (0, 0)
    pad_mode: str = "constant"

    @classmethod
    def read(cls, source: NetLayer) -> PadTensor:
        params = dict_of(source)
        pads = []
        for name in ("pad_t", "pad_b", "pad_l", "pad_r"):
            value = params.get(name)
            if not isinstance(value, int) or value < 0:
                raise fault(source, f"{name} is {value!r}; expected a number of 0 or more", "python_param", "param_str")
            pads.append(value)
        mode = str(params.get("pad_mode"))
        if mode not in _MODES:
            message = f"pad_mode is {mode!r}; expected {', '.join(_MODES)}"
            raise unsupported(source, message, "python_param", "param_str")
        return cls((pads[0], pads[1]), (pads[2], pads[3]), mode)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) == 4, f"the bottom is {format_shape(inputs[0])}; expected 4 axes (N×C×H×W)")
        n, c, h, w = inputs[0]
        if self.pad_mode == "reflect":
            fits = max(self.rows) < int(h) and max(self.columns) < int(w)
            require(fits, f"an image of {format_shape((h, w))} is too small to mirror {self.rows} and {self.columns}")
        return [(n, c, h + sum(self.rows), w + sum(self.columns))]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        (top, bottom), (left, right) = self.rows, self.columns
        pads = g.ints([0, 0, top, left, 0, 0, bottom, right], "pads")
        fill = [g.scalar(0.0, "zero")] if self.pad_mode == "constant" else []
        return g.op("Pad", x[0], pads, *fill, mode=_MODES[self.pad_mode])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        mode = "" if self.pad_mode == "constant" else f", mode={_TORCH[self.pad_mode]!r}"
        return f"F.pad({x[0]}, {self.columns + self.rows}{mode})"


@register
class PythonReshape(Layer):
    """The values of the first bottom in the shape that the second one's values are (Synopsys' python/reshape.py).

    A last size of -1 is worked out. The sizes are known only when the net runs, so all axes of the top are left free;
    shapes behind it are worked out as if the first bottom kept its own.
    """

    types = ("Python reshape.Reshape",)
    bottoms = (2, 2)
    name: str = "reshaped"

    @classmethod
    def read(cls, source: NetLayer) -> PythonReshape:
        return cls(re.sub(r"\W", "_", f"of_{source.name}"))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        values, shape = inputs
        fixed = len(shape) == 1 and not is_free(shape[0])
        require(fixed, f"the second bottom is {format_shape(shape)}; expected a list of sizes, as many as axes")
        rank = int(shape[0])
        require(rank <= MAX_AXES, f"{rank} sizes; a blob has {MAX_AXES} axes at most")
        sizes = [int(d) for d in values]
        if len(sizes) != rank:
            sizes = [int(count(sizes)), *[1] * (rank - 1)]
        return [tuple(FreeDim(size, f"size{i}_{self.name}") for i, size in enumerate(sizes))]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Reshape", x[0], g.op("Cast", x[1], to=INT64))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]}.reshape([int(size) for size in {x[1]}])"
