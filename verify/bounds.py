"""How far float32 arithmetic may take a right conversion from the reference, for every blob of a net.

Probabilistic backward error analysis (Higham and Mary, "A new approach to probabilistic rounding error analysis", SIAM
J. Sci. Comput. 41, 2019): a sum of n terms in a precision of unit roundoff u, taken in any order, is the exact sum of
terms that are each off by a relative λ·sqrt(n)·u at most, with a probability that λ sets. Here u = 2**-24 and n is the
layer's fan-in. So a float32 layer is the exact layer on perturbed bottoms, and what such perturbations grow to further on
need not be guessed: the interpreter runs the net again, several times, with every layer's

    bottoms  x · (1 + sqrt(n) u a + u c)    a: standard normal, one for each element: rounding within the sum
                                            c: standard normal, one for each channel: parameters rounded to float32
    tops     y · (1 + sqrt(n) u a)          a sum of one sign, whose partial sums grow up to y itself

and the differences from the reference show what small variances, cancelling sums, branches and depth make of errors of
float32's size. This is Monte Carlo arithmetic (Parker 1997; CESTAC before it) with the perturbation where the theorem
has it. It is seeded: a net and an input always have the same bounds.

    bound = LAMBDA · max(largest difference in any run, sqrt(n) u max|y|)

LAMBDA is 4. A float32 sum of random signs, term by term, is off by sqrt(n/6) u and a blocked one, as BLAS sums, by less,
so the perturbation alone is 2.4 times the rounding or more, and the bound lies 10 standard deviations out. Measured:
against the original Caffe's answers on 18 published nets, three MSRA ResNets and 97 single layers the true error is
1.5 % of the bound in the median and 16 % at worst.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prototxt import Net
from verify.interpreter import Key, Step, Trace
from verify.layers import find
from verify.layers.parameters import Parameters, match_parameters
from verify.layers.registry import UNBOUNDED, Array, Call
from verify.wiring import Wired, needed, wire
from weights import Weights

UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of rounding to float32."""

LAMBDA = 4.0
"""The bound as a multiple of what the perturbed runs show; see the module's text."""

RUNS = 3
"""Perturbed runs. A blob of one value needs more than one, large blobs hold many samples already."""

ZOOM = 64.0
"""Perturbations are this much larger and the differences divided by it, or the trace's own rounding would hide them."""

APPROXIMATED = frozenset(
    "BNLL ELU Exp LRN Log LSTM Power RNN Sigmoid Softmax SoftmaxWithLoss SigmoidCrossEntropyLoss Swish TanH".split()
)
"""Layers with a transcendental function, which runtimes approximate by polynomials."""

POLYNOMIAL = 16
"""Operations of such a polynomial; they count as terms."""

OUTSIDE = 1e30
"""Values beyond are Caffe's ±FLT_MAX of empty windows, which are compared as infinities are."""

_POOL = 1_000_003


class _Noise:
    """Standard normal numbers, drawn once and handed out from random places: drawing costs more than most layers."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._pool = self._rng.standard_normal(_POOL, dtype=np.float32)

    def perturb(self, x: Array, element: float, channel: float = 0.0) -> Array:
        """`x` with relative noise of two sizes: for each element, and for each channel (axis 1)."""
        start = int(self._rng.integers(_POOL))
        fits = start + x.size <= _POOL
        factor = self._pool[start : start + x.size].copy() if fits else np.resize(self._pool[start:], x.size)
        factor *= np.float32(element)
        factor += 1
        noisy: Array = factor.reshape(x.shape)
        if channel and x.ndim > 1:
            shared = self._rng.standard_normal(x.shape[1], dtype=np.float32) * np.float32(channel)
            noisy += shared.reshape(-1, *(1,) * (x.ndim - 2))
        noisy *= x
        return noisy


def estimate(
    net: Net,
    weights: Weights | None,
    trace: Trace,
    *,
    blobs: Collection[str] | None = None,
    feed_errors: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
) -> dict[Key, float]:
    """The bound of every top: the largest absolute error that a right conversion may show in it.

    Args:
        net, weights, blobs: as given to the interpreter.
        trace: its answer.
        feed_errors: standard error of what the net is fed, by blob, for inputs that the model computes itself
            (preprocessing that was baked in). What is fed as it is has none.
        seed: of the perturbations.

    Returns:
        by (layer, top). 0 for what is fed. inf where an index, a count or a choice changes in a perturbed run: so near
        a tie there is no bound.
    """
    order = wire(net) if blobs is None else needed(wire(net), blobs)
    learned = match_parameters(net, weights)
    differences = np.zeros(len(trace.steps))
    with np.errstate(all="ignore"):
        for run in range(RUNS):
            again = _PerturbedRun(trace.steps, learned, feed_errors or {}, _Noise(seed + run))
            for index, difference in again.differences(order):
                differences[index] = max(differences[index], difference)
    return {
        step.key: LAMBDA * max(float(difference), _least(step))
        for step, difference in zip(trace.steps, differences, strict=True)
    }


def terms(step: Step) -> int:
    """Terms that rounding acts on in each value of a top."""
    return step.fan_in + (POLYNOMIAL if step.layer_type in APPROXIMATED else 0)


def peak(values: npt.NDArray[np.floating]) -> float:
    """Largest magnitude among ordinary values; 0 when there is none."""
    magnitude = np.abs(values)
    return float(np.max(magnitude, initial=0.0, where=magnitude < OUTSIDE))


def _least(step: Step) -> float:
    """The layer's own rounding, for a top so small that the perturbed runs may all have come close by chance."""
    return math.sqrt(terms(step)) * UNIT_ROUNDOFF * peak(step.value) if step.inputs else 0.0


@dataclass
class _PerturbedRun:
    """One run of the net beside its trace; holds the tops that are still to be read, and no more."""

    steps: Sequence[Step]
    learned: Sequence[Parameters]
    feed_errors: Mapping[str, npt.ArrayLike]
    noise: _Noise

    def differences(self, order: Sequence[Wired]) -> Iterator[tuple[int, float]]:
        """Each step's index and its largest difference from the trace, in units of float32's rounding."""
        last_reader = {read: place for place, item in enumerate(order) for read in item.reads}
        values: dict[int, Array] = {}
        jumped: set[int] = set()
        index = 0
        for place, item in enumerate(order):
            steps = self.steps[index : index + len(item.layer.tops)]
            tops = self._tops(item, steps, values) if steps else []
            tainted = bool(jumped.intersection(item.reads))
            for offset, (step, top) in enumerate(zip(steps, tops, strict=True)):
                difference = _largest_difference(step.value, top)
                if (tainted or UNBOUNDED in step.gains) and _jumps(step.value, top):
                    jumped.add(item.makes + offset)
                    difference = math.inf
                yield index + offset, difference / ZOOM
                if item.makes + offset in last_reader:
                    values[item.makes + offset] = top
            for read in item.reads:
                if last_reader[read] == place:
                    values.pop(read, None)
            index += len(steps)

    def _tops(self, item: Wired, steps: Sequence[Step], values: Mapping[int, Array]) -> list[Array]:
        rule = find(item.layer.type)
        if not steps[0].inputs or rule is None:
            return [self._fed(step) for step in steps]
        size = ZOOM * UNIT_ROUNDOFF
        spread = size * math.sqrt(max(map(terms, steps)))
        bottoms = tuple(
            values[read] if gain == UNBOUNDED else self.noise.perturb(values[read], spread, size)
            for read, gain in zip(item.reads, steps[0].gains, strict=True)
        )
        tops = rule.forward(Call(item.layer, bottoms, self.learned[item.index]))
        return [
            top if UNBOUNDED in step.gains else self.noise.perturb(top, spread)
            for step, top in zip(steps, tops, strict=False)
        ]

    def _fed(self, step: Step) -> Array:
        if step.top not in self.feed_errors:
            return step.value
        error = np.asarray(self.feed_errors[step.top], np.float32)
        # Noise on zeros is zero, so the error itself is perturbed, by a factor whose 1 is taken off again.
        return step.value + self.noise.perturb(np.broadcast_to(error, step.value.shape), ZOOM) - error


def _jumps(reference: Array, perturbed: Array) -> bool:
    """Whether an index, a count or a choice changed, and not only the numbers that came with it."""
    if reference.shape != perturbed.shape:
        return True
    gap = np.abs(perturbed - reference)
    whole = np.rint(reference) == reference
    return bool(np.any(gap > np.where(whole, 0.5, 0.01 * peak(reference))))


def _largest_difference(reference: Array, perturbed: Array) -> float:
    """Over ordinary values; inf where the perturbation changes the shape or makes a value ordinary or not."""
    if reference.shape != perturbed.shape:
        return math.inf
    gap = np.abs(perturbed - reference)
    largest = float(gap.max(initial=0.0))
    if largest < OUTSIDE:  # false for NaN too
        return largest
    ordinary = np.abs(reference) < OUTSIDE
    if not np.array_equal(ordinary, np.abs(perturbed) < OUTSIDE):
        return math.inf
    return float(np.max(gap, initial=0.0, where=ordinary))
