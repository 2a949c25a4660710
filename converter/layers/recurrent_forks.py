"""What forks for reading text have for sequences: an LSTM without marks, and a layer that makes the marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, canonical_axis, fault, filler, register, require
from converter.layers.recurrent import LSTM, MOST_STEPS, UnrolledSequence, in_steps, onnx_lstm, turned
from converter.layers.shared.fixed import CONSTANT
from converter.layers.shared.sizes import BOOL, FLOAT, int_size
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

    States are 0 before the first step and go on to the last. Its blobs are W_x, W_h and b, in another order than
    LSTM's; `clipping_threshold` bounds gradients only.

    A bottom of other than 3 axes is Junhyuk's own Caffe's (lstm_layer.cpp): its rows are time × streams, of which there
    are `batch_size`, and so are those of the top, rows × num_output. The later forks do not read that field.

    With marks as a second bottom a sequence goes on where its mark is not 0. There is one for each row, but that of
    stream n at step t is read at t + n. Caffe's first step goes on from where its last call ended.
    """

    types = ("Lstm",)
    bottoms = (1, 2)
    num_output: int = 0
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)
    marked: bool = False
    batch_size: int | None = None

    @classmethod
    def read(cls, source: NetLayer) -> Lstm:
        p = source.param.lstm_param
        at_least_one(source, "lstm_param", "num_output", "batch_size")
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        return cls(p.num_output, fillers, len(source.bottoms) > 1, p.batch_size if p.HasField("batch_size") else None)

    @property
    def caution(self) -> str:
        if not self.marked:
            return ""
        return "each call begins with states of 0; where the first mark is not 0, Caffe goes on from its last call's"

    def _sequence(self, x: Shape) -> Shape:
        """Time × streams × values of a first bottom."""
        if len(x) == 3:
            require(self.batch_size is None, "batch_size for a bottom of 3 axes, which forks read differently")
            return x
        require(len(x) > 0, "the bottom is a single value; expected time × streams × values, or rows")
        streams = self.batch_size or 1
        require(streams == 1 or not is_free(x[0]), "of several streams the rows can't be left free")
        require(streams == 1 or int(x[0]) % streams == 0, f"{x[0]} rows for batch_size {streams}; expected a multiple")
        return (x[0] if streams == 1 else int(x[0]) // streams, streams, count(x[1:]))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x = self._sequence(inputs[0])
        require(not is_free(x[2]), "its weights fix the size of the last axis; it can't be left free")
        if self.marked:
            self._check_marks(x, inputs[1])
        return [(*(x[:2] if len(inputs[0]) == 3 else inputs[0][:1]), self.num_output)]

    def _check_marks(self, x: Shape, marks: Shape) -> None:
        require(not any(map(is_free, (*x[:2], *marks))), "with marks, time and streams can't be left free")
        require(x[0] <= MOST_STEPS, f"{x[0]} time steps; the net is unrolled over at most {MOST_STEPS}")
        fits = len(marks) > 0 and int(count(marks)) == int(marks[0]) >= x[0] + x[1] - 1
        require(fits, f"the second bottom is {format_shape(marks)}; expected {x[0] * x[1]} marks along its first axis")

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        width, (weight, bias) = 4 * self.num_output, self.fillers
        return (
            Parameter("weight_x", (width, self._sequence(inputs[0])[2]), weight),
            Parameter("weight_h", (width, self.num_output), weight),
            Parameter("bias", (width,), bias),
        )

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        steps, streams, values = self._sequence(inputs[0])
        return steps * streams * 4 * self.num_output * (values + self.num_output)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        shape = self._sequence(node.shape)
        if len(node.shape) == 3:
            return self._onnx_marked(g, node, *x) if self.marked else self._onnx_whole(g, node, x[0])
        rows = g.reshape(x[0], node.shape, shape)
        y = self._onnx_marked(g, node, rows, x[1]) if self.marked else self._onnx_whole(g, node, rows)
        return g.reshape(y, (*shape[:2], self.num_output), (node.shape[0], self.num_output))

    def _onnx_marked(self, g: OnnxOps, node: Node, x: str, marks: str) -> str:
        steps, streams, _ = map(int, self._sequence(node.shape))
        gates = g.op("Add", g.op("MatMul", x, turned(g, node, "weight_x")), g.weight(node.tensors["bias"]))
        given = node.inputs[1].shape
        flat = marks if len(given) == 1 else g.reshape(marks, given, given[:1])
        known = g.op("Cast", g.op("Cast", flat, to=BOOL), to=FLOAT)
        places = np.arange(steps, dtype=np.int64)[:, None, None] + np.arange(streams)[:, None]
        cont = in_steps(g, g.op("Gather", known, g.constant(places, "places"), axis=0), steps)
        recurrent = turned(g, node, "weight_h") if steps > 1 else ""
        return onnx_lstm(g, UnrolledSequence(in_steps(g, gates, steps), cont, recurrent, []), self.num_output)[0]

    def _onnx_whole(self, g: OnnxOps, node: Node, x: str) -> str:
        size, values = self.num_output, int(self._sequence(node.shape)[2])
        weight = _reordered(node.tensors["weight_x"], CAFFE_TO_ONNX, (1, 4 * size, values))
        state = _reordered(node.tensors["weight_h"], CAFFE_TO_ONNX, (1, 4 * size, size))
        bias = _reordered(node.tensors["bias"], CAFFE_TO_ONNX, (4 * size,))
        both = bias.map(lambda b: np.concatenate([b, np.zeros_like(b)]), (1, 8 * size))
        weights = [g.weight(w) for w in (weight, state, both)]
        return g.op("Squeeze", g.op("LSTM", x, *weights, hidden_size=size), g.ints([1]))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        _, streams, values = self._sequence(node.shape)
        rows = len(node.shape) != 3
        shaped = f"{x[0]}.reshape(-1, {streams}, {int(values)})" if rows else x[0]
        y = self._torch_marked(t, node, shaped, x[1]) if self.marked else self._torch_whole(t, node, shaped)
        return f"{y}.flatten(0, 1)" if rows else y

    def _torch_marked(self, t: TorchOps, node: Node, x: str, marks: str) -> str:
        t.helper("LSTM", LSTM._torch_class)
        t.helper("stream_marks", STREAM_MARKS)
        steps, streams, values = map(int, self._sequence(node.shape))
        module = t.module("LSTM", values, self.num_output, state=dict(node.tensors))
        return f"{module}({x}, stream_marks({marks}, {steps}, {streams}))[0]"

    def _torch_whole(self, t: TorchOps, node: Node, x: str) -> str:
        size, values = self.num_output, int(self._sequence(node.shape)[2])
        state: dict[str, Tensor | npt.NDArray[np.float32]] = {
            "weight_ih_l0": _reordered(node.tensors["weight_x"], CAFFE_TO_TORCH, (4 * size, values)),
            "weight_hh_l0": _reordered(node.tensors["weight_h"], CAFFE_TO_TORCH, (4 * size, size)),
            "bias_ih_l0": _reordered(node.tensors["bias"], CAFFE_TO_TORCH, (4 * size,)),
            "bias_hh_l0": np.zeros(4 * size, np.float32),
        }
        return f"{t.module('nn.LSTM', values, size, state=state)}({x})[0]"


STREAM_MARKS = '''
def stream_marks(marks, steps, streams):
    """1 where a stream goes on at a step, 0 where it begins anew; stream n's mark of step t is read at t + n."""
    return (marks.flatten() != 0).to(marks.dtype).unfold(0, streams, 1)[:steps]
'''


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
        at_least_one(source, section, "time_step")
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
