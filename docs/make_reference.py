"""The pages of the site that follow from the code: what the command line takes, and what Python has.

`docs/make_site.py` puts them into the site; they stand in no file.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from html import escape
from typing import Any

import resnet_convert
from resnet_convert import requests
from resnet_convert.cli.parsers import HEADS, parser_of
from resnet_convert.cli.statuses import STATUSES
from resnet_convert.cli.verbs import VERBS
from resnet_convert.option import Request, Spec

COMMANDS_HEAD = f"""\
# Command line

`resnet-convert VERB --help` prints what stands here. {STATUSES.capitalize()}; 130 when interrupted.
"""

PYTHON_HEAD = """\
# Python

`import resnet_convert` has all of these; a framework is loaded by what needs it. What a verb's function takes are the
options of the [command line](commands.md) by the names of their fields, with arrays where those take files.
"""

MADE = ("CaffeModelError", "Options", "Preprocessing", "Solver")
"""Classes that callers make or catch; the others are what functions give."""
VALUES = ("Target",)
"""Public names that stand for a choice of words."""
NO_OPTION = Spec("")


def commands_page(verbs: Sequence[str] = VERBS) -> str:
    """Markdown of all verbs with their arguments and options."""
    return "\n".join([COMMANDS_HEAD, *(line for verb in verbs for line in _verb(verb))])


def _verb(verb: str) -> Iterator[str]:
    head = HEADS[verb]
    yield f"## {verb}\n\n{escape(head.description, quote=False)}\n\n```\nresnet-convert {head.usage}\n```\n"
    for group in parser_of(verb)._action_groups:
        rows = [_row(action) for action in group._group_actions if not isinstance(action, argparse._HelpAction)]
        if rows:
            heading = {"positional arguments": "argument", "options": "option"}.get(group.title or "", group.title)
            yield "\n".join([f"| {heading} | |", "| --- | --- |", *rows, ""])


def _row(action: argparse.Action) -> str:
    return f"| `{_cell(_called(action))}` | {_cell(escape((action.help or '').replace('%%', '%'), quote=False))} |"


def _called(action: argparse.Action) -> str:
    """As it is written on the command line: `-o, --output OUT`."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if not action.option_strings:
        return f"{value}..." if action.nargs == "+" else f"[{value}]" if action.nargs == "?" else str(value)
    if action.nargs == 0:
        return ", ".join(action.option_strings)
    return f"{', '.join(action.option_strings)} {f'[{value}]' if action.nargs == '?' else value}"


def _cell(text: str) -> str:
    """Text that stays within its cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def python_page() -> str:
    """Markdown with a directive of autodoc for each public name, and a table of what a request's function takes."""
    public = [name for name in resnet_convert.__all__ if not name.startswith("__") and name not in VALUES]
    functions = [name for name in public if inspect.isfunction(getattr(resnet_convert, name))]
    given = [name for name in public if name not in (*functions, *MADE)]
    parts = (("Functions", functions), ("Classes to make or to catch", MADE), ("Classes that functions give", given))
    return "\n".join([PYTHON_HEAD, *(line for title, names in parts for line in _section(title, names))])


def _section(title: str, names: Sequence[str]) -> Iterator[str]:
    yield f"## {title}\n"
    for name in names:
        found = getattr(resnet_convert, name)
        record = record_of(found)
        kind, arguments = ("autoclass", "") if inspect.isclass(found) else ("autofunction", _arguments(record))
        yield f"```{{eval-rst}}\n.. {kind}:: resnet_convert.{name}{arguments}\n```\n"
        if record is not None:
            yield "\n".join(["| argument | default | |", "| --- | --- | --- |", *map(_field, _options(record)), ""])


def record_of(function: object) -> type[Request] | None:
    """The request whose fields a function takes as its arguments; None for another function."""
    arguments = set(inspect.signature(function).parameters) if inspect.isfunction(function) else set()
    records = (getattr(requests, name) for name in requests.__all__ if name.endswith("Request"))
    return next((record for record in records if {entry.name for entry in fields(record)} == arguments), None)


def _arguments(record: type[Request] | None) -> str:
    """The arguments with a place, of a function whose others are many enough for a table."""
    if record is None:
        return ""
    placed = [entry for entry in fields(record) if not entry.kw_only]
    written = (entry.name if entry.default is MISSING else f"{entry.name}={entry.default!r}" for entry in placed)
    return f"({', '.join(written)}, *, …)"


def _options(record: type[Request]) -> list[Field[Any]]:
    """The fields that are options, those of Python alone left to the docstrings of the records."""
    return [entry for entry in fields(record) if entry.kw_only and entry.metadata.get("option", NO_OPTION).help]


def _field(entry: Field[Any]) -> str:
    spec: Spec = entry.metadata["option"]
    default = entry.default if entry.default_factory is MISSING else dict(entry.default_factory())
    help = f"False: {spec.help}" if spec.inverse else spec.help
    return f"| `{entry.name}` | `{_cell(repr(default))}` | {_cell(escape(help, quote=False))} |"
