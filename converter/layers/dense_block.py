"""DenseNet's block in one layer (caffe_ocr's fork: DenseBlock_layer.cpp and .cu)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, fault, filler, register, require, unsupported
from converter.node import Layer, Parameter
from converter.tensor import Tensor
from converter.traits import KeptStatistics
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter

if TYPE_CHECKING:
    from converter.node import Node

EPS = 1e-5
MOST_TRANSITIONS = 1000
_MSRA = FillerParameter(type="msra")
_NEAR_ONE = FillerParameter(type="uniform", min=0.5, max=1.5)
_NEAR_ZERO = FillerParameter(type="gaussian", std=0.1)


@register
class DenseBlock(Layer):
    """`numTransition` times: normalise, rectify and convolve all channels so far, and put the result behind them.

    The convolution makes `growthRate` channels in windows of 3×3, and is one in the mathematical sense: its filters are
    turned by half a circle, other than Convolution's. With `use_BC` a convolution of 1×1 to four times as many channels
    goes before, with a normalisation and rectification of its own.

    Blobs come in groups, each with one for every transition: filters, factors, summands, means, variances, for `use_BC`
    the same five of the 1×1 convolution and what is behind it; the last is the statistics' scale factor. The CPU's code
    divides by it, the GPU's neither counts nor reads it, so that it is 0 in what was trained there: it is 1 then.
    """

    types = ("DenseBlock",)
    keeps_statistics = True
    num_transition: int = 1
    growth_rate: int = 1
    use_bc: bool = False
    fillers: tuple[FillerParameter | None, ...] = field(default=(None, None, None), repr=False)

    @property
    def untrainable(self) -> str:
        return "how its statistics move in training is not known here"

    @property
    def statistics(self) -> Sequence[KeptStatistics]:
        kinds = ("", "inner_") if self.use_bc else ("",)
        return [
            KeptStatistics(f"{kind}mean_{i}", f"{kind}variance_{i}", f"{kind}norms.{i}", EPS, factor_of_none=1.0)
            for i in range(self.num_transition)
            for kind in kinds
        ]

    @classmethod
    def read(cls, source: NetLayer) -> DenseBlock:
        p, section = source.param.denseblock_param, "denseblock_param"
        at_least_one(source, section, "numTransition", "growthRate")
        if p.numTransition > MOST_TRANSITIONS:
            message = f"numTransition is {p.numTransition}; expected at most {MOST_TRANSITIONS}"
            raise unsupported(source, message, section, "numTransition")
        fixed = {"filter_H": 3, "filter_W": 3, "pad_h": 1, "pad_w": 1, "conv_verticalStride": 1}
        for name, value in {**fixed, "conv_horizentalStride": 1}.items():
            if getattr(p, name) != value:
                raise fault(source, f"{name} is {getattr(p, name)}; the layer has always {value}", section, name)
        fillers = tuple(filler(p, name) for name in ("Filter_Filler", "BN_Scaler_Filler", "BN_Bias_Filler"))
        return cls(p.numTransition, p.growthRate, p.use_BC, fillers)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x = inputs[0]
        require(len(x) == 4, f"the bottom is {format_shape(x)}; expected 4 axes (N×C×H×W)")
        require(not is_free(x[1]), "the number of channels can't be left free")
        return [(x[0], x[1] + self.num_transition * self.growth_rate, *x[2:])]

    def _channels(self, shape: Shape) -> list[int]:
        """How many each transition reads."""
        return [int(shape[1]) + i * self.growth_rate for i in range(self.num_transition)]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        wide, inner = self._channels(inputs[0]), 4 * self.growth_rate
        read = [inner] * self.num_transition if self.use_bc else wide
        found = [self._filter(f"filter_{i}", (self.growth_rate, c, 3, 3)) for i, c in enumerate(read)]
        found += self._statistics("", wide)
        if self.use_bc:
            found += [self._filter(f"inner_filter_{i}", (inner, c, 1, 1)) for i, c in enumerate(wide)]
            found += self._statistics("inner_", [inner] * self.num_transition)
        return (*found, Parameter("scale_factor", (1,)))

    def _filter(self, name: str, shape: Shape) -> Parameter:
        return Parameter(name, shape, self.fillers[0] or _MSRA)

    def _statistics(self, prefix: str, channels: Sequence[int]) -> list[Parameter]:
        _, factor, summand = self.fillers
        kinds = {
            "gamma": factor or _NEAR_ONE,
            "beta": summand or _NEAR_ZERO,
            "mean": _NEAR_ZERO,
            "variance": _NEAR_ONE,
        }
        return [
            Parameter(f"{prefix}{kind}_{i}", (1, c, 1, 1), made)
            for kind, made in kinds.items()
            for i, c in enumerate(channels)
        ]

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        n, _, h, w = inputs[0]
        wide, inner = self._channels(inputs[0]), 4 * self.growth_rate
        if not self.use_bc:
            return n * h * w * sum(9 * self.growth_rate * c for c in wide)
        return n * h * w * sum(inner * c + 9 * self.growth_rate * inner for c in wide)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        y = x[0]
        for i in range(self.num_transition):
            part = self._onnx_rectified(g, node, y, f"{i}")
            if self.use_bc:
                part = g.op("Conv", part, g.weight(node.tensors[f"inner_filter_{i}"]), kernel_shape=(1, 1))
                part = self._onnx_rectified(g, node, part, f"{i}", "inner_")
            kernel = g.weight(_turned(node.tensors[f"filter_{i}"]))
            part = g.op("Conv", part, kernel, kernel_shape=(3, 3), pads=(1, 1, 1, 1))
            y = g.op("Concat", y, part, axis=1)
        return y

    def _onnx_rectified(self, g: OnnxOps, node: Node, x: str, which: str, prefix: str = "") -> str:
        norm = [g.weight(t) for t in _normalisation(node, which, prefix).values()]
        return g.op("Relu", g.op("BatchNormalization", x, *norm, epsilon=EPS))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("DenseBlock", DENSE_BLOCK)
        state: dict[str, Tensor | npt.NDArray[Any]] = {}
        for i in range(self.num_transition):
            state[f"convolutions.{i}.weight"] = _turned(node.tensors[f"filter_{i}"])
            state.update(_torch_norm(node, f"{i}", f"norms.{i}"))
            if self.use_bc:
                state[f"inner_convolutions.{i}.weight"] = node.tensors[f"inner_filter_{i}"]
                state.update(_torch_norm(node, f"{i}", f"inner_norms.{i}", "inner_"))
        options = {"bottleneck": True} if self.use_bc else {}
        module = t.module(
            "DenseBlock", int(node.shape[1]), self.growth_rate, self.num_transition, state=state, **options
        )
        return f"{module}({x[0]})"


def _turned(tensor: Tensor) -> Tensor:
    """Filters turned by half a circle, as a correlation wants them."""
    return tensor.map(lambda w: w[:, :, ::-1, ::-1])


def _normalisation(node: Node, which: str, prefix: str) -> dict[str, Tensor]:
    """Gamma, beta, mean and variance of one transition, in ONNX's order; the scale factor is divided out."""
    factor = node.tensors["scale_factor"]

    def divided(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        by = float(factor.load().reshape(-1)[0]) or 1.0
        return values.astype(np.float64) / by

    made = {}
    for kind in ("gamma", "beta", "mean", "variance"):
        tensor = node.tensors[f"{prefix}{kind}_{which}"]
        flat = (int(tensor.shape[1]),)
        made[kind] = tensor.map(divided if kind in ("mean", "variance") else lambda a: a, flat)
    return made


_TORCH_NAMES = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}


def _torch_norm(node: Node, which: str, module: str, prefix: str = "") -> dict[str, Tensor | npt.NDArray[Any]]:
    state: dict[str, Tensor | npt.NDArray[Any]] = {
        f"{module}.{_TORCH_NAMES[kind]}": tensor for kind, tensor in _normalisation(node, which, prefix).items()
    }
    state[f"{module}.num_batches_tracked"] = np.asarray(0, np.int64)
    return state


DENSE_BLOCK = '''
class DenseBlock(nn.Module):
    """Each transition normalises, rectifies and convolves all channels so far and puts the result behind them."""

    def __init__(self, channels, growth, transitions, bottleneck=False):
        super().__init__()
        wide = [channels + i * growth for i in range(transitions)]
        read = [4 * growth] * transitions if bottleneck else wide
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in wide)
        self.convolutions = nn.ModuleList(nn.Conv2d(c, growth, 3, padding=1, bias=False) for c in read)
        inner = wide if bottleneck else []
        self.inner_convolutions = nn.ModuleList(nn.Conv2d(c, 4 * growth, 1, bias=False) for c in inner)
        self.inner_norms = nn.ModuleList(nn.BatchNorm2d(4 * growth) for _ in inner)

    def forward(self, x):
        for i, (norm, convolution) in enumerate(zip(self.norms, self.convolutions)):
            y = F.relu(norm(x))
            if len(self.inner_norms):
                y = F.relu(self.inner_norms[i](self.inner_convolutions[i](y)))
            x = torch.cat([x, convolution(y)], dim=1)
        return x
'''
