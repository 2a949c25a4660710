"""Prototxt in any form to a message: every fault of the file is found and placed before protobuf's own parser runs.

text --scan--> tree of fields with places --check against the schema--> text_format --> message
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeVar, cast

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from prototxt.caffe_pb2 import NetParameter, SolverParameter
from prototxt.change import warn_of
from prototxt.check import Checker, raise_faults
from prototxt.errors import Position, PrototxtError
from prototxt.repair import Edit, repair
from prototxt.repeated import spread
from prototxt.scan import Field, Lines, scan
from prototxt.words import first_line, shortened

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)

_ONLY_NETS = frozenset(("layer", "layers", "input", "input_dim", "input_shape"))
_ONLY_SOLVERS = frozenset(("base_lr", "lr_policy", "max_iter", "solver_mode", "test_iter", "snapshot_prefix"))


def parse_carefully(
    text: str,
    cls: type[M],
    path: str,
    *,
    allow_unknown: bool,
    by_layer: list[tuple[Field, PrototxtError]] | None,
) -> tuple[M, Field, Lines]:
    """What `prototxt.parse.parse` says, for any text, with names as in `prototxt.names`."""
    root, lines = scan(text, path)
    _refuse_other_kind(root, cls, path)
    edits = repair(root, lines) + spread(root)
    checker = Checker(lines, allow_unknown=allow_unknown, by_layer=by_layer is not None)
    checker.check(root, cast(Descriptor, cls.DESCRIPTOR))
    if checker.errors:
        raise_faults([*checker.errors, *(fault for _, fault in checker.by_layer or ())], path)
    warn_of(log, path, _left_out(checker, lines))
    left_out = [*chain.from_iterable(checker.unknown.values()), *(field for field, _ in checker.unreadable)]
    if by_layer is not None:
        by_layer += checker.by_layer or []
        left_out += [field for field, _ in by_layer]
    left_out += checker.sections  # protobuf's schema lacks them; `NetLayer.section` reads them from the tree
    edits += [_blanked(text, span) for span in {field.span for field in left_out}]
    edits += [(field.value_offset, field.value_end, field.value or "") for field in checker.restated]
    text = _edited(text, edits)
    message = cls()
    try:
        text_format.Parse(text, message, allow_unknown_field=allow_unknown)
    except (text_format.ParseError, UnicodeError, ValueError, RecursionError) as error:
        raise _from_protobuf(error, text, path) from None
    return message, root, lines


def is_solver(text: str) -> bool:
    """Whether a text is a solver rather than a net: no layers, and fields that only a solver has."""
    try:
        root, _ = scan(text, "")
    except PrototxtError:
        return False
    return _looks_like_solver(root)


def _looks_like_solver(root: Field) -> bool:
    names = {child.name for child in root.children}
    return bool(names & _ONLY_SOLVERS) and not names & _ONLY_NETS


def _refuse_other_kind(root: Field, cls: type[Message], path: str) -> None:
    """A solver in place of a net, or the other way round, is a common slip, worth more than forty unknown fields."""
    if cls is NetParameter and _looks_like_solver(root):
        nets = root.find("net") or root.find("train_net")
        hint = f"; the net it trains is {nets[0].value}" if nets and nets[0].value else ""
        raise PrototxtError(f"this is a solver, not a net{hint}", position=Position(path))
    if cls is SolverParameter and {child.name for child in root.children} & {"layer", "layers"}:
        raise PrototxtError("this is a net, not a solver", position=Position(path))


def _left_out(checker: Checker, lines: Lines) -> Iterator[str]:
    """What is said of each field that is left out."""
    for (name, where), fields in checker.unknown.items():
        inside = f" in {where}" if where else ""
        more = f", here and {len(fields) - 1} times more" if len(fields) > 1 else ""
        yield f"{lines.position(fields[0].offset)}: warning: unknown field {name!r}{inside} is left out{more}"
    for field, wrong in checker.unreadable:
        yield f"{lines.position(field.value_offset)}: warning: {wrong}; the field is left out"


def _blanked(text: str, span: tuple[int, int]) -> Edit:
    """A field made blank, so that what follows keeps its place."""
    return (*span, "\n".join(" " * len(line) for line in text[slice(*span)].split("\n")))


def _edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits but those within a field that is left out."""
    done, parts = 0, []
    for start, end, new in sorted(edits):
        if start < done:
            continue
        parts += [text[done:start], new]
        done = end
    return "".join([*parts, text[done:]])


def _from_protobuf(error: Exception, text: str, path: str) -> PrototxtError:
    """What the check let pass and protobuf did not, in protobuf's words, without the whole line that it quotes."""
    found = re.match(r"(?P<line>\d+):(?P<column>\d+)\s*:\s*(?P<what>.*)", str(error).strip(), re.S)
    if found is None:
        return PrototxtError(first_line(error), position=Position(path))
    line, column = int(found["line"]), int(found["column"])
    quoted = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
    what = shortened(found["what"].removeprefix(f"'{quoted}': ").strip().rstrip("."), 200)
    return PrototxtError(f"{what[:1].lower()}{what[1:]}", position=Position(path, line, column))
