"""Division by a norm: of each pixel, an item, or a vector (forks: normalize_layer.cpp, grn_layer.cpp, …).

Three forks have a layer Normalize. SSD's multiplies by a learned blob, happynear's and yjxiong's (TSN) have none. The
first two have a section of their own for their fields; where a net has neither, the stored blobs tell SSD's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

from converter.graph import Shape, format_shape
from converter.layers.base import OnnxOps, TorchOps, fault, filler, register, require, shortest
from converter.layers.shared.sizes import beside_channels
from converter.node import Layer, Parameter, is_over
from converter.tensor import Tensor
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter

if TYPE_CHECKING:
    from converter.node import Node


_ONE = FillerParameter(type="constant", value=1)


class _Normalizing(Layer):
    """A form of Normalize; `otherwise` is the one that holds when the file has blobs for it."""

    tops: ClassVar[tuple[int, int]] = (1, 2)
    otherwise: _Normalizing | None = field(default=None, repr=False)

    def told_by(self, blobs: Sequence[Shape]) -> _Normalizing:
        return self.otherwise or self


class UnitVectors(_Normalizing):
    """Each pixel over the norm of its channels, and as a second top the norms (happynear: normalize_layer.cpp).

    The norm is sqrt(sum of squares + 1e-6), or with `normalize_type: "L1"` the sum of magnitudes + 1e-6; on a GPU it
    is 1e-12 under the root. The top has four axes whatever the bottom has. In training the norms pass a gradient on
    only with `bp_norm`.
    """

    norm: str = "L2"
    bp_norm: bool = False
    fix_gradient: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> UnitVectors:
        p, section = source.param.normalize_param, "normalize_param"
        if p.normalize_type not in ("L1", "L2"):
            raise fault(source, f"normalize_type is {p.normalize_type!r}; expected L1 or L2", section, "normalize_type")
        return cls(norm=p.normalize_type, bp_norm=p.bp_norm, fix_gradient=p.fix_gradient)

    def caution_at(self, inputs: Sequence[Shape]) -> str:
        if self.otherwise is None:
            return ""
        others = "Normalize=ssd for the other"
        if math.prod(inputs[0][2:]) != 1:
            others = "Normalize=tsn for the whole item without eps, Normalize=ssd for that and a learned factor"
        return (
            "says neither norm_param nor normalize_param and has no blob: it is read as happynear's, which needs none "
            f"(--dialect {others})"
        )

    @property
    def untrainable(self) -> str:
        return "fix_gradient; its source does another thing with it on a CPU than on a GPU" if self.fix_gradient else ""

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) <= 4, f"the bottom is {format_shape(inputs[0])}; expected at most 4 axes")
        image = (*inputs[0], *[1] * (4 - len(inputs[0])))
        return [image, (image[0], 1, *image[2:])]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        image = g.reshape(x[0], node.shape, node.outputs[0].shape)
        eps = g.scalar(1e-6, "eps")
        if self.norm == "L1":
            norm = g.op("Add", g.reduce("ReduceSum", g.op("Abs", image), [1]), eps)
        else:
            norm = g.op("Sqrt", g.op("Add", g.reduce("ReduceSum", g.op("Mul", image, image), [1]), eps))
        return [g.op("Div", image, norm), norm][: len(node.outputs)]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        image, norm = self._torch_norm(t, node, x[0])
        return [f"{image} / {norm}", norm][: len(node.outputs)]

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        image, norm = self._torch_norm(t, node, x[0])
        return [f"{image} / {norm}", norm if self.bp_norm else f"{norm}.detach()"][: len(node.outputs)]

    @property
    def gradient_reads(self) -> str:
        return "y" if self.norm == "L2" else "xy"

    def torch_from_memory(self, t: TorchOps, node: Node, bottom: str, places: Sequence[str]) -> list[str]:
        image, norm = self._torch_norm(t, node, f"{bottom}.detach()")
        side = "y" if self.norm == "L2" else "x.sign()"
        gradient = f"lambda dy, {', '.join(self.gradient_reads)}: (dy - {side} * (dy * y).sum(1, True)) / {norm}"
        top = f"FromMemory.apply({bottom}, {image} / {norm}, {gradient}, {', '.join(places)})"
        exposed = len(node.outputs) > 1 and self.bp_norm
        return [top, self._torch_norm(t, node, bottom)[1] if exposed else norm][: len(node.outputs)]

    def _torch_norm(self, t: TorchOps, node: Node, x: str) -> tuple[str, str]:
        lacking = 4 - len(node.shape)
        image = t.let("image", f"{x}[{', '.join(['...', *['None'] * lacking])}]") if lacking else x
        total = f"{image}.abs().sum(1, True) + 1e-6"
        squares = f"(({image} * {image}).sum(1, True) + 1e-6).sqrt()"
        return image, t.let("norm", total if self.norm == "L1" else squares)


class UnitItems(_Normalizing):
    """Each item over the root of all its squares, without eps (yjxiong's fork, TSN: normalize_layer.cpp).

    The top has four axes whatever the bottom has. The gradient reads bottom and top again; in place Caffe's is lost.
    """

    tops = (1, 1)
    reads_first = True
    keeps_gradient_in_place = True

    @classmethod
    def read(cls, source: NetLayer) -> UnitItems:
        if len(source.tops) > 1:
            raise fault(source, "2 tops; expected 1 of yjxiong's Normalize")
        return cls()

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) <= 4, f"the bottom is {format_shape(inputs[0])}; expected at most 4 axes")
        return [(*inputs[0], *[1] * (4 - len(inputs[0])))]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        image = g.reshape(x[0], node.shape, node.outputs[0].shape)
        return g.op("Div", image, g.op("Sqrt", g.reduce("ReduceSum", g.op("Mul", image, image), [1, 2, 3])))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        lacking = 4 - len(node.shape)
        image = t.let("image", f"{x[0]}[{', '.join(['...', *['None'] * lacking])}]") if lacking else x[0]
        return f"{image} / ({image} * {image}).sum((1, 2, 3), True).sqrt()"

    @property
    def gradient_reads(self) -> str:
        return "xy"

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        return "(dy - y * (dy * y).sum((1, 2, 3), True)) / (x * x).sum((1, 2, 3), True).sqrt()"


@register
class GRN(Layer):
    """Each pixel over the root of its channels' squares and a bias (OpenVINO's training toolbox: grn_layer.cpp).

    Its gradient reads bottom and top again, and the root that the forward pass has kept.
    """

    types = ("GRN",)
    acts_on = "channels"
    reads_first = True
    bias: float = 1e-7
    dummy_backward: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> GRN:
        p = source.param.grn_param
        if not p.bias >= 0:
            raise fault(source, f"bias is {p.bias:g}; expected 0 or more", "grn_param", "bias")
        return cls(shortest(p.bias), p.dummy_backward)

    @property
    def untrainable(self) -> str:
        return "dummy_backward; its gradient is the top's, not the derivative" if self.dummy_backward else ""

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) <= 4, f"the bottom is {format_shape(inputs[0])}; expected at most 4 axes")
        return list(inputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        squares = g.op("Mul", x[0], x[0])
        total = g.reduce("ReduceSum", squares, [1]) if len(node.shape) > 1 else squares
        return g.op("Div", x[0], g.op("Sqrt", g.op("Add", total, g.scalar(self.bias, "bias"))))

    def _root(self, node: Node, x: str) -> str:
        total = ".sum(1, True)" if len(node.shape) > 1 else ""
        return f"(({x} * {x}){total} + {self.bias!r}).sqrt()"

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"{x[0]} / {self._root(node, x[0])}"

    @property
    def gradient_reads(self) -> str:
        return "xy"

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        root = t.let("root", self._root(node, f"{bottom}.detach()"))
        product = "(dy * y).sum(1, True)" if len(node.shape) > 1 else "dy * y"
        return f"dy / {root} - x * ({product} / {root} ** 2)"


@register
class L2Normalize(Layer):
    """Each item over the root of all its squares and 1e-7 (C3D 1.1: l2_normalize_layer.cpp)."""

    types = ("L2Normalize",)

    @classmethod
    def read(cls, source: NetLayer) -> L2Normalize:
        if source.tops[:1] == source.bottoms[:1]:
            raise fault(source, "it works in place; its fork refuses that")
        return cls()

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) >= 1, "the bottom is a single value; expected an axis of items")
        return list(inputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        axes = range(1, len(node.shape))
        squares = g.op("Mul", x[0], x[0])
        total = g.reduce("ReduceSum", squares, axes) if len(node.shape) > 1 else squares
        return g.op("Div", x[0], g.op("Sqrt", g.op("Add", total, g.scalar(1e-7, "eps"))))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        axes = tuple(range(1, len(node.shape)))
        squares = f"({x[0]} * {x[0]})" + (f".sum({axes}, True)" if axes else "")
        return f"{x[0]} / ({squares} + 1e-7).sqrt()"


@register
class Normalize(_Normalizing):
    """A learned factor times x / sqrt(sum of squares + eps), of a pixel or the whole item (SSD: normalize_layer.cpp).

    The sum runs over the channels of each pixel, or with `across_spatial` over all pixels of the item as well.
    Synopsys' fork can add eps to the root instead (`add_eps_before_sqrt: false`), but only across pixels; elsewhere it
    ignores that field.
    """

    types = ("Normalize",)
    read_as = (UnitVectors, UnitItems)
    reads_first = True
    across_spatial: bool = True
    channel_shared: bool = True
    eps: float = 1e-10
    eps_under_root: bool = True
    scale_filler: FillerParameter | None = field(default=None, repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> _Normalizing:
        if source.dialect == "happynear":
            return UnitVectors.read(source)
        if source.dialect == "tsn":
            return UnitItems.read(source)
        p = source.param.norm_param
        if not source.param.HasField("norm_param") and not source.dialect_evidence:
            return UnitVectors(otherwise=cls(scale_filler=_ONE))
        if len(source.tops) > 1:
            raise fault(source, "2 tops; expected 1 of a layer with norm_param")
        factor = filler(p, "scale_filler") or _ONE
        under_root = p.add_eps_before_sqrt or not p.across_spatial
        shared = p.channel_shared
        return cls(None, p.across_spatial, shared, shortest(p.eps), under_root, factor)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(2 <= len(inputs[0]) <= 4, f"the bottom is {format_shape(inputs[0])}; expected 2 to 4 axes")
        return list(inputs)

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        return (Parameter("scale", () if self.channel_shared else (inputs[0][1],), self.scale_filler),)

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(range(1, rank)) if self.across_spatial else (1,)

    def _factor(self, node: Node) -> Tensor:
        return node.tensors["scale"].reshaped((1,) if self.channel_shared else beside_channels(node))

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
        return self._torch("Normalize", t, node, *x)

    def _torch(self, cls: str, t: TorchOps, node: Node, *x: str) -> str:
        factor = self._factor(node)
        keywords: dict[str, Any] = {} if self.eps_under_root else {"eps_under_root": False}
        shape, axes = tuple(map(int, factor.shape)), self._axes(len(node.shape))
        return f"{t.module(cls, shape, axes, self.eps, state={'scale': factor}, **keywords)}({', '.join(x)})"

    @property
    def gradient_reads(self) -> str:
        """The bottom for its own gradient, the top for the factor's."""
        return "xy"

    def torch_from_memory(self, t: TorchOps, node: Node, bottom: str, places: Sequence[str]) -> str:
        t.helper("Normalize", NORMALIZE)
        t.helper("NormalizeFromMemory", NORMALIZE_FROM_MEMORY)
        of_bottom = f"[{bottom}.detach()]" if is_over(node) else places[0]
        return self._torch("NormalizeFromMemory", t, node, bottom, of_bottom, places[1])


NORMALIZE = '''
class Normalize(nn.Module):
    """A learned factor times x over its Euclidean norm along some axes (SSD's Normalize layer)."""

    def __init__(self, shape, dim, eps, eps_under_root=True):
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.eps_under_root = eps_under_root
        self.scale = nn.Parameter(torch.ones(shape))

    def norm(self, x):
        squares = (x * x).sum(self.dim, keepdim=True)
        return (squares + self.eps).sqrt() if self.eps_under_root else squares.sqrt() + self.eps

    def forward(self, x):
        return x / self.norm(x) * self.scale
'''

NORMALIZE_FROM_MEMORY = '''
class NormalizeFromMemory(Normalize):
    """The same, with the gradients that Caffe computes: the factor's from what lies where the top was."""

    def forward(self, x, bottom, top):
        norm, factor = self.norm(x.detach()), self.scale.expand_as(x)
        scale = factor.detach()

        def below(dy, x):
            return scale * (dy - x * (x * dy).sum(self.dim, keepdim=True) / norm**2) / norm

        y = FromMemory.apply(x, x.detach() / norm * scale, below, bottom)
        return y + FromMemory.apply(factor, torch.zeros_like(y), lambda dy, y: dy * y / scale, top)
'''
