"""Layers that work on each value alone: rectifiers, sigmoids, thresholds (Caffe: neuron layers)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from converter.graph import Shape, format_shape
from converter.layers.base import OnnxOps, TorchOps, fault, filler, register, require, shortest, unsupported
from converter.matching.operation import Operation
from converter.node import Layer, Parameter, by_message_alone
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter

if TYPE_CHECKING:
    from converter.node import Node


@register
class ReLU(Layer):
    """max(x, 0), or negative_slope * x below 0 (Caffe: relu_layer.cpp).

    Synopsys' fork bounds the result: `relu6` and a `maximum` above 0 from above, a `minimum` other than 0 from below.
    With a second top, as in DeconvNet's fork, that is 1 where x is above 0, else 0.
    """

    types = ("ReLU",)
    tops = (1, 2)
    acts_on = "values"
    reads_first = True
    negative_slope: float = 0.0
    maximum: float | None = None
    minimum: float | None = None

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> ReLU:
        p = source.param.relu_param
        bounds = [6.0] * p.relu6 + [shortest(p.maximum)] * (p.maximum > 0)
        most, least = min(bounds, default=None), shortest(p.minimum) if p.minimum else None
        if len(source.tops) == 2:
            cls = MaskedReLU
            if p.negative_slope < 0:
                message = "a second top with a negative_slope below 0; expected 0 or more"
                raise unsupported(source, message, "relu_param", "negative_slope")
        return cls(shortest(p.negative_slope), most if least is None or most is None else max(most, least), least)

    def computes(self, node: Node) -> Operation:
        return Operation(
            "rectifier", {"slope": self.negative_slope, "lower bound": self.minimum, "upper bound": self.maximum}
        )

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str | list[str]:
        y = g.op("LeakyRelu", x[0], alpha=self.negative_slope) if self.negative_slope else g.op("Relu", x[0])
        least = "" if self.minimum is None else g.scalar(self.minimum, "least")
        most = [] if self.maximum is None else [g.scalar(self.maximum, "most")]
        return g.op("Clip", y, least, *most) if least or most else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str | list[str]:
        if self.maximum == 6 and not self.negative_slope and self.minimum is None:
            return f"{t.module('nn.ReLU6')}({x[0]})"
        rectified = t.module("nn.LeakyReLU", self.negative_slope) if self.negative_slope else t.module("nn.ReLU")
        bounds = [f"{name}={v!r}" for name, v in (("min", self.minimum), ("max", self.maximum)) if v is not None]
        return f"{rectified}({x[0]})" + (f".clamp({', '.join(bounds)})" if bounds else "")

    @property
    def gradient_reads(self) -> str:
        return "x" if self.minimum is self.maximum is None else ""

    @property
    def keeps_gradient_in_place(self) -> bool:
        return self.negative_slope >= 0

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return f"dy * torch.where(x > 0, 1.0, {self.negative_slope!r})"


class MaskedReLU(ReLU):
    """A ReLU whose second top says where its bottom is above 0 (DeconvNet's fork: relu_layer.cpp)."""

    def computes(self, node: Node) -> Operation:
        return Layer.computes(self, node)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [inputs[0], inputs[0]]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        mask = g.op("Cast", g.op("Greater", x[0], g.scalar(0.0, "zero")), to=1)
        return [str(super().onnx(g, node, *x)), mask]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        return [str(super().torch(t, node, *x)), f"({x[0]} > 0).to({x[0]}.dtype)"]


@register
class PReLU(Layer):
    """A learned slope below 0, one a channel or one for all (Caffe: prelu_layer.cpp). Channels are axis 1."""

    types = ("PReLU",)
    acts_on = "channels"
    reads_first = True
    keeps_bottom = True
    channel_shared: bool = False
    slope_filler: FillerParameter | None = field(default=None, repr=False)

    @property
    def rereads(self) -> bool:
        return True

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> PReLU:
        p = source.param.prelu_param
        default = FillerParameter(type="constant", value=0.25)
        return cls(p.channel_shared, filler(p, "filler") or default)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) >= 2, f"the bottom is {format_shape(inputs[0])}; expected at least 2 axes")
        return list(inputs)

    def computes(self, node: Node) -> Operation:
        return Operation("learned rectifier", {"slopes": 1 if self.channel_shared else int(node.shape[1])})

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        return (Parameter("weight", () if self.channel_shared else (inputs[0][1],), self.slope_filler),)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        # PRelu broadcasts its slope from the last axis, so a slope a channel needs an axis of 1 for each axis behind.
        shape = (1,) if self.channel_shared else (node.shape[1], *[1] * (len(node.shape) - 2))
        return g.op("PRelu", x[0], g.weight(node.tensors["weight"].reshaped(shape)))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        channels = 1 if self.channel_shared else node.shape[1]
        weight = node.tensors["weight"].reshaped((channels,))
        return f"{t.module('nn.PReLU', channels, state={'weight': weight})}({x[0]})"


@register
class ELU(Layer):
    """x above 0, alpha * (exp(x) - 1) at and below 0 (Caffe: elu_layer.cpp); in NVIDIA's fork times `lambda`."""

    types = ("ELU",)
    acts_on = "values"
    reads_first = True
    alpha: float = 1.0
    factor: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> ELU:
        p = source.param.elu_param
        return cls(shortest(p.alpha), shortest(getattr(p, "lambda")))

    @property
    def untrainable(self) -> str:
        return "with a lambda NVIDIA's gradient is not that of what it computes" if self.factor != 1 else ""

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        y = g.op("Elu", x[0], alpha=self.alpha)
        return y if self.factor == 1 else g.op("Mul", y, g.scalar(self.factor, "lambda"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        y = f"{t.module('nn.ELU', self.alpha)}({x[0]})"
        return y if self.factor == 1 else f"{self.factor!r} * {y}"

    @property
    def gradient_reads(self) -> str:
        return "xy"

    @property
    def keeps_gradient_in_place(self) -> bool:
        return self.alpha >= 0

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return f"dy * torch.where(x > 0, 1.0, {self.alpha!r} + y)"


class _Plain(Layer):
    """A function without parameters that both targets have."""

    def computes(self, node: Node) -> Operation:
        return Operation(_TORCH_NAMES[type(self).__name__].rpartition(".")[2])

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op(_ONNX_NAMES[type(self).__name__], x[0])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{_TORCH_NAMES[type(self).__name__]}({x[0]})"


_ONNX_NAMES = {"Sigmoid": "Sigmoid", "TanH": "Tanh", "AbsVal": "Abs", "BNLL": "Softplus"}
_TORCH_NAMES = {"Sigmoid": "torch.sigmoid", "TanH": "torch.tanh", "AbsVal": "torch.abs", "BNLL": "F.softplus"}


@register
class Sigmoid(_Plain):
    """1 / (1 + exp(-x)) (Caffe: sigmoid_layer.cpp)."""

    types = ("Sigmoid",)
    acts_on = "values"
    reads_first = True

    @property
    def gradient_reads(self) -> str:
        return "y"

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return "dy * y * (1 - y)"


@register
class TanH(_Plain):
    """Hyperbolic tangent (Caffe: tanh_layer.cpp)."""

    types = ("TanH",)
    acts_on = "values"
    reads_first = True

    @property
    def gradient_reads(self) -> str:
        return "y"

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return "dy * (1 - y * y)"


@register
class AbsVal(_Plain):
    """|x| (Caffe: absval_layer.cpp)."""

    types = ("AbsVal",)
    acts_on = "values"
    reads_first = True

    @property
    def gradient_reads(self) -> str:
        return "x"

    @property
    def squares_in_place(self) -> bool:
        return True

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return "dy * x.sign()"


@register
class BNLL(_Plain):
    """log(1 + exp(x)), the binomial normal log likelihood (Caffe: bnll_layer.cpp)."""

    types = ("BNLL",)
    acts_on = "values"
    reads_first = True

    @property
    def gradient_reads(self) -> str:
        return "x"

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return "dy * x.sigmoid()"


@register
class Threshold(Layer):
    """1 above the threshold, else 0 (Caffe: threshold_layer.cpp)."""

    types = ("Threshold",)
    acts_on = "values"
    reads_first = True
    threshold: float = 0.0

    @classmethod
    def read(cls, source: NetLayer) -> Threshold:
        return cls(shortest(source.param.threshold_param.threshold))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Cast", g.op("Greater", x[0], g.scalar(self.threshold, "threshold")), to=1)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"({x[0]} > {self.threshold!r}).to({x[0]}.dtype)"


@register
class Clip(Layer):
    """x held between min and max (Caffe: clip_layer.cpp)."""

    types = ("Clip",)
    acts_on = "values"
    reads_first = True
    min: float = 0.0
    max: float = 0.0

    @classmethod
    def read(cls, source: NetLayer) -> Clip:
        p = source.param.clip_param
        for name in ("min", "max"):
            if not p.HasField(name):
                raise fault(source, f"clip_param has no {name}; both min and max are required", "clip_param")
        return cls(shortest(p.min), shortest(p.max))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.op("Clip", x[0], g.scalar(self.min, "least"), g.scalar(self.max, "most"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]}.clamp({self.min!r}, {self.max!r})"

    def computes(self, node: Node) -> Operation:
        if self.min == 0:
            return Operation("rectifier", {"slope": 0.0, "lower bound": None, "upper bound": self.max})
        return super().computes(node)

    @property
    def gradient_reads(self) -> str:
        return "x"

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return f"dy * ((x >= {self.min!r}) & (x <= {self.max!r}))"


@register
class Swish(Layer):
    """x * sigmoid(beta * x) (Caffe: swish_layer.cpp)."""

    types = ("Swish",)
    acts_on = "values"
    reads_first = True
    beta: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> Swish:
        return cls(shortest(source.param.swish_param.beta))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        scaled = g.op("Mul", x[0], g.scalar(self.beta, "beta")) if self.beta != 1 else x[0]
        return g.op("Mul", x[0], g.op("Sigmoid", scaled))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]} * torch.sigmoid({self.beta!r} * {x[0]})"

    @property
    def gradient_reads(self) -> str:
        return "y"

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        s = t.let("sigmoid", f"torch.sigmoid({self.beta!r} * {bottom}.detach())")
        return f"dy * ({self.beta!r} * y + {s} * (1 - {self.beta!r} * y))"


@register
class Dropout(Layer):
    """Nothing at test time: Caffe scales by 1 / (1 - ratio) while it trains (Caffe: dropout_layer.cpp).

    With `scale_train: false` (R-FCN, SegNet) it is the other way round: times 1 - ratio at test time. With
    `sample_weights_test` (Bayesian SegNet) Caffe draws at test time too, and the user averages many runs; here it is
    the mean of all draws, with a warning.
    """

    types = ("Dropout",)
    acts_on = "values"
    keeps_signs = True
    reads_first = True
    dropout_ratio: float = 0.5
    scale_train: bool = True
    sample_weights_test: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> Dropout:
        p = source.param.dropout_param
        return cls(shortest(p.dropout_ratio), p.scale_train, p.sample_weights_test)

    @property
    def caution(self) -> str:
        draws = "draws at random at test time (sample_weights_test); here it is the mean of all draws"
        return draws if self.sample_weights_test else ""

    @property
    def _kept(self) -> float:
        return shortest(1 - self.dropout_ratio)

    def computes(self, node: Node) -> Operation:
        return Operation("identity") if self.scale_train else super().computes(node)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return x[0] if self.scale_train else g.op("Mul", x[0], g.scalar(self._kept, "kept"))

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        kept = f"{t.module('nn.Dropout', self.dropout_ratio)}({x[0]})"
        return kept if self.scale_train else f"{kept} * {self._kept!r}"

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.scale_train:
            return f"{t.module('nn.Dropout', self.dropout_ratio)}({x[0]})"
        return f"{x[0]} * {self._kept!r}"
