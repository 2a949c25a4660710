"""What forks for reading text have for sequences: an LSTM without marks, and a layer that makes the marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, canonical_axis, fault, filler, register, require
from converter.layers.shared.fixed import CONSTANT
from converter.layers.shared.sizes import int_size
from converter.node import Layer, Parameter
from converter.tensor import Tensor
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter

if TYPE_CHECKING:
    from converter.node import Node

CAFFE_TO_ONNX = (0, 2, 1, 3)
CAFFE_TO_TORCH = (0, 1, 3, 2)
"""Caffe's gates stand in the order i, f, o, g, ONNX's i, o, f, g, PyTorch's i, f, g, o."""


def _reordered(tensor: Tensor, order: tuple[int, ...], shape: Shape) -> Tensor:
    """A weight of four gates, one under the other, with the gates in another order."""

    def turn(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        gates = values.reshape(4, -1, *values.shape[1:])[list(order)]
        return np.ascontiguousarray(gates)

    return tensor.map(turn, shape)


@register
class Lstm(Layer):
    """Long short-term memory over time × streams × values, all sequences as long as the blob (lstm_layer_Junhyuk.cpp).

    It reads no marks, unlike LSTM: states are 0 before the first step and go on to the last. Its blobs are W_x, W_h and
    b, in another order than LSTM's; `clipping_threshold` bounds gradients only.
    """

    types = ("Lstm",)
    num_output: int = 0
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> Lstm:
        p = source.param.lstm_param
        if p.num_output < 1:
            raise fault(source, f"num_output is {p.num_output}; expected at least 1", "lstm_param", "num_output")
        return cls(p.num_output, (filler(p, "weight_filler"), filler(p, "bias_filler")))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x = inputs[0]
        require(len(x) == 3, f"the bottom is {format_shape(x)}; expected time × streams × values")
        require(not is_free(x[2]), "its weights fix the size of the last axis; it can't be left free")
        return [(*x[:2], self.num_output)]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        width, (weight, bias) = 4 * self.num_output, self.fillers
        return (
            Parameter("weight_x", (width, inputs[0][2]), weight),
            Parameter("weight_h", (width, self.num_output), weight),
            Parameter("bias", (width,), bias),
        )

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        steps, streams, values = inputs[0]
        return steps * streams * 4 * self.num_output * (values + self.num_output)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        size, values = self.num_output, int(node.shape[2])
        weight = _reordered(node.tensors["weight_x"], CAFFE_TO_ONNX, (1, 4 * size, values))
        state = _reordered(node.tensors["weight_h"], CAFFE_TO_ONNX, (1, 4 * size, size))
        bias = _reordered(node.tensors["bias"], CAFFE_TO_ONNX, (4 * size,))
        both = bias.map(lambda b: np.concatenate([b, np.zeros_like(b)]), (1, 8 * size))
        weights = [g.weight(w) for w in (weight, state, both)]
        return g.op("Squeeze", g.op("LSTM", x[0], *weights, hidden_size=size), g.ints([1]))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        size, values = self.num_output, int(node.shape[2])
        state: dict[str, Tensor | npt.NDArray[np.float32]] = {
            "weight_ih_l0": _reordered(node.tensors["weight_x"], CAFFE_TO_TORCH, (4 * size, values)),
            "weight_hh_l0": _reordered(node.tensors["weight_h"], CAFFE_TO_TORCH, (4 * size, size)),
            "bias_ih_l0": _reordered(node.tensors["bias"], CAFFE_TO_TORCH, (4 * size,)),
            "bias_hh_l0": np.zeros(4 * size, np.float32),
        }
        return f"{t.module('nn.LSTM', values, size, state=state)}({x[0]})[0]"


@register
class ContinuationIndicator(Layer):
    """The marks that LSTM and RNN read, of sequences that all begin with the blob (continuation_indicator_layer.cpp).

    time_step × streams: 0 in the first row, 1 in the others. There are `batch_size` streams, or as many as a bottom has
    in axis 0, or in its `axis`.
    """

    types = ("ContinuationIndicator",)
    tabulates = True
    bottoms = (0, 1)
    time_step: int = 1
    batch_size: int = 1
    axis: int = 0

    @classmethod
    def read(cls, source: NetLayer) -> ContinuationIndicator:
        p, section = source.param.continuation_indicator_param, "continuation_indicator_param"
        if p.time_step < 1:
            raise fault(source, f"time_step is {p.time_step}; expected at least 1", section, "time_step")
        if not source.bottoms and p.batch_size < 1:
            message = f"batch_size is {p.batch_size}; expected at least 1 where no bottom gives it"
            raise fault(source, message, section, "batch_size")
        return cls(p.time_step, p.batch_size, p.axis)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [(self.time_step, inputs[0][canonical_axis(self.axis, len(inputs[0]))] if inputs else self.batch_size)]

    def _marks(self, streams: int) -> npt.NDArray[np.float32]:
        marks = np.ones((self.time_step, streams), np.float32)
        marks[0] = 0
        return marks

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        streams = node.outputs[0].shape[1]
        if not is_free(streams):
            return g.constant(self._marks(int(streams)), "marks")
        axis = canonical_axis(self.axis, len(node.shape))
        size = g.unsqueeze(int_size(g, x[0], node.shape, axis), [0])
        shape = g.op("Concat", g.ints([self.time_step], "steps"), size, axis=0)
        return g.op("Expand", g.constant(self._marks(1), "marks"), shape)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        streams = node.outputs[0].shape[1]
        t.helper("Constant", CONSTANT)
        marks = self._marks(1 if is_free(streams) else int(streams))
        module = f"{t.module('Constant', marks.shape, state={'value': marks})}()"
        return f"{module}.expand(-1, {x[0]}.shape[{self.axis}])" if is_free(streams) else module
