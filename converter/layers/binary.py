"""Convolution and InnerProduct by the signs of their weights (HWGQ: binary_conv_layer, binary_inner_product_layer).

    W[o, k] becomes alpha[o] where it is at least 0, and -alpha[o] below;   alpha[o] = mean over k of |W[o, k]|, or 1

The blob keeps the numbers that were learned; what is written are the binary ones, worked out when they are written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from converter.folding import WeightedSum
from converter.layers.base import at_least_one, filler, register
from converter.layers.convolution import Convolution
from converter.layers.inner_product import InnerProduct
from converter.matching.operation import Operation
from converter.node import Layer, by_message_alone
from converter.tensor import Array, Tensor
from prototxt import NetLayer
from prototxt.caffe_pb2 import LayerParameter

if TYPE_CHECKING:
    from converter.node import Node


class _Binary(WeightedSum):
    """What the two share: which weights are used. `binary` is off once they are the tensor, as after a fold."""

    binary: bool = False
    use_alpha: bool = False

    _section: ClassVar[str]
    _plain: ClassVar[str]

    @classmethod
    def _settings(cls, source: NetLayer) -> tuple[bool, bool]:
        """`binary` and `use_alpha`."""
        p = getattr(source.param, cls._section)
        if not p.use_binarization:
            source.without_effect("the weights are not made binary", f"{cls._section}.use_alpha")
            return False, False
        return True, p.use_alpha

    @property
    def untrainable(self) -> str:
        return "its fork's gradient is that of the binary weights, not of the learned ones" if self.binary else ""

    def matrix(self, node: Node) -> Tensor:
        stored = super().matrix(node)
        return stored.map(self._as_used) if self.binary else stored

    def _as_used(self, weight: Array) -> Array:
        rows = weight.reshape(len(weight), -1)
        alpha = np.ones((len(rows), 1), np.float32)
        if self.use_alpha:
            alpha[:, 0] = np.abs(rows).sum(axis=1, dtype=np.float64) / max(1, rows.shape[1])
        return np.where(rows >= 0, alpha, -alpha).reshape(weight.shape)

    def folded(self) -> Layer:
        return super(_Binary, replace(self, binary=False, use_alpha=False)).folded()

    def computes(self, node: Node) -> Operation:
        return Layer.computes(self, node) if self.binary else super().computes(node)

    def make_plain(self, param: LayerParameter) -> None:
        super().make_plain(param)
        if not self.binary:  # A fold has the weights as they are used.
            param.type = self._plain
            param.ClearField(self._section)


@register
class BinaryConvolution(_Binary, Convolution):
    """Convolution by the signs of the weights, with `use_alpha` times each output's mean size of them.

    `use_binarization: false` makes it a Convolution. Bias and sizes are Convolution's (HWGQ: binary_conv_layer.cpp).
    """

    types = ("BinaryConvolution",)
    _section = "binary_convolution_param"
    _plain = "Convolution"

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> BinaryConvolution:
        plain, (binary, use_alpha) = super().read(source), cls._settings(source)
        assert isinstance(plain, cls)
        return replace(plain, binary=binary, use_alpha=use_alpha)


@register
class BinaryInnerProduct(_Binary, InnerProduct):
    """InnerProduct by the signs of the weights, with `use_alpha` times each output's mean size of them.

    `use_binarization: false` makes it an InnerProduct. Its code has the matrix as num_output × inputs, whatever
    `transpose` says (HWGQ: binary_inner_product_layer.cpp).
    """

    types = ("BinaryInnerProduct",)
    bottoms = (1, 1)
    read_as = ()
    _section = "binary_inner_product_param"
    _plain = "InnerProduct"

    @classmethod
    @by_message_alone
    def read(cls, source: NetLayer) -> BinaryInnerProduct:
        p = source.param.inner_product_param
        at_least_one(source, "inner_product_param", "num_output")
        fillers = (filler(p, "weight_filler"), filler(p, "bias_filler"))
        binary, use_alpha = cls._settings(source)
        return cls(p.num_output, p.bias_term, p.axis, fillers=fillers, binary=binary, use_alpha=use_alpha)

    def as_convolution(
        self, node: Node, source: NetLayer, param: LayerParameter, window: tuple[int, int, int]
    ) -> list[Tensor]:
        tensors = super().as_convolution(node, source, param, window)
        param.ClearField("binary_inner_product_param")
        return tensors

    def make_plain(self, param: LayerParameter) -> None:
        super().make_plain(param)
        param.inner_product_param.ClearField("transpose")
