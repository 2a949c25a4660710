"""The one exception tree of the toolkit; every error carries its place as fields, not only as text.

    CaffeModelError                a model, a file or a request that cannot be served; str() reads like a compiler's
    ├── SyntaxFault                prototxt text that does not parse (grammar, unknown field, value out of range)
    ├── NetFault                   a net that is well-formed text and yet no net (dangling bottom, shapes that disagree)
    │   └── UnsupportedFault       a layer or parameter that Caffe or a fork has and this toolkit does not
    ├── WeightsFault               a weight file that is damaged, of another kind, or does not fit the net
    ├── RequestFault               a request that makes no sense for this net (unknown output blob, impossible shape)
    ├── MissingDependency          an optional package that the request needs is not installed
    ├── ParityFault                a converted model whose numbers leave the bound
    └── Faults                     several of the above, reported together (field `faults`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Position(NamedTuple):
    """A place in a text file; `line` and `column` count from 1, 0 means unknown (the file as a whole)."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.path
        return f"{self.path}:{self.line}:{self.column}" if self.column else f"{self.path}:{self.line}"


class CaffeModelError(Exception):
    """Root of everything this library raises on purpose.

    Args:
        message: what is wrong, the values seen and what was expected; one sentence, no trailing full stop.
        position: where, if a file is at fault.
        layer: name of the layer at fault; put before the message as `layer 'conv1' (Convolution): ...`.
        layer_type: its type.
    """

    def __init__(
        self, message: str, *, position: Position | None = None, layer: str | None = None, layer_type: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.layer = layer
        self.layer_type = layer_type

    def __str__(self) -> str:
        where = f"{self.position}: " if self.position else ""
        kind = f" ({self.layer_type})" if self.layer_type else ""
        subject = f"layer {self.layer!r}{kind}: " if self.layer is not None else ""
        return f"{where}error: {subject}{self.message}"


class SyntaxFault(CaffeModelError):
    """Prototxt text that does not parse."""


class NetFault(CaffeModelError):
    """Well-formed text that is no working net."""


class UnsupportedFault(NetFault):
    """A layer type or parameter that this toolkit does not convert."""


class WeightsFault(CaffeModelError):
    """A weight file that is damaged, of another kind, or does not fit the net."""


class RequestFault(CaffeModelError):
    """A request that makes no sense for this net."""


class MissingDependency(CaffeModelError):
    """An optional package that the request needs is not installed."""


class ParityFault(CaffeModelError):
    """A converted model whose numbers leave the bound."""


class Faults(CaffeModelError):
    """Several errors found in one go; `str()` gives one line each, in the order of `faults`."""

    def __init__(self, faults: Sequence[CaffeModelError]) -> None:
        super().__init__(f"{len(faults)} errors")
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


def raise_all(faults: Sequence[CaffeModelError]) -> None:
    """Raise nothing for no fault, the fault itself for one, `Faults` for several."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise Faults(faults)
