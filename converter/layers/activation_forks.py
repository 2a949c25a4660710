"""Forks' layers that work on each value alone: bounded and scaled units, and dropout of other kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, format_shape
from converter.layers.activation import ReLU
from converter.layers.base import OnnxOps, TorchOps, fault, register, require, shortest, unsupported
from converter.node import Layer
from prototxt import NetLayer
from prototxt.param_dict import dict_of

if TYPE_CHECKING:
    from converter.node import Node

USUAL = (np.float32(1.0507009873554805), np.float32(1.6732632423543772))
"""Lambda and alpha for which mean 0 and variance 1 reproduce themselves; all that torch knows."""


@register
class Mish(Layer):
    """x * tanh(log(1 + exp(x))) (YOLO v4's forks, Synopsys': mish_layer.cpp)."""

    types = ("Mish",)
    acts_on = "values"
    reads_first = True

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Mul", x[0], g.op("Tanh", g.op("Softplus", x[0])))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"F.mish({x[0]})"


@register
class ReLU6(ReLU):
    """min(max(x, 0), 6), of the MobileNet forks; inisis' has a slope and another threshold (relu6_layer.cpp)."""

    types = ("ReLU6",)
    tops = (1, 1)
    reads_first = True

    @classmethod
    def read(cls, source: NetLayer) -> ReLU6:
        p = source.param.relu6_param
        return cls(shortest(p.negative_slope), shortest(p.threshold))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str | list[str]:
        if self.negative_slope or self.maximum is None or self.maximum < 0:
            return super().onnx(g, node, *x)
        return g.op("Clip", x[0], g.scalar(0.0, "least"), g.scalar(self.maximum, "most"))


@register
class HardSigmoid(Layer):
    """alpha * x + beta, held between 0 and 1 (forks: hard_sigmoid_layer.cpp)."""

    types = ("HardSigmoid",)
    acts_on = "values"
    reads_first = True
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
class HardSwish(Layer):
    """x * min(max(x + 3, 0), 6) / 6 (forks: hard_swish_layer.cpp)."""

    types = ("HardSwish",)
    acts_on = "values"
    reads_first = True

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if g.opset >= 14:
            return g.op("HardSwish", x[0])
        return g.op("Mul", x[0], g.op("HardSigmoid", x[0], alpha=1 / 6, beta=0.5))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{t.module('nn.Hardswish')}({x[0]})"


@register
class SeLu(Layer):
    """lambda * x above 0, lambda * alpha * (exp(x) - 1) at and below 0 (soeaver's fork: selu_layer.cpp)."""

    types = ("SeLu",)
    acts_on = "values"
    reads_first = True
    factor: float = float(USUAL[0])
    alpha: float = float(USUAL[1])

    @classmethod
    def read(cls, source: NetLayer) -> SeLu:
        p = source.param.selu_param
        return cls(shortest(getattr(p, "lambda")), shortest(p.alpha))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Selu", x[0], gamma=self.factor, alpha=self.alpha)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if (np.float32(self.factor), np.float32(self.alpha)) == USUAL:
            return f"{t.module('nn.SELU')}({x[0]})"
        return f"{self.factor!r} * {t.module('nn.ELU', self.alpha)}({x[0]})"


@register
class SeLuDropout(Layer):
    """Nothing at test time: dropout that keeps SeLu's mean and variance (soeaver's fork: selu_dropout_layer.cpp)."""

    types = ("SeLuDropout",)
    acts_on = "values"
    reads_first = True
    dropout_ratio: float = 0.1
    alpha: float = -1.75809934

    @classmethod
    def read(cls, source: NetLayer) -> SeLuDropout:
        p = source.param.selu_dropout_param
        if not 0 < p.dropout_ratio < 1:
            message = f"dropout_ratio is {shortest(p.dropout_ratio):g}; expected a number between 0 and 1"
            raise fault(source, message, "selu_dropout_param", "dropout_ratio")
        return cls(shortest(p.dropout_ratio), shortest(p.alpha))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return x[0]

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        # alpha is lambda * alpha of SeLu, to which nn.AlphaDropout is tied.
        return f"{t.module('nn.AlphaDropout', self.dropout_ratio)}({x[0]})"


@register
class Insanity(ReLU):
    """x above 0, else x / m, where m is the logarithmic mean of the bounds `lb` and `ub` (happynear's fork).

    m = (ub - lb) / (log|ub| - log|lb|) at test time; in training each value is divided by a number of its own, drawn
    between the bounds (insanity_layer.cpp).
    """

    types = ("Insanity",)
    tops = (1, 1)
    reads_first = True

    @classmethod
    def read(cls, source: NetLayer) -> Insanity:
        p = source.param.insanity_param
        low, high = np.float32(p.lb), np.float32(p.ub)
        if not low < high or low * high == 0:
            message = f"lb is {low:g} and ub {high:g}; expected numbers other than 0, the second above the first"
            raise fault(source, message, "insanity_param", "lb" if p.HasField("lb") else "ub")
        return cls(shortest((np.log(abs(high)) - np.log(abs(low))) / (high - low)))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) >= 2, f"the bottom is {format_shape(inputs[0])}; expected N×C×…")
        return [inputs[0]]

    @property
    def untrainable(self) -> str:
        return "in training what it divides by is drawn at random for each value"


@register
class NegReLU(Layer):
    """min(x, 0), plus negative_slope * x above 0 (iResNet's fork: neg_relu_layer.cpp)."""

    types = ("NegReLU",)
    acts_on = "values"
    reads_first = True
    negative_slope: float = 0.0

    @classmethod
    def read(cls, source: NetLayer) -> NegReLU:
        return cls(shortest(source.param.relu_param.negative_slope))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if not self.negative_slope:
            return g.op("Min", x[0], g.scalar(0.0, "zero"))
        return g.op("Neg", g.op("LeakyRelu", g.op("Neg", x[0]), alpha=self.negative_slope))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"-F.leaky_relu(-{x[0]}, {self.negative_slope!r})"

    @property
    def gradient_reads(self) -> str:
        return "x"

    @property
    def keeps_gradient_in_place(self) -> bool:
        return self.negative_slope >= 0

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return f"dy * torch.where(x < 0, 1.0, {self.negative_slope!r})"


@register
class BReLU(Layer):
    """min(max(x, minval), maxval) (DehazeNet's and FPCNet's forks: brelu_layer.cpp)."""

    types = ("BReLU",)
    acts_on = "values"
    reads_first = True
    minval: float = 0.0
    maxval: float = 0.0

    @classmethod
    def read(cls, source: NetLayer) -> BReLU:
        p = source.param.brelu_param
        if p.minval > p.maxval:
            message = f"minval is {shortest(p.minval):g}, above maxval, {shortest(p.maxval):g}"
            raise fault(source, message, "brelu_param", "minval")
        return cls(shortest(p.minval), shortest(p.maxval))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Clip", x[0], g.scalar(self.minval, "least"), g.scalar(self.maxval, "most"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{t.module('nn.Hardtanh', self.minval, self.maxval)}({x[0]})"


@register
class Quant(Layer):
    """Values in steps, as HWGQ's fork has them between its layers (quant_layer.cpp).

    `hwgq` gives the first of the `centers` whose threshold, the middle between it and the next, is not below x; the
    last above all, and -negative_slope where x is not above 0. `sign` gives 1 from 0 on and -1 below, `hard_tanh`
    bounds x by -1 and 1, `relu` has a slope below 0.
    """

    types = ("Quant",)
    acts_on = "values"
    reads_first = True
    function: str = "hwgq"
    negative_slope: float = 0.0
    centers: tuple[float, ...] = ()

    @classmethod
    def read(cls, source: NetLayer) -> Quant:
        p, section = source.param.quant_param, "quant_param"
        if p.forward_func not in ("hwgq", "sign", "hard_tanh", "relu"):
            known = "hwgq, sign, hard_tanh or relu"
            raise fault(source, f"forward_func is {p.forward_func!r}; expected {known}", section, "forward_func")
        if p.forward_func == "hwgq" and not (p.centers and min(p.centers) > 0):
            raise fault(source, "centers are not all above 0; expected one at least", section)
        return cls(p.forward_func, shortest(p.negative_slope), tuple(map(shortest, p.centers)))

    @property
    def untrainable(self) -> str:
        return "its fork's gradient is that of backward_func, not the derivative"

    def _steps(self) -> list[tuple[float, float]]:
        """Thresholds and what the top is up to each, from below; the last of the centers is what remains."""
        c = np.asarray(self.centers, np.float32)
        middles = ((c[:-1] + c[1:]) / 2).tolist()
        return [(0.0, -self.negative_slope), *zip(middles, c[:-1].tolist(), strict=True)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if self.function == "hard_tanh":
            return g.op("Clip", x[0], g.scalar(-1.0, "least"), g.scalar(1.0, "most"))
        if self.function == "relu":
            return g.op("LeakyRelu", x[0], alpha=self.negative_slope)
        if self.function == "sign":
            above = g.op("GreaterOrEqual", x[0], g.scalar(0.0, "zero"))
            return g.op("Where", above, g.scalar(1.0, "one"), g.scalar(-1.0, "minus_one"))
        y = g.scalar(self.centers[-1], "center")
        for threshold, value in reversed(self._steps()):
            up_to = g.op("LessOrEqual", x[0], g.scalar(threshold, "threshold"))
            y = g.op("Where", up_to, g.scalar(value, "center"), y)
        return y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.function == "hard_tanh":
            return f"{t.module('nn.Hardtanh')}({x[0]})"
        if self.function == "relu":
            return f"{t.module('nn.LeakyReLU', self.negative_slope)}({x[0]})"
        if self.function == "sign":
            return f"(({x[0]} >= 0).to({x[0]}.dtype) * 2 - 1)"
        y = f"torch.full_like({x[0]}, {self.centers[-1]!r})"
        for threshold, value in reversed(self._steps()):
            y = t.let("stepped", f"torch.where({x[0]} <= {threshold!r}, {value!r}, {y})")
        return y


@register
class SpatialDropout(Layer):
    """x / (1 - p): ENet's dropout of whole channels scales at test time as well (ENet: spatial_dropout.py).

    `param_str` says p and the phase; in TRAIN channels are dropped at random, and nothing can be compared.
    """

    types = ("Python spatial_dropout.SpatialDropoutLayer",)
    acts_on = "values"
    reads_first = True
    factor: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> SpatialDropout:
        said = dict_of(source)
        where = ("python_param", "param_str")
        try:
            p = float(str(said["p"]))
        except (KeyError, ValueError):
            raise fault(source, "param_str gives no number p; expected one between 0 and 1", *where) from None
        if not 0 < p < 1:
            raise fault(source, f"p is {p:g}; expected a number between 0 and 1", *where)
        if said.get("phase") == "TRAIN":
            raise unsupported(source, "phase TRAIN in param_str, which drops at random; expected TEST", *where)
        return cls(shortest(1 / (1 - p)))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Mul", x[0], g.scalar(self.factor, "factor"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]} * {self.factor!r}"
