"""Layers that work on each value alone: rectifiers, sigmoids, powers (Caffe: neuron layers)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, format_shape
from converter.layers.base import Layer, OnnxOps, Parameter, TorchOps, fault, filler, register, require, shortest
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter

if TYPE_CHECKING:
    from converter.graph import Node


@register
@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0), or negative_slope * x below 0 (Caffe: relu_layer.cpp)."""

    types = ("ReLU",)
    negative_slope: float = 0.0

    @classmethod
    def read(cls, source: NetLayer) -> ReLU:
        return cls(shortest(source.param.relu_param.negative_slope))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("LeakyRelu", x[0], alpha=self.negative_slope) if self.negative_slope else g.op("Relu", x[0])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.negative_slope:
            return f"{t.module('nn.LeakyReLU', self.negative_slope)}({x[0]})"
        return f"{t.module('nn.ReLU')}({x[0]})"


@register
@dataclass(frozen=True)
class ReLU6(Layer):
    """min(max(x, 0), 6), of the MobileNet forks."""

    types = ("ReLU6",)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Clip", x[0], g.scalar(0.0, "least"), g.scalar(6.0, "most"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{t.module('nn.ReLU6')}({x[0]})"


@register
@dataclass(frozen=True)
class PReLU(Layer):
    """A learned slope below 0, one a channel or one for all (Caffe: prelu_layer.cpp). Channels are axis 1."""

    types = ("PReLU",)
    channel_shared: bool = False
    slope_filler: FillerParameter | None = field(default=None, repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> PReLU:
        p = source.param.prelu_param
        default = FillerParameter(type="constant", value=0.25)
        return cls(p.channel_shared, filler(p, "filler") or default)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) >= 2, f"the bottom is {format_shape(inputs[0])}; expected at least 2 axes")
        return list(inputs)

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        return (Parameter("weight", () if self.channel_shared else (inputs[0][1],), self.slope_filler),)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        # PRelu broadcasts its slope from the last axis, so a slope a channel needs an axis of 1 for each axis behind.
        shape = (1,) if self.channel_shared else (node.shape[1], *[1] * (len(node.shape) - 2))
        return g.op("PRelu", x[0], g.weight(node.tensors["weight"].map(lambda a: a, shape)))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        channels = 1 if self.channel_shared else node.shape[1]
        weight = node.tensors["weight"].map(lambda a: a, (channels,))
        return f"{t.module('nn.PReLU', channels, state={'weight': weight})}({x[0]})"


@register
@dataclass(frozen=True)
class ELU(Layer):
    """x above 0, alpha * (exp(x) - 1) at and below 0 (Caffe: elu_layer.cpp)."""

    types = ("ELU",)
    alpha: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> ELU:
        return cls(shortest(source.param.elu_param.alpha))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Elu", x[0], alpha=self.alpha)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{t.module('nn.ELU', self.alpha)}({x[0]})"


@dataclass(frozen=True)
class _Plain(Layer):
    """A function without parameters that both targets have."""

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op(_ONNX_NAMES[type(self).__name__], x[0])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{_TORCH_NAMES[type(self).__name__]}({x[0]})"


_ONNX_NAMES = {"Sigmoid": "Sigmoid", "TanH": "Tanh", "AbsVal": "Abs", "BNLL": "Softplus"}
_TORCH_NAMES = {"Sigmoid": "torch.sigmoid", "TanH": "torch.tanh", "AbsVal": "torch.abs", "BNLL": "F.softplus"}


@register
@dataclass(frozen=True)
class Sigmoid(_Plain):
    """1 / (1 + exp(-x)) (Caffe: sigmoid_layer.cpp)."""

    types = ("Sigmoid",)


@register
@dataclass(frozen=True)
class TanH(_Plain):
    """Hyperbolic tangent (Caffe: tanh_layer.cpp)."""

    types = ("TanH",)


@register
@dataclass(frozen=True)
class AbsVal(_Plain):
    """|x| (Caffe: absval_layer.cpp)."""

    types = ("AbsVal",)


@register
@dataclass(frozen=True)
class BNLL(_Plain):
    """log(1 + exp(x)), the binomial normal log likelihood (Caffe: bnll_layer.cpp)."""

    types = ("BNLL",)


@dataclass(frozen=True)
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
@dataclass(frozen=True)
class Power(_Affine):
    """(shift + scale * x) ** power; a constant when power or scale is 0 (Caffe: power_layer.cpp)."""

    types = ("Power",)
    power: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> Power:
        p = source.param.power_param
        return cls(shortest(p.scale), shortest(p.shift), shortest(p.power))

    @property
    def _constant(self) -> float | None:
        if self.power == 0:
            return 1.0
        return float(np.power(np.float64(self.shift), self.power)) if self.scale == 0 else None

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if self._constant is not None:
            return g.op("Expand", g.scalar(self._constant, "value"), g.op("Shape", x[0]))
        y = self.affine_onnx(g, x[0])
        return g.op("Pow", y, g.scalar(self.power, "power")) if self.power != 1 else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self._constant is not None:
            return f"torch.full_like({x[0]}, {self._constant!r})"
        affine = self.affine_torch(x[0])
        return f"({affine}) ** {self.power!r}" if self.power != 1 else affine


def _logarithm_of(base: float) -> float:
    """ln(base); Caffe writes e as -1."""
    return 1.0 if base == -1 else math.log(base)


def _checked_base(source: NetLayer, base: float, section: str) -> float:
    if base != -1 and not 0 < base < math.inf:
        raise fault(source, f"base is {base:g}; expected -1 (for e) or a number above 0", section, "base")
    return shortest(base)


@register
@dataclass(frozen=True)
class Exp(_Affine):
    """base ** (shift + scale * x); base -1 means e (Caffe: exp_layer.cpp)."""

    types = ("Exp",)
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


@register
@dataclass(frozen=True)
class Log(_Affine):
    """log of (shift + scale * x) to a base; base -1 means e (Caffe: log_layer.cpp)."""

    types = ("Log",)
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


@register
@dataclass(frozen=True)
class Threshold(Layer):
    """1 above the threshold, else 0 (Caffe: threshold_layer.cpp)."""

    types = ("Threshold",)
    threshold: float = 0.0

    @classmethod
    def read(cls, source: NetLayer) -> Threshold:
        return cls(shortest(source.param.threshold_param.threshold))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Cast", g.op("Greater", x[0], g.scalar(self.threshold, "threshold")), to=1)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"({x[0]} > {self.threshold!r}).to({x[0]}.dtype)"


@register
@dataclass(frozen=True)
class Clip(Layer):
    """x held between min and max (Caffe: clip_layer.cpp)."""

    types = ("Clip",)
    least: float = 0.0
    most: float = 0.0

    @classmethod
    def read(cls, source: NetLayer) -> Clip:
        p = source.param.clip_param
        for name in ("min", "max"):
            if not p.HasField(name):
                raise fault(source, f"clip_param has no {name}; both min and max are required", "clip_param")
        return cls(shortest(p.min), shortest(p.max))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Clip", x[0], g.scalar(self.least, "least"), g.scalar(self.most, "most"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]}.clamp({self.least!r}, {self.most!r})"


@register
@dataclass(frozen=True)
class Swish(Layer):
    """x * sigmoid(beta * x) (Caffe: swish_layer.cpp)."""

    types = ("Swish",)
    beta: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> Swish:
        return cls(shortest(source.param.swish_param.beta))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        scaled = g.op("Mul", x[0], g.scalar(self.beta, "beta")) if self.beta != 1 else x[0]
        return g.op("Mul", x[0], g.op("Sigmoid", scaled))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]} * torch.sigmoid({self.beta!r} * {x[0]})"


@register
@dataclass(frozen=True)
class HardSigmoid(Layer):
    """alpha * x + beta, held between 0 and 1 (forks: hard_sigmoid_layer.cpp)."""

    types = ("HardSigmoid",)
    alpha: float = 0.2
    beta: float = 0.5

    @classmethod
    def read(cls, source: NetLayer) -> HardSigmoid:
        p = source.param.hardsigmoid_param
        return cls(shortest(p.alpha), shortest(p.beta))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("HardSigmoid", x[0], alpha=self.alpha, beta=self.beta)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"({self.alpha!r} * {x[0]} + {self.beta!r}).clamp(0.0, 1.0)"


@register
@dataclass(frozen=True)
class HardSwish(Layer):
    """x * min(max(x + 3, 0), 6) / 6 (forks: hard_swish_layer.cpp)."""

    types = ("HardSwish",)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if g.opset >= 14:
            return g.op("HardSwish", x[0])
        return g.op("Mul", x[0], g.op("HardSigmoid", x[0], alpha=1 / 6, beta=0.5))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{t.module('nn.Hardswish')}({x[0]})"


@register
@dataclass(frozen=True)
class Dropout(Layer):
    """Nothing at test time: Caffe scales by 1 / (1 - ratio) while it trains (Caffe: dropout_layer.cpp)."""

    types = ("Dropout",)
    ratio: float = 0.5

    @classmethod
    def read(cls, source: NetLayer) -> Dropout:
        return cls(shortest(source.param.dropout_param.dropout_ratio))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return x[0]

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{t.module('nn.Dropout', self.ratio)}({x[0]})"
