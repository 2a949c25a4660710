"""The one exception tree of the toolkit; every error carries its place as fields, not only as text.

CaffeModelError                 a model, a file or a request that cannot be served; str() reads like a compiler's
├── PrototxtError               prototxt text that does not parse (grammar, unknown field, value out of range)
├── NetError                    a net that is well-formed text and yet no net (dangling bottom, shapes that clash)
│   ├── UnknownShapeError       an input whose shape only its data would tell: a request gives it
│   └── UnsupportedError        a layer or parameter that Caffe or a fork has and this toolkit does not
│       ├── UnreadError         a field that a layer states and this toolkit does not read
│       └── ForksDifferError    bytes of a binary file that forks read differently; `dialects` are the choices
├── WeightsError                a weight file that is damaged, of another kind, or does not fit the net
├── RequestError                a request that makes no sense for this net (unknown output blob, impossible shape)
│   └── ModelError              a converted model whose own code or graph fails, or comes to no end
├── MissingDependencyError      an optional package that the request needs is not installed
├── ParityError                 a converted model whose numbers leave the bound
└── ErrorGroup                  several of the above, reported together (field `errors`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from prototxt.names import readable

MOST_SHOWN = 100
"""Errors of a group that its text has a line for; all of them are in its field `errors`."""

MOST_ERRORS = 1000
"""Errors that are looked for in one file or net: nobody mends more in one go, and each may cost a search for a hint."""


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
        self.message = readable(message)
        self.position = position
        self.layer = layer
        self.layer_type = layer_type

    def __str__(self) -> str:
        where = f"{self.position}: " if self.position else ""
        kind = f" ({self.layer_type})" if self.layer_type else ""
        subject = readable(f"layer {self.layer!r}{kind}: ") if self.layer is not None else ""
        return f"{where}error: {subject}{self.message}"

    @property
    def each(self) -> tuple[CaffeModelError, ...]:
        """The single errors that this one is, itself or those of a group."""
        return (self,)

    def to_json(self) -> dict[str, str | int | None]:
        """The error for other programs; what is not known is null."""
        place = self.position
        return {
            "kind": type(self).__name__,
            "message": self.message,
            "file": readable(place.path) if place else None,
            "line": place.line or None if place else None,
            "column": place.column or None if place else None,
            "layer": None if self.layer is None else readable(self.layer),
            "type": None if self.layer_type is None else readable(self.layer_type),
        }


class PrototxtError(CaffeModelError):
    """Prototxt text that does not parse."""


class NetError(CaffeModelError):
    """Well-formed text that is no working net."""


class UnknownShapeError(NetError):
    """An input whose shape the net does not state."""


class UnsupportedError(NetError):
    """A layer type or parameter that this toolkit does not convert."""


class UnreadError(UnsupportedError):
    """Fields that a layer states and its reader does not use, though numbers may hang on them.

    Attributes:
        paths: of the fields, `section.field`.
    """

    paths: tuple[str, ...] = ()


class ForksDifferError(UnsupportedError):
    """A section of a binary file that several forks explain, each otherwise."""

    def __init__(self, message: str, dialects: Sequence[str] = (), **place: Any) -> None:
        super().__init__(message, **place)
        self.dialects = tuple(dialects)


class WeightsError(CaffeModelError):
    """A weight file that is damaged, of another kind, or does not fit the net."""


class RequestError(CaffeModelError):
    """A request that makes no sense for this net."""


class ModelError(RequestError):
    """A converted model that does not load, or does not run to its end."""


class MissingDependencyError(CaffeModelError):
    """An optional package that the request needs is not installed."""


class ParityError(CaffeModelError):
    """A converted model whose numbers leave the bound."""


class ErrorGroup(CaffeModelError):  # noqa: N818 (it is several)
    """Several errors found in one go; `str()` gives one line each, in the order of `errors`, at most `MOST_SHOWN`."""

    def __init__(self, errors: Sequence[CaffeModelError]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = tuple(errors)

    def __str__(self) -> str:
        lines = [str(error) for error in self.errors[:MOST_SHOWN]]
        more = len(self.errors) - len(lines)
        return "\n".join([*lines, f"error: and {more} more"] if more else lines)

    @property
    def each(self) -> tuple[CaffeModelError, ...]:
        """Those of all groups in it."""
        return tuple(single for error in self.errors for single in error.each)


def together(errors: Sequence[CaffeModelError]) -> CaffeModelError | None:
    """None for no fault, the fault itself for one, `ErrorGroup` for several."""
    return ErrorGroup(errors) if len(errors) > 1 else next(iter(errors), None)


def raise_all(errors: Sequence[CaffeModelError]) -> None:
    """Raise some faults `together`; nothing for none."""
    error = together(errors)
    if error is not None:
        raise error
