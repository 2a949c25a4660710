"""How far a right conversion may be from the reference: error bounds from float32, the sums' lengths and a probe.

Rounding in one layer. Let u = 2**-24. A float32 sum of n products, in any order, is off by at most

    r = lambda * sqrt(n) * u * S        S: the largest of |sum| and of gain * max|input|, the scale of its terms

with probability 1 - 2 n exp(-lambda**2 / 2) a value (Higham & Mary 2019, "A new approach to probabilistic rounding error
analysis", theorem 3.1; the worst case n * u happens to nobody). LAMBDA is 9: over 1e8 values of 5,000 terms each, more
than the largest net here computes, the chance of one false alarm is then about 3e-6.

From layer to layer. What a layer before did wrong arrives multiplied by what lies between. Products of the largest gain
of each layer grow exponentially with depth and say nothing after twenty layers, because no error lies in the worst
direction everywhere. So the gain is measured: the interpreter runs once more on inputs changed by a share PROBE of
noise, which moves the blobs k and s by d_k and d_s at most, and an error of layer k counts d_s / d_k times in s.
Roundings of different layers are independent of one another and add as squares:

    bound_s = sqrt( r_s**2 + sum over the layers k that s depends on of (r_k * d_s / d_k)**2 )

Each k is counted once, however many paths lead from it to s: a ResNet's skips would double it at every block.

A layer that jumps (ArgMax, Threshold, a label) has no slope. If the probe, thousands of times larger than the rounding,
does not change its top, the top must agree; if it does, a tie is near and nothing can be asked: the bound is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verify.engine import Array
from verify.interpreter import Step, Trace

UNIT = 2.0**-24
LAMBDA = 9.0
PROBE = 2.0**-12
FEW = 256
"""Blobs of fewer values may all stand still by chance under the probe; the layer's own gain is then asked too."""


def perturbed(feeds: Mapping[str, Array], exact: Collection[str] = (), *, seed: int = 0) -> dict[str, Array]:
    """The feeds with noise of PROBE times their root mean square; those in `exact` (labels, indices) as they are."""
    rng = np.random.default_rng([seed, 0x9E3779B9])
    changed = {}
    for name, value in feeds.items():
        noise = rng.standard_normal(value.shape)
        size = 0.0 if name in exact else PROBE * _root_mean_square(value)
        changed[name] = (value + size * noise).astype(np.float32)
    return changed


def error_bounds(trace: Trace, probe: Trace, *, fed: Mapping[str, float] | None = None) -> list[float]:
    """The largest absolute error that rounding explains, for each step of a trace.

    Args:
        trace: the reference.
        probe: the same net run on `perturbed` feeds.
        fed: absolute error of fed blobs by name, where the model computes them (baked preprocessing); others are exact.
    """
    moved = [_moved(a.value, b.value) for a, b in zip(trace.steps, probe.steps, strict=True)]
    ledger = _Ledger(len(trace.steps))
    for index, step in enumerate(trace.steps):
        own = _rounding(step, trace) if step.inputs else (fed or {}).get(step.top, 0.0)
        ledger.add(index, step, own, _Motion(moved[index], _reach(step, trace, moved), _peak(step.value)))
    return ledger.bounds


@dataclass(frozen=True)
class _Moved:
    largest: float
    typical: float


@dataclass(frozen=True)
class _Motion:
    """How a blob moved under the probe, by how much it may move at least by its layer's gain, its largest value."""

    moved: _Moved
    reach: float
    peak: float


class _Ledger:
    """Roundings of all layers, and which of them each blob inherits."""

    def __init__(self, count: int) -> None:
        self.bounds: list[float] = []
        self._inherits = np.zeros((count, count), bool)
        self._per_motion = np.zeros(count)  # r_k / d_k
        self._per_value = np.zeros(count)  # r_k / max|k| where k stood still

    def add(self, index: int, step: Step, own: float, motion: _Motion) -> None:
        ancestors = self._inherits[index]
        for source in step.inputs:
            ancestors |= self._inherits[source]
            ancestors[source] = True
        distance = max(motion.moved.largest, motion.reach)
        inherited = math.hypot(
            distance * _norm(self._per_motion[ancestors]), motion.peak * _norm(self._per_value[ancestors])
        )
        bound = math.hypot(own, inherited)
        if self._jumps(step) and motion.moved.largest > 0:
            bound = math.inf
        if any(math.isinf(self.bounds[source]) for source, gain in zip(step.inputs, step.gains, strict=True) if gain):
            bound = math.inf
        self.bounds.append(bound)
        if motion.moved.largest > 0:
            self._per_motion[index] = own / motion.moved.largest
        elif motion.peak > 0:
            self._per_value[index] = own / motion.peak

    def _jumps(self, step: Step) -> bool:
        return any(math.isinf(g) and self.bounds[i] > 0 for i, g in zip(step.inputs, step.gains, strict=True))


def _rounding(step: Step, trace: Trace) -> float:
    """r of the module's docstring."""
    terms = [
        gain * _peak(trace.steps[i].value)
        for i, gain in zip(step.inputs, step.gains, strict=True)
        if gain and math.isfinite(gain)
    ]
    scale = max(_peak(step.value), _norm(terms))
    return LAMBDA * math.sqrt(step.fan_in) * UNIT * scale


def _reach(step: Step, trace: Trace, moved: Sequence[_Moved]) -> float:
    if step.value.size >= FEW:
        return 0.0
    gains = zip(step.inputs, step.gains, strict=True)
    return _norm([gain * moved[i].typical for i, gain in gains if gain and math.isfinite(gain)])


def _moved(before: Array, after: Array) -> _Moved:
    with np.errstate(all="ignore"):
        change = np.abs(after.astype(np.float64) - before)
    change[~np.isfinite(change)] = 0.0
    return _Moved(float(change.max(initial=0.0)), _root_mean_square(change))


def _peak(value: Array) -> float:
    """Largest magnitude short of float32's own largest, which stands for infinity in Caffe."""
    low, high = float(value.min(initial=0.0)), float(value.max(initial=0.0))
    peak = max(-low, high)
    if peak < LARGEST:
        return peak
    magnitude = np.abs(value)
    return float(magnitude.max(initial=0.0, where=magnitude < LARGEST))


LARGEST = float(np.finfo(np.float32).max)


def _root_mean_square(values: npt.NDArray[np.floating]) -> float:
    finite = values[np.isfinite(values)].astype(np.float64).ravel()
    return math.sqrt(float(finite @ finite) / finite.size) if finite.size else 0.0


def _norm(values: Sequence[float] | npt.NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.asarray(values, np.float64))) if len(values) else 0.0
