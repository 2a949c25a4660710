"""Normalisation by statistics of neighbours, or of the item itself (LRN, MVN)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from converter.graph import Shape, count, format_shape
from converter.layers.base import OnnxOps, TorchOps, fault, register, require, shortest
from converter.matching.operation import ACROSS, WITHIN, Operation
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import LRNParameter

if TYPE_CHECKING:
    from converter.node import Node


@register
class LRN(Layer):
    """x / (k + alpha / n * sum of squares) ** beta (Caffe: lrn_layer.cpp).

    The sum runs over n neighbouring channels, or over an n × n window of one channel; there k counts as 1, and n is
    the whole window's n².
    """

    types = ("LRN",)
    local_size: int = 5
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0
    norm_region: Literal["ACROSS_CHANNELS", "WITHIN_CHANNEL"] = "ACROSS_CHANNELS"

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

    @property
    def in_place(self) -> str:
        """Across channels the roots are written first, and then multiplied by the bottom."""
        return super().in_place if self.norm_region == "ACROSS_CHANNELS" else ""

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) == 4, f"the bottom is {format_shape(inputs[0])}; expected 4 axes (N×C×H×W)")
        return list(inputs)

    def computes(self, node: Node) -> Operation:
        across = self.norm_region == "ACROSS_CHANNELS"
        settings = {"size": self.local_size, "alpha": self.alpha, "beta": self.beta, "k": self.k if across else 1.0}
        return Operation("response normalisation", {**settings, "region": ACROSS if across else WITHIN})

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return count(inputs[0]) * (self.local_size if self.norm_region == "ACROSS_CHANNELS" else self.local_size**2)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        half = (self.local_size - 1) // 2
        if self.norm_region == "ACROSS_CHANNELS":
            if self.alpha > 0 and self.beta > 0:
                return g.op("LRN", x[0], size=self.local_size, alpha=self.alpha, beta=self.beta, bias=self.k)
            return self._onnx_across(g, x[0], half)
        squares = g.op("Mul", x[0], x[0])
        mean = g.op(
            "AveragePool",
            squares,
            kernel_shape=[self.local_size] * 2,
            strides=[1, 1],
            pads=[half] * 4,
            count_include_pad=1,
        )
        total = g.op("Add", g.op("Mul", mean, g.scalar(self.alpha, "alpha")), g.scalar(1.0, "one"))
        return g.op("Mul", x[0], g.op("Pow", total, g.scalar(-self.beta, "exponent")))

    def _onnx_across(self, g: OnnxOps, x: str, half: int) -> str:
        """In plain operators, as onnxruntime's LRN takes no alpha or beta of 0 or below."""
        squares = g.unsqueeze(g.op("Mul", x, x), [1])
        window = {"kernel_shape": [self.local_size, 1, 1], "pads": [half, 0, 0, half, 0, 0], "strides": [1, 1, 1]}
        mean = g.op("Squeeze", g.op("AveragePool", squares, **window, count_include_pad=1), g.ints([1]))
        total = g.op("Add", g.op("Mul", mean, g.scalar(self.alpha, "alpha")), g.scalar(self.k, "k"))
        return g.op("Mul", x, g.op("Pow", total, g.scalar(-self.beta, "exponent")))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.norm_region == "ACROSS_CHANNELS":
            module = t.module("nn.LocalResponseNorm", self.local_size, alpha=self.alpha, beta=self.beta, k=self.k)
            return f"{module}({x[0]})"
        mean = f"F.avg_pool2d({x[0]} * {x[0]}, {self.local_size}, stride=1, padding={(self.local_size - 1) // 2})"
        return f"{x[0]} * (1 + {self.alpha!r} * {mean}) ** {-self.beta!r}"

    @property
    def gradient_reads(self) -> str:
        """Within a channel it is made of layers with blobs of their own."""
        return "xy" if self.norm_region == "ACROSS_CHANNELS" else ""

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        t.helper("mean_across", MEAN_ACROSS)
        x, size = f"{bottom}.detach()", self.local_size
        scale = t.let("scale", f"{self.k!r} + {self.alpha!r} * mean_across({x} * {x}, {size})")
        below = f"{2 * self.alpha * self.beta!r} * x * mean_across(dy * y / {scale}, {size})"
        return f"dy * {scale} ** {-self.beta!r} - {below}"


MEAN_ACROSS = '''
def mean_across(x, size):
    """The sum of neighbouring channels over their number."""
    rows = x.flatten(2).transpose(1, 2)
    return F.avg_pool1d(rows, size, 1, size // 2).transpose(1, 2).reshape(x.shape)
'''


@register
class MVN(Layer):
    """(x - mean) / (standard deviation + eps) over a channel of an item, or the whole item (Caffe: mvn_layer.cpp).

    eps is added to the root, not under it, unless Synopsys' `add_eps_before_sqrt` asks for that; the variance divides
    by the number of values, not one less. The top has four axes whatever the bottom has: those that lack are 1.
    """

    types = ("MVN",)
    reads_first = True
    normalize_variance: bool = True
    across_channels: bool = False
    eps: float = 1e-9
    eps_under_root: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> MVN:
        p = source.param.mvn_param
        return cls(p.normalize_variance, p.across_channels, shortest(p.eps), p.add_eps_before_sqrt)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) <= 4, f"the bottom is {format_shape(inputs[0])}; expected at most 4 axes")
        return [(*inputs[0], 1, 1, 1, 1)[:4]]

    def _axes(self) -> tuple[int, ...]:
        return (1, 2, 3) if self.across_channels else (2, 3)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        rank, axes = len(node.shape), self._axes()
        whole = g.unsqueeze(x[0], range(rank, 4)) if rank < 4 else x[0]
        y = g.op("Sub", whole, g.reduce("ReduceMean", whole, axes))
        if not self.normalize_variance:
            return y
        variance, eps = g.reduce("ReduceMean", g.op("Mul", y, y), axes), g.scalar(self.eps, "eps")
        if self.eps_under_root:
            return g.op("Div", y, g.op("Sqrt", g.op("Add", variance, eps)))
        return g.op("Div", y, g.op("Add", g.op("Sqrt", variance), eps))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        lacking, axes = 4 - len(node.shape), self._axes()
        whole = t.let("whole", f"{x[0]}[{', '.join(['...', *['None'] * lacking])}]") if lacking else x[0]
        centred = f"{whole} - {whole}.mean({axes}, keepdim=True)"
        if not self.normalize_variance:
            return centred
        y = t.let("centred", centred)
        variance = f"({y} * {y}).mean({axes}, keepdim=True)"
        if self.eps_under_root:
            return f"{y} / ({variance} + {self.eps!r}).sqrt()"
        return f"{y} / ({variance}.sqrt() + {self.eps!r})"

    @property
    def gradient_reads(self) -> str:
        return "y" if self.normalize_variance else ""

    @property
    def has_own_gradient(self) -> bool:
        """Caffe's has no term for eps, and stays finite where the deviation is 0."""
        return True

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        axes, lacking = self._axes(), ["None"] * (4 - len(node.shape))
        whole = f"{bottom}.detach()" + (f"[{', '.join(['...', *lacking])}]" if lacking else "")
        variance = f"{whole}.var({axes}, unbiased=False, keepdim=True)"
        spread = f"({variance} + {self.eps!r}).sqrt()" if self.eps_under_root else f"{variance}.sqrt() + {self.eps!r}"
        deviation = t.let("deviation", spread)
        return f"(dy - dy.mean({axes}, keepdim=True) - y * (dy * y).mean({axes}, keepdim=True)) / {deviation}"
