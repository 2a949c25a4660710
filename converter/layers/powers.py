"""Powers, exponentials and logarithms of each value alone (Caffe: power_layer.cpp, exp_layer.cpp, log_layer.cpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, format_shape
from converter.layers.base import OnnxOps, TorchOps, fault, register, require, shortest
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node


class _Affine(Layer):
    """The `scale * x + shift` that Power, Exp and Log begin with."""

    scale: float = 1.0
    shift: float = 0.0

    def affine_onnx(self, g: OnnxOps, x: str) -> str:
        if self.scale != 1:
            x = g.op("Mul", x, g.scalar(self.scale, "scale"))
        return g.op("Add", x, g.scalar(self.shift, "shift")) if self.shift else x

    def affine_torch(self, x: str) -> str:
        scaled = f"{x} * {self.scale!r}" if self.scale != 1 else x
        return f"{scaled} + {self.shift!r}" if self.shift else scaled


@register
class Power(_Affine):
    """(shift + scale * x) ** power; a constant when power or scale is 0 (Caffe: power_layer.cpp)."""

    types = ("Power",)
    acts_on = "values"
    reads_first = True
    power: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> Power:
        p = source.param.power_param
        return cls(shortest(p.scale), shortest(p.shift), shortest(p.power))

    @property
    def _constant(self) -> float | None:
        if self.power == 0:
            return 1.0
        with np.errstate(all="ignore"):  # NaN and infinities are Caffe's answers too.
            return float(np.power(np.float64(self.shift), self.power)) if self.scale == 0 else None

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if self._constant is not None:
            return g.op("Expand", g.scalar(self._constant, "value"), g.op("Shape", x[0]))
        y = self.affine_onnx(g, x[0])
        return g.op("Pow", y, g.scalar(self.power, "power")) if self.power != 1 else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self._constant is not None:
            value = f"{self._constant!r}" if math.isfinite(self._constant) else f"float('{self._constant}')"
            return f"torch.full_like({x[0]}, {value})"
        affine = self.affine_torch(x[0])
        return f"({affine}) ** {self.power!r}" if self.power != 1 else affine

    @property
    def gradient_reads(self) -> str:
        """A square's gradient is that of the bottom alone; another's is told from the quotient of top and bottom."""
        if self._constant is not None or self.power == 1:
            return ""
        return "x" if self.power == 2 else "xy"

    @property
    def squares_in_place(self) -> bool:
        return self._constant is None

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        affine, factor = self.affine_torch("x"), self.power * self.scale
        if self.power == 1:
            return f"dy * {factor!r}"
        return f"dy * {factor!r} * ({affine})" if self.power == 2 else f"dy * {factor!r} * y / ({affine})"


def _logarithm_of(base: float) -> float:
    """ln(base); Caffe writes e as -1."""
    return 1.0 if base == -1 else math.log(base)


def _checked_base(source: NetLayer, base: float, section: str) -> float:
    if base != -1 and not 0 < base < math.inf:
        raise fault(source, f"base is {base:g}; expected -1 (for e) or a number above 0", section, "base")
    return shortest(base)


@register
class Exp(_Affine):
    """base ** (shift + scale * x); base -1 means e (Caffe: exp_layer.cpp)."""

    types = ("Exp",)
    acts_on = "values"
    reads_first = True
    base: float = -1.0

    @classmethod
    def read(cls, source: NetLayer) -> Exp:
        p = source.param.exp_param
        log = _logarithm_of(_checked_base(source, p.base, "exp_param"))
        return cls(p.scale * log, p.shift * log, p.base)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Exp", self.affine_onnx(g, x[0]))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"torch.exp({self.affine_torch(x[0])})"

    @property
    def gradient_reads(self) -> str:
        return "y"

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return f"dy * {self.scale!r} * y"


@register
class Log(_Affine):
    """log of (shift + scale * x) to a base; base -1 means e (Caffe: log_layer.cpp)."""

    types = ("Log",)
    acts_on = "values"
    reads_first = True
    base: float = -1.0

    @classmethod
    def read(cls, source: NetLayer) -> Log:
        p = source.param.log_param
        if p.base == 1:
            raise fault(source, "base is 1; no logarithm has it", "log_param", "base")
        return cls(shortest(p.scale), shortest(p.shift), _checked_base(source, p.base, "log_param"))

    @property
    def _factor(self) -> float:
        return 1 / _logarithm_of(self.base)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        y = g.op("Log", self.affine_onnx(g, x[0]))
        return g.op("Mul", y, g.scalar(self._factor, "factor")) if self._factor != 1 else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        y = f"torch.log({self.affine_torch(x[0])})"
        return f"{y} * {self._factor!r}" if self._factor != 1 else y

    @property
    def gradient_reads(self) -> str:
        return "x"

    @property
    def squares_in_place(self) -> bool:
        return True

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return f"dy * {self.scale * self._factor!r} / ({self.affine_torch('x')})"


@register
class ExpMax(Layer):
    """base ** (shift + scale * (x - the largest of the place's channels)), -1 being e (LiteFlowNet: expmax_layer.cu).

    The fork looks for the largest in the first item alone, and the others are less what its memory holds: a batch of
    one is converted. Its gradient takes the largest for a constant.
    """

    types = ("ExpMax",)
    acts_on = "channels"
    reads_first = True
    inner: float = 1.0
    outer: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> ExpMax:
        p, section = source.param.expmax_param, "expmax_param"
        log = _logarithm_of(_checked_base(source, p.base, section))
        if log * p.shift > math.log(np.finfo(np.float32).max):
            raise fault(
                source, f"base to the power of shift {p.shift:g} is more than a float32 holds", section, "shift"
            )
        return cls(log * p.scale, math.exp(log * p.shift))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) == 4, f"the bottom is {format_shape(inputs[0])}; expected 4 axes (N×C×H×W)")
        one = str(inputs[0][0]) == "1"
        require(one, f"{inputs[0][0]} items, of which the fork looks at the first alone; expected 1")
        return [inputs[0]]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        below = g.op("Sub", x[0], g.reduce("ReduceMax", x[0], [1]))
        y = g.op("Exp", g.op("Mul", below, g.scalar(self.inner, "inner")) if self.inner != 1 else below)
        return g.op("Mul", y, g.scalar(self.outer, "outer")) if self.outer != 1 else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        below = f"({x[0]} - {x[0]}.detach().amax(1, keepdim=True))"
        factors = [f" * {value!r}" if value != 1 else "" for value in (self.inner, self.outer)]
        return f"torch.exp({below}{factors[0]}){factors[1]}"


@register
class NegSquare(Layer):
    """-x² (LiteFlowNet: negsquare_layer.cu)."""

    types = ("NegSquare",)
    acts_on = "values"
    reads_first = True

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Neg", g.op("Mul", x[0], x[0]))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"-({x[0]} * {x[0]})"

    @property
    def gradient_reads(self) -> str:
        return "x"

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return "dy * -2 * x"
