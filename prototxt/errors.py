"""The one exception tree of the toolkit; every error carries its place as fields, not only as text.

CaffeModelError                 a model, a file or a request that cannot be served; str() reads like a compiler's
├── PrototxtError               prototxt text that does not parse (grammar, unknown field, value out of range)
├── NetError                    a net that is well-formed text and yet no net (dangling bottom, shapes that clash)
│   └── UnsupportedError        a layer or parameter that Caffe or a fork has and this toolkit does not
├── WeightsError                a weight file that is damaged, of another kind, or does not fit the net
├── RequestError                a request that makes no sense for this net (unknown output blob, impossible shape)
├── MissingDependencyError      an optional package that the request needs is not installed
├── ParityError                 a converted model whose numbers leave the bound
└── ErrorGroup                  several of the above, reported together (field `errors`)
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


class PrototxtError(CaffeModelError):
    """Prototxt text that does not parse."""


class NetError(CaffeModelError):
    """Well-formed text that is no working net."""


class UnsupportedError(NetError):
    """A layer type or parameter that this toolkit does not convert."""


class WeightsError(CaffeModelError):
    """A weight file that is damaged, of another kind, or does not fit the net."""


class RequestError(CaffeModelError):
    """A request that makes no sense for this net."""


class MissingDependencyError(CaffeModelError):
    """An optional package that the request needs is not installed."""


class ParityError(CaffeModelError):
    """A converted model whose numbers leave the bound."""


class ErrorGroup(CaffeModelError):  # noqa: N818 (it is several)
    """Several errors found in one go; `str()` gives one line each, in the order of `errors`."""

    def __init__(self, errors: Sequence[CaffeModelError]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


def raise_all(errors: Sequence[CaffeModelError]) -> None:
    """Raise nothing for no fault, the fault itself for one, `ErrorGroup` for several."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ErrorGroup(errors)
