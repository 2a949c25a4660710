"""What an option is: a field of a frozen record whose default, choices, help and text form stand in one place.

    @dataclass(frozen=True, kw_only=True)
    class SizeRequest(Request):
        side: int = option(224, "size of the image", parse=count, metavar="N")       # --side N

Python callers make the record, the command line fills it (`resnet_convert.cli.arguments`); `takes` makes a function of
a record one of the record's fields, so that a type checker sees each of them.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from prototxt.errors import RequestError
from prototxt.names import shown

if TYPE_CHECKING:
    from typing_extensions import Self

Role = Literal["", "in", "out"]
T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")
Asked = TypeVar("Asked", bound="Request")


class Spec(NamedTuple):
    """How an option stands on the command line.

    Attributes:
        help: what it does, in a line or two.
        flags: by default `--` and the field's name; empty for an option that only Python callers have.
        metavar: what stands for its value.
        parse: from the text to the value; ValueError with a sentence where it makes no sense.
        repeated: may be given several times; the values are collected.
        constant: the value of the flag alone, where the option may stand without one.
        inverse: of a switch: the flag makes it False.
        group: the heading under which `--help` has it.
        file: whether it may name a file that is read (`in`) or written (`out`).
    """

    help: str
    flags: tuple[str, ...] | None = None
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    repeated: bool = False
    constant: Any = None
    inverse: bool = False
    group: str = ""
    file: Role = ""


def option(
    default: T,
    help: str,
    *flags: str,
    metavar: str | None = None,
    parse: Callable[[str], Any] | None = None,
    repeated: bool = False,
    constant: Any = None,
    inverse: bool = False,
    group: str = "",
    file: Role = "",
) -> T:
    """A field of a record that is an option; see `Spec`."""
    spec = Spec(help, flags or None, metavar, parse, repeated, constant, inverse, group, file)
    return _field(default, spec)


def _field(default: T, spec: Spec) -> T:
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, metadata={"option": spec})
    return field(default=default, metadata={"option": spec})


def output_option(help: str, metavar: str = "OUT") -> str | os.PathLike[str] | None:
    """A field that is the file or folder to write."""
    return option(None, help, "-o", "--output", metavar=metavar, parse=str, file="out")


def plugin_option(group: str = "") -> Sequence[str | os.PathLike[str]]:
    """A field with files of plugins."""
    help = "Python code that registers layers of your own; it is executed"
    none: Sequence[str] = ()
    return option(none, help, "--plugin", metavar="FILE.py", parse=str, repeated=True, group=group, file="in")


def python_only(default: T) -> T:
    """A field that the command line does not have: values that no file holds."""
    return _field(default, Spec("", flags=()))


def by_place(file: Role) -> Mapping[str, Spec]:
    """The metadata of a file that the command line takes by its place."""
    return {"option": Spec("", flags=(), file=file)}


def spec_of(entry: Field[Any]) -> Spec | None:
    """What a field is on the command line; None for one that it takes by its place, or not at all."""
    spec: Spec | None = entry.metadata.get("option")
    return None if spec is None or spec.flags == () else spec


_CHOICES: dict[type[Request], Mapping[str, tuple[Any, ...]]] = {}


def choices_of(record: type[Request]) -> Mapping[str, tuple[Any, ...]]:
    """The values that fields of a `Literal` type may have, by the fields' names."""
    if record not in _CHOICES:
        found = {}
        for name, hint in get_type_hints(record).items():
            parts = get_args(hint) if get_origin(hint) is not Literal else (hint,)
            choices = tuple(choice for part in parts if get_origin(part) is Literal for choice in get_args(part))
            if choices:
                found[name] = choices
        _CHOICES[record] = found
    return _CHOICES[record]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Request:
    """What somebody asks for; the fields' values are held to their choices.

    Two are compared, and one is shown, here for all of them: made anew for each record of many fields, that would be
    what `--help` waits for the longest.

    Raises:
        RequestError: a value that is none of a field's choices.
    """

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        values = ", ".join(f"{entry.name}={getattr(self, entry.name)!r}" for entry in fields(self))
        return f"{type(self).__qualname__}({values})"

    def __post_init__(self) -> None:
        for name, choices in choices_of(type(self)).items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise RequestError(f"{name} {shown(repr(value))}; expected {', '.join(map(str, choices))}")

    def settled(self) -> Self:
        """The same with the files that it means, where it names a folder for them."""
        return self

    @classmethod
    def names(cls) -> list[str]:
        """The fields."""
        return [entry.name for entry in fields(cls)]

    def files(self, role: Role) -> dict[str, list[str]]:
        """The paths that are to be read or written, by the fields that name them; arrays are none."""
        found = {}
        for entry in fields(self):
            spec: Spec | None = entry.metadata.get("option")
            value = getattr(self, entry.name)
            several = value if isinstance(value, (list, tuple)) else [value]
            paths = [os.fspath(each) for each in several if isinstance(each, (str, os.PathLike)) and each != ""]
            if spec is not None and spec.file == role and paths:
                found[entry.name] = paths
        return found

    def stated(self) -> set[str]:
        """The fields that differ from their defaults."""
        values = ((entry, getattr(self, entry.name)) for entry in fields(self))
        return {entry.name for entry, value in values if value is not entry.default and not _is_default(entry, value)}


def _is_default(entry: Field[Any], value: Any) -> bool:
    """Whether a mapping is as empty as by default."""
    return entry.default_factory is not MISSING and not value


def takes(record: Callable[P, Asked]) -> Callable[[Callable[[Asked], R]], Callable[P, R]]:
    """Make a function of a request one of the request's fields."""

    def decorate(function: Callable[[Asked], R]) -> Callable[P, R]:
        @functools.wraps(function)
        def ask(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(record(*args, **kwargs).settled())

        del ask.__wrapped__
        made = inspect.signature(function).return_annotation
        ask.__signature__ = inspect.signature(record).replace(return_annotation=made)  # type: ignore[attr-defined]
        return ask

    return decorate
