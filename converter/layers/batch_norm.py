"""Normalisation of each channel by statistics that are stored, or of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from converter.folding import Float64, PerChannel
from converter.graph import Shape, count, is_free
from converter.layers.base import OnnxOps, TorchOps, filler, register, shortest, unsupported
from converter.layers.shared.batch_norm_blobs import (
    AFFINE,
    LEAST_EPS,
    NVIDIA,
    STATISTICS,
    Roles,
    blob_axes,
    blob_shape,
    doubt,
    stated_roles,
    stored_roles,
)
from converter.layers.shared.batch_norm_modules import BATCH_STATISTICS, CAFFE_BATCH_NORM
from converter.layers.shared.batch_norm_plain import scale_inside, without_forks
from converter.layers.shared.fused import fused_relu
from converter.layers.shared.sizes import beside_channels
from converter.matching.operation import Operation
from converter.node import Layer, Parameter, by_message_alone
from converter.tensor import Array, Tensor, constant
from converter.traits import KeptStatistics
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter, LayerParameter

if TYPE_CHECKING:
    from converter.node import Node

_ZERO, _ONE = (FillerParameter(type="constant", value=value) for value in (0, 1))


@register
class BatchNorm(PerChannel):
    """(x - mean / f) / sqrt(variance / f + eps), f being the stored scale factor (Caffe: batch_norm_layer.cpp).

    A factor of 0, of a layer that never saw a batch, counts as 1 / f = 0: mean and variance are 0 then, and the top is
    x / sqrt(eps). With `use_global_stats: false` the statistics of the batch itself are used, at test time too. Gamma
    and beta are not Caffe's own: a pass takes them from the Scale layer behind, or NVIDIA's and Intel's forks store
    them inside (`batch_norm_blobs`). Of these NVIDIA's divides by no factor, and writes 0 or 1 for it.

    With `add_eps_before_sqrt: false` (Synopsys' fork) eps is added to the root; it counts as part of the variance then.
    Intel's `relu` is a ReLU behind. Its `stats_batch_size` has parts of a batch normalised each by itself.
    """

    types = ("BatchNorm",)
    acts_on = "channels"
    normalises = True
    keeps_statistics = True
    reads_first = True
    eps: float = 1e-5
    global_statistics: bool = True
    eps_behind_root: float = 0.0
    moving_average_fraction: float = 0.999
    use_global_stats: bool | None = None  # None where the net says nothing
    roles: Roles = STATISTICS
    fork: str = ""
    blob_axes: int = field(default=1, repr=False)
    affine: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)
    relu: LayerParameter | None = field(default=None, repr=False)
    doubt: str = field(default="", repr=False)
    stats_batch_size: int = 0

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> BatchNorm:
        p, eps = source.param.batch_norm_param, shortest(source.param.batch_norm_param.eps)
        nvidia = source.dialect in NVIDIA
        stated = p.use_global_stats if p.HasField("use_global_stats") and not nvidia else None
        behind = p.HasField("add_eps_before_sqrt") and not p.add_eps_before_sqrt
        if behind and stated is False:
            message = "add_eps_before_sqrt: false with the statistics of the batch; expected use_global_stats: true"
            raise unsupported(source, message, "batch_norm_param", "add_eps_before_sqrt")
        if p.stats_batch_size and stated is False:
            message = f"stats_batch_size {p.stats_batch_size} with the statistics of the batch; expected 0"
            raise unsupported(source, message, "batch_norm_param", "stats_batch_size")
        return cls(
            0.0 if behind else max(eps, LEAST_EPS) if nvidia else eps,
            stated is not False,
            eps if behind else 0.0,
            shortest(p.moving_average_fraction),
            stated,
            stated_roles(source),
            source.dialect,
            affine=(filler(p, "scale_filler") or filler(p, "filler") or _ONE, filler(p, "bias_filler")),
            relu=fused_relu(source, "batch_norm_param"),
            stats_batch_size=p.stats_batch_size,
        )

    @property
    def caution(self) -> str:
        if self.global_statistics:
            return self.doubt
        return "has use_global_stats: false: it normalises by the batch given, as Caffe does, not by what is stored"

    @property
    def follower(self) -> LayerParameter | None:
        return self.relu

    @property
    def batch_field(self) -> tuple[str, ...] | None:
        return None if self.global_statistics else ("batch_norm_param", "use_global_stats")

    @property
    def statistics(self) -> Sequence[KeptStatistics]:
        if "mean" not in self.roles:
            return ()
        unbiased = self.fork not in NVIDIA
        behind, none = self.eps_behind_root, self.factor_of_none
        return (KeptStatistics(eps=self.eps, behind=behind, unbiased=unbiased, factor_of_none=none),)

    @property
    def takes_scale_in(self) -> bool:
        return self.roles[:4] == (*STATISTICS, "gamma") and self.fork not in NVIDIA

    def computes(self, node: Node) -> Operation:
        if not self.global_statistics or len(node.shape) < 2:
            return super().computes(node)
        return Operation("normalisation", {"eps": self.eps})

    def unfoldable(self, node: Node) -> str:
        return "" if self.batch_field is None else "uses the statistics of the batch"

    def factor_and_summand(self, node: Node) -> tuple[Float64, Float64]:
        gamma, beta, mean, variance = (t.load().astype(np.float64) for t in normalisation(node).values())
        factor = gamma / np.sqrt(variance + self.eps)
        return factor, beta - mean * factor

    def make_plain(self, param: LayerParameter) -> None:
        without_forks(param, self.use_global_stats, self.eps if self.fork in NVIDIA else None)

    def scale_apart(self, param: LayerParameter) -> LayerParameter | None:
        return None if self.roles == STATISTICS else scale_inside(param, self.roles)

    @property
    def factor_of_none(self) -> float:
        """What a stored factor of 0 stands for."""
        return 1.0 if "gamma" in self.roles and self.fork != "intel" else 0.0

    def fixed_rate(self, role: str) -> float | None:
        """The learning rate that Caffe gives a blob whatever the net says; NVIDIA's does to scale and bias too."""
        if role not in AFFINE:
            return 0.0
        return 1.0 if self.fork == "nvidia" else None

    def learns(self, role: str) -> bool:
        return role in AFFINE

    def told_by(self, blobs: Sequence[Shape]) -> Layer:
        roles, axes = stored_roles(blobs, self.fork, self.roles), blob_axes(blobs[0])
        if "mean" not in roles:  # Intel's layer of 2016 does not look at use_global_stats.
            return replace(self, roles=roles, blob_axes=axes, global_statistics=False, use_global_stats=False)
        found = roles, axes, doubt(blobs, roles, self.fork, self.eps)
        if found == (self.roles, self.blob_axes, self.doubt):  # as nearly always
            return self
        return replace(self, roles=roles, blob_axes=axes, doubt=found[2])

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        channels = (inputs[0][1] if len(inputs[0]) > 1 else 1,)
        fillers = {"gamma": self.affine[0], "beta": self.affine[1]}
        if self.fork in NVIDIA:
            fillers["scale_factor"] = _ONE
        return tuple(
            Parameter(role, blob_shape(role, channels, self.blob_axes), fillers.get(role, _ZERO)) for role in self.roles
        )

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str | list[str]:
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
        shape = beside_channels(node)
        for op, name in (("Mul", "gamma"), ("Add", "beta")):
            if name in node.tensors:
                y = g.op(op, y, g.weight(node.tensors[name].reshaped(shape)))
        return y

    @property
    def untrainable(self) -> str:
        if self.stats_batch_size:
            return f"stats_batch_size {self.stats_batch_size}; expected 0 in training"
        return "add_eps_before_sqrt: false; expected true in training" if self.eps_behind_root else ""

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("CaffeBatchNorm", CAFFE_BATCH_NORM)
        keywords: dict[str, Any] = {"eps": self.eps, "fraction": self.moving_average_fraction}
        if "mean" not in self.roles:
            keywords["stored"] = False
        elif self.use_global_stats is not None:
            keywords["use_global_stats"] = self.use_global_stats
        learned = tuple(role for role in self.roles if role in AFFINE)
        if learned:
            keywords["learned"] = learned
        if self.fork in NVIDIA:
            keywords["average"] = True
        if self.factor_of_none:
            keywords["factor_of_none"] = self.factor_of_none
        channels = int(node.shape[1]) if len(node.shape) > 1 else 1
        state: dict[str, Tensor | npt.NDArray[Any]] = {
            name: tensor if len(tensor.shape) == 1 else tensor.reshaped((count(tensor.shape),))
            for name, tensor in node.tensors.items()
        }
        return f"{t.module('CaffeBatchNorm', channels, state=state, **keywords)}({x[0]})"

    def torch(self, t: TorchOps, node: Node, *x: str) -> str | list[str]:
        channels = int(node.shape[1]) if len(node.shape) > 1 else 1
        keywords: dict[str, Any] = {"eps": self.eps}
        affine = bool({"gamma", "beta"} & node.tensors.keys())
        if not affine:
            keywords["affine"] = False
        names = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
        state: dict[str, Tensor | npt.NDArray[Any]] = {
            names[k]: v for k, v in normalisation(node).items() if affine or k in ("mean", "variance")
        }
        if not self.global_statistics and (self.eps == 0 or not _has_many(node.shape[2:])):
            return self._torch_of_batch(t, channels, state, x[0])
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

    def _torch_of_batch(self, t: TorchOps, channels: int, state: dict[str, Tensor | npt.NDArray[Any]], x: str) -> str:
        """As a module that, unlike PyTorch's, takes an eps of 0 and a batch of one value a channel."""
        t.helper("BatchStatistics", BATCH_STATISTICS)
        learned = {name: value for name, value in state.items() if name in ("weight", "bias")}
        keywords = {"affine": True} if learned else {}
        return f"{t.module('BatchStatistics', channels, self.eps, state=learned, **keywords)}({x})"


def _has_many(spatial: Shape) -> bool:
    """Whether there is more than one value a channel whatever the batch."""
    return not any(map(is_free, spatial)) and count(spatial) > 1


def normalisation(node: Node) -> dict[str, Tensor]:
    """Gamma, beta, mean and variance of a BatchNorm node, in ONNX's order; the scale factor is divided out.

    Of one that takes its statistics from the batch, gamma and beta. Stored inverse standard deviations (BN of cuDNN 4's
    time) become part of gamma: the variance is 1 then, and eps has to be 0.
    """
    some = next(iter(node.tensors.values()))
    channels, stem = count(some.shape), some.name.rpartition(".")[0]
    flat = {k: t if len(t.shape) == 1 else t.reshaped((count(t.shape),)) for k, t in node.tensors.items()}
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
    behind, of_none = 0.0, 0.0
    if isinstance(node.layer, BatchNorm):
        behind, of_none = node.layer.eps_behind_root, node.layer.factor_of_none
    divided = {name: flat[name].map(_divided_by(flat["scale_factor"], of_none)) for name in ("mean", "variance")}
    if behind:
        divided["variance"] = divided["variance"].map(lambda v: (np.sqrt(v.astype(np.float64)) + behind) ** 2)
    return {**given, **divided}


def _times(factor: Tensor) -> Callable[[Array], npt.NDArray[np.float64]]:
    return lambda array: array.astype(np.float64) * factor.load()


def _divided_by(factor: Tensor, of_none: float) -> Callable[[Array], npt.NDArray[np.float64]]:
    def divide(array: Array) -> npt.NDArray[np.float64]:
        f = np.float64(factor.load().ravel()[0])
        return array.astype(np.float64) * (of_none if f == 0 else 1.0 / f)

    return divide
