"""Losses of the forks for finding objects, left out of a converted net unless `--outputs` asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from converter.graph import Shape, format_shape
from converter.layers.base import BottomsDifferError, OnnxOps, TorchOps, fault, register, require, shortest, unsupported
from converter.layers.loss import SMALLEST, _SoftmaxLoss
from converter.layers.shared import labels
from converter.layers.shared.sizes import float_count
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import LossParameter

if TYPE_CHECKING:
    from converter.node import Node

Over = Literal["FULL", "VALID", "BATCH_SIZE", "NONE"]


def _differ(first: Shape, second: Shape) -> bool:
    return tuple(map(int, first)) != tuple(map(int, second))


class _SmoothL1(Layer):
    """s² d² / 2 below 1 / s², above it |d| - 1 / (2 s²), with d the weighted difference of the first two bottoms."""

    role: ClassVar[str] = "loss"
    sigma: float = 1.0

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) >= 1, "the first bottom is a scalar; expected a batch")
        for other in inputs[1:]:
            if _differ(inputs[0], other):
                raise BottomsDifferError("bottoms differ in shape")
        return [()]

    def _onnx_errors(self, g: OnnxOps, *x: str) -> str:
        d = g.op("Sub", x[0], x[1])
        if len(x) > 2:
            d = g.op("Mul", d, x[2])
        size, square = g.op("Abs", d), self.sigma**2
        below = g.op("Mul", g.op("Mul", d, d), g.scalar(square / 2, "half_square"))
        above = g.op("Sub", size, g.scalar(0.5 / square, "half"))
        return g.op("Where", g.op("Less", size, g.scalar(1 / square, "bend")), below, above)

    def _torch_errors(self, t: TorchOps, *x: str) -> str:
        d = f"{x[0]} - {x[1]}" if len(x) == 2 else f"{x[2]} * ({x[0]} - {x[1]})"
        # Its beta is 1 / sigma², and its losses are those of Caffe in both parts.
        return f"F.smooth_l1_loss({d}, torch.zeros_like({x[0]}), reduction='none', beta={1 / self.sigma**2!r})"


@register
class SmoothL1Loss(_SmoothL1):
    """The smooth L1 loss of box regression, over the number of items (Fast R-CNN's fork: smooth_L1_loss_layer.cpp).

    A third bottom weights the differences, a fourth the losses.
    """

    types = ("SmoothL1Loss",)
    bottoms = (2, 4)
    tops = (0, 1)

    @classmethod
    def read(cls, source: NetLayer) -> SmoothL1Loss:
        p, section = source.param.smooth_l1_loss_param, "smooth_l1_loss_param"
        if not p.abssum:
            raise unsupported(source, "abssum: false, of another fork; expected true", section, "abssum")
        if p.sigma <= 0:
            raise fault(source, f"sigma is {p.sigma:g}; expected a number above 0", section, "sigma")
        return cls(shortest(p.sigma))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        losses = self._onnx_errors(g, *x[:3])
        losses = g.op("Mul", losses, x[3]) if len(x) == 4 else losses
        total = g.reduce("ReduceSum", losses, range(len(node.shape)), keepdims=False)
        return g.op("Div", total, float_count(g, x[0], node.shape, [0]))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        losses = self._torch_errors(t, *x[:3])
        return f"({losses}{f' * {x[3]}' if len(x) == 4 else ''}).sum() / {x[0]}.shape[0]"


@dataclass(frozen=True)
class _Divisor:
    """R-FCN's: a mode, or the number that `pre_fixed_normalizer` states; never below 1."""

    over: Over = "VALID"
    pre_fixed_normalizer: float | None = None

    @classmethod
    def read(cls, source: NetLayer) -> _Divisor:
        p = source.param.loss_param
        if p.HasField("normalization") and p.normalization == LossParameter.PRE_FIXED:
            source.without_effect("normalization outweighs it", "loss_param.normalize")
            return cls(pre_fixed_normalizer=max(1.0, shortest(p.pre_fixed_normalizer)))
        return cls(labels.read_normalization(source))


@register
class SmoothL1LossOHEM(_SmoothL1):
    """The smooth L1 loss by place, for the mining of hard examples (R-FCN's fork: smooth_L1_loss_ohem_layer.cpp).

    The first top is the sum over the number of places, unless `normalization` says otherwise; the second has each
    place's own, N×1×…. A third bottom weights the differences.
    """

    types = ("SmoothL1LossOHEM",)
    bottoms = (2, 3)
    tops = (0, 2)
    divisor: _Divisor = _Divisor()

    @classmethod
    def read(cls, source: NetLayer) -> SmoothL1LossOHEM:
        return cls(divisor=_Divisor.read(source))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        super().infer(inputs)
        first = inputs[0]
        require(len(first) >= 2, f"the first bottom is {format_shape(first)}; expected N×C×…")
        return [(), (first[0], 1, *first[2:])]

    def _axes(self, node: Node) -> list[int]:
        """The axes that the divisor counts."""
        if self.divisor.over == "BATCH_SIZE":
            return [0]
        return [axis for axis in range(len(node.shape)) if axis != 1]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        losses = self._onnx_errors(g, *x)
        total = g.reduce("ReduceSum", losses, range(len(node.shape)), keepdims=False)
        if self.divisor.pre_fixed_normalizer is not None:
            total = g.op("Div", total, g.scalar(self.divisor.pre_fixed_normalizer, "divisor"))
        elif self.divisor.over != "NONE":
            total = g.op("Div", total, float_count(g, x[0], node.shape, self._axes(node)))
        places = [g.reduce("ReduceSum", losses, [1])] if len(node.outputs) == 2 else []
        return [total, *places]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        losses = t.let("losses", self._torch_errors(t, *x))
        total = f"{losses}.sum()"
        if self.divisor.pre_fixed_normalizer is not None:
            total += f" / {self.divisor.pre_fixed_normalizer!r}"
        elif self.divisor.over == "BATCH_SIZE":
            total += f" / {x[0]}.shape[0]"
        elif self.divisor.over != "NONE":
            total += f" / {losses}[:, 0].numel()"
        return [total, f"{losses}.sum(1, keepdim=True)"][: len(node.outputs)]


@register
class SoftmaxWithLossOHEM(_SoftmaxLoss):
    """SoftmaxWithLoss with a third top, each place's own loss in the labels' shape, for the mining of hard examples.

    Of R-FCN's fork (softmax_loss_ohem_layer.cpp and .cu). A place with the label to be ignored loses 0.
    """

    types = ("SoftmaxWithLossOHEM",)
    reads_scores = True
    tops = (0, 3)
    pre_fixed_normalizer: float | None = None

    @classmethod
    def read(cls, source: NetLayer) -> SoftmaxWithLossOHEM:
        divisor = _Divisor.read(source)
        over = "NONE" if divisor.pre_fixed_normalizer is not None else divisor.over
        return cls(
            source.param.softmax_param.axis, labels.read_ignore_label(source), over, divisor.pre_fixed_normalizer
        )

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [*super().infer(inputs), inputs[1]]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        labelled = labels.onnx_labels(g, node, x[1], self.axis, self.ignore_label)
        softmax = g.op("Softmax", x[0], axis=labelled.axis)
        own = g.op("GatherElements", softmax, labelled.column, axis=labelled.axis)
        losses = g.op("Neg", g.op("Log", g.op("Max", own, g.scalar(SMALLEST, "smallest"))))
        loss = labels.onnx_normalized(g, node, x[0], losses, labelled, self.normalization)
        if self.pre_fixed_normalizer is not None:
            loss = g.op("Div", loss, g.scalar(self.pre_fixed_normalizer, "divisor"))
        counted = g.op("Mul", losses, labelled.counted) if labelled.counted else losses
        places = [g.op("Reshape", counted, g.op("Shape", x[1]))] if len(node.outputs) == 3 else []
        return [loss, softmax, *places][: len(node.outputs)]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        axis = self._axis(node)
        column, counted = self._torch_labels(t, node, x[0], x[1])
        softmax = t.let("softmax", f"torch.softmax({x[0]}, dim={axis})")
        losses = t.let("losses", f"-{softmax}.gather({axis}, {column}).clamp_min({SMALLEST!r}).log()")
        loss = f"normalized({losses}, {counted}, {axis}, {self.normalization!r})"
        loss += "" if self.pre_fixed_normalizer is None else f" / {self.pre_fixed_normalizer!r}"
        return [loss, softmax, f"({losses} * {counted}).reshape({x[1]}.shape)"][: len(node.outputs)]
