"""From the fields of a request to options of the command line, and back."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, NamedTuple, NoReturn, TypeVar

from prototxt.errors import RequestError
from resnet_convert.cli.statuses import STATUSES
from resnet_convert.option import Request, Spec, choices_of, spec_of

R = TypeVar("R", bound=Request)


class Shown(NamedTuple):
    """What a verb prints, for all of them.

    Attributes:
        quiet: nothing but errors.
        json: the result as JSON.
        verbose: more rows.
    """

    quiet: bool = False
    json: bool = False
    verbose: bool = False

    @property
    def talks(self) -> bool:
        """Whether sentences are wanted."""
        return not self.quiet and not self.json


class Parser(argparse.ArgumentParser):
    """One verb's options; a wrong one is an error of ours."""

    def __init__(self, verb: str, description: str, usage: str) -> None:
        super().__init__(
            prog=f"resnet-convert {verb}",
            usage=f"resnet-convert {usage}",
            description=description,
            epilog=STATUSES,
            argument_default=argparse.SUPPRESS,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28, width=100),
            allow_abbrev=False,
        )
        self._headings: dict[str, argparse._ArgumentGroup] = {}

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; '{self.prog} --help' explains the options")

    def add_request(self, record: type[Request], *, without: tuple[str, ...] = ()) -> None:
        """The options of a record; those that it takes by their places are the verb's own to name."""
        choices = choices_of(record)
        for entry in fields(record):
            spec = spec_of(entry)
            if spec is not None and entry.name not in without:
                self._add(entry, spec, choices.get(entry.name))

    def add_shown(self, *, verbose: str = "") -> None:
        """The options of `Shown`; `verbose` is the help of --verbose, empty for a verb without."""
        self.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
        self.add_argument("--json", action="store_true", help="print the result as JSON, errors too")
        if verbose:
            self.add_argument("-v", "--verbose", action="store_true", help=verbose)

    def _add(self, entry: Field[Any], spec: Spec, choices: tuple[Any, ...] | None) -> None:
        flags = spec.flags or (f"--{entry.name.replace('_', '-')}",)
        how: dict[str, Any] = {"dest": entry.name, "help": spec.help.replace("%", "%%")}
        if isinstance(entry.default, bool):
            how["action"] = "store_false" if spec.inverse else "store_true"
        else:
            how |= {"metavar": spec.metavar, "type": _typed(spec.parse or str), "choices": choices}
            if spec.repeated:
                how["action"] = "append"
            if spec.constant is not None:
                how |= {"nargs": "?", "const": spec.constant}
            if choices and len(choices) > MOST_CHOICES:
                how |= {"metavar": spec.metavar or entry.name.upper()}
                how["help"] += f": {', '.join(map(str, choices))}"
        self._group(spec.group).add_argument(*flags, **how)

    def _group(self, heading: str) -> argparse.ArgumentParser | argparse._ArgumentGroup:
        if not heading:
            return self
        if heading not in self._headings:
            self._headings[heading] = self.add_argument_group(heading)
        return self._headings[heading]


MOST_CHOICES = 6
"""More than these stand in the help instead of in braces."""


def request_of(record: type[R], parsed: argparse.Namespace, **given: Any) -> R:
    """The record that a parsed command line asks for.

    Args:
        record: its type.
        parsed: what `Parser` made of the words.
        given: fields that have other values.

    Raises:
        RequestError: a value that makes no sense.
    """
    values = {entry.name: getattr(parsed, entry.name) for entry in fields(record) if hasattr(parsed, entry.name)}
    for entry in fields(record):
        spec = spec_of(entry)
        if spec is not None and spec.inverse:
            values.setdefault(entry.name, True)
        if spec is not None and spec.repeated and entry.name in values:
            pairs = all(isinstance(value, tuple) for value in values[entry.name])
            values[entry.name] = dict(values[entry.name]) if pairs else tuple(values[entry.name])
    return record(**values | given).settled()


def refuse_options(parsed: argparse.Namespace, record: type[Request], instead: type[Request], why: str) -> None:
    """Refuse the options of a record that another one, which is asked for, does not have.

    Raises:
        RequestError: with `why` behind the option's name.
    """
    known = {entry.name for entry in fields(instead) if spec_of(entry) is not None}
    for entry in fields(record):
        spec = spec_of(entry)
        if spec is not None and hasattr(parsed, entry.name) and entry.name not in known:
            flag = (spec.flags or (f"--{entry.name.replace('_', '-')}",))[-1]
            raise RequestError(f"{flag} {why}")


def shown_of(parsed: argparse.Namespace) -> Shown:
    """What is to be printed."""
    return Shown(**{name: getattr(parsed, name) for name in Shown._fields if hasattr(parsed, name)})


def _typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A text form whose refusal argparse repeats word by word."""

    def typed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            if parse in (int, float):
                raise
            raise argparse.ArgumentTypeError(str(error)) from None

    typed.__name__ = getattr(parse, "__name__", "value")
    return typed
