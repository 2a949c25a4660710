"""LSTM and RNN over blobs of time × streams × values, unrolled (Caffe: recurrent_layer.cpp and those of each name).

    bottoms  x: T×N×…, cont: T×N (0 where a sequence begins), static: N×… if given, with expose_hidden the first states
    LSTM     i, f, o, g = W_x x + b (+ W_static s) + W_h (cont · h)
             c = cont · σ(f) · c + σ(i) · tanh(g);  h = σ(o) · tanh(c)
    RNN      h = tanh(W_x x + b (+ W_static s) + W_h (cont · h));  y = tanh(W_o h + b_o)

The blobs stand in the caffemodel as the unrolled net first uses them: W_x, b, W_static if there is one, W_h, and for
RNN W_o and b_o. States before the first step are 0 unless they are bottoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, fault, filler, register, require, unsupported
from converter.node import Layer, Parameter
from converter.tensor import Tensor
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter

if TYPE_CHECKING:
    from converter.node import Node

MOST_STEPS = 10_000


@dataclass
class UnrolledSequence:
    """The ONNX values of one unrolling: per step 1×N×…, and the weights turned for a product from the right."""

    inputs: list[str]
    cont: list[str]
    recurrent: str
    states: list[str]  # empty before the first step when no bottom gives them


class _Recurrent(Layer):
    """What LSTM and RNN share: bottoms told apart, the parameters, the product that the state doesn't enter."""

    bottoms: ClassVar[tuple[int, int]] = (2, 5)
    tops: ClassVar[tuple[int, int]] = (1, 3)
    gates: ClassVar[int]
    states: ClassVar[int]
    num_output: int = 0
    expose_hidden: bool = False
    static: bool = False
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> _Recurrent:
        p, section = source.param.recurrent_param, "recurrent_param"
        at_least_one(source, section, "num_output")
        for name in ("forget_bias", "tf_rnn"):
            if getattr(p, name):
                raise unsupported(source, f"{name}, of a fork", section, name)
        exposed = cls.states if p.expose_hidden else 0
        spare = len(source.bottoms) - 2 - exposed
        if spare not in (0, 1):
            raise fault(source, f"{len(source.bottoms)} bottoms; expected {2 + exposed} or {3 + exposed}")
        if len(source.tops) != 1 + exposed:
            raise fault(source, f"{len(source.tops)} tops; expected {1 + exposed}")
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        return cls(p.num_output, p.expose_hidden, spare == 1, fillers)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x, cont = inputs[:2]
        require(len(x) >= 2, f"the first bottom is {format_shape(x)}; expected time × streams × values")
        require(not is_free(x[0]), "the number of time steps can't be left free: the net is unrolled over them")
        require(x[0] <= MOST_STEPS, f"{x[0]} time steps; the net is unrolled over at most {MOST_STEPS}")
        require(
            tuple(map(int, cont)) == tuple(map(int, x[:2])),
            f"the second bottom is {format_shape(cont)}; expected {format_shape(x[:2])} marks",
        )
        if self.static:
            static = inputs[2]
            fits = len(static) >= 1 and int(static[0]) == int(x[1])
            require(fits, f"the static bottom is {format_shape(static)}; expected {x[1]} streams × values")
        state = (1, x[1], self.num_output)
        for given in self._given_states(inputs):
            fits = int(count(given)) == int(count(state))
            require(fits, f"a first state is {format_shape(given)}; expected {format_shape(state)}")
        exposed = [state] * self.states if self.expose_hidden else []
        return [(*x[:2], self.num_output), *exposed]

    def _given_states(self, inputs: Sequence[Shape]) -> Sequence[Shape]:
        return inputs[len(inputs) - self.states :] if self.expose_hidden else ()

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        width, size = self.gates * self.num_output, self.num_output
        values = count(inputs[0][2:])
        require(not is_free(values), "its weights fix the size of the axes from 2 on; they can't be left free")
        weight, bias = self.fillers
        found = [Parameter("weight_x", (width, values), weight), Parameter("bias", (width,), bias)]
        if self.static:
            known = count(inputs[2][1:])
            require(not is_free(known), "its weights fix the size of the static bottom; it can't be left free")
            found.append(Parameter("weight_static", (width, known), weight))
        found.append(Parameter("weight_h", (width, size), weight))
        return (*found, *self._output_parameters())

    def _output_parameters(self) -> tuple[Parameter, ...]:
        return ()

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        matrices = [count(p.shape) for p in self.parameters(inputs) if len(p.shape) == 2]
        return count(inputs[0][:2]) * sum(matrices)

    def _onnx_sequence(self, g: OnnxOps, node: Node, x: Sequence[str]) -> UnrolledSequence:
        shapes = [v.shape for v in node.inputs]
        steps, streams = int(shapes[0][0]), shapes[0][1]
        values = count(shapes[0][2:])
        flat = x[0] if len(shapes[0]) == 3 else g.reshape(x[0], shapes[0], (*shapes[0][:2], values))
        gates = g.op("Add", g.op("MatMul", flat, turned(g, node, "weight_x")), g.weight(node.tensors["bias"]))
        if self.static:
            known = (streams, count(shapes[2][1:]))
            static = x[2] if len(shapes[2]) == 2 else g.reshape(x[2], shapes[2], known)
            gates = g.op("Add", gates, g.op("MatMul", static, turned(g, node, "weight_static")))
        cont = g.unsqueeze(x[1], [2])
        state = (1, streams, self.num_output)
        firsts = list(zip(x[len(x) - self.states :], shapes[len(x) - self.states :], strict=True))
        given = [n if tuple(s) == state else g.reshape(n, s, state) for n, s in firsts] if self.expose_hidden else []
        recurrent = turned(g, node, "weight_h") if given or steps > 1 else ""
        return UnrolledSequence(in_steps(g, gates, steps), in_steps(g, cont, steps), recurrent, given)

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        name = type(self).__name__
        t.helper(name, self._torch_class)
        state: dict[str, Tensor | npt.NDArray[Any]] = dict(node.tensors)
        shapes = node.tensors
        keywords: dict[str, Any] = {"static": int(shapes["weight_static"].shape[1])} if self.static else {}
        module = t.module(name, int(shapes["weight_x"].shape[1]), self.num_output, state=state, **keywords)
        arguments = list(x[:3] if self.static else x[:2])
        if self.expose_hidden:
            arguments += [f"{n}={v}" for n, v in zip(("h", "c"), x[len(arguments) :], strict=False)]
        tops = t.let("states", f"{module}({', '.join(arguments)})")
        return [f"{tops}[{i}]" for i in range(len(node.outputs))]

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        """States that come in or go out have no gradient (Caffe: recurrent_layer.cpp shares only their values)."""
        split = len(x) - self.states if self.expose_hidden else len(x)
        given = [f"{name}.detach()" for name in x[split:]]
        first, *exposed = self.torch(t, node, *x[:split], *given)
        return [first, *(f"{state}.detach()" for state in exposed)]

    _torch_class: ClassVar[str]


def turned(g: OnnxOps, node: Node, name: str) -> str:
    tensor = node.tensors[name]
    return g.weight(tensor.map(lambda w: w.T, tensor.shape[::-1]))


def in_steps(g: OnnxOps, x: str, steps: int) -> list[str]:
    """A blob cut into its time steps, each 1×N×…"""
    marks = g.value(x)
    if marks is not None:
        return [g.constant(step, "marks") for step in np.split(marks, steps)]
    return [x] if steps == 1 else g.multi("Split", x, g.ints([1] * steps, "sizes"), outputs=steps, axis=0)


def _going_on(g: OnnxOps, cont: str, x: str) -> str:
    """A state times the mark of its step, but for one that is known to be 1."""
    marks = g.value(cont)
    return x if marks is not None and (marks == 1).all() else g.op("Mul", cont, x)


def _joined(g: OnnxOps, steps: list[str]) -> str:
    return steps[0] if len(steps) == 1 else g.op("Concat", *steps, axis=0)


def onnx_lstm(g: OnnxOps, run: UnrolledSequence, size: int) -> list[str]:
    """T×N×size of one LSTM, and the last h and c."""
    h, c = run.states or ("", "")
    sizes = g.ints([size] * 4, "sizes")
    out = []
    for gates, cont in zip(run.inputs, run.cont, strict=True):
        if h:
            gates = g.op("Add", gates, g.op("MatMul", _going_on(g, cont, h), run.recurrent))
        i, f, o, new = g.multi("Split", gates, sizes, outputs=4, axis=2)
        fresh = g.op("Mul", g.op("Sigmoid", i), g.op("Tanh", new))
        kept = g.op("Mul", _going_on(g, cont, g.op("Sigmoid", f)), c) if c else ""
        c = g.op("Add", kept, fresh) if kept else fresh
        h = g.op("Mul", g.op("Sigmoid", o), g.op("Tanh", c))
        out.append(h)
    return [_joined(g, out), h, c]


@register
class LSTM(_Recurrent):
    """Long short-term memory; a sequence begins anew where `cont` is 0 (Caffe: lstm_layer.cpp, lstm_unit_layer.cpp).

    The gates stand in the order i, f, o, g. With `expose_hidden` the last bottoms are the first h and c, the further
    tops the last ones.
    """

    types = ("LSTM",)
    gradient_memory = "inside"
    gates = 4
    states = 2

    @classmethod
    def memory(cls, source: NetLayer) -> Sequence[int]:
        """The last h lies where the first top does, which after one step is as large."""
        first, *others = super().memory(source)
        return [first, first, *others[1:]] if others else [first]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        return onnx_lstm(g, self._onnx_sequence(g, node, x), self.num_output)[: len(node.outputs)]

    _torch_class = '''
class LSTM(nn.Module):
    """Caffe's LSTM over time × streams × values; a sequence begins anew where `cont` is 0."""

    def __init__(self, inputs, hidden, static=0):
        super().__init__()
        self.weight_x = nn.Parameter(torch.zeros(4 * hidden, inputs))
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        self.weight_static = nn.Parameter(torch.zeros(4 * hidden, static)) if static else None
        self.weight_h = nn.Parameter(torch.zeros(4 * hidden, hidden))

    def forward(self, x, cont, static=None, h=None, c=None):
        gates = F.linear(x.flatten(2) if x.dim() > 2 else x.unsqueeze(2), self.weight_x, self.bias)
        if static is not None:
            gates = gates + F.linear(static.reshape(static.shape[0], -1), self.weight_static)
        start = x.new_zeros(x.shape[1], self.weight_h.shape[1])
        h = start if h is None else h.reshape(start.shape)
        c = start if c is None else c.reshape(start.shape)
        outputs = []
        for t in range(x.shape[0]):
            keep = cont[t].unsqueeze(1)
            i, f, o, g = (gates[t] + F.linear(keep * h, self.weight_h)).chunk(4, 1)
            c = keep * torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), h.unsqueeze(0), c.unsqueeze(0)
'''


@register
class RNN(_Recurrent):
    """A net of one hidden layer that reads its own last state; its output is squashed once more (Caffe: rnn_layer.cpp).

    With `expose_hidden` the last bottom is the first h, the second top the last one.
    """

    types = ("RNN",)
    gradient_memory = "inside"
    gates = 1
    states = 1

    def _output_parameters(self) -> tuple[Parameter, ...]:
        size, (weight, bias) = self.num_output, self.fillers
        return Parameter("weight_o", (size, size), weight), Parameter("bias_o", (size,), bias)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        run = self._onnx_sequence(g, node, x)
        (h,) = run.states or ("",)
        out = []
        for part, cont in zip(run.inputs, run.cont, strict=True):
            if h:
                part = g.op("Add", part, g.op("MatMul", _going_on(g, cont, h), run.recurrent))
            h = g.op("Tanh", part)
            out.append(h)
        product = g.op("MatMul", _joined(g, out), turned(g, node, "weight_o"))
        return [g.op("Tanh", g.op("Add", product, g.weight(node.tensors["bias_o"]))), h][: len(node.outputs)]

    _torch_class = '''
class RNN(nn.Module):
    """Caffe's RNN over time × streams × values; a sequence begins anew where `cont` is 0."""

    def __init__(self, inputs, hidden, static=0):
        super().__init__()
        self.weight_x = nn.Parameter(torch.zeros(hidden, inputs))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.weight_static = nn.Parameter(torch.zeros(hidden, static)) if static else None
        self.weight_h = nn.Parameter(torch.zeros(hidden, hidden))
        self.weight_o = nn.Parameter(torch.zeros(hidden, hidden))
        self.bias_o = nn.Parameter(torch.zeros(hidden))

    def forward(self, x, cont, static=None, h=None):
        parts = F.linear(x.flatten(2) if x.dim() > 2 else x.unsqueeze(2), self.weight_x, self.bias)
        if static is not None:
            parts = parts + F.linear(static.reshape(static.shape[0], -1), self.weight_static)
        start = x.new_zeros(x.shape[1], self.weight_h.shape[1])
        h = start if h is None else h.reshape(start.shape)
        states = []
        for t in range(x.shape[0]):
            h = torch.tanh(parts[t] + F.linear(cont[t].unsqueeze(1) * h, self.weight_h))
            states.append(h)
        return torch.tanh(F.linear(torch.stack(states), self.weight_o, self.bias_o)), h.unsqueeze(0)
'''


@register
class LSTMUnit(Layer):
    """One step of an LSTM: the next c and h of the last c and the gates (Caffe: lstm_unit_layer.cpp).

    Bottoms are c 1×N×D, gates 1×N×4D in the order i, f, o, g, and marks 1×N, 0 where a sequence begins. Caffe makes
    this layer inside an LSTM; a net can have it by itself.
    """

    types = ("LSTMUnit",)
    bottoms = (3, 3)
    tops = (2, 2)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        c, gates, cont = inputs
        fits = len(c) == len(gates) == 3 and int(c[0]) == int(gates[0]) == 1
        require(fits, f"c is {format_shape(c)} and the gates are {format_shape(gates)}; expected 1×N×D and 1×N×4D")
        fits = int(c[1]) == int(gates[1]) and int(gates[2]) == 4 * int(c[2])
        require(fits, f"c is {format_shape(c)} and the gates are {format_shape(gates)}; expected 1×N×D and 1×N×4D")
        marks = len(cont) == 2 and tuple(map(int, cont)) == (1, int(c[1]))
        require(marks, f"the third bottom is {format_shape(cont)}; expected 1×{c[1]} marks")
        require(not is_free(c[2]), "the size of the state can't be left free")
        return [c, c]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        size = int(node.shape[2])
        i, f, o, new = g.multi("Split", x[1], g.ints([size] * 4, "sizes"), outputs=4, axis=2)
        keep = g.op("Mul", g.unsqueeze(x[2], [2]), g.op("Sigmoid", f))
        c = g.op("Add", g.op("Mul", keep, x[0]), g.op("Mul", g.op("Sigmoid", i), g.op("Tanh", new)))
        return [c, g.op("Mul", g.op("Sigmoid", o), g.op("Tanh", c))]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        t.helper("lstm_unit", LSTM_UNIT)
        states = t.let("states", f"lstm_unit({', '.join(x)})")
        return [f"{states}[0]", f"{states}[1]"]


LSTM_UNIT = '''
def lstm_unit(c, gates, cont):
    """The next c and h; a sequence begins anew where `cont` is 0 (Caffe's LSTMUnit layer)."""
    i, f, o, g = gates.chunk(4, 2)
    c = cont.unsqueeze(2) * torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return c, torch.sigmoid(o) * torch.tanh(c)
'''
