"""Python layers of CNN_tabletennis: a box cut out of a map of probabilities, and moved by what a net answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import BottomsDifferError, OnnxOps, TorchOps, register, require
from converter.layers.detection.roi_bins import numbers
from converter.layers.shared.sizes import FLOAT
from converter.node import Layer

if TYPE_CHECKING:
    from converter.node import Node


@register
class CutROI(Layer):
    """Where a map exceeds half of its largest value: N×4 of x0, y0, x1, y1, the ends excluded (cut_roi_layer/layer.py).

    A row counts whose largest value in channel 0 exceeds; of several runs of rows it is the last one. The fork leaves
    what was there before where none does (a map without a positive value); here that is 0. A second top has the
    largest value of each image.
    """

    types = ("Python cut_roi_layer.layer.CutROILayer",)
    tops = (1, 2)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        return [(shape[0], 4), (shape[0],)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        peak = g.reduce("ReduceMax", x[0], [1, 2, 3])
        half = g.op("Div", g.op("Squeeze", peak, g.ints([2, 3])), g.scalar(2.0, "two"))  # N×1
        first = x[0] if not is_free(node.shape[1]) and int(node.shape[1]) == 1 else g.slice(x[0], 1, 0, 1)
        ends: dict[int, tuple[str, str]] = {}
        for axis, other in ((3, 2), (2, 3)):
            largest = g.op("Squeeze", g.reduce("ReduceMax", first, [other]), g.ints([1, other]))
            above = g.op("Cast", g.op("Greater", largest, half), to=FLOAT)
            place = numbers(g, x[0], node.shape, axis)
            before = g.slice(g.op("Pad", above, g.ints([0, 1, 0, 0], "pads")), 1, 0, -1)
            begins = g.op("Greater", above, before)
            start = g.op("Mul", g.op("Cast", begins, to=FLOAT), place)
            end = g.op("Mul", above, g.op("Add", place, g.scalar(1.0, "one")))
            ends[axis] = g.reduce("ReduceMax", start, [1]), g.reduce("ReduceMax", end, [1])
        box = g.op("Concat", ends[3][0], ends[2][0], ends[3][1], ends[2][1], axis=1)
        return [box, g.op("Squeeze", peak, g.ints([1, 2, 3]))][: len(node.outputs)]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        return [f"{t.helper('cut_roi', CUT_ROI)}({x[0]})", f"{x[0]}.amax(dim=(1, 2, 3))"][: len(node.outputs)]


@register
class BBoxTransformInv(Layer):
    """Boxes N×4 moved by offsets N×4: dx and dy in sizes of the box, dw and dh as logarithms of its growth.

    A box includes its far corner, so one from 3 to 5 is 3 wide, but the corners that come out are the centre and half
    the size, without taking that 1 off (cut_roi_layer/bbox_transform_inv_layer.py).
    """

    types = ("Python cut_roi_layer.bbox_transform_inv_layer.BBoxTransformInvLayer",)
    bottoms = (2, 2)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for place, shape in zip(("first", "second"), inputs, strict=True):
            fits = len(shape) == 2 and int(shape[1]) == 4
            require(fits, f"the {place} bottom is {format_shape(shape)}; expected N×4")
        if int(inputs[0][0]) != int(inputs[1][0]):
            raise BottomsDifferError("bottoms differ in their number of boxes")
        return [inputs[0]]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        half, one = g.scalar(0.5, "half"), g.scalar(1.0, "one")
        low, high = g.slice(x[0], 1, 0, 2), g.slice(x[0], 1, 2, 4)
        size = g.op("Add", g.op("Sub", high, low), one)
        centre = g.op("Add", low, g.op("Mul", half, size))
        centre = g.op("Add", g.op("Mul", g.slice(x[1], 1, 0, 2), size), centre)
        reach = g.op("Mul", half, g.op("Mul", g.op("Exp", g.slice(x[1], 1, 2, 4)), size))
        return g.op("Concat", g.op("Sub", centre, reach), g.op("Add", centre, reach), axis=1)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{t.helper('moved_boxes', MOVED_BOXES)}({x[0]}, {x[1]})"


CUT_ROI = '''
def cut_roi(x):
    """The box x0, y0, x1, y1 of the last run of columns, and of rows, that exceed half of an image's largest value."""
    def last_run(largest):
        above = (largest > x.amax(dim=(1, 2, 3))[:, None] / 2).to(x)
        place = torch.arange(above.shape[1], device=x.device)
        begins = above * (1 - F.pad(above, (1, 0))[:, :-1])
        return (begins * place).amax(dim=1), (above * (place + 1)).amax(dim=1)

    (left, right), (top, bottom) = last_run(x[:, 0].amax(dim=1)), last_run(x[:, 0].amax(dim=2))
    return torch.stack([left, top, right, bottom], dim=1)
'''

MOVED_BOXES = '''
def moved_boxes(boxes, offsets):
    """Boxes with their centre moved by shares of their size, which is scaled by an exponential."""
    (low, high), (move, growth) = boxes.split(2, dim=1), offsets.split(2, dim=1)
    size = high - low + 1
    centre, half = move * size + low + 0.5 * size, 0.5 * growth.exp() * size
    return torch.cat([centre - half, centre + half], dim=1)
'''
