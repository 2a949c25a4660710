"""Normalisation by statistics of the batch, of neighbours, or of the item itself (BatchNorm, LRN, MVN, Normalize)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from converter.graph import Array, Shape, Tensor, constant, count, format_shape
from converter.layers.base import (
    Layer,
    OnnxOps,
    Parameter,
    TorchOps,
    fault,
    filler,
    register,
    require,
    shortest,
    unsupported,
)
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

    With `add_eps_before_sqrt: false` (Synopsys' fork) eps is added to the root; it counts as part of the variance then.
    """

    types = ("BatchNorm",)
    eps: float = 1e-5
    global_statistics: bool = True
    eps_behind_root: float = 0.0
    fraction: float = 0.999
    stated: bool | None = None  # use_global_stats, where the net says it

    @classmethod
    def read(cls, source: NetLayer) -> BatchNorm:
        p, eps = source.param.batch_norm_param, shortest(source.param.batch_norm_param.eps)
        stated = p.use_global_stats if p.HasField("use_global_stats") else None
        given = True if stated is None else stated
        fraction = shortest(p.moving_average_fraction)
        if not p.HasField("add_eps_before_sqrt") or p.add_eps_before_sqrt:
            return cls(eps, given, 0.0, fraction, stated)
        if not given:
            message = "add_eps_before_sqrt: false with the statistics of the batch; expected use_global_stats: true"
            raise unsupported(source, message, "batch_norm_param", "add_eps_before_sqrt")
        return cls(0.0, given, eps, fraction, stated)

    @property
    def caution(self) -> str:
        if self.global_statistics:
            return ""
        return "has use_global_stats: false: it normalises by the batch given, as Caffe does, not by what is stored"

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
                y = g.op(op, y, g.weight(node.tensors[name].reshaped(shape)))
        return y

    @property
    def untrainable(self) -> str:
        return "add_eps_before_sqrt: false; expected true in training" if self.eps_behind_root else ""

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("CaffeBatchNorm", CAFFE_BATCH_NORM)
        keywords: dict[str, Any] = {"eps": self.eps, "fraction": self.fraction}
        if self.stated is not None:
            keywords["use_global_stats"] = self.stated
        channels = int(node.shape[1]) if len(node.shape) > 1 else 1
        return f"{t.module('CaffeBatchNorm', channels, state=dict(node.tensors), **keywords)}({x[0]})"

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


CAFFE_BATCH_NORM = '''
class CaffeBatchNorm(nn.Module):
    """Batch normalisation as Caffe trains it; its three blobs are Caffe's own.

    While training it divides by the batch's biased deviation, and adds mean and unbiased variance to sums that decay by
    `fraction` with each batch; `scale_factor` is the sum of the weights. Otherwise it takes the sums' averages.
    `use_global_stats` is what the net says: True keeps the averages while training, False the batch's at all times.
    """

    def __init__(self, channels, eps=1e-5, fraction=0.999, use_global_stats=None):
        super().__init__()
        self.eps, self.fraction, self.use_global_stats = eps, fraction, use_global_stats
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.zeros(channels))
        self.register_buffer("scale_factor", torch.zeros(1))

    def forward(self, x):
        rows = x.unsqueeze(1) if x.dim() == 1 else x
        shape = [1, -1] + [1] * (rows.dim() - 2)
        of_batch = self.training if self.use_global_stats is None else not self.use_global_stats
        if not of_batch:
            factor = torch.where(self.scale_factor == 0, 0.0, 1 / self.scale_factor)
            mean, variance = self.mean * factor, self.variance * factor
            y = (rows - mean.view(shape)) / (variance.view(shape) + self.eps).sqrt()
            return y.view_as(x)
        axes = [axis for axis in range(rows.dim()) if axis != 1]
        mean = rows.mean(axes)
        centred = rows - mean.view(shape)
        variance = centred.square().mean(axes)
        if self.training:
            self._accumulate(mean.detach(), variance.detach(), rows.numel() // rows.shape[1])
        return (centred / (variance.view(shape) + self.eps).sqrt()).view_as(x)

    def _accumulate(self, mean, variance, values):
        unbiased = values / (values - 1) if values > 1 else 1
        self.scale_factor.mul_(self.fraction).add_(1)
        self.mean.mul_(self.fraction).add_(mean)
        self.variance.mul_(self.fraction).add_(variance, alpha=unbiased)
'''


def _beside(node: Node) -> Shape:
    """The shape that lines a vector of channels up with axis 1."""
    return (node.shape[1] if len(node.shape) > 1 else 1, *[1] * (len(node.shape) - 2))


def normalisation(node: Node) -> dict[str, Tensor]:
    """Gamma, beta, mean and variance of a BatchNorm node, in ONNX's order; the scale factor is divided out.

    Of one that takes its statistics from the batch, gamma and beta. Stored inverse standard deviations (BN of cuDNN 4's
    time) become part of gamma: the variance is 1 then, and eps has to be 0.
    """
    some = next(iter(node.tensors.values()))
    channels, stem = count(some.shape), some.name.rpartition(".")[0]
    flat = {k: t if len(t.shape) == 1 else t.reshaped((channels,)) for k, t in node.tensors.items()}
    given = {
        "gamma": flat.get("gamma") or constant(f"{stem}.gamma", np.ones(channels)),
        "beta": flat.get("beta") or constant(f"{stem}.beta", np.zeros(channels)),
    }
    if "mean" not in flat:
        return given
    if "inverse_std" in flat:
        gamma = given["gamma"].map(_times(flat["inverse_std"]))
        return {
            **given,
            "gamma": gamma,
            "mean": flat["mean"],
            "variance": constant(f"{stem}.variance", np.ones(channels)),
        }
    if "scale_factor" not in flat:
        return {**given, "mean": flat["mean"], "variance": flat["variance"]}
    divided = {name: flat[name].map(_divided_by(flat["scale_factor"])) for name in ("mean", "variance")}
    behind = node.layer.eps_behind_root if isinstance(node.layer, BatchNorm) else 0.0
    if behind:
        divided["variance"] = divided["variance"].map(lambda v: (np.sqrt(v.astype(np.float64)) + behind) ** 2)
    return {**given, **divided}


def _times(factor: Tensor) -> Callable[[Array], npt.NDArray[np.float64]]:
    return lambda array: array.astype(np.float64) * factor.load()


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
        half = (self.size - 1) // 2
        if self.region == "ACROSS_CHANNELS":
            if self.alpha > 0 and self.beta > 0:
                return g.op("LRN", x[0], size=self.size, alpha=self.alpha, beta=self.beta, bias=self.k)
            return self._onnx_across(g, x[0], half)
        squares = g.op("Mul", x[0], x[0])
        mean = g.op(
            "AveragePool", squares, kernel_shape=[self.size] * 2, strides=[1, 1], pads=[half] * 4, count_include_pad=1
        )
        total = g.op("Add", g.op("Mul", mean, g.scalar(self.alpha, "alpha")), g.scalar(1.0, "one"))
        return g.op("Mul", x[0], g.op("Pow", total, g.scalar(-self.beta, "exponent")))

    def _onnx_across(self, g: OnnxOps, x: str, half: int) -> str:
        """In plain operators, as onnxruntime's LRN takes no alpha or beta of 0 or below."""
        squares = g.unsqueeze(g.op("Mul", x, x), [1])
        window = {"kernel_shape": [self.size, 1, 1], "pads": [half, 0, 0, half, 0, 0], "strides": [1, 1, 1]}
        mean = g.op("Squeeze", g.op("AveragePool", squares, **window, count_include_pad=1), g.ints([1]))
        total = g.op("Add", g.op("Mul", mean, g.scalar(self.alpha, "alpha")), g.scalar(self.k, "k"))
        return g.op("Mul", x, g.op("Pow", total, g.scalar(-self.beta, "exponent")))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.region == "ACROSS_CHANNELS":
            module = t.module("nn.LocalResponseNorm", self.size, alpha=self.alpha, beta=self.beta, k=self.k)
            return f"{module}({x[0]})"
        mean = f"F.avg_pool2d({x[0]} * {x[0]}, {self.size}, stride=1, padding={(self.size - 1) // 2})"
        return f"{x[0]} * (1 + {self.alpha!r} * {mean}) ** {-self.beta!r}"


@register
@dataclass(frozen=True)
class MVN(Layer):
    """(x - mean) / (standard deviation + eps) over a channel of an item, or the whole item (Caffe: mvn_layer.cpp).

    eps is added to the root, not under it, unless Synopsys' `add_eps_before_sqrt` asks for that; the variance divides
    by the number of values, not one less.
    """

    types = ("MVN",)
    normalize_variance: bool = True
    across_channels: bool = False
    eps: float = 1e-9
    eps_under_root: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> MVN:
        p = source.param.mvn_param
        return cls(p.normalize_variance, p.across_channels, shortest(p.eps), p.add_eps_before_sqrt)

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(range(1 if self.across_channels else 2, rank))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(1 <= len(inputs[0]) <= 4, f"the bottom is {format_shape(inputs[0])}; expected 1 to 4 axes")
        return list(inputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        axes = self._axes(len(node.shape))
        y = g.op("Sub", x[0], g.reduce("ReduceMean", x[0], axes) if axes else x[0])
        if not self.normalize_variance or not axes:  # The mean of one value is that value, and 0 / eps is 0.
            return y
        variance, eps = g.reduce("ReduceMean", g.op("Mul", y, y), axes), g.scalar(self.eps, "eps")
        if self.eps_under_root:
            return g.op("Div", y, g.op("Sqrt", g.op("Add", variance, eps)))
        return g.op("Div", y, g.op("Add", g.op("Sqrt", variance), eps))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        axes = self._axes(len(node.shape))
        if not axes:
            return f"{x[0]} - {x[0]}"
        centred = f"{x[0]} - {x[0]}.mean({axes}, keepdim=True)"
        if not self.normalize_variance:
            return centred
        y = t.let("centred", centred)
        variance = f"({y} * {y}).mean({axes}, keepdim=True)"
        if self.eps_under_root:
            return f"{y} / ({variance} + {self.eps!r}).sqrt()"
        return f"{y} / ({variance}.sqrt() + {self.eps!r})"


@register
@dataclass(frozen=True)
class Normalize(Layer):
    """A learned factor times x / sqrt(sum of squares + eps), of a pixel or the whole item (SSD: normalize_layer.cpp).

    The sum runs over the channels of each pixel, or with `across_spatial` over all pixels of the item as well.
    Synopsys' fork can add eps to the root instead (`add_eps_before_sqrt: false`), but only across pixels; elsewhere it
    ignores that field.
    """

    types = ("Normalize",)
    across_spatial: bool = True
    channel_shared: bool = True
    eps: float = 1e-10
    eps_under_root: bool = True
    scale_filler: FillerParameter | None = field(default=None, repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> Normalize:
        p = source.param.norm_param
        factor = filler(p, "scale_filler") or FillerParameter(type="constant", value=1)
        under_root = p.add_eps_before_sqrt or not p.across_spatial
        return cls(p.across_spatial, p.channel_shared, shortest(p.eps), under_root, factor)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(2 <= len(inputs[0]) <= 4, f"the bottom is {format_shape(inputs[0])}; expected 2 to 4 axes")
        return list(inputs)

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        return (Parameter("scale", () if self.channel_shared else (inputs[0][1],), self.scale_filler),)

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(range(1, rank)) if self.across_spatial else (1,)

    def _factor(self, node: Node) -> Tensor:
        return node.tensors["scale"].reshaped((1,) if self.channel_shared else _beside(node))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        squares = g.reduce("ReduceSum", g.op("Mul", x[0], x[0]), self._axes(len(node.shape)))
        eps = g.scalar(self.eps, "eps")
        if self.eps_under_root:
            norm = g.op("Sqrt", g.op("Add", squares, eps))
        else:
            norm = g.op("Add", g.op("Sqrt", squares), eps)
        return g.op("Mul", g.op("Div", x[0], norm), g.weight(self._factor(node)))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("Normalize", NORMALIZE)
        factor = self._factor(node)
        keywords: dict[str, Any] = {} if self.eps_under_root else {"eps_under_root": False}
        shape, axes = tuple(map(int, factor.shape)), self._axes(len(node.shape))
        return f"{t.module('Normalize', shape, axes, self.eps, state={'scale': factor}, **keywords)}({x[0]})"


NORMALIZE = '''
class Normalize(nn.Module):
    """A learned factor times x over its Euclidean norm along some axes (SSD's Normalize layer)."""

    def __init__(self, shape, dim, eps, eps_under_root=True):
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.eps_under_root = eps_under_root
        self.scale = nn.Parameter(torch.ones(shape))

    def forward(self, x):
        squares = (x * x).sum(self.dim, keepdim=True)
        norm = (squares + self.eps).sqrt() if self.eps_under_root else squares.sqrt() + self.eps
        return x / norm * self.scale
'''
