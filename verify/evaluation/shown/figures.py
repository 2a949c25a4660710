"""How errors are written: with no more decimals than they deserve, and beside the published figure.

    published    as it was printed: 24.7, 8.75, and 20.0 for a plain 20
    measured     one decimal; two from 10,000 images on, where one image is 0.01 points, and from 1,000 images on where
                 the published figure has two
    gap          the fewer decimals of the two, but enough to show that it is not zero

Text, page and JUnit file take their figures from here, so that they never differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from verify.evaluation.records import ClassResult, Counted, Evaluation

SMOOTHING = 2
"""Images that every class is taken to have got right besides its own, in the order of the worst classes."""


@dataclass(frozen=True)
class Measured:
    """An error beside what was published of it.

    Attributes:
        name: `top-1` or `top-5`.
        seen: what was measured.
        published: as a share; None where nothing was.
        variation: of the published error, as a share.
        exact: whether the published error is of these very images.
    """

    name: str
    seen: Counted
    published: float | None = None
    variation: float = 0.0
    exact: bool = False

    @property
    def digits(self) -> int:
        """Decimals of the measured error in percent."""
        if self.seen.images >= 10_000:
            return 2
        said = 1 if self.published is None else published_digits(self.published)
        return 2 if self.seen.images >= 1_000 and said > 1 else 1

    @property
    def error(self) -> str:
        """`24.66 %`."""
        return f"{points(self.seen.error, self.digits)} %" if self.seen.images else "not measured"

    @property
    def interval(self) -> str:
        """`[24.28, 25.04]`, in percent."""
        return f"[{points(self.seen.low, self.digits)}, {points(self.seen.high, self.digits)}]"

    @property
    def said(self) -> str:
        """The published error, `24.7`; empty where there is none."""
        return "" if self.published is None else points(self.published, published_digits(self.published))

    @property
    def side(self) -> Literal["above", "below", ""]:
        """On which side of the published band the whole interval lies; empty where they overlap.

        Of an exact error it is the measured one itself that must lie in the band.
        """
        if self.published is None or not self.seen.images:
            return ""
        low, high = (self.seen.error, self.seen.error) if self.exact else (self.seen.low, self.seen.high)
        if low > self.published + self.variation:
            return "above"
        return "below" if high < self.published - self.variation else ""

    @property
    def gap(self) -> str:
        """Distance from the published error in points, `97.0`; empty where none was published."""
        if self.published is None or not self.seen.images:
            return ""
        gap = abs(self.seen.error - self.published)
        digits = min(self.digits, published_digits(self.published))
        while gap and digits < 4 and not float(points(gap, digits)):
            digits += 1
        return points(gap, digits)


def measured(evaluation: Evaluation) -> tuple[Measured, ...]:
    """The errors that an evaluation has: none without labels, top-1, or both."""
    said = evaluation.expected
    pairs = (
        ("top-1", evaluation.top1, said.top1 if said else None),
        ("top-5", evaluation.top5, said.top5 if said else None),
    )
    variation, exact = (said.variation, said.exact) if said else (0.0, False)
    return tuple(
        Measured(name, seen, published, variation, exact) for name, seen, published in pairs if seen is not None
    )


def points(share: float, digits: int = 1) -> str:
    """A share in percent, without the sign: `24.7`."""
    return f"{100 * share:.{digits}f}"


def published_digits(share: float) -> int:
    """Decimals that a published error has in percent: at least one, at most three."""
    percent = 100 * share
    return next((digits for digits in (1, 2) if abs(round(percent, digits) - percent) < 1e-7), 3)


def worst_first(classes: Sequence[ClassResult]) -> list[ClassResult]:
    """Classes by wrong / (images + 2), so that one wrong image of one does not come before 40 of 50."""
    return sorted(classes, key=lambda c: (-c.wrong / (c.images + SMOOTHING), -c.wrong, c.label))


def short_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Names up to their first comma (ImageNet's are lists of synonyms) where that still tells the classes apart."""
    firsts = [name.partition(",")[0].strip() for name in classes]
    counts = Counter(firsts)
    return tuple(first if first and counts[first] == 1 else name for first, name in zip(firsts, classes, strict=True))


def class_error(result: ClassResult) -> str:
    """The error of a class: whole percents up to 100 images, then one decimal."""
    if not result.images:
        return "–"
    return f"{points(result.wrong / result.images, 0 if result.images <= 100 else 1)} %"


def title(evaluation: Evaluation) -> str:
    """What an evaluation is called: as it was asked for, or the file name of its weights or net."""
    if evaluation.expected and evaluation.expected.name:
        return evaluation.expected.name
    path = evaluation.weights or evaluation.net
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path or "evaluation"
