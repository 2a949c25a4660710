"""Golden cases of layers that nobody can run any more: nets, feeds, and answers by loops written from a fork's source.

    @case("shuffle_channel_3")
    def shuffled() -> Naive: ...

`python -m tests.naive` writes each as a folder of `tests/data/golden/forks`, in the form of the original Caffe's
cases; a test compares what lies there with the loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Naive:
    """One case.

    Attributes:
        text: of its layers, named as in `answers`, without the Inputs of the feeds.
        feeds: by blob.
        answers: by (layer, top): what the fork would give, from a loop that shares no code with the toolkit.
        blobs: learned blobs by layer.
    """

    text: str
    feeds: Mapping[str, Array]
    answers: Mapping[tuple[str, str], npt.NDArray[np.floating]]
    blobs: Mapping[str, Sequence[Array]] = field(default_factory=dict)


Make = Callable[[], Naive]
_CASES: dict[str, Make] = {}


def case(name: str) -> Callable[[Make], Make]:
    """Register a case; the name is its folder's."""

    def add(make: Make) -> Make:
        assert name not in _CASES, name
        _CASES[name] = make
        return make

    return add


def cases() -> dict[str, Make]:
    """Name -> case, of everything registered."""
    return dict(_CASES)


def random(seed: int, *sizes: int) -> Array:
    """Standard normal values."""
    return np.random.default_rng(seed).standard_normal(sizes).astype(np.float32)
