"""Borders around images and other blobs (forks: pad_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, fault, register, require, shortest
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import PadParameter

if TYPE_CHECKING:
    from converter.node import Node

_SIDES = ("pad_u", "pad_d", "pad_l", "pad_r")
_MODES: dict[int, tuple[str, str]] = {
    PadParameter.CONSTANT: ("constant", "constant"),
    PadParameter.REPLICATE: ("edge", "replicate"),
    PadParameter.REFLECT: ("reflect", "reflect"),
}
"""Each way to fill a border, as ONNX and as PyTorch call it."""


@register
class Pad(Layer):
    """A border of one value, of the pixels at the edge or of mirrored ones, or a smaller image; two forks' layers.

    Synopsys' `paddings` has two numbers an axis, before and behind, the first axis first, and one value. inisis'
    `pad_u`, `pad_d`, `pad_l` and `pad_r` are for images; all four below 0 cut so much off, whatever `pad_type` says.
    """

    types = ("Pad",)
    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    value: float = 0.0
    pad_type: int = PadParameter.CONSTANT

    @classmethod
    def read(cls, source: NetLayer) -> Pad:
        p = source.param.pad_param
        if any(p.HasField(name) for name in (*_SIDES, "pad_type", "pad_value")):
            return cls._of_images(source)
        if len(p.paddings) % 2:
            raise fault(source, f"{len(p.paddings)} paddings; expected two for each axis", "pad_param", "paddings")
        return cls(tuple(p.paddings[::2]), tuple(p.paddings[1::2]), shortest(p.constant_values))

    @classmethod
    def _of_images(cls, source: NetLayer) -> Pad:
        p = source.param.pad_param
        if p.paddings:
            raise fault(source, "both paddings and pad_u, pad_d, pad_l, pad_r; expected one of them", "pad_param")
        sides = [getattr(p, name) for name in _SIDES]
        if min(sides) < 0 <= max(sides):
            message = f"{', '.join(_SIDES)} are {', '.join(map(str, sides))}; expected all of them below 0, or none"
            raise fault(source, message, "pad_param")
        up, down, left, right = sides
        return cls((0, 0, up, left), (0, 0, down, right), shortest(p.pad_value), p.pad_type)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        given = 2 * len(self.before)
        require(given == 2 * len(shape), f"{given} paddings for a blob of {len(shape)} axes; expected two for each")
        found = tuple(d + a + b for d, a, b in zip(shape, self.before, self.behind, strict=True))
        require(all(int(size) > 0 for size in found), f"cutting leaves nothing of {format_shape(shape)}")
        if self.pad_type == PadParameter.REFLECT:
            for size, *sides in zip(shape, self.before, self.behind, strict=True):
                fits = is_free(size) or max(sides) < size
                require(fits, f"{max(sides)} pixels can't be mirrored in {size}; expected fewer")
        return [found]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        pads = g.ints((*self.before, *self.behind), "pads")
        mode = "constant" if min((*self.before, *self.behind), default=0) < 0 else _MODES[self.pad_type][0]
        if mode == "constant":
            return g.op("Pad", x[0], pads, g.scalar(self.value, "value"), mode=mode)
        return g.op("Pad", x[0], pads, mode=mode)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        pairs = list(zip(self.before, self.behind, strict=True))[::-1]
        while pairs and not any(pairs[-1]):  # F.pad begins with the last axis; what it isn't given stays.
            pairs.pop()
        sides = tuple(side for pair in pairs for side in pair)
        if not sides:
            return x[0]
        if self.pad_type == PadParameter.CONSTANT or min(sides) < 0:
            return f"F.pad({x[0]}, {sides}, value={self.value!r})"
        if len(sides) == 2:  # of an image, these modes want rows as well
            sides = (*sides, 0, 0)
        return f"F.pad({x[0]}, {sides}, mode={_MODES[self.pad_type][1]!r})"
