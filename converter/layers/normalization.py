"""Batch normalisation and local response normalisation (Caffe: batch_norm_layer.cpp, lrn_layer.cpp)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from converter.graph import Array, Shape, Tensor, constant, count, format_shape
from converter.layers.base import Layer, OnnxOps, Parameter, TorchOps, fault, register, require, shortest
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter, LRNParameter

if TYPE_CHECKING:
    from converter.graph import Node

_ZERO = FillerParameter(type="constant", value=0)


@register
@dataclass(frozen=True)
class BatchNorm(Layer):
    """(x - mean / f) / sqrt(variance / f + eps), f being the stored scale factor (Caffe: batch_norm_layer.cpp).

    A factor of 0, of a layer that never saw a batch, counts as 1 / f = 0: mean and variance are 0 then, and the top is
    x / sqrt(eps). With `use_global_stats: false` the statistics of the batch itself are used, at test time too. Gamma
    and beta are not Caffe's own: a pass takes them from the Scale layer behind.
    """

    types = ("BatchNorm",)
    eps: float = 1e-5
    global_statistics: bool = True

    @classmethod
    def read(cls, source: NetLayer) -> BatchNorm:
        p = source.param.batch_norm_param
        return cls(shortest(p.eps), p.use_global_stats if p.HasField("use_global_stats") else True)

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        channels = inputs[0][1] if len(inputs[0]) > 1 else 1
        return (
            Parameter("mean", (channels,), _ZERO),
            Parameter("variance", (channels,), _ZERO),
            Parameter("scale_factor", (1,), _ZERO),
        )

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if not self.global_statistics:
            return self._onnx_of_batch(g, node, x[0])
        flat = len(node.shape) < 2
        y = g.unsqueeze(x[0], [1]) if flat else x[0]
        y = g.op("BatchNormalization", y, *(g.weight(t) for t in normalisation(node).values()), epsilon=self.eps)
        return g.reshape(y, (*node.shape, 1), node.shape) if flat else y

    def _onnx_of_batch(self, g: OnnxOps, node: Node, x: str) -> str:
        axes = [i for i in range(len(node.shape)) if i != 1]
        centred = g.op("Sub", x, g.reduce("ReduceMean", x, axes))
        variance = g.reduce("ReduceMean", g.op("Mul", centred, centred), axes)
        y = g.op("Div", centred, g.op("Sqrt", g.op("Add", variance, g.scalar(self.eps, "eps"))))
        shape = _beside(node)
        for op, name in (("Mul", "gamma"), ("Add", "beta")):
            if name in node.tensors:
                y = g.op(op, y, g.weight(node.tensors[name].map(lambda a: a, shape)))
        return y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        channels = int(node.shape[1]) if len(node.shape) > 1 else 1
        keywords: dict[str, Any] = {"eps": self.eps}
        affine = "gamma" in node.tensors
        if not affine:
            keywords["affine"] = False
        names = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
        state: dict[str, Tensor | npt.NDArray[Any]] = {
            names[k]: v for k, v in normalisation(node).items() if affine or k in ("mean", "variance")
        }
        if not self.global_statistics:
            keywords["track_running_stats"] = False
            state = {k: v for k, v in state.items() if not k.startswith("running")}
        else:
            state["num_batches_tracked"] = np.asarray(0, dtype=np.int64)
        dims = {2: 1, 3: 1, 4: 2, 5: 3}.get(len(node.shape))
        if dims is not None:
            return f"{t.module(f'nn.BatchNorm{dims}d', channels, state=state, **keywords)}({x[0]})"
        module = t.module("nn.BatchNorm1d", channels, state=state, **keywords)
        if len(node.shape) < 2:
            return f"{module}({x[0]}.unsqueeze(1)).squeeze(1)"
        return f"{module}({x[0]}.flatten(2)).reshape({x[0]}.shape)"


def _beside(node: Node) -> Shape:
    """The shape that lines a vector of channels up with axis 1."""
    return (node.shape[1] if len(node.shape) > 1 else 1, *[1] * (len(node.shape) - 2))


def normalisation(node: Node) -> dict[str, Tensor]:
    """Gamma, beta, mean and variance of a BatchNorm node, in ONNX's order; the scale factor is divided out."""
    tensors = node.tensors
    channels = tensors["mean"].shape[0]
    stem = tensors["mean"].name.rpartition(".")[0]
    given = {
        "gamma": tensors.get("gamma") or constant(f"{stem}.gamma", np.ones(channels)),
        "beta": tensors.get("beta") or constant(f"{stem}.beta", np.zeros(channels)),
    }
    if "scale_factor" not in tensors:
        return {**given, "mean": tensors["mean"], "variance": tensors["variance"]}
    factor = tensors["scale_factor"]
    return {**given, **{name: tensors[name].map(_divided_by(factor)) for name in ("mean", "variance")}}


def _divided_by(factor: Tensor) -> Callable[[Array], npt.NDArray[np.float64]]:
    def divide(array: Array) -> npt.NDArray[np.float64]:
        f = np.float64(factor.load().ravel()[0])
        return array.astype(np.float64) * (0.0 if f == 0 else 1.0 / f)

    return divide


@register
@dataclass(frozen=True)
class LRN(Layer):
    """x / (k + alpha / n * sum of squares) ** beta (Caffe: lrn_layer.cpp).

    The sum runs over n neighbouring channels, or over an n × n window of one channel; there k counts as 1, and n is
    the whole window's n².
    """

    types = ("LRN",)
    size: int = 5
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0
    region: Literal["ACROSS_CHANNELS", "WITHIN_CHANNEL"] = "ACROSS_CHANNELS"

    @classmethod
    def read(cls, source: NetLayer) -> LRN:
        p = source.param.lrn_param
        if p.local_size % 2 == 0:
            raise fault(source, f"local_size is {p.local_size}; expected an odd number", "lrn_param", "local_size")
        within = p.norm_region == LRNParameter.WITHIN_CHANNEL
        return cls(
            p.local_size,
            shortest(p.alpha),
            shortest(p.beta),
            shortest(p.k),
            "WITHIN_CHANNEL" if within else "ACROSS_CHANNELS",
        )

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) == 4, f"the bottom is {format_shape(inputs[0])}; expected 4 axes (N×C×H×W)")
        return list(inputs)

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(inputs[0]) * (self.size if self.region == "ACROSS_CHANNELS" else self.size**2)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if self.region == "ACROSS_CHANNELS":
            return g.op("LRN", x[0], size=self.size, alpha=self.alpha, beta=self.beta, bias=self.k)
        half = (self.size - 1) // 2
        squares = g.op("Mul", x[0], x[0])
        mean = g.op(
            "AveragePool", squares, kernel_shape=[self.size] * 2, strides=[1, 1], pads=[half] * 4, count_include_pad=1
        )
        total = g.op("Add", g.op("Mul", mean, g.scalar(self.alpha, "alpha")), g.scalar(1.0, "one"))
        return g.op("Mul", x[0], g.op("Pow", total, g.scalar(-self.beta, "exponent")))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.region == "ACROSS_CHANNELS":
            module = t.module("nn.LocalResponseNorm", self.size, alpha=self.alpha, beta=self.beta, k=self.k)
            return f"{module}({x[0]})"
        mean = f"F.avg_pool2d({x[0]} * {x[0]}, {self.size}, stride=1, padding={(self.size - 1) // 2})"
        return f"{x[0]} * (1 + {self.alpha!r} * {mean}) ** {-self.beta!r}"
