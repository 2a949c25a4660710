"""When a measured error agrees with a published one.

    Wilson interval   (k + z²/2 ± z √(k (n - k) / n + z²/4)) / (n + z²)       k wrong of n
    published band    published ± (variation that the authors state + half of the last digit they print)

Where the very images were published, scored by the original Caffe, chance has no part: the error itself must lie in the
band. Else:

Pass: interval and band overlap, and the interval is narrow enough for a fault to be seen. Fail: they do not overlap.
Too few images: the interval is wider than ±5 points; or only a part of the published set was seen and its error is
*lower* than published, which no fault of a conversion explains but an easy part does.
Source: E. B. Wilson, JASA 22 (1927).
"""

from __future__ import annotations

import math
from statistics import NormalDist

from prototxt.words import plural
from verify.evaluation.records import Counted, Expected, Judgement, Verdict
from verify.evaluation.shown.figures import Measured, points

CONFIDENCE = 0.95
RESOLUTION = 0.05
"""Half of the widest interval with which anything can be told."""


def wilson(wrong: int, images: int, confidence: float = CONFIDENCE) -> Counted:
    """An error with its interval; 0 to 1 before the first image."""
    if not images:
        return Counted(wrong, images, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = wrong + z * z / 2
    spread = z * math.sqrt(wrong * (images - wrong) / images + z * z / 4)
    low, high = (middle - spread) / (images + z * z), (middle + spread) / (images + z * z)
    return Counted(wrong, images, 0.0 if wrong == 0 else low, 1.0 if wrong == images else high)


def judge(top1: Counted | None, top5: Counted | None, expected: Expected | None, *, nonfinite: int = 0) -> Verdict:
    """Whether the measured errors agree with the published ones; the worse of the two decides.

    Args:
        top1, top5: what was measured; None where there are no labels, or too few classes.
        expected: what was published.
        nonfinite: images with a score that is not a number, which alone is a failure.
    """
    if nonfinite:
        return Verdict("fail", (f"{plural(nonfinite, 'image')} with scores that are no numbers",))
    if expected is None:
        return Verdict("none", ())
    pairs = [("top-1", top1, expected.top1), ("top-5", top5, expected.top5)]
    judged = [
        _judge(Measured(name, seen, said, expected.variation, expected.exact), expected)
        for name, seen, said in pairs
        if seen and said is not None
    ]
    if not judged:
        return Verdict("none", ("nothing to compare: no labels, or no published error of this kind",))
    rank: dict[Judgement, int] = {"fail": 0, "too few": 1, "pass": 2, "none": 3}
    judged.sort(key=lambda verdict: rank[verdict[0]])
    return Verdict(judged[0][0], tuple(reason for _, reason in judged))


def _judge(error: Measured, expected: Expected) -> tuple[Judgement, str]:
    seen = error.seen
    said = f"the published {error.said} %"
    where = f"{error.name} error {error.error} {error.interval}"
    part = _part(seen, expected)
    if error.exact and error.side:
        same = "of these very images, as the original Caffe scored them"
        return "fail", f"{where} is {error.gap} points {error.side} {said} {same}"
    if error.side == "above":
        hint = f"; {part}, which may be harder than the whole" if part else ""
        return "fail", f"{where} is {error.gap} points above {said}{hint}"
    if error.side == "below" and part:
        return "too few", (
            f"{where} is {error.gap} points below {said}: {part}, and an easier part than the whole; a wrong "
            "conversion does not lower the error, but only the full set can confirm the published figure"
        )
    if error.side == "below":
        return "fail", (
            f"{where} is {error.gap} points below {said}: these are other weights, or another protocol, than those "
            "that were published"
        )
    half = (seen.high - seen.low) / 2
    if half > RESOLUTION:
        return "too few", (
            f"{where} agrees with {said}, but {seen.images} images leave ±{points(half)} points: too few to tell"
        )
    return "pass", f"{where} agrees with {said}"


def _part(seen: Counted, expected: Expected) -> str:
    """What to say when not all of the published set was seen; empty when it was."""
    if not expected.images or seen.images >= expected.images:
        return ""
    return f"these are {seen.images:,} of the set's {expected.images:,} images"
