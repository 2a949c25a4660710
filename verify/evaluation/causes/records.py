"""What a search for mistakes found, as plain records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["labels", "order", "mean", "scale", "resize", "interpolation"]


@dataclass(frozen=True)
class Cause:
    """Something that makes the error smaller when it is done otherwise.

    Attributes:
        kind: what it concerns: the order of `labels`, of channels …
        what: how it would be right, in words: `BGR instead of RGB`.
        option: the option that does so; empty where none does.
        error: the top-1 error then, as a share of the sample, with the causes before this one undone as well.
    """

    kind: Kind
    what: str
    option: str
    error: float


@dataclass(frozen=True)
class Diagnosis:
    """A search for mistakes.

    Attributes:
        images: in the sample.
        error: its top-1 error as it was scored, as a share.
        tried: how many mistakes were looked for.
        causes: those that were found, the one that matters most first.
    """

    images: int
    error: float
    tried: int
    causes: tuple[Cause, ...] = ()
