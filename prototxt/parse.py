"""Prototxt text to a message and the places of its fields: the usual form in one pass, any other by looking closely."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

from prototxt.errors import PrototxtError
from prototxt.names import typed
from prototxt.one_pass import read_usual
from prototxt.scan import Field, Lines
from prototxt.source import read_text

__all__ = ["parse", "read_text"]

M = TypeVar("M", bound=Message)


def parse(
    text: str,
    cls: type[M],
    path: str = "<string>",
    *,
    allow_unknown: bool = False,
    by_layer: list[tuple[Field, PrototxtError]] | None = None,
) -> tuple[M, Field, Lines]:
    """A message, and the tree of its fields with their places.

    Args:
        text: the prototxt.
        cls: the message class, such as NetParameter or SolverParameter.
        path: the text's name in messages.
        allow_unknown: leave out fields that the schema lacks, and numbers of which a template has only the placeholder,
            with a warning each, instead of refusing them.
        by_layer: takes the fields within layers that are unknown or have a wrong value, with the error of each, which
            is not raised then.

    Raises:
        PrototxtError: the grammar is broken; a field or an enum's value is unknown, of the wrong kind, out of range or
            given twice; a solver stands where a net is expected, or the other way round. Several: ErrorGroup.
    """
    text = typed(text.removeprefix("\ufeff"))
    lines = Lines(text, path)
    usual = read_usual(text, cls, lines)
    if usual is not None:
        return (*usual, lines)
    from prototxt.careful import parse_carefully  # and protobuf's parser, which few texts need

    return parse_carefully(text, cls, path, allow_unknown=allow_unknown, by_layer=by_layer)
