"""Work that is counted instead of timed, so that a small net tells how a large one grows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from prototxt import Net


def lines_of(work: Callable[[], Any]) -> int:
    """Lines of Python that are run, in comprehensions and generators once a round."""
    lines = 0

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


class Name(str):
    """A name that is compared in Python: a walk in C through a list of them (`in`, `index`) is lines to count."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def with_names_to_count(net: Net) -> Net:
    """The net, with such names for its layers and blobs."""
    for layer in net.layers:
        vars(layer).update(
            name=Name(layer.name), bottoms=tuple(map(Name, layer.bottoms)), tops=tuple(map(Name, layer.tops))
        )
    return net


def compare_in_python(patch: pytest.MonkeyPatch, *kinds: type) -> None:
    """Walks in C through lists of objects that are equal to themselves alone are lines to count."""

    def same(one: object, other: object) -> bool:
        return one is other

    for kind in kinds:
        assert kind.__eq__ is object.__eq__
        patch.setattr(kind, "__eq__", same)
