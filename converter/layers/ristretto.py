"""Layers that compute in numbers of few bits, which their floats stand for (Ristretto: src/caffe/ristretto/layers).

    bottoms -> rounded to the format, in their own memory
    weights -> rounded to theirs when they are written
    tops    -> the plain layer's, rounded to the format

`shared/few_bits.py` has the formats, and says why it is the fork's GPU that counts. With weights of powers of two the
CPU's code (`--dialect cpu`) rounds neither bottoms nor tops. LRNRistretto leaves its bottom as
it is, and rounds each step within.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from converter.graph import Shape, is_free
from converter.layers.base import UNLIMITED, OnnxOps, TorchOps, at_least_one, fault, filler, register, require
from converter.layers.convolution import Convolution, Deconvolution
from converter.layers.inner_product import InnerProduct
from converter.layers.normalization import LRN
from converter.layers.shared.few_bits import (
    SECTION,
    FixedPoint,
    Formats,
    MiniFloat,
    read_formats,
    read_minifloat,
    spelled,
)
from converter.node import Layer, Node, Parameter, by_message_alone
from converter.tensor import Tensor
from prototxt import NetLayer
from prototxt.caffe_pb2 import LayerParameter, LRNParameter

if TYPE_CHECKING:
    from converter.traits import ActsOn

TRAINED = "its fork rounds weights at random in training"


class Trimmed(Layer):
    """What such a layer makes of a bottom, in the bottom's memory, before it reads it."""

    acts_on: ClassVar[ActsOn] = "values"
    reads_first = True
    leads = True
    format: FixedPoint | MiniFloat = FixedPoint(32, 16)

    @property
    def untrainable(self) -> str:
        return TRAINED

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return self.format.onnx(g, x[0])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return self.format.torch(t, x[0])


class _Ristretto(Layer):
    """What they share: the plain layer that they are, and the formats of its numbers."""

    writes_bottoms = True
    plain: Layer = field(default_factory=Layer)
    formats: Formats = Formats(FixedPoint(32, 16), FixedPoint(32, 16), FixedPoint(32, 16), FixedPoint(32, 16), "")

    @property
    def caution(self) -> str:
        return self.formats.caution

    @property
    def untrainable(self) -> str:
        return TRAINED

    @property
    def leader(self) -> Layer | None:
        return None if self.formats.bottoms is None else Trimmed(self.formats.bottoms)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return self.plain.infer(inputs)

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        return self.plain.parameters(inputs)

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return self.plain.multiply_adds(inputs, outputs)

    def _at_work(self, node: Node) -> Node:
        """The plain layer with the weights as they are used."""
        tensors = dict(node.tensors)
        for role, form in (("weight", self.formats.weight), ("bias", self.formats.bias)):
            if role in tensors and form is not None:
                stored, name = tensors[role], f"{node.name}.{role}"  # Two layers may round shared ones in two ways.
                used = stored.map(form.trim)
                tensors[role] = Tensor(name, used.shape, used.load) if stored.shared else used
        return Node(self.plain, node.inputs, node.outputs, tensors, node.origins)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        made, tops = self.plain.onnx(g, self._at_work(node), *x), self.formats.tops
        return [y if tops is None else tops.onnx(g, y) for y in ([made] if isinstance(made, str) else made)]

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        made, tops = self.plain.torch(t, self._at_work(node), *x), self.formats.tops
        return [y if tops is None else tops.torch(t, y) for y in ([made] if isinstance(made, str) else made)]


@register
class ConvolutionRistretto(_Ristretto):
    """Convolution of numbers of few bits (Ristretto: conv_ristretto_layer.cpp)."""

    types = ("ConvolutionRistretto",)
    bottoms = tops = (1, UNLIMITED)

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> ConvolutionRistretto:
        return cls(Convolution.read(source), read_formats(source))


@register
class DeconvolutionRistretto(_Ristretto):
    """Deconvolution of numbers of few bits (Ristretto: deconv_ristretto_layer.cpp)."""

    types = ("DeconvolutionRistretto",)
    bottoms = tops = (1, UNLIMITED)

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> DeconvolutionRistretto:
        return cls(Deconvolution.read(source), read_formats(source))


@register
class FcRistretto(_Ristretto):
    """InnerProduct of numbers of few bits (Ristretto: fc_ristretto_layer.cpp)."""

    types = ("FcRistretto",)

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> FcRistretto:
        p = source.param.inner_product_param
        at_least_one(source, "inner_product_param", "num_output")
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        plain = InnerProduct(p.num_output, p.bias_term, p.axis, p.transpose, fillers=fillers)
        return cls(plain, read_formats(source))

    @property
    def sums_from(self) -> int | None:
        return self.plain.sums_from

    def as_convolution(
        self, node: Node, source: NetLayer, param: LayerParameter, window: tuple[int, int, int]
    ) -> list[Tensor]:
        tensors = self.plain.as_convolution(node, source, param, window)
        param.type = ConvolutionRistretto.types[0]
        return tensors


@register
class LRNRistretto(Layer):
    """LRN across channels in small floats, each step of which is rounded (Ristretto: lrn_ristretto_layer.cu).

    The sum of the squares nearby runs along: that of a channel that comes in is added, that of one that is left is
    taken off, and what was lost between them stays lost; it may end below 0. It is of a GPU alone, and rounds to the
    nearest whatever `rounding_scheme` says.
    """

    types = ("LRNRistretto",)
    reads_first = True
    plain: LRN = LRN()
    format: MiniFloat = MiniFloat(23, 8)

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> LRNRistretto:
        p = source.param.quantization_param
        if p.precision != p.MINIFLOAT:
            raise fault(source, "precision is not MINIFLOAT, the only one that its fork has", SECTION, "precision")
        if source.param.lrn_param.norm_region != LRNParameter.ACROSS_CHANNELS:
            message = "norm_region: WITHIN_CHANNEL, which its fork refuses; expected ACROSS_CHANNELS"
            raise fault(source, message, "lrn_param", "norm_region")
        source.without_effect("its code always rounds to the nearest", f"{SECTION}.rounding_scheme")
        return cls(LRN.read(source), read_minifloat(source))

    @property
    def untrainable(self) -> str:
        return "its fork's gradient is that of a layer which rounds nothing"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        tops = self.plain.infer(inputs)
        channels = tops[0][1]
        require(not is_free(channels), "the number of channels can't be free")
        after = self.plain.local_size // 2
        message = f"{channels} channels; expected {after} to {MOST_CHANNELS} with local_size {self.plain.local_size}"
        require(after <= int(channels) <= MOST_CHANNELS, message)
        return tops

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return self.plain.multiply_adds(inputs, outputs)

    @property
    def _has_no_power(self) -> bool:
        """Whether what is below 0 has none: no number then becomes the largest, as all that is too large."""
        return self.plain.beta != int(self.plain.beta)

    def _share(self) -> float:
        return float(np.float32(self.plain.alpha) / np.float32(self.plain.local_size))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        def trim(value: str) -> str:
            return self.format.onnx(g, value)

        channels, size = int(node.shape[1]), self.plain.local_size
        read = trim(x[0])
        squares = trim(g.op("Mul", read, read))
        planes = [g.slice(squares, 1, place, place + 1) for place in range(channels)]
        total, sums = "", []
        for head in range(channels + size // 2):
            if head < channels:
                total = trim(g.op("Add", total, planes[head]) if total else planes[head])
            if head >= size:
                total = trim(g.op("Sub", total, planes[head - size]))
            if head >= size // 2:
                sums.append(total)
        near = trim(g.op("Mul", g.op("Concat", *sums, axis=1), g.scalar(self._share(), "share")))
        scale = trim(g.op("Add", near, g.scalar(self.plain.k, "k")))
        factor = trim(g.op("Pow", scale, g.scalar(-self.plain.beta, "exponent")))
        if self._has_no_power:
            below = g.op("Less", scale, g.scalar(0.0, "zero"))
            factor = g.op("Where", below, g.scalar(self.format.largest, "largest"), factor)
        return trim(g.op("Mul", read, factor))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        def trim(value: str) -> str:
            return self.format.torch(t, value)

        t.helper("running_sums", RUNNING_SUMS)
        read = t.let("read", trim(x[0]))
        sums = f"running_sums({trim(f'{read} * {read}')}, {self.plain.local_size}, lambda x: {trim('x')})"
        scale = t.let("scale", trim(f"{trim(f'{sums} * {self._share()!r}')} + {self.plain.k!r}"))
        factor = trim(f"{scale} ** {-self.plain.beta!r}")
        if self._has_no_power:
            factor = f"torch.where({scale} < 0, {spelled(self.format.largest)}, {factor})"
        return trim(f"{read} * {factor}")


MOST_CHANNELS = 1024
"""Each has operators of its own in ONNX."""

RUNNING_SUMS = '''
def running_sums(x, size, trim):
    """Sums over `size` channels about each: one is added, one taken off, and each time it is rounded (Ristretto)."""
    channels, total, sums = x.shape[1], torch.zeros_like(x[:, :1]), []
    for head in range(channels + size // 2):
        if head < channels:
            total = trim(total + x[:, head : head + 1])
        if head >= size:
            total = trim(total - x[:, head - size : head - size + 1])
        if head >= size // 2:
            sums.append(total)
    return torch.cat(sums, 1)
'''
