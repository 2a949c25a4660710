"""What a classification finds, as plain records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from verify.report.records import Json, plain


@dataclass(frozen=True)
class ClassScore:
    """A class and the score that the net gives it.

    Attributes:
        label: its number, from 0.
        name: in words; empty where nobody says.
        wnid: its WordNet ID, where the list of classes has those; else empty.
        score: as the net gives it: a probability only where its last layer makes one.
    """

    label: int
    name: str
    wnid: str
    score: float


@dataclass(frozen=True)
class Box:
    """A box that a detector found, in pixels of the image; it may reach beyond its borders.

    Attributes:
        label, name: its class; the name is empty where nobody says.
        score: the detector's confidence, 0 to 1.
        left, top, right, bottom: from the upper left corner of the image.
    """

    label: int
    name: str
    score: float
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Seen:
    """What the net makes of one image.

    Attributes:
        image: its path or name.
        classes: the best, the best first; empty for a detector.
        boxes: the best first; empty for a net of classes.
        width, height: in pixels, of an image that boxes were looked for in; else 0.
        drawn: the file with its boxes; empty without one.
        problem: why there is nothing of it, in words; empty where there is.
    """

    image: str
    classes: tuple[ClassScore, ...] = ()
    boxes: tuple[Box, ...] = ()
    width: int = 0
    height: int = 0
    drawn: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Classification:
    """What a net makes of images.

    Attributes:
        net, weights: paths.
        engine: what ran the model, with its version.
        preprocessing: in words.
        finds: `classes`, or `boxes` of a detector.
        blob: whose values the scores or boxes are.
        probabilities: whether scores are probabilities: the net ends in a layer that makes them.
        images: in the order in which they were given.
        notes: what else the user should know, in words.
    """

    net: str
    weights: str
    engine: str
    preprocessing: str
    finds: Literal["classes", "boxes"]
    blob: str
    probabilities: bool
    images: tuple[Seen, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether something can be said of every image."""
        return not any(seen.problem for seen in self.images)

    def to_json(self) -> dict[str, Json]:
        """Everything, for json.dumps."""
        made = plain(asdict(self))
        assert isinstance(made, dict)
        return made
