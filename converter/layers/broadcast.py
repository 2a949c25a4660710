"""Sums, products and the like of two blobs whose shapes need only go together, as numpy's rule has it.

Of Synopsys' fork: layers of C++ that came from ONNX, and the Python layer that it used before (python/eltwise.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converter.graph import Shape, is_free
from converter.layers.base import BottomsDifferError, OnnxOps, TorchOps, fault, register, require
from converter.node import Layer
from prototxt import NetLayer
from prototxt.param_dict import dict_of

if TYPE_CHECKING:
    from converter.node import Node


def together(first: Shape, second: Shape) -> Shape:
    """The shape of two blobs set against each other from the last axis: equal sizes, or 1 for each of the other's."""
    rank = max(len(first), len(second))
    made = []
    for a, b in zip(_aligned(first, rank), _aligned(second, rank), strict=True):
        if int(a) != int(b) and 1 not in (int(a), int(b)):
            raise BottomsDifferError("bottoms do not go together: sizes differ and neither is 1")
        require(not (is_free(a) or is_free(b)) or str(a) == str(b) or 1 in (a, b), "sizes left free differ")
        made.append(b if not is_free(a) and a == 1 else a)
    return tuple(made)


def _aligned(shape: Shape, rank: int) -> list[int]:
    return [1] * (rank - len(shape)) + list(shape)


@register
class Add(Layer):
    """Sum of two blobs (Synopsys' fork: add_layer.cpp); unlike Eltwise, sizes of 1 stand for any, and axes may lack."""

    types = ("Add",)
    acts_on = "values"
    bottoms = (2, 2)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [together(inputs[0], inputs[1])]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Add", *x)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]} + {x[1]}"


_ONNX = ("Mul", "Add", "Max", "Div", "Min")
_TORCH = ("{} * {}", "{} + {}", "torch.maximum({}, {})", "{} / {}", "torch.minimum({}, {})")


@register
class PythonEltwise(Layer):
    """Product, weighted sum, maximum, quotient or minimum of two blobs (Synopsys' python/eltwise.py).

    `param_str` has `operation`, 0 to 4 in this order, and for a sum `coeff`. The top is as the bottom of more axes; of
    as many, as the one whose sizes come later in the alphabet of numbers.
    """

    types = ("Python eltwise.Eltwise",)
    acts_on = "values"
    bottoms = (2, 2)
    operation: int = 0
    coeff: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def read(cls, source: NetLayer) -> PythonEltwise:
        params = dict_of(source)
        operation = params.get("operation")
        if not isinstance(operation, int) or not 0 <= operation < len(_ONNX):
            message = f"operation is {operation!r}; expected 0 to 4 (product, sum, maximum, quotient, minimum)"
            raise fault(source, message, "python_param", "param_str")
        if operation != 1:
            source.without_effect("of a sum", "python_param.param_str.coeff")
            return cls(operation)
        stated = params.get("coeff")
        coefficients = [c for c in stated if isinstance(c, (int, float))] if isinstance(stated, (list, tuple)) else []
        if len(coefficients) < 2:
            message = f"coeff is {stated!r}; expected two numbers for a sum"
            raise fault(source, message, "python_param", "param_str")
        return cls(operation, (float(coefficients[0]), float(coefficients[1])))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        made = together(inputs[0], inputs[1])
        top = max(inputs, key=lambda shape: (len(shape), tuple(map(int, shape))))
        if tuple(map(int, made)) != tuple(map(int, top)):
            raise BottomsDifferError("the top would be as one of the bottoms, and both together are larger")
        return [made]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        pairs = zip(x, self.coeff, strict=True)
        terms = [g.op("Mul", name, g.scalar(c, "coefficient")) if c != 1 else name for name, c in pairs]
        return g.op(_ONNX[self.operation], *terms)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        pairs = zip(x, self.coeff, strict=True)
        return _TORCH[self.operation].format(*(f"{c!r} * {name}" if c != 1 else name for name, c in pairs))
