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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prototxt import Net
from verify.engines import Array
from verify.inputs import exact_inputs, input_layers
from verify.interpreter import Key, Step, Stream, Trace, stream
from weights import Weights

UNIT_ROUNDOFF = 2.0**-24
LAMBDA = 9.0
PROBE = 2.0**-12
FEW = 256
"""Blobs of fewer values may all stand still by chance under the probe; the layer's own gain is then asked too."""
OUTSIDE = float(np.finfo(np.float32).max)
"""Magnitudes from here on are infinities: Caffe writes FLT_MAX where a window is empty."""


def estimate(
    net: Net,
    weights: Weights | None,
    trace: Trace,
    *,
    blobs: Collection[str] | None = None,
    feed_errors: Mapping[str, npt.NDArray[np.float64]] | None = None,
    seed: int = 0,
) -> dict[Key, float]:
    """The largest absolute error that rounding explains, for each top of a trace; see `study`."""
    return study(net, weights, trace, blobs=blobs, feed_errors=feed_errors, seed=seed).bounds()


def study(
    net: Net,
    weights: Weights | None,
    trace: Trace,
    *,
    blobs: Collection[str] | None = None,
    feed_errors: Mapping[str, npt.NDArray[np.float64]] | None = None,
    seed: int = 0,
) -> Rounding:
    """Probe a net.

    Runs it once more, on inputs changed by the probe, and again with its sign turned where a layer jumps.

    Args:
        net, weights, blobs: what `trace` was made from.
        trace: the reference.
        feed_errors: standard errors of fed blobs by name, where the model computes them itself; others are exact.
        seed: of the probe's noise.
    """
    inputs = input_layers(net)
    fed = {step.top: step.value for step in trace.steps if not step.inputs and step.top in inputs}
    signs = (1, -1) if any(math.isinf(gain) for step in trace.steps for gain in step.gains) else (1,)
    exact = exact_inputs(net)
    probes = [stream(net, weights, perturbed(fed, exact, seed=seed, sign=sign), blobs=blobs) for sign in signs]
    known = {name: LAMBDA * float(errors.max(initial=0.0)) for name, errors in (feed_errors or {}).items()}
    return Rounding(trace, probes, known)


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


class Rounding:
    """What each layer of a net rounds, and how that spreads.

    Args:
        trace: the reference.
        probes: the same net run on `perturbed` feeds; of streams no top is kept.
        fed: absolute error of fed blobs by name.
    """

    def __init__(self, trace: Trace, probes: Sequence[Trace | Stream], fed: Mapping[str, float]) -> None:
        after = zip(*(probe.steps for probe in probes), strict=True)
        pairs = zip(trace.steps, after, strict=True)
        self._motions = [_motion(step.value, [s.value for s in moved]) for step, moved in pairs]
        self._steps, self._fed = trace.steps, fed

    def bounds(self, known: Collection[Key] = ()) -> dict[Key, float]:
        """The bound of each top.

        Args:
            known: tops that the layers after them read without error, as `run(instead=)` gives them.
        """
        ledger = _Ledger(len(self._steps))
        for index, step in enumerate(self._steps):
            sources = [self._motions[i] for i in step.inputs]
            motion = self._motions[index]
            own = _rounding(step, motion, sources) if step.inputs else self._fed.get(step.top, 0.0)
            ledger.add(index, step, own, motion, _reach(step, motion, sources))
            if step.key in known:
                ledger.forget(index)
        return dict(zip((step.key for step in self._steps), ledger.bounds, strict=True))


@dataclass(frozen=True)
class _Motion:
    """A blob under the probe.

    Attributes:
        peak: its largest value.
        largest, typical: how far its values moved, at most and as root mean square.
        peaks, moves: largest value and move of each channel.
    """

    peak: float
    largest: float
    typical: float
    peaks: npt.NDArray[np.float64]
    moves: npt.NDArray[np.float64]


class _Ledger:
    """Roundings of all layers, and which of them each blob inherits."""

    def __init__(self, count: int) -> None:
        self.bounds: list[float] = []
        self._handed_on: list[float] = []
        self._inherits = np.zeros((count, count), bool)
        self._per_move = np.zeros(count)  # r_k / d_k
        self._per_value = np.zeros(count)  # r_k / max|k|, where k stood still

    def add(self, index: int, step: Step, own: float, motion: _Motion, reach: float) -> None:
        """Enter the rounding `own` of a step, and note its bound."""
        ancestors = self._inherits[index]
        for source in step.inputs:
            ancestors |= self._inherits[source]
            ancestors[source] = True
        per_move = _norm(self._per_move[ancestors])
        moved = max(motion.largest, reach) * per_move if per_move else 0.0
        inherited = math.hypot(moved, motion.peak * _norm(self._per_value[ancestors]))
        self.bounds.append(math.inf if self._lost(step, motion) else math.hypot(own, inherited))
        self._handed_on.append(self.bounds[-1])
        if math.isinf(own):  # `_lost` goes on with it; a share of it would say nothing.
            return
        if motion.largest > 0:
            self._per_move[index] = own / motion.largest
        elif motion.peak > 0:
            self._per_value[index] = own / motion.peak

    def forget(self, index: int) -> None:
        """From here on, let nobody inherit from a step."""
        self._inherits[index] = False
        self._per_move[index] = self._per_value[index] = self._handed_on[index] = 0.0

    def _lost(self, step: Step, motion: _Motion) -> bool:
        """Whether a jump is near, here or before."""
        for source, gain in zip(step.inputs, step.gains, strict=True):
            error = self._handed_on[source]
            if math.isinf(error) and gain > 0:
                return True
            if math.isinf(gain) and error > 0 and motion.largest > 0:
                return True
        return False


def _rounding(step: Step, motion: _Motion, sources: Sequence[_Motion]) -> float:
    """r of the module's docstring."""
    finite = [(gain, source) for gain, source in zip(step.gains, sources, strict=True) if 0 < gain < math.inf]
    terms = [_term(step, gain, motion, source) for gain, source in finite]
    return max(step.own, LAMBDA * math.sqrt(step.fan_in) * UNIT_ROUNDOFF * max(motion.peak, _norm(terms)))


def _term(step: Step, gain: float, motion: _Motion, source: _Motion) -> float:
    """gain · max|input|; of a layer that works value by value, with each channel's own gain as the probe found it.

    A BatchNorm's dead channel has the largest gain of all, and next to nothing to multiply by it.
    """
    if step.fan_in > 2 or len(step.inputs) > 1 or source.peaks.shape != motion.peaks.shape:
        return gain * source.peak
    gains = np.full(source.moves.shape, gain)
    np.divide(motion.moves, source.moves, out=gains, where=(source.moves > 0) & np.isfinite(source.moves))
    return float((source.peaks * np.minimum(gains, gain)).max(initial=0.0))


def _reach(step: Step, motion: _Motion, sources: Sequence[_Motion]) -> float:
    """How far a blob that stood still, or has few values, should move by its layer's gain.

    A Softmax of logits in the thousands stands still under the probe, and turns over when a larger error comes.
    """
    if step.value.size >= FEW and motion.largest > 0:
        return 0.0
    pairs = zip(step.gains, sources, strict=True)
    return _norm([gain * source.typical for gain, source in pairs if 0 < gain < math.inf])


def _motion(before: Array, after: Sequence[Array]) -> _Motion:
    """Statistics of a blob whose axis 1 is its channels; one of less than 2 axes counts each value as a channel."""
    lanes = (*before.shape[:2], -1) if before.ndim > 1 else (1, before.size, 1)
    if not before.size:
        return _Motion(0.0, 0.0, 0.0, np.zeros(0), np.zeros(0))
    if any(other.shape != before.shape for other in after):  # as many rows as were found: one crossed a threshold
        largest = peak(before)
        return _Motion(largest, math.inf, math.inf, np.full(lanes[1], largest), np.full(lanes[1], math.inf))
    move = _distance(before, after).reshape(lanes)
    size = before.reshape(lanes)
    peaks = np.maximum(size.max(axis=(0, 2)), -size.min(axis=(0, 2))).astype(np.float64)
    if not peaks.max() < OUTSIDE:
        peaks = np.where(np.abs(size) < OUTSIDE, np.abs(size), 0).max(axis=(0, 2)).astype(np.float64)
    moves = move.max(axis=(0, 2)).astype(np.float64)
    return _Motion(float(peaks.max()), float(moves.max()), _root_mean_square(move), peaks, moves)


def _distance(before: Array, after: Sequence[Array]) -> Array:
    """How far each value moved at most; a value that was or became no number stands still."""
    with np.errstate(all="ignore"):
        move: Array = np.abs(after[0] - before)
        for other in after[1:]:
            move = np.maximum(move, np.abs(other - before))
        return move if np.isfinite(move.max()) else np.where(np.isfinite(move), move, np.float32(0))


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
