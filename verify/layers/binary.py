"""Sums with one bit a weight (HWGQ: binary_conv_layer.cpp and .cu, binary_inner_product_layer.cpp and .cu).

Of each output the code keeps the signs of its weights, 0 among those above, and with `use_alpha` one number: the mean
of their magnitudes. The bias is a float. All else is as in Convolution and InnerProduct of BVLC's Caffe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from verify.layers.convolution import conv_error, convolved
from verify.layers.inner_product import product, product_error
from verify.layers.registry import Array, Call, Sensitivity, register, wide

CONVOLUTION, INNER_PRODUCT = "binary_convolution_param", "binary_inner_product_param"


def _signs(weight: Array) -> Array:
    """1 from 0 on, -1 below, and -1 for what is no number."""
    signs = np.full_like(weight, -1)
    signs[weight >= 0] = 1
    return signs


def _scaled_signs(weight: Array) -> Array:
    """Signs times the mean magnitude of their output, which is the first axis."""
    signs = _signs(weight)
    for stored, row in zip(weight, signs, strict=True):
        row *= np.float32(np.abs(wide(stored)).sum() / max(1, stored.size))
    return signs


def _use(call: Call, section: str) -> Callable[[Array], Array]:
    """What the layer makes of its weights before it multiplies by them."""
    p = getattr(call.param, section)
    if p.use_binarization:
        return _scaled_signs if p.use_alpha else _signs
    call.ignores("use_binarization is false, and weights are used as they are", f"{section}.use_alpha")
    return lambda weight: weight


def _conv_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return conv_error(call, tops, _use(call, CONVOLUTION))


def _conv_beside(call: Call, others: Sequence[Array]) -> list[Array]:
    return convolved(call, [call.x, *others], _use(call, CONVOLUTION), at_once=True)


@register("BinaryConvolution", bottoms=(1, None), error=_conv_error, beside=_conv_beside)
def binary_convolution(call: Call) -> list[Array]:
    """Convolution with weights of which each output has the signs and one magnitude."""
    return convolved(call, call.bottoms, _use(call, CONVOLUTION), at_once=False)


def _matrix(call: Call) -> tuple[Array, Array | None, int]:
    """Weights as they are used, bias, and the axis from which the bottom is flattened; the code never transposes."""
    p = call.param.inner_product_param
    axis = call.axis(p.axis)
    shapes: list[tuple[int, ...]] = [(p.num_output, math.prod(call.x.shape[axis:]))]
    if p.bias_term:
        shapes.append((p.num_output,))
    weight, *bias = call.parameters.take(shapes)
    return _use(call, INNER_PRODUCT)(weight), (bias[0] if bias else None), axis


def _product_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    weight, bias, _ = _matrix(call)
    return product_error(weight, bias)


def _product_beside(call: Call, others: Sequence[Array]) -> list[Array]:
    return product((call.x, *others), *_matrix(call))


@register(
    "BinaryInnerProduct",
    error=_product_error,
    scores=lambda layer: layer.param.inner_product_param.num_output,
    beside=_product_beside,
)
def binary_inner_product(call: Call) -> list[Array]:
    """x flattened from `axis` on, times signs and magnitudes, plus bias."""
    return product((call.x,), *_matrix(call))
