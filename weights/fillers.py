"""Caffe's fillers (filler.hpp): the numbers that a net's parameters start from.

    constant            value
    uniform             U(min, max)
    gaussian            N(mean, std²); sparse = k ≥ 0 keeps each with probability k / outputs, the rest are 0
    positive_unitball   U(0, 1), each output's values divided by their sum
    xavier              U(-a, a), a = sqrt(3 / n)
    msra                N(0, 2 / n), in forks N(0, 2 / (n (1 + slope²)) msra_coeff²)
    bilinear            upsampling kernels: (1 - |x / f - c|) (1 - |y / f - c|), f = ceil(k / 2), c = (k - 1) / 2f
    diagonal            diag_val[i], 1 past its end, over the kernel's size, from channel i to output i; 0 elsewhere

The forks' are happynear's alpha and ChenglongChen's negative_slope, both a slope below 0, iResNet's msra_coeff, and
FlowNet2's diagonal.

n is fan_in, fan_out or their mean by `variance_norm`; fan_in = count / shape[0], fan_out = count / shape[1], for
a vector count / 1. For InnerProduct, whose weights are outputs × inputs, that is what the names say. The
distributions are Caffe's, the random sequence is numpy's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, prod, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from prototxt.errors import RequestError, UnsupportedError
from prototxt.words import format_shape
from weights.blobproto import MAX_VALUES
from weights.model import FloatArray, Shape

if TYPE_CHECKING:
    from prototxt.caffe_pb2 import FillerParameter

_Floats = npt.NDArray[np.floating]
_FAN_OUT: Final = 1
_AVERAGE: Final = 2


def fill(filler: FillerParameter, shape: Sequence[int], rng: np.random.Generator) -> FloatArray:
    """A float32 array of `shape`, C order, as `filler` makes it.

    Raises:
        UnsupportedError: a filler type that Caffe does not have, or numbers that stand in a file.
        RequestError: a setting or a shape that the filler cannot work with.
    """
    size = tuple(shape)
    if any(dim < 1 for dim in size) or prod(size) > MAX_VALUES:
        raise RequestError(f"a parameter of {format_shape(size)} cannot be filled")
    make = _FILLERS.get(filler.type)
    if filler.type == "file":
        raise UnsupportedError(f"the file filler takes its numbers from {filler.file!r}, which is not read")
    if make is None:
        raise UnsupportedError(f"unknown filler type {filler.type!r}; Caffe has {', '.join(_FILLERS)}")
    if filler.sparse != -1 and filler.type != "gaussian":
        raise RequestError(f"the {filler.type} filler cannot be sparse")
    return np.require(make(filler, size, rng), np.float32, "C")


def _constant(filler: FillerParameter, shape: Shape, rng: np.random.Generator) -> _Floats:
    return np.full(shape, filler.value, np.float32)


def _uniform(filler: FillerParameter, shape: Shape, rng: np.random.Generator) -> _Floats:
    if not filler.min <= filler.max:
        raise RequestError(f"the uniform filler's min {filler.min:g} exceeds its max {filler.max:g}")
    return _between(filler.min, filler.max, shape, rng)


def _gaussian(filler: FillerParameter, shape: Shape, rng: np.random.Generator) -> _Floats:
    if not filler.std >= 0:
        raise RequestError(f"the gaussian filler's std {filler.std:g} is negative")
    values = _normal(filler.mean, filler.std, shape, rng)
    if filler.sparse == -1:
        return values
    outputs = shape[0] if shape else 0
    if not outputs or not 0 <= filler.sparse <= outputs:
        raise RequestError(f"the gaussian filler's sparse {filler.sparse} is not between 0 and the {outputs} outputs")
    kept = rng.random(shape, np.float32) < filler.sparse / outputs
    values *= kept
    return values


def _positive_unitball(filler: FillerParameter, shape: Shape, rng: np.random.Generator) -> _Floats:
    rows = rng.random((shape[0] if shape else 1, prod(shape[1:])), np.float32)
    rows /= rows.sum(1, np.float64, keepdims=True)
    return rows.reshape(shape)


def _xavier(filler: FillerParameter, shape: Shape, rng: np.random.Generator) -> _Floats:
    limit = sqrt(3 / _fan(filler, shape))
    return _between(-limit, limit, shape, rng)


def _msra(filler: FillerParameter, shape: Shape, rng: np.random.Generator) -> _Floats:
    slope = filler.alpha or filler.negative_slope
    variance = 2 / _fan(filler, shape) / (1 + slope**2)
    return _normal(0, sqrt(variance) * filler.msra_coeff, shape, rng)


def _bilinear(filler: FillerParameter, shape: Shape, rng: np.random.Generator) -> _Floats:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise RequestError(f"the bilinear filler needs a 4-D parameter with square kernels, not {format_shape(shape)}")
    half = ceil(shape[3] / 2)
    centre = (shape[3] - 1) / (2 * half)
    ramp = 1 - np.abs(np.arange(shape[3]) / half - centre)
    return np.broadcast_to(np.outer(ramp, ramp), shape)


def _diagonal(filler: FillerParameter, shape: Shape, rng: np.random.Generator) -> _Floats:
    if len(shape) < 2:
        raise RequestError(f"the diagonal filler needs outputs and channels, not {format_shape(shape)}")
    values = np.zeros(shape, np.float32)
    stated = filler.diag_val[: min(shape[:2])]
    for place in range(min(shape[:2])):
        values[place, place] = (stated[place] if place < len(stated) else 1) / prod(shape[2:])
    return values


_Filler = Callable[["FillerParameter", Shape, "np.random.Generator"], _Floats]
_FILLERS: Final[dict[str, _Filler]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
    "diagonal": _diagonal,
}


def _fan(filler: FillerParameter, shape: Shape) -> float:
    count = prod(shape)
    fan_in = count // shape[0] if shape else 1
    fan_out = count // shape[1] if len(shape) > 1 else count
    if filler.variance_norm == _AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_out if filler.variance_norm == _FAN_OUT else fan_in


def _between(low: float, high: float, shape: Shape, rng: np.random.Generator) -> _Floats:
    values = rng.random(shape, np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


def _normal(mean: float, std: float, shape: Shape, rng: np.random.Generator) -> _Floats:
    values = rng.standard_normal(shape, np.float32)
    values *= np.float32(std)
    values += np.float32(mean)
    return values
