"""The windows of a convolution as channels (Caffe: im2col_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, canonical_axis, register, require
from converter.layers.convolution import POINT, Convolution, Window, compact, read_window, torch_sides
from converter.layers.shared.sizes import torch_dims
from converter.node import Layer, Node
from converter.tensor import constant
from prototxt import NetLayer

LARGEST_PICKS = 1 << 26


@register
class Im2col(Layer):
    """The windows of a convolution laid out as channels: channels × kernel positions (Caffe: im2col_layer.cpp)."""

    types = ("Im2col",)
    tabulates = True
    window: Window = POINT
    axis: int = 1

    @classmethod
    def read(cls, source: NetLayer) -> Im2col:
        p, section = source.param.convolution_param, "convolution_param"
        return cls(read_window(source, p, section), p.axis)

    def _channels(self, shape: Shape) -> tuple[int, Convolution]:
        """The channels, and the convolution by 0 and 1 that picks each value of a window."""
        axis = canonical_axis(self.axis, len(shape))
        require(not is_free(shape[axis]), "the number of channels can't be free")
        sizes = shape[axis + 1 :]
        require(len(sizes) > 0, f"{format_shape(shape)} has no spatial axes behind the channels (axis {axis})")
        window = self.window.over(len(sizes)).reaching(sizes)
        channels = int(shape[axis])
        return channels, Convolution(channels * count(window.kernel), window, channels, False, self.axis)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return self._channels(inputs[0])[1].infer(inputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        channels, convolution = self._channels(node.shape)
        kernel = convolution.window.kernel
        if len(kernel) > 3:  # onnxruntime convolves over at most 3.
            return [self._onnx_gathered(g, node, convolution.window, x[0])]
        size = channels * count(kernel) ** 2
        require(size <= LARGEST_PICKS, f"the model would hold {size} numbers for it; at most {LARGEST_PICKS} can be")
        picks = np.tile(np.eye(count(kernel)), (channels, 1)).reshape(-1, 1, *kernel)
        weight = constant(f"{node.name}.picks", picks)
        return convolution.onnx(g, Node(convolution, node.inputs, node.outputs, {"weight": weight}), *x)

    def _onnx_gathered(self, g: OnnxOps, node: Node, w: Window, x: str) -> str:
        """Over any number of axes of known sizes: each becomes kernel × positions, and then they are sorted."""
        first, out = canonical_axis(self.axis, len(node.shape)) + 1, node.outputs[0].shape
        require(not any(map(is_free, node.shape)), f"over {len(w.kernel)} spatial axes no size can be left free")
        pads = g.ints([*[0] * first, *w.pad, *[0] * first, *w.pad_end], "pads")
        y = g.op("Pad", x, pads, g.scalar(0.0, "zero"), mode="constant")
        behind = range(first, len(node.shape))
        for place, k, s, d in zip(behind, w.kernel, w.stride, w.dilation, strict=True):
            rows = np.arange(k, dtype=np.int64)[:, None] * d + np.arange(out[place], dtype=np.int64) * s
            y = g.op("Gather", y, g.constant(rows, "places"), axis=2 * place - first)
        rank = 2 * len(node.shape) - first
        y = g.op("Transpose", y, perm=[*range(first), *range(first, rank, 2), *range(first + 1, rank, 2)])
        return g.op("Reshape", y, g.ints(out, "shape"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        w, axis = self._channels(node.shape)[1].window, canonical_axis(self.axis, len(node.shape))
        if len(w.kernel) == 2 and axis <= 1:
            return self._torch_unfolded(t, node, w, x[0])
        t.helper("im2col", IM2COL)
        return f"im2col({x[0]}, {axis}, {w.kernel}, {w.stride}, {w.dilation}, {torch_sides(w)})"

    def _torch_unfolded(self, t: TorchOps, node: Node, w: Window, x: str) -> str:
        """By torch's own operator, which takes two spatial axes and at most one axis before the channels."""
        options = {"dilation": w.dilation, "stride": w.stride}
        parts = [f"{k}={compact(v)}" for k, v in options.items() if v != (1, 1)]
        y = x
        if w.pad != w.pad_end:
            y = t.let("padded", f"F.pad({y}, {torch_sides(w)})")
        elif w.pad != (0, 0):
            parts.append(f"padding={compact(w.pad)}")
        columns = f"F.unfold({y}, {', '.join([str(compact(w.kernel)), *parts])})"
        if not any(map(is_free, node.shape[-2:])):
            return f"{columns}.unflatten(-1, {tuple(map(int, node.outputs[0].shape[-2:]))})"
        height = torch_dims(x, node.shape)[-2]
        extent = w.dilation[0] * (w.kernel[0] - 1) + 1
        rows = f"({height} + {w.pad[0] + w.pad_end[0] - extent}) // {w.stride[0]} + 1"
        return f"{columns}.unflatten(-1, ({rows}, -1))"


IM2COL = '''
def im2col(x, axis, kernel, stride, dilation, sides):
    """The windows of a convolution as channels (Caffe's Im2col layer); `axis` is that of the channels."""
    y = F.pad(x, sides)
    for place, (k, s, d) in enumerate(zip(kernel, stride, dilation), axis + 1):
        y = y.unfold(place, d * (k - 1) + 1, s)[..., ::d]
    places = range(axis + 1, x.dim())
    return y.permute(*range(axis + 1), *range(x.dim(), y.dim()), *places).flatten(axis, axis + len(kernel))
'''
