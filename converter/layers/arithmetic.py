"""Sums, products and per-channel factors (Caffe: eltwise_layer.cpp, scale_layer.cpp, bias_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from converter.folding import Float64, PerChannel
from converter.graph import Shape, count, format_shape
from converter.layers.base import (
    UNLIMITED,
    BottomsDifferError,
    OnnxOps,
    TorchOps,
    canonical_axis,
    fault,
    filler,
    register,
    require,
    shortest,
)
from converter.matching.operation import Operation
from converter.node import Layer, Parameter, by_message_alone
from prototxt import NetLayer
from prototxt.caffe_pb2 import EltwiseParameter, FillerParameter

if TYPE_CHECKING:
    from converter.node import Node


@register
class Eltwise(Layer):
    """Sum with coefficients, product or maximum of blobs of one shape (Caffe: eltwise_layer.cpp).

    Synopsys' fork has the quotient of two and the minimum too, and there the second bottom may have the sizes of some
    axes only, from `axis` on. FlowNet's takes the sum of one bottom, which scales it.
    """

    types = ("Eltwise",)
    acts_on = "values"
    keeps_bottom = True
    bottoms = (1, UNLIMITED)
    operation: str = "SUM"
    coeff: tuple[float, ...] = ()
    axis: int = 0

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> Eltwise:
        p = source.param.eltwise_param
        operation = EltwiseParameter.EltwiseOp.Name(p.operation)
        coefficients = tuple(shortest(c) for c in p.coeff)
        if coefficients and len(coefficients) != len(source.bottoms):
            raise fault(
                source, f"{len(coefficients)} coeff for {len(source.bottoms)} bottoms", "eltwise_param", "coeff"
            )
        if coefficients and operation in ("PROD", "DIV", "MIN"):
            raise fault(source, f"coeff with operation {operation}; expected SUM", "eltwise_param", "coeff")
        if len(source.bottoms) == 1 and operation != "SUM":
            message = f"operation {operation} of one bottom; expected 2 or more"
            raise fault(source, message, "eltwise_param", "operation")
        if operation == "DIV" and len(source.bottoms) != 2:
            message = f"operation DIV of {len(source.bottoms)} bottoms; expected two"
            raise fault(source, message, "eltwise_param", "operation")
        return cls(operation, () if operation != "SUM" or set(coefficients) <= {1.0} else coefficients, p.axis)

    @property
    def rereads(self) -> bool:
        return self.operation == "PROD"

    @property
    def in_place(self) -> str:
        """A product begins with the first two bottoms, a sum with 0, an extreme with the most extreme number."""
        return "" if self.operation in ("PROD", "DIV") else super().in_place

    def computes(self, node: Node) -> Operation:
        kind = {"SUM": "addition", "PROD": "multiplication", "MAX": "maximum"}.get(self.operation)
        if kind is None or self.coeff or len(node.inputs) == 1 or self._behind(node):
            return super().computes(node)
        return Operation(kind)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        first, *others = (tuple(map(int, shape)) for shape in inputs)
        start = canonical_axis(self.axis, len(first)) if first else 0
        second = others[0] if others else first[start:]
        if any(other != first for other in others[1:]) or first[start : start + len(second)] != second:
            raise BottomsDifferError("bottoms differ in shape")
        return [inputs[0]]

    def _behind(self, node: Node) -> list[int]:
        """Axes that the second bottom lacks at its end."""
        if len(node.inputs) == 1:
            return []
        rank, own = len(node.shape), len(node.inputs[1].shape)
        start = canonical_axis(self.axis, rank) if rank else 0
        return list(range(own, rank - start))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        terms, behind = list(x), self._behind(node)
        if behind:
            terms[1] = g.unsqueeze(x[1], behind)
        if self.operation in ("MAX", "MIN"):
            return g.op(self.operation.title(), *terms)
        for i, coefficient in enumerate(self.coeff):
            if coefficient != 1:
                terms[i] = g.op("Mul", terms[i], g.scalar(coefficient, "coefficient"))
        if self.operation == "SUM" and len(terms) > 2:
            return g.op("Sum", *terms)
        total = terms[0]
        for term in terms[1:]:
            total = g.op({"PROD": "Mul", "DIV": "Div"}.get(self.operation, "Add"), total, term)
        return total

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.operation != "MAX":
            return self.torch(t, node, *x)
        # At a tie the gradient goes to the second of the first two, and to a later bottom only if it is larger.
        best = f"torch.where({x[0]} > {x[1]}, {x[0]}, {x[1]})"
        for name in x[2:]:
            best = t.let("best", best)
            best = f"torch.where({name} > {best}, {name}, {best})"
        return best

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        terms, behind = list(x), self._behind(node)
        if behind:
            terms[1] = f"{x[1]}[..., {', '.join(['None'] * len(behind))}]"
        if self.operation in ("MAX", "MIN"):
            best = terms[0]
            for name in terms[1:]:
                best = f"torch.{self.operation.lower()}imum({best}, {name})"
            return best
        if self.operation != "SUM":
            return (" * " if self.operation == "PROD" else " / ").join(terms)
        coefficients = self.coeff or (1.0,) * len(x)
        return " + ".join(n if c == 1 else f"{c!r} * {n}" for c, n in zip(coefficients, terms, strict=True))


class _Broadcast(PerChannel):
    """A factor or a summand for some axes of a blob, learned or read from a second bottom."""

    bottoms: ClassVar[tuple[int, int]] = (1, 2)
    axis: int = 1
    num_axes: int = 1

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        axis, size = self._span(inputs)
        if len(inputs) == 2:
            covered = inputs[0][axis : axis + size]
            require(
                tuple(covered) == tuple(inputs[1]),
                f"the second bottom is {format_shape(inputs[1])}, but axes {axis} to {axis + size - 1} of the first "
                f"are {format_shape(covered)}",
            )
        return [inputs[0]]

    def _span(self, inputs: Sequence[Shape]) -> tuple[int, int]:
        """First axis covered, and how many."""
        rank = len(inputs[0])
        if len(inputs) == 2:
            axis = 0 if not inputs[1] else canonical_axis(self.axis, rank)
            size = len(inputs[1])
        else:
            axis = canonical_axis(self.axis, rank)
            size = rank - axis if self.num_axes == -1 else self.num_axes
        require(axis + size <= rank, f"axes {axis} to {axis + size - 1} of a blob of {rank} axes")
        return axis, size

    def own_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Shape of the factor or summand."""
        axis, size = self._span(inputs)
        return tuple(inputs[0][axis : axis + size])

    def beside(self, inputs: Sequence[Shape]) -> Shape:
        """The same with an axis of 1 for each axis behind, so that broadcasting from the end lines it up."""
        axis, size = self._span(inputs)
        return (*self.own_shape(inputs), *[1] * (len(inputs[0]) - axis - size))

    def unfoldable(self, node: Node) -> str:
        rank = len(node.shape)
        by_channel = rank >= 2 and self.beside([v.shape for v in node.inputs]) == (node.shape[1], *[1] * (rank - 2))
        return "" if by_channel else "covers other axes than the channels"

    def factor_and_summand(self, node: Node) -> tuple[Float64, Float64]:
        loaded = {name: tensor.load().astype(np.float64).ravel() for name, tensor in node.tensors.items()}
        some = next(iter(loaded.values()))
        return loaded.get("weight", np.ones_like(some)), loaded.get("bias", np.zeros_like(some))


def _aligned_onnx(layer: _Broadcast, g: OnnxOps, node: Node, name: str, parameter: str | None) -> str:
    """Name of the factor or summand, shaped so that it broadcasts."""
    shapes = [v.shape for v in node.inputs]
    shape = layer.beside(shapes)
    if parameter is not None:
        return g.weight(node.tensors[parameter].reshaped(shape))
    behind = len(shape) - len(shapes[1])
    return g.unsqueeze(name, list(range(len(shapes[1]), len(shape)))) if behind else name


def _aligned_torch(layer: _Broadcast, node: Node, name: str) -> str:
    shapes = [v.shape for v in node.inputs]
    behind = len(layer.beside(shapes)) - len(shapes[1])
    return f"{name}[{', '.join(['...', *['None'] * behind])}]" if behind else name


@register
class Scale(_Broadcast):
    """A factor a channel, learned or from a second bottom, and perhaps a summand (Caffe: scale_layer.cpp)."""

    types = ("Scale",)
    acts_on = "channels"
    axis_fields: ClassVar[tuple[str, ...]] = ("scale_param", "axis")
    scales = True
    reads_first = True
    keeps_bottom = True
    bias_term: bool = False
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)

    @property
    def rereads(self) -> bool:
        return True

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> Scale:
        p = source.param.scale_param
        if p.num_axes < -1:
            raise fault(source, f"num_axes is {p.num_axes}; expected -1 or more", "scale_param", "num_axes")
        one = FillerParameter(type="constant", value=1)
        fillers = (filler(p, "filler") or one, filler(p, "bias_filler"))
        return cls(p.axis, p.num_axes, p.bias_term, fillers)

    def computes(self, node: Node) -> Operation:
        if len(node.inputs) == 2:
            own = super().computes(node)
            return (
                own if self.bias_term or self._span([v.shape for v in node.inputs])[0] else Operation("multiplication")
            )
        return super().computes(node) if self.unfoldable(node) else Operation("factor")

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        shape = self.own_shape(inputs)
        weight = () if len(inputs) == 2 else (Parameter("weight", shape, self.fillers[0]),)
        return (*weight, Parameter("bias", shape, self.fillers[1])) if self.bias_term else weight

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        factor = _aligned_onnx(self, g, node, x[-1], "weight" if "weight" in node.tensors else None)
        y = g.op("Mul", x[0], factor)
        return g.op("Add", y, _aligned_onnx(self, g, node, "", "bias")) if self.bias_term else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if len(x) == 2 and not self.bias_term:
            return f"{x[0]} * {_aligned_torch(self, node, x[1])}"
        shape = tuple(map(int, self.beside([v.shape for v in node.inputs])))
        state = {name: tensor.reshaped(shape) for name, tensor in node.tensors.items()}
        if len(x) == 2:
            t.helper("Bias", BIAS)
            return f"{t.module('Bias', shape, state=dict(state))}({x[0]} * {_aligned_torch(self, node, x[1])})"
        t.helper("Scale", SCALE)
        keywords = {} if self.bias_term else {"bias": False}
        return f"{t.module('Scale', shape, state=dict(state), **keywords)}({x[0]})"


@register
class Bias(_Broadcast):
    """A summand a channel, learned or from a second bottom (Caffe: bias_layer.cpp)."""

    types = ("Bias",)
    acts_on = "channels"
    axis_fields = ("bias_param", "axis")
    reads_first = True
    bias_filler: FillerParameter | None = field(default=None, repr=False)

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> Bias:
        p = source.param.bias_param
        if p.num_axes < -1:
            raise fault(source, f"num_axes is {p.num_axes}; expected -1 or more", "bias_param", "num_axes")
        return cls(p.axis, p.num_axes, filler(p, "filler"))

    def computes(self, node: Node) -> Operation:
        if len(node.inputs) == 2 or self.unfoldable(node):
            return super().computes(node)
        return Operation("summand")

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        return () if len(inputs) == 2 else (Parameter("bias", self.own_shape(inputs), self.bias_filler),)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Add", x[0], _aligned_onnx(self, g, node, x[-1], "bias" if "bias" in node.tensors else None))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if len(x) == 2:
            return f"{x[0]} + {_aligned_torch(self, node, x[1])}"
        shape = tuple(map(int, self.beside([v.shape for v in node.inputs])))
        t.helper("Bias", BIAS)
        state = {"bias": node.tensors["bias"].reshaped(shape)}
        return f"{t.module('Bias', shape, state=dict(state))}({x[0]})"


@register
class Axpy(Layer):
    """a · x + y, a being a factor a channel of each item: N×C, or N×C×1×1 (SENet's fork: axpy_layer.cpp)."""

    types = ("Axpy",)
    bottoms = (3, 3)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        factor, x, y = inputs
        if tuple(map(int, x)) != tuple(map(int, y)):
            raise BottomsDifferError("the second and third bottom differ in shape")
        fits = len(x) >= 2 and tuple(map(int, factor)) == (*map(int, x[:2]), *[1] * (len(factor) - 2))
        require(fits, f"the factor is {format_shape(factor)} for a blob of {format_shape(x)}; expected one a channel")
        return [x]

    def computes(self, node: Node) -> Operation:
        return Operation("multiply-add")

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(inputs[1])

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        factor, rank = x[0], len(node.inputs[1].shape)
        given = len(node.shape)
        if given < rank:
            factor = g.unsqueeze(factor, list(range(given, rank)))
        elif given > rank:
            factor = g.op("Squeeze", factor, g.ints(range(rank, given)))
        return g.op("Add", g.op("Mul", factor, x[1]), x[2])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        rank, given = len(node.inputs[1].shape), len(node.shape)
        factor = x[0]
        if given < rank:
            factor = f"{factor}[{', '.join(['...', *['None'] * (rank - given)])}]"
        elif given > rank:
            factor = f"{factor}.flatten({rank - 1})"
        return f"{factor} * {x[1]} + {x[2]}"


@register
class Mul(Layer):
    """The product of two blobs of which one may lack leading axes, or have 1 where the other has more.

    Lined up from the last axis, as numpy does it (Synopsys' fork: mul_layer.cpp).
    """

    types = ("Mul",)
    acts_on = "values"
    bottoms = (2, 2)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        rank = max(map(len, inputs))
        first, second = ((*[1] * (rank - len(s)), *s) for s in inputs)
        if any(int(a) != int(b) and 1 not in (int(a), int(b)) for a, b in zip(first, second, strict=True)):
            raise BottomsDifferError("bottoms do not line up")
        return [tuple(b if int(a) == 1 else a for a, b in zip(first, second, strict=True))]

    def computes(self, node: Node) -> Operation:
        return Operation("multiplication")

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(outputs[0])

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Mul", *x)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return " * ".join(x)


SCALE = '''
class Scale(nn.Module):
    """A learned factor, and perhaps a summand, broadcast from the last axis (Caffe's Scale layer)."""

    def __init__(self, shape, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None

    def forward(self, x):
        x = x * self.weight
        return x if self.bias is None else x + self.bias
'''

BIAS = '''
class Bias(nn.Module):
    """A learned summand, broadcast from the last axis (Caffe's Bias layer)."""

    def __init__(self, shape):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x):
        return x + self.bias
'''
