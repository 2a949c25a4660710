"""What one upgrade step reports, and how a step finds the place of an error in the user's file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prototxt import caffe_pb2
from prototxt.errors import MOST_SHOWN, NetError, Position

Where = Callable[[str, int], Position | None]
"""`where("layers", 3)` is the place of the fourth `layers {`; the field is `layers`, `layer` or `input`."""


def nowhere(field: str, index: int) -> Position | None:
    """The places of a message that came from no text: none."""
    return None


class Change(NamedTuple):
    """What an upgrade step did to a net.

    Attributes:
        origins: for every layer now in the net, its index before the step; -1-k for a layer made from the k-th `input`.
        notes: what was done, one sentence each, for the user.
        lost: those of the notes that tell what the net stated and has no more.
    """

    origins: list[int]
    notes: tuple[str, ...]
    lost: tuple[str, ...] = ()


def refuse_mixture(message: caffe_pb2.NetParameter, where: Where = nowhere) -> None:
    """Raise NetError for a net that holds both `layers` and `layer`: their order relative to each other is not defined.

    Caffe refuses such nets too. The error stands at the first entry of the rarer kind and names both places.
    """
    old, new = len(message.layers), len(message.layer)
    if not (old and new):
        return
    rarer, other = ("layers", "layer") if old <= new else ("layer", "layers")
    place = where(other, 0)
    raise NetError(
        f"the net mixes the old form, `layers` ({old} times), and the new one, `layer` ({new} times); expected one only"
        + (f"; the first `{other}` is at {place}" if place else ""),
        position=where(rarer, 0),
    )


def warn_of(log: logging.Logger, path: str, warnings: Iterable[str]) -> None:
    """Log some warnings of a file, at most `MOST_SHOWN` and how many more there are."""
    said = list(warnings)
    for warning in said[:MOST_SHOWN]:
        log.warning("%s", warning)
    if len(said) > MOST_SHOWN:
        log.warning("%s: warning: and %d more warnings", path, len(said) - MOST_SHOWN)
