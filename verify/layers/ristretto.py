"""Layers in which a float stands for a number of few bits (Ristretto: src/caffe/ristretto/layers).

In phase TEST the code trims what its bottoms hold, in the bottoms themselves, copies weights and bias and trims the
copies, does what the layer is named after, and trims the tops. Which numbers there are says `quantization_param`:

    DYNAMIC_FIXED_POINT          bw_ bits of two's complement, fl_ of them behind the point
    MINIFLOAT                    mant_bits and exp_bits; no number is denormal, infinite or none
    INTEGER_POWER_OF_2_WEIGHTS   weights ±2^e with e from exp_min to exp_max, a bias as it is, the blobs in fixed point

Where .cpp and .cu are two things, this is base_ristretto_layer.cu: `rint`, each value of a minifloat by itself (the
other returns from its loop), blobs trimmed beside powers of two as well. The dialect cpu is base_ristretto_layer.cpp:
`round`, and blobs beside powers of two as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from verify.layers.convolution import conv_error, convolution, convolved, deconv_error, deconvolution
from verify.layers.inner_product import inner_product_error, multiplied
from verify.layers.parameters import Parameters
from verify.layers.registry import UNBOUNDED, Array, Call, ErrorRule, Sensitivity, Wide, largest, register, wide
from verify.layers.shared.rounding import of_sum

FIXED = ("bw_layer_in", "fl_layer_in", "bw_layer_out", "fl_layer_out")
PARAMS, MINI, POWERS = ("bw_params", "fl_params"), ("mant_bits", "exp_bits"), ("exp_min", "exp_max")
EXACT = 2.0**23
"""So many steps may a sum of whole ones have, half of what float32 holds, for all its parts to be whole as well."""


@dataclass(frozen=True)
class TwosComplement:
    """Two's complement: `step` times whole numbers from `low` to `high`, which are float32 as in the code."""

    step: float
    low: float
    high: float
    round: Callable[[Wide], Wide] = np.rint

    def trim(self, x: Array) -> Array:
        """Saturate, then round."""
        inside = np.minimum(np.maximum(x, np.float32(self.low)), np.float32(self.high))
        return (self.round(wide(inside) / self.step) * self.step).astype(np.float32)

    def spacing(self, size: float) -> float:
        """Between a number and the next."""
        return self.step


@dataclass(frozen=True)
class SmallFloat:
    """A small float, whose fields are cut out of those of the float32."""

    mantissa: int
    exponent: int

    def trim(self, x: Array) -> Array:
        """Move the exponent to the other bias, cut the mantissa, put the two together again in doubles."""
        bits = np.ascontiguousarray(x).view(np.uint32)
        stored, low = (bits >> 23 & 0xFF).astype(np.int64), (bits & 0x7FFFFF).astype(np.float64)
        bias = (1 << self.exponent - 1) - 1
        exponent = stored - 127 + bias
        last = (1 << self.exponent) - 1
        mantissa = np.round(low / 2.0 ** (23 - self.mantissa))
        beyond = exponent > last
        mantissa[beyond] = (1 << self.mantissa) - 1
        exponent[beyond] = last
        one = 2.0**self.mantissa
        size = (mantissa + one) / one * np.exp2((exponent - bias).astype(np.float64))
        size[(stored == 0) | (exponent < 0)] = 0
        return np.where(bits >> 31 == 1, -size, size).astype(np.float32)

    def spacing(self, size: float) -> float:
        """Between a number of this size and the next."""
        return 2.0 ** (math.floor(math.log2(size)) - self.mantissa) if size > 0 else 0.0


@dataclass(frozen=True)
class Powers:
    """±2^e; log2f(0) is below all exponents, and 0 is not below 0."""

    low: int
    high: int
    round: Callable[[Wide], Wide] = np.rint

    def trim(self, x: Array) -> Array:
        """Round the logarithm."""
        logs = np.log2(np.abs(wide(x))).astype(np.float32)
        exponent = np.maximum(np.minimum(self.round(wide(logs)), self.high), self.low)
        return (np.where(x >= 0, 1, -1) * np.exp2(exponent)).astype(np.float32)


@dataclass(frozen=True)
class Kinds:
    """What the layer's numbers are; None for those that stay as they are."""

    bottom: TwosComplement | SmallFloat | None
    top: TwosComplement | SmallFloat | None
    weight: TwosComplement | SmallFloat | Powers
    bias: TwosComplement | SmallFloat | None


def _fixed(call: Call, part: str) -> TwosComplement:
    p = call.param.quantization_param
    width, points = getattr(p, f"bw_{part}"), getattr(p, f"fl_{part}")
    call.require(1 <= width <= 32, f"bw_{part} {width} is not 1 to 32")
    call.require(len(points) <= 1, f"fl_{part} has {len(points)} values")
    point = points[0] if points else 16
    call.require(abs(point) <= 64, f"fl_{part} {point} is not -64 to 64")
    step = math.ldexp(1.0, -point)
    return TwosComplement(step, -(2 ** (width - 1)) * step, (2 ** (width - 1) - 1) * step, _rounding(call))


def _rounding(call: Call) -> Callable[[Wide], Wide]:
    return _round_of_c if call.layer.dialect == "cpu" else np.rint


def _round_of_c(values: Wide) -> Wide:
    """`round` of math.h, halves away from 0: what is cut off is a half at least, or not."""
    cut = np.trunc(values)
    return cut + np.where(np.abs(values - cut) >= 0.5, np.sign(values), 0)


def _mini(call: Call) -> SmallFloat:
    _without(call, *FIXED, *PARAMS, *POWERS)
    p = call.param.quantization_param
    held = p.mant_bits <= 30 and 1 <= p.exp_bits <= (8 if p.mant_bits >= 23 else 7)
    call.require(held, f"mant_bits {p.mant_bits} and exp_bits {p.exp_bits} are no numbers that float32 can stand for")
    return SmallFloat(p.mant_bits, p.exp_bits)


def _without(call: Call, *names: str) -> None:
    p = call.param.quantization_param
    intels = p.scale_in or p.scale_out or p.scale_params or p.is_negative_input or p.force_u8_input
    call.require(not intels, "has fields of Intel's quantization_param")
    call.ignores("of another precision", *(f"quantization_param.{name}" for name in names))


def _kinds(call: Call) -> Kinds:
    p = call.param.quantization_param
    call.require(not call.train, "rounds weights at random in phase TRAIN, which has no answer to compare with")
    call.require(p.rounding_scheme == p.NEAREST, "rounds at random (rounding_scheme)")
    on_cpu = call.layer.dialect == "cpu"
    if p.precision == p.MINIFLOAT:
        call.require(not on_cpu, "leaves values of a small float as they are on a CPU, behind the first one that is 0")
        mini = _mini(call)
        return Kinds(mini, mini, mini, mini)
    if p.precision == p.DYNAMIC_FIXED_POINT:
        _without(call, *MINI, *POWERS)
        params = _fixed(call, "params")
        return Kinds(_fixed(call, "layer_in"), _fixed(call, "layer_out"), params, params)
    _without(call, *MINI, *PARAMS)
    for exponent in (p.exp_min, p.exp_max):
        call.require(abs(exponent) <= 64, f"exponent {exponent} is not -64 to 64")
    powers = Powers(p.exp_min, p.exp_max, _rounding(call))
    if on_cpu:
        call.ignores("blobs stay as they are", *(f"quantization_param.{name}" for name in FIXED))
        return Kinds(None, None, powers, None)
    return Kinds(_fixed(call, "layer_in"), _fixed(call, "layer_out"), powers, None)


@dataclass(frozen=True, eq=False)
class _Copies(Parameters):
    """The layer's learned blobs, trimmed when they are taken."""

    kinds: Kinds | None = None

    def take(self, shapes: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        assert self.kinds is not None
        weight, *bias = super().take(shapes)
        trimmed = [self.kinds.weight.trim(weight)]
        return trimmed + [each if self.kinds.bias is None else self.kinds.bias.trim(each) for each in bias]


def _trimmed(call: Call, kinds: Kinds) -> Call:
    own = {field.name: getattr(call.parameters, field.name) for field in fields(call.parameters)}
    return Call(call.layer, call.bottoms, _Copies(**own, kinds=kinds), call.train)


def _leaves(call: Call) -> list[Array]:
    kind = _kinds(call).bottom
    return [] if kind is None else [kind.trim(x) for x in call.bottoms]


def _tops(call: Call, plain: Callable[[Call], Sequence[Array]]) -> list[Array]:
    kinds = _kinds(call)
    tops = list(plain(_trimmed(call, kinds)))
    return tops if kinds.top is None else [kinds.top.trim(top) for top in tops]


def _error_of(plain: ErrorRule) -> ErrorRule:
    """Of sums that float32 holds exactly, in whatever order, nothing is rounded; of others rounding may turn the one or
    other to the next number. What errors of the bottoms do, nobody can say.
    """

    def error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
        kinds = _kinds(call)
        if kinds.top is None:
            return plain(_trimmed(call, kinds), tops)
        found = []
        for top, summed in zip(tops, plain(_trimmed(call, kinds), tops), strict=True):
            gains = tuple(UNBOUNDED if gain else 0.0 for gain in summed.gains)
            own = 0.0
            if not _is_exact(call, kinds, summed):
                terms = [gain * largest(x) for gain, x in zip(summed.gains, call.bottoms, strict=True)]
                peak = max(largest(top), *terms)
                own = kinds.top.spacing(largest(top)) + of_sum(summed.fan_in) * peak
            found.append(Sensitivity(0, gains, own))
        return found

    return error


def _is_exact(call: Call, kinds: Kinds, summed: Sensitivity) -> bool:
    """Whether all parts of a sum are whole numbers of one step, few enough for float32: n terms are no more than
    sqrt(n) times the root of their squares.
    """
    bottom, weight, bias = kinds.bottom, kinds.weight, kinds.bias
    if not isinstance(bottom, TwosComplement) or isinstance(weight, SmallFloat):
        return False
    step = bottom.step * (weight.step if isinstance(weight, TwosComplement) else math.ldexp(1.0, weight.low))
    total = math.sqrt(summed.fan_in) * max(summed.gains) * -bottom.low
    if len(call.parameters.blobs) > 1:
        if not isinstance(bias, TwosComplement):
            return False
        step, total = min(step, bias.step), total - bias.low
    return total <= EXACT * step


def _convolved_beside(call: Call, others: Sequence[Array]) -> list[Array]:
    return _tops(call, lambda trimmed: convolved(trimmed, [call.x, *others], at_once=True))


@register(
    "ConvolutionRistretto",
    bottoms=(1, None),
    error=_error_of(conv_error),
    leaves=_leaves,
    beside=_convolved_beside,
)
def convolution_ristretto(call: Call) -> list[Array]:
    """Convolution of what the bottoms hold by now."""
    return _tops(call, convolution)


@register("DeconvolutionRistretto", bottoms=(1, None), error=_error_of(deconv_error), leaves=_leaves)
def deconvolution_ristretto(call: Call) -> list[Array]:
    """Deconvolution of what the bottoms hold by now."""
    return _tops(call, deconvolution)


def _multiplied(call: Call, others: Sequence[Array] = ()) -> list[Array]:
    p = call.param.inner_product_param
    call.require(not p.normalize and not p.relu, "has fields of other forks (normalize, relu)")
    return _tops(call, lambda trimmed: multiplied(trimmed, others))


@register(
    "FcRistretto",
    error=_error_of(inner_product_error),
    leaves=_leaves,
    scores=lambda layer: layer.param.inner_product_param.num_output,
    beside=_multiplied,
)
def fc_ristretto(call: Call) -> list[Array]:
    """InnerProduct of what the bottom holds by now."""
    return _multiplied(call)


def _lrn_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """All is told by IEEE's rules but the power, which may fall beside a tie: its next number, and the product's."""
    peak = largest(tops[0])
    return [Sensitivity(0, (UNBOUNDED,), 3 * max(_mini(call).spacing(peak), 2.0**-22 * peak))]


@register("LRNRistretto", error=_lrn_error, keeps_shape=True)
def lrn_ristretto(call: Call) -> list[Array]:
    """LRN across channels, every number on the way a small float; .cu alone (lrn_ristretto_layer.cu).

    A thread goes up the channels of a pixel with one sum, to which the square ahead is added and from which the one
    behind is taken.
    """
    p, x = call.param.lrn_param, call.x
    call.ignores("its code asks for NEAREST itself", "quantization_param.rounding_scheme")
    precision = call.param.quantization_param.precision
    call.require(precision == call.param.quantization_param.MINIFLOAT, "has a precision other than MINIFLOAT")
    call.require(p.norm_region == p.ACROSS_CHANNELS, "works within a channel, which is not implemented")
    call.require(p.local_size % 2 == 1, f"has an even local_size, {p.local_size}")
    call.require(x.ndim == 4, f"needs a bottom of 4 axes, it has {x.ndim}")
    ahead, channels = (p.local_size - 1) // 2, x.shape[1]
    call.require(
        ahead <= channels, f"has {channels} channels, and writes before the first with {p.local_size} in a sum"
    )
    trim = _mini(call).trim
    read = trim(x)
    squares = trim(read * read)
    running, sums = np.zeros_like(x[:, 0]), np.empty_like(x)
    for front in range(channels + ahead):
        if front < channels:
            running = trim(running + squares[:, front])
        if front - p.local_size >= 0:
            running = trim(running - squares[:, front - p.local_size])
        if front - ahead >= 0:
            sums[:, front - ahead] = running
    scale = trim(np.float32(p.k) + trim(sums * np.float32(np.float32(p.alpha) / np.float32(p.local_size))))
    power = (wide(scale) ** -p.beta).astype(np.float32)
    power[np.isnan(power)] = np.nan  # of a sum below 0, and above it as CUDA makes it
    return [trim(read * trim(power))]
