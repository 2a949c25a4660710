"""Caffe's layers in numpy, one module a family; importing this package registers them all."""

from verify.layers import (
    activation,
    arithmetic,
    convolution,
    data,
    detection,
    inner_product,
    loss,
    normalization,
    pooling,
    rearrange,
    recurrent,
    reduction,
    resize,
    shaping,
)
from verify.layers.registry import find, known_types

__all__ = [
    "activation",
    "arithmetic",
    "convolution",
    "data",
    "detection",
    "find",
    "inner_product",
    "known_types",
    "loss",
    "normalization",
    "pooling",
    "rearrange",
    "recurrent",
    "reduction",
    "resize",
    "shaping",
]
