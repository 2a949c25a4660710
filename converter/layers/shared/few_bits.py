"""Numbers of few bits that floats stand for, and what a layer says of them (Ristretto: base_ristretto_layer.cu, .cuh).

Of a number that lies in the middle the fork's CPU takes the one farther from 0, its GPU the even one, as the author's
documentation has it ("round-nearest-even"). The two differ elsewhere as well: the CPU's minifloat stops at the first
value that becomes 0 and leaves all behind it as they are, and with weights of powers of two it rounds no blob, where
the documentation and the GPU have fixed point. The tool that writes these nets was made to run on a GPU. So what counts
is the GPU's code, unless `--dialect cpu` asks for the other.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from converter.layers.base import OnnxOps, TorchOps, fault, unsupported
from converter.tensor import Array
from prototxt import NetLayer
from prototxt.caffe_pb2 import QuantizationParameter

SECTION = "quantization_param"
ROUNDS = "rounds halves to even, as its fork does on a GPU; on a CPU it rounds them away from 0"
OTHERWISE = f"{ROUNDS} (--dialect cpu)"
STOPS = f"{ROUNDS}, and leaves all values behind the first one that becomes 0 as they are"
LEAVES = f"{ROUNDS}, and leaves bottoms and tops as they are (--dialect cpu)"

MOST_BITS = 32
FARTHEST = 64
"""Of exponents: with as many bits as there are, all numbers are float32's."""


class FixedPoint(NamedTuple):
    """Whole numbers of `bits` with their sign, times 2^-fraction; halves go to the even one, or `away` from 0."""

    bits: int
    fraction: int
    away: bool = False

    def _ends(self) -> tuple[float, float]:
        """The least and the largest number, as float32: with more bits than that has, the largest is one too large."""
        step = 2.0**-self.fraction
        half = 2.0 ** (self.bits - 1)
        return float(np.float32(-half * step)), float(np.float32((half - 1) * step))

    def trim(self, values: Array) -> Array:
        """Each value as the nearest number."""
        scale = 2.0**self.fraction
        held = np.clip(values.astype(np.float64), *self._ends())
        nearest: Array = (_whole(held * scale, away=self.away) / scale).astype(np.float32)
        return nearest

    def onnx(self, g: OnnxOps, x: str) -> str:
        """The same of a value of the graph."""
        least, most = self._ends()
        held = g.op("Clip", x, g.scalar(least, "least"), g.scalar(most, "most"))
        if self.fraction == 0:
            return self._onnx_whole(g, held)
        whole = self._onnx_whole(g, g.op("Mul", held, g.scalar(2.0**self.fraction, "scale")))
        return g.op("Mul", whole, g.scalar(2.0**-self.fraction, "step"))

    def _onnx_whole(self, g: OnnxOps, x: str) -> str:
        """The nearest whole number. Half of 1 is not added: float32 rounds the sum of it and what is next below up."""
        if not self.away:
            return g.op("Round", x)
        size = g.op("Abs", x)
        below = g.op("Floor", size)
        up = g.op("GreaterOrEqual", g.op("Sub", size, below), g.scalar(0.5, "half"))
        return g.op("Mul", g.op("Add", below, g.op("Cast", up, to=1)), g.op("Sign", x))

    def torch(self, t: TorchOps, x: str) -> str:
        """The same of a variable."""
        name, source = ("fixed_point_away", FIXED_POINT_AWAY) if self.away else ("fixed_point", FIXED_POINT)
        t.helper(name, source)
        return f"{name}({x}, {self.bits}, {self.fraction})"


def _whole(values: npt.NDArray[np.float64], *, away: bool) -> npt.NDArray[np.float64]:
    """The nearest whole numbers."""
    if not away:
        return np.rint(values)
    return np.copysign(np.floor(np.abs(values) + 0.5), values)


FIXED_POINT = '''
def fixed_point(x, bits, fraction):
    """Values as the nearest multiples of 2^-fraction that have so many bits with their sign (Ristretto)."""
    half = 2.0 ** (bits - 1)
    return (x.clamp(-half * 2.0**-fraction, (half - 1) * 2.0**-fraction) * 2.0**fraction).round() * 2.0**-fraction
'''


FIXED_POINT_AWAY = '''
def fixed_point_away(x, bits, fraction):
    """Values as the nearest multiples of 2^-fraction of so many bits, halves away from 0 (Ristretto on a CPU)."""
    half = 2.0 ** (bits - 1)
    x = x.clamp(-half * 2.0**-fraction, (half - 1) * 2.0**-fraction) * 2.0**fraction
    size = x.abs()
    below = size.floor()
    return (below + (size - below >= 0.5)).copysign(x) * 2.0**-fraction
'''


class MiniFloat(NamedTuple):
    """Numbers of a sign, an exponent of some bits and a mantissa of some; none is below the smallest power but 0.

    What is rounded is the mantissa without its 1, so that of none a half is dropped: 0 is even. One that is rounded up
    makes the next power, past the largest number too.
    """

    mantissa: int
    exponent: int

    @property
    def _powers(self) -> tuple[int, int]:
        """The exponents of the smallest and of the largest number."""
        bias = 2 ** (self.exponent - 1) - 1
        return -bias, 2**self.exponent - 1 - bias

    @property
    def _ends(self) -> tuple[float, float, float]:
        """What values become 0 below, from where they become the largest number, and that number."""
        least, most = self._powers
        largest = float(np.float32((2 - 2.0**-self.mantissa) * 2.0**most)) if most < 128 else math.inf
        return 2.0 ** max(least, -126), 2.0 ** (most + 1) if most < 127 else math.inf, largest

    @property
    def largest(self) -> float:
        """What all becomes that is too large."""
        return self._ends[2]

    @property
    def _keeps_float32(self) -> bool:
        """Whether mantissas stay as they are."""
        return self.mantissa >= 23

    def trim(self, values: Array) -> Array:
        """Each value as the nearest number."""
        least, end, largest = self._ends
        size = np.abs(values.astype(np.float64))
        step = np.ldexp(1.0, np.frexp(size)[1] - 1 - min(self.mantissa, 23))
        one = 2.0 ** min(self.mantissa, 23)
        nearest = np.where(size < end, (np.rint(size / step - one) + one) * step, largest)
        signed: Array = np.copysign(np.where(size < least, 0, nearest), values).astype(np.float32)
        return signed

    def onnx(self, g: OnnxOps, x: str) -> str:
        """The same of a value of the graph. Each bit of the exponent is found by a comparison, so that all is exact."""
        least, end, largest = self._ends
        size = g.op("Abs", x)
        nearest = size if self._keeps_float32 else self._nearest(g, size, least, largest)
        if end < math.inf:
            over = g.op("GreaterOrEqual", size, g.scalar(end, "end"))
            nearest = g.op("Where", over, g.scalar(largest, "largest"), nearest)
        under = g.op("Less", size, g.scalar(least, "least"))
        return g.op("Mul", g.op("Where", under, g.scalar(0.0, "zero"), nearest), g.op("Sign", x))

    def _nearest(self, g: OnnxOps, size: str, least: float, largest: float) -> str:
        lowest = self._powers[0]
        left = g.op("Mul", g.op("Clip", size, g.scalar(least, "least"), g.scalar(largest, "largest")),
                    g.scalar(2.0**-lowest, "scale"))  # fmt: skip
        step = g.scalar(2.0 ** (lowest - self.mantissa), "step")
        one = g.scalar(1.0, "one")
        for bit in reversed(range(self.exponent)):
            power = 2.0 ** (1 << bit)
            above = g.op("GreaterOrEqual", left, g.scalar(power, "power"))
            step = g.op("Mul", g.op("Where", above, g.scalar(power, "power"), one), step)
            if bit:
                left = g.op("Mul", left, g.op("Where", above, g.scalar(1 / power, "inverse"), one))
        ratio = g.op("Div", size, step)
        if self.mantissa:
            return g.op("Mul", g.op("Round", ratio), step)  # With its 1 it is as even.
        return g.op("Mul", g.op("Add", g.op("Round", g.op("Sub", ratio, one)), one), step)

    def torch(self, t: TorchOps, x: str) -> str:
        """The same of a variable."""
        t.helper("minifloat", MINIFLOAT)
        least, end, largest = self._ends
        return f"minifloat({x}, {self.mantissa}, {', '.join(map(spelled, (least, end, largest)))})"


def spelled(value: float) -> str:
    """A number, an infinity perhaps, in Python."""
    return 'float("inf")' if value == math.inf else repr(value)


MINIFLOAT = '''
def minifloat(x, mantissa, least, end, largest):
    """Values with so many bits of mantissa, halves to even; 0 below `least`, `largest` from `end` on (Ristretto)."""
    size = x.abs()
    bits, cut = size.view(torch.int32), 23 - mantissa
    if cut > 0:
        odd = (bits >> cut) & 1 if mantissa else 0
        bits = ((bits + (1 << (cut - 1)) - 1 + odd) >> cut) << cut
    nearest = torch.where(size < end, bits.view(torch.float32), largest)
    return torch.where(size < least, 0.0, nearest).copysign(x)
'''


class PowerOf2(NamedTuple):
    """A sign and a power of two between two exponents; 0 counts as above 0, and becomes the smallest."""

    least: int
    most: int
    away: bool = False

    def trim(self, values: Array) -> Array:
        """Each value as the power whose exponent is nearest to its logarithm, which is a float32."""
        with np.errstate(divide="ignore"):
            logarithms = np.log2(np.abs(values.astype(np.float64))).astype(np.float32)
        exponents = _whole(logarithms.astype(np.float64), away=self.away)
        powers = 2.0 ** np.maximum(np.minimum(exponents, self.most), self.least)
        signed: Array = np.where(values >= 0, powers, -powers).astype(np.float32)
        return signed


class Formats(NamedTuple):
    """What a layer rounds to: its bottoms, its tops, its weights and its bias; None for what stays as it is."""

    bottoms: FixedPoint | MiniFloat | None
    tops: FixedPoint | MiniFloat | None
    weight: FixedPoint | MiniFloat | PowerOf2
    bias: FixedPoint | MiniFloat | None
    caution: str


_FIXED = ("bw_layer_in", "bw_layer_out", "fl_layer_in", "fl_layer_out")
_OWN = {
    QuantizationParameter.DYNAMIC_FIXED_POINT: (*_FIXED, "bw_params", "fl_params"),
    QuantizationParameter.MINIFLOAT: ("mant_bits", "exp_bits"),
    QuantizationParameter.INTEGER_POWER_OF_2_WEIGHTS: (*_FIXED, "exp_min", "exp_max"),
}
_INTELS = ("scale_in", "scale_out", "scale_params", "is_negative_input", "force_u8_input")


def read_formats(source: NetLayer) -> Formats:
    """The formats that a layer states; the fields of the other precisions have no effect.

    Raises:
        UnsupportedError: it rounds at random, or small floats shall be as on a CPU.
    """
    p, away = source.param.quantization_param, source.dialect == "cpu"
    if p.rounding_scheme != p.NEAREST:
        message = "rounding_scheme: STOCHASTIC, which draws at random; expected NEAREST"
        raise unsupported(source, message, SECTION, "rounding_scheme")
    if p.precision == p.MINIFLOAT:
        if away:
            message = "MINIFLOAT on a CPU leaves all values behind the first one that becomes 0 as they are; expected"
            raise unsupported(source, f"{message} --dialect gpu", SECTION, "precision")
        small = read_minifloat(source)
        return Formats(small, small, small, small, STOPS)
    _check_own(source)
    if p.precision == p.DYNAMIC_FIXED_POINT:
        bottoms, tops, params = (_fixed_point(source, what) for what in ("layer_in", "layer_out", "params"))
        return Formats(bottoms, tops, params, params, "" if away else OTHERWISE)
    for name in ("exp_min", "exp_max"):
        _check(source, name, getattr(p, name), -FARTHEST, FARTHEST)
    powers = PowerOf2(p.exp_min, p.exp_max, away)
    if away:
        source.without_effect("on a CPU no blob is rounded", *(f"{SECTION}.{name}" for name in _FIXED))
        return Formats(None, None, powers, None, "")
    return Formats(_fixed_point(source, "layer_in"), _fixed_point(source, "layer_out"), powers, None, LEAVES)


def _fixed_point(source: NetLayer, what: str) -> FixedPoint:
    p = source.param.quantization_param
    bits, fractions = getattr(p, f"bw_{what}"), getattr(p, f"fl_{what}")
    if len(fractions) > 1:
        raise fault(source, f"fl_{what} is given {len(fractions)} times; expected once", SECTION, f"fl_{what}")
    fraction = fractions[0] if fractions else 16
    _check(source, f"bw_{what}", bits, 1, MOST_BITS)
    _check(source, f"fl_{what}", fraction, -FARTHEST, FARTHEST)
    return FixedPoint(bits, fraction, source.dialect == "cpu")


def read_minifloat(source: NetLayer) -> MiniFloat:
    """The format of a layer whose precision is MINIFLOAT."""
    _check_own(source)
    p = source.param.quantization_param
    _check(source, "mant_bits", p.mant_bits, 0, 30)
    _check(source, "exp_bits", p.exp_bits, 1, 8)
    if p.exp_bits == 8 and p.mant_bits < 23:
        message = f"exp_bits is 8 with mant_bits {p.mant_bits}, whose steps float32 cannot hold; expected 7 at most"
        raise unsupported(source, message, SECTION, "exp_bits")
    return MiniFloat(p.mant_bits, p.exp_bits)


def _check_own(source: NetLayer) -> None:
    """Say that the fields of other precisions have no effect, and refuse those of Intel's fork."""
    p = source.param.quantization_param
    for name in _INTELS:
        if getattr(p, name):
            raise fault(source, f"{name}, which only Intel's fork has", SECTION, name)
    own = _OWN[p.precision]
    precision = QuantizationParameter.Precision.Name(p.precision)
    others = sorted({name for names in _OWN.values() for name in names}.difference(own))
    source.without_effect(f"precision is {precision}", *(f"{SECTION}.{name}" for name in others))


def _check(source: NetLayer, name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise unsupported(source, f"{name} is {value}; expected {least} to {most}", SECTION, name)
