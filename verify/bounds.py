"""How far a right conversion may be from the reference: error bounds from float32, the sums' lengths and a probe.

Rounding in one layer. Let u = 2**-24. A float32 sum of n products, in any order, is off by at most

    r = lambda * sqrt(n) * u * S        S: the largest of |sum| and of gain * max|input|, the scale of its terms

with probability 1 - 2 n exp(-lambda**2 / 2) a value (Higham & Mary 2019, "A new approach to probabilistic rounding
error analysis", theorem 3.1; the worst case n * u happens to nobody). LAMBDA is 9: over 1e8 values of 5,000 terms each,
more than the largest net here computes, the chance of one false alarm is then about 3e-6.

From layer to layer. What a layer before did wrong arrives multiplied by what lies between. Products of the largest gain
of each layer grow exponentially with depth and say nothing after twenty layers, because no error lies in the worst
direction everywhere. So the gain is measured: the interpreter runs once more on inputs changed by a share PROBE of
noise, which moves the blobs k and s by d_k and d_s at most, and an error of layer k counts d_s / d_k times in s.
Roundings of different layers are independent of one another and add as squares:

    bound_s = sqrt( r_s**2 + sum over the layers k that s depends on of (r_k * d_s / d_k)**2 )

Each k is counted once, however many paths lead from it to s: a ResNet's skips would double it at every block.

One layer alone. In a deep net the inherited part is a hundred times a layer's own rounding and would hide a small
mistake. So each layer is also run on what the converted model itself feeds it. Nothing is inherited then but from
layers whose tops the model does not have (folded ones), and the bound of what the layer adds is r_s or little more.

A layer that jumps (ArgMax, Threshold, a label) has no slope. If the probe, thousands of times larger than the rounding,
does not change its top in either direction, the top must agree; if it does, a tie is near and nothing can be asked of
it and of what follows: the bound is infinite, and each layer alone is what is judged. A top with as many rows as were
found jumps like that where the probe changes their number. A layer that rounds before it chooses (boxes decoded, then
suppressed) says itself how far it rounds, and whether that may turn a choice; then it cannot be judged alone either.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prototxt import Net
from verify.engines.engine import Array
from verify.inputs import exact_inputs, input_layers
from verify.interpreter.lanes import Lane, side_by_side
from verify.interpreter.steps import Step, Trace
from verify.interpreter.wiring import wire
from verify.keys import Key
from verify.layers.shared.rounding import LAMBDA, PROBE, UNIT_ROUNDOFF
from weights import Weights

FEW = 256
"""Blobs of fewer values may all stand still by chance under the probe; the layer's own gain is then asked too."""
OUTSIDE = float(np.finfo(np.float32).max)
"""Magnitudes from here on are infinities: Caffe writes FLT_MAX where a window is empty."""
TAME = OUTSIDE / 8
"""Below it values, their sums and differences are ordinary numbers."""


def estimate(
    net: Net,
    weights: Weights | None,
    trace: Trace,
    *,
    blobs: Collection[str] | None = None,
    feed_errors: Mapping[str, npt.NDArray[np.float64]] | None = None,
    seed: int = 0,
) -> dict[Key, float]:
    """The largest absolute error that rounding explains, for each top of a trace; of several of one key the last's.

    Runs the net once more, on inputs changed by the probe, and again with its sign turned where a layer jumps.

    Args:
        net, weights, blobs: what `trace` was made from.
        trace: the reference.
        feed_errors: standard errors of fed blobs by name, where the model computes them itself; others are exact.
        seed: of the probe's noise.
    """
    inputs = input_layers(net)
    fed = {step.top: step.value for step in trace.steps if not step.inputs and step.top in inputs}
    signs = (1, -1) if any(map(jumping, trace.steps)) else (1,)
    exact = exact_inputs(net)
    lanes = [Lane(perturbed(fed, exact, seed=seed, sign=sign)) for sign in signs]
    probes = side_by_side(net, weights, lanes, wire(net, blobs)).made
    rounding = Rounding(handed_in(feed_errors or {}))
    pairs = zip(trace.steps, probes, strict=True)
    bounds = {}
    for step, probe in pairs:
        bounds[step.key] = rounding.add(step, motion_of(step.value, [other.value for other in probe.steps]))
    return bounds


def jumping(step: Step) -> bool:
    """Whether a step's layer has no slope somewhere: then the probe runs with both signs."""
    return any(map(math.isinf, step.gains))


def handed_in(feed_errors: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    """The bound of what is fed, of standard errors."""
    return {name: LAMBDA * float(errors.max(initial=0.0)) for name, errors in feed_errors.items()}


def perturbed(
    feeds: Mapping[str, Array], exact: Collection[str] = (), *, seed: int = 0, sign: int = 1
) -> dict[str, Array]:
    """The feeds with noise of PROBE times their root mean square; those in `exact` (labels, indices) as they are.

    `sign` -1 gives the opposite noise: of two probes on both sides of a tie one crosses it.
    """
    rng = np.random.default_rng([seed, 1])
    changed = {}
    for name, value in feeds.items():
        size = 0.0 if name in exact else sign * PROBE * _root_mean_square(value)
        changed[name] = (value + size * rng.standard_normal(value.shape)).astype(np.float32)
    return changed


@dataclass(frozen=True)
class Motion:
    """A blob under the probe.

    Attributes:
        peak: its largest value.
        largest, typical: how far its values moved, at most and as root mean square.
        peaks, moves: largest value and move of each channel.
        tame: whether no value is an infinity, near one, or no number.
    """

    peak: float
    largest: float
    typical: float
    peaks: npt.NDArray[np.float64]
    moves: npt.NDArray[np.float64]
    tame: bool


@dataclass
class _Inherited:
    """What a blob inherits: the steps as bits, and the sums over them of (r_k / d_k)² and, of those that stood still,
    of (r_k / max|k|)².
    """

    steps: int = 0
    moving: float = 0.0
    still: float = 0.0


class Rounding:
    """What each layer of a net rounds, and how that spreads; told step by step, in net order.

    Args:
        fed: absolute error of fed blobs by name.
    """

    def __init__(self, fed: Mapping[str, float]) -> None:
        self._fed = fed
        self._handed_on: list[float] = []
        self._motions: dict[int, Motion] = {}
        self._inherited: dict[int, _Inherited] = {}
        self._moving = array("d")  # (r_k / d_k)²
        self._still = array("d")  # (r_k / max|k|)², where k stood still

    def add(self, step: Step, moved: Motion) -> float:
        """Enter the next step of the reference, and how far the probe moved it; returns its bound."""
        index = len(self._handed_on)
        sources = [self._motions[source] for source in step.inputs]
        own = _rounding(step, moved, sources) if step.inputs else self._fed.get(step.top, 0.0)
        inherited = self._union(step.inputs)
        reach = max(moved.largest, _reach(step, moved, sources)) if inherited.moving else 0.0
        spread = math.hypot(reach * math.sqrt(inherited.moving), moved.peak * math.sqrt(inherited.still))
        bound = math.inf if self._lost(step, moved) else math.hypot(own, spread)
        self._handed_on.append(bound)
        self._motions[index], self._inherited[index] = moved, inherited
        lost = math.isinf(own)  # `_lost` goes on with it; a share of it would say nothing.
        self._moving.append((own / moved.largest) ** 2 if not lost and moved.largest > 0 else 0.0)
        self._still.append((own / moved.peak) ** 2 if not lost and moved.peak > 0 and not moved.largest > 0 else 0.0)
        return bound

    def forget(self) -> None:
        """The layers after it read the last step without error: from here on, let nobody inherit from it."""
        self._inherited[len(self._handed_on) - 1] = _Inherited()
        self._moving[-1] = self._still[-1] = self._handed_on[-1] = 0.0

    def drop(self, steps: Iterable[int]) -> None:
        """Keep no account of steps that no layer reads from here on."""
        for index in steps:
            del self._motions[index], self._inherited[index]

    def _union(self, sources: Sequence[int]) -> _Inherited:
        """What these steps inherit, and they themselves, each counted once."""
        if not sources:
            return _Inherited()
        first = max(sources)  # it comes after most, and what it has of theirs need not be added up
        known, moving, still = self._inherited[first], self._moving[first], self._still[first]
        made = _Inherited(known.steps | 1 << first, known.moving + moving, known.still + still)
        for source in sources:
            if source == first:
                continue
            joined = made.steps | self._inherited[source].steps | 1 << source
            for index in _bits(joined ^ made.steps):
                made.moving += self._moving[index]
                made.still += self._still[index]
            made.steps = joined
        return made

    def _lost(self, step: Step, moved: Motion) -> bool:
        """Whether a jump is near, here or before."""
        for source, gain in zip(step.inputs, step.gains, strict=True):
            error = self._handed_on[source]
            if math.isinf(error) and gain > 0:
                return True
            if math.isinf(gain) and error > 0 and moved.largest > 0:
                return True
        return False


def _bits(number: int) -> Iterable[int]:
    """The places of the ones in a number."""
    if not number:
        return ()
    lowest = (number & -number).bit_length() - 1
    if number == 1 << lowest:
        return (lowest,)
    octets = (number >> lowest).to_bytes((number.bit_length() - lowest + 7) // 8, "little")
    ones: list[int] = np.flatnonzero(np.unpackbits(np.frombuffer(octets, np.uint8), bitorder="little")).tolist()
    return [lowest + one for one in ones]


def _rounding(step: Step, motion: Motion, sources: Sequence[Motion]) -> float:
    """r of the module's docstring."""
    finite = [(gain, source) for gain, source in zip(step.gains, sources, strict=True) if 0 < gain < math.inf]
    terms = [_term(step, gain, motion, source) for gain, source in finite]
    return max(step.own, LAMBDA * math.sqrt(step.fan_in) * UNIT_ROUNDOFF * max(motion.peak, _norm(terms)))


def _term(step: Step, gain: float, motion: Motion, source: Motion) -> float:
    """gain · max|input|; of a layer that works value by value, with each channel's own gain as the probe found it.

    A BatchNorm's dead channel has the largest gain of all, and next to nothing to multiply by it.
    """
    if step.fan_in > 2 or len(step.inputs) > 1 or source.peaks.shape != motion.peaks.shape:
        return gain * source.peak
    gains = np.full(source.moves.shape, gain)
    np.divide(motion.moves, source.moves, out=gains, where=(source.moves > 0) & np.isfinite(source.moves))
    return float((source.peaks * np.minimum(gains, gain)).max(initial=0.0))


def _reach(step: Step, motion: Motion, sources: Sequence[Motion]) -> float:
    """How far a blob that stood still, or has few values, should move by its layer's gain.

    A Softmax of logits in the thousands stands still under the probe, and turns over when a larger error comes.
    """
    if step.value.size >= FEW and motion.largest > 0:
        return 0.0
    pairs = zip(step.gains, sources, strict=True)
    return _norm([gain * source.typical for gain, source in pairs if 0 < gain < math.inf])


def motion_of(before: Array, after: Sequence[Array]) -> Motion:
    """Statistics of a blob whose axis 1 is its channels; one of less than 2 axes counts each value as a channel."""
    lanes = (*before.shape[:2], -1) if before.ndim > 1 else (1, before.size, 1)
    if not before.size:
        return Motion(0.0, 0.0, 0.0, np.zeros(0), np.zeros(0), True)
    if any(other.shape != before.shape for other in after):  # as many rows as were found: one crossed a threshold
        largest = peak(before)
        infinite = np.full(lanes[1], math.inf)
        return Motion(largest, math.inf, math.inf, np.full(lanes[1], largest), infinite, is_tame(before))
    move = _distance(before, after).reshape(lanes)
    moves = _of_channels(np.maximum, move)
    if not np.isfinite(moves).all():
        move = np.where(np.isfinite(move), move, np.float32(0))
        moves = _of_channels(np.maximum, move)
    size = before.reshape(lanes)
    peaks = np.maximum(_of_channels(np.maximum, size), -_of_channels(np.minimum, size))
    tame = bool(peaks.max() < TAME)
    if not peaks.max() < OUTSIDE:
        peaks = np.where(np.abs(size) < OUTSIDE, np.abs(size), 0).max(axis=(0, 2)).astype(np.float64)
    return Motion(float(peaks.max()), float(moves.max()), _root_mean_square(move), peaks, moves, tame)


def _of_channels(operation: np.ufunc, values: Array) -> npt.NDArray[np.float64]:
    """The largest or least value of each channel, of items × channels × values: `reduceat` is twice as fast for small
    maps as a reduction over two axes.
    """
    flat = operation.reduceat(values.reshape(-1), np.arange(0, values.size, values.shape[2]))
    found: npt.NDArray[np.float64] = operation.reduce(flat.reshape(values.shape[:2]), axis=0).astype(np.float64)
    return found


def is_tame(values: Array) -> bool:
    """Whether no value is an infinity, near one, or no number."""
    return not values.size or bool(max(values.max(), -values.min()) < TAME)


def _distance(before: Array, after: Sequence[Array]) -> Array:
    """How far each value moved at most; no number where it was or became none."""
    with np.errstate(all="ignore"):
        move: Array = np.asarray(np.subtract(after[0], before))  # numpy makes a number of a blob without axes
        np.abs(move, out=move)
        for other in after[1:]:
            np.maximum(move, np.abs(other - before), out=move)
        return move


def peak(value: npt.NDArray[np.generic]) -> float:
    """Largest magnitude in a blob, infinities and Caffe's FLT_MAX left out; 0 when it has no other value."""
    magnitude = np.abs(value.astype(np.float64))
    return float(magnitude.max(initial=0.0, where=magnitude < OUTSIDE))


def _root_mean_square(values: Array) -> float:
    flat = values.ravel()
    with np.errstate(all="ignore"):
        mean = float(flat @ flat) / max(1, flat.size)
    if not math.isfinite(mean):
        wide = flat[np.isfinite(flat)].astype(np.float64)
        mean = float(wide @ wide) / max(1, wide.size)
    return math.sqrt(mean)


def _norm(values: Sequence[float] | npt.NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.asarray(values, np.float64))) if len(values) else 0.0
