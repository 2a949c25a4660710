"""What an evaluation sees and finds, as plain records.

Item              one image of a data set: its name and label
Decoded           its pixels, as OpenCV decodes them, and what was special about the file
Counted           an error: wrong out of seen, with its Wilson interval
Evaluation        everything that was found; how it looks is for the text, the page and the JUnit file
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from verify.evaluation.causes.records import Diagnosis
from verify.report.records import Json, plain

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""H×W×C, as OpenCV decodes them: BGR, or one channel."""

Judgement: TypeAlias = Literal["pass", "fail", "too few", "none"]
"""`none`: nothing was expected, so nothing is judged."""


@dataclass(frozen=True)
class Item:
    """An image of a data set; `label` counts from 0 in the net's order of classes, None where nobody says."""

    name: str
    label: int | None = None


@dataclass(frozen=True)
class Decoded:
    """An image's pixels, 8 bits each; `kinds` names what was special: `greyscale`, `CMYK`, `16-bit`, `rotated` …"""

    pixels: Pixels
    kinds: tuple[str, ...] = ()


SCORE_TOLERANCE = 1e-4
"""Of the largest score: what float32 arithmetic leaves of a right conversion in the deepest nets."""


class Source(Protocol):
    """Images with labels. Can be pickled: files are opened by the process that reads them."""

    @property
    def where(self) -> str:
        """The path, for messages."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in label order, where the data set knows them; else empty."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it was read, in words: images without a label, labels without an image."""

    def __len__(self) -> int:
        """How many images there are."""

    def item(self, index: int) -> Item:
        """Name and label of an image."""

    def read(self, index: int, *, color: bool) -> Decoded:
        """Its pixels, three channels (BGR) or one.

        Raises:
            ImageFault: the image cannot be read or decoded.
        """


class ImageFault(Exception):  # noqa: N818 (a fault of one image, which the run goes on without)
    """An image that cannot be read or decoded; `str()` says why, in a few words."""


@dataclass(frozen=True)
class Counted:
    """An error and how sure it is.

    Attributes:
        wrong, images: counts.
        low, high: the Wilson interval, as shares.
    """

    wrong: int
    images: int
    low: float
    high: float

    @property
    def error(self) -> float:
        """The share that is wrong; nan before the first image."""
        return self.wrong / self.images if self.images else float("nan")


@dataclass(frozen=True)
class Expected:
    """What was published.

    Attributes:
        name: as `--expect` takes it; empty when the numbers came from the command line.
        title, protocol, source: in words.
        top1, top5: errors as shares; None where none is given.
        variation: what the authors say their error varies by, as a share, and half of the last published digit.
        images: in the set that it was measured on, 0 where that is not known.
        exact: whether it was measured on these very images, pixel by pixel: chance has then no part in a difference.
        other: what the user did otherwise than the authors, in words.
    """

    name: str = ""
    title: str = ""
    protocol: str = ""
    source: str = ""
    top1: float | None = None
    top5: float | None = None
    variation: float = 0.0
    images: int = 0
    exact: bool = False
    other: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether what was measured agrees with what was published; `reasons` are sentences, the deciding one first."""

    outcome: Judgement
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flip:
    """An image that the model and the judge give to different classes."""

    name: str
    label: int | None
    model: int
    judge: int
    difference: float


@dataclass(frozen=True)
class Agreement:
    """The model beside another that runs the Caffe files themselves, on the same images.

    Attributes:
        judge: what ran them, with its version.
        images: how many both saw.
        same_top1: of these, to how many both give the same class.
        largest_difference: of any score of any image; nan where a score is.
        flips: the images that differ, the largest difference first.
        peak: the judge's largest score, by magnitude.
    """

    judge: str
    images: int
    same_top1: int
    largest_difference: float
    flips: tuple[Flip, ...] = ()
    peak: float = 0.0

    @property
    def bound(self) -> float:
        """The largest difference that float32 explains."""
        return SCORE_TOLERANCE * self.peak

    @property
    def ok(self) -> bool:
        """Whether no score differs by more than float32 explains; an image may still flip where two classes tie."""
        return self.largest_difference <= self.bound


@dataclass(frozen=True)
class Point:
    """The error after so many images, for the chart."""

    images: int
    top1: Counted
    top5: Counted | None


@dataclass(frozen=True)
class ClassResult:
    """How one class fared; `confused` are the classes that its images were taken for, with counts, most often first."""

    label: int
    name: str
    images: int
    wrong: int
    confused: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Misjudged:
    """An image given to a wrong class.

    Attributes:
        name, label: which.
        predicted: the best classes, the best first.
        score, own_score: of the best class and of the right one.
        thumbnail: a `data:` address of a small JPEG; empty where none was made.
    """

    name: str
    label: int
    predicted: tuple[int, ...]
    score: float
    own_score: float
    thumbnail: str = ""


@dataclass(frozen=True)
class Evaluation:
    """A run over a data set.

    Attributes:
        net, weights, data: paths.
        engine: what ran the model, with its version.
        preprocessing: in words.
        images: scored; with `skipped` and those that `--limit` left out they make up `available`.
        available: images in the data set.
        skipped: name and reason of the images that could not be read.
        kinds: how many images were special, by kind (`greyscale`, `CMYK`, `16-bit`, `rotated` …).
        confidence: of the intervals.
        classes: names of the classes by label; empty where they are not known.
        labelled: whether there were labels, and so errors.
        top1, top5: the errors; None without labels, and top5 with fewer than 6 classes.
        expected, verdict: what was published, and whether this agrees.
        agreement: with Caffe's own numbers, where that was asked for.
        curve: errors after more and more images.
        by_class: every class that has images.
        misjudged: those that the model was surest of.
        notes: what else the user should know, in words.
        seconds, rate: time of the run and images a second.
        resumed: images whose results came from the journal of an earlier run.
        strict: whether what cannot be told is a failure.
        diagnosis: what mistakes explain errors that are not the published ones; None where none were looked for.
    """

    net: str
    weights: str
    data: str
    engine: str
    preprocessing: str
    images: int
    available: int
    confidence: float
    labelled: bool
    top1: Counted | None
    top5: Counted | None
    verdict: Verdict
    expected: Expected | None = None
    agreement: Agreement | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    curve: tuple[Point, ...] = ()
    by_class: tuple[ClassResult, ...] = ()
    misjudged: tuple[Misjudged, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    rate: float = 0.0
    resumed: int = 0
    strict: bool = False
    diagnosis: Diagnosis | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing fails: neither an error nor a score, nor, in a strict run, what there was too little of."""
        if not self.strict:
            return self.verdict.outcome != "fail"
        compared = self.agreement is None or self.agreement.images > 0
        return compared and self.verdict.outcome in (("pass",) if self.expected else ("pass", "none"))

    def class_name(self, label: int) -> str:
        """A class in words: its name, or its number."""
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)

    def to_json(self) -> dict[str, Json]:
        """Everything, for json.dumps; numbers that JSON does not have (inf, nan) become null."""
        made = plain(asdict(self))
        assert isinstance(made, dict)
        for name, counted in (("top1", self.top1), ("top5", self.top5)):
            made[name] = None if counted is None else _with_error(counted)
        if self.agreement is not None:
            agreement = made["agreement"]
            assert isinstance(agreement, dict)
            made["agreement"] = {**agreement, "ok": self.agreement.ok, "bound": plain(self.agreement.bound)}
        made["ok"] = self.ok
        made["curve"] = [
            {
                "images": point.images,
                "top1": _with_error(point.top1),
                "top5": None if point.top5 is None else _with_error(point.top5),
            }
            for point in self.curve
        ]
        return made


def _with_error(counted: Counted) -> Json:
    made = plain(asdict(counted))
    assert isinstance(made, dict)
    made["error"] = plain(counted.error)
    return made
