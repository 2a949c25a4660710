"""Write docs/layers.md, the table of layer types: `python -m docs.make_layers [TYPE ...]`.

Most of it is in the registries. Which fields of the prototxt a type reads is measured, by the walk over every field
that the tests make too (`tests.every_field`): for the types that are named, or for all with `--walk`; the others keep
what the page says.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from converter.layers.base import UNLIMITED, registry
from converter.node import Layer
from prototxt.dialects import DIALECTS
from prototxt.fork_numbers import FORKS as KNOWN
from prototxt.fork_numbers import READINGS
from tests.every_field import Walked, walk, walked_kinds
from verify import known_types

PAGE = Path(__file__).with_name("layers.md")

HEAD = """\
# Layers

Every Caffe layer type that is converted, one section a file of `converter/layers/`. Written by `python -m
docs.make_layers` from the registries of the converter and of the interpreter that checks it; a test compares.

- *bottoms*, *tops*: how many it takes and makes.
- *ONNX*, *PyTorch*: whether it can be written there. An *input* becomes an input of the model; a *loss* or measure is
  left out unless `--outputs` asks for it.
- *checked*: whether the independent interpreter computes it, so that a conversion is verified.
- *fields*: what it reads of the prototxt, converter and interpreter alike. Any other field of its sections is refused,
  unless it has no effect on the answer (`prototxt/effects.py`); fields of other types' sections are warned of. Fillers,
  which make weights that no file gives, are left out. * marks a field of which one of the two, or the shapes of the
  nets that were tried, allow no other value than the default.
"""

FORKS = """\
## One name, several meanings

What the file shows decides, and the conversion says what it took and why; without evidence it is the first that is
listed, but ROIAlign is refused. `--dialect TYPE=FORK` overrides.
"""

NUMBERS = """\
## A caffemodel alone

There a layer's settings stand under a number, which is another layer's in another fork. They are read by the layer's
type under these numbers too, besides those of `prototxt/caffe.proto`, and the conversion says which fork's it took.
What no fork explains, or two explain differently, is refused; `--dialect TYPE=FORK` says which it is (`own`: BVLC's,
or that of `caffe.proto`), and the prototxt tells in any case.
"""

COLUMNS = ("type", "what it does", "bottoms", "tops", "ONNX", "PyTorch", "checked", "fields")
NO_FIELDS = "none"
HELD = "*"
UNKNOWN = "–"


def page(fields: Mapping[str, str]) -> str:
    """The whole text; `fields` says what each type reads, as `fields_of` gives it."""
    families: dict[str, dict[type[Layer], list[str]]] = {}
    for name, cls in sorted(registry().items()):
        families.setdefault(cls.__module__, {}).setdefault(cls, []).append(name)
    types = sum(len(names) for classes in families.values() for names in classes.values())
    sections = [section(module, classes, fields) for module, classes in sorted(families.items())]
    return "\n".join([HEAD, f"{types} types.\n", *sections, dialects(), numbers()])


def dialects() -> str:
    """The types that forks read differently."""
    rows = ["| type | fork | what it means there |", "| --- | --- | --- |"]
    for kind, known in sorted(DIALECTS.items()):
        rows += [f"| {kind} | `{dialect.name}` | {dialect.meaning.replace('|', chr(92) + '|')} |" for dialect in known]
    return f"{FORKS}\n" + "\n".join(rows) + "\n"


def fields_of(text: str) -> dict[str, str]:
    """What the page says that each type reads."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {
        name.strip("` "): cells[-1] for cells in rows if len(cells) == len(COLUMNS) for name in cells[0].split(", ")
    }


def described(walked: Sequence[Walked]) -> str:
    """The fields of a type that count, section by section."""
    sections: dict[str, list[str]] = {}
    for field in walked:
        if field.verdict in ("used", "held"):
            name, _, inner = field.path.partition(".")
            sections.setdefault(name, []).append(inner + HELD * (field.verdict == "held"))
    return "; ".join(f"{name}: {', '.join(inner)}" for name, inner in sections.items()) or NO_FIELDS


def numbers() -> str:
    """The forks' numbers of sections, and where they are from."""
    rows = ["| type | section | forks, each with its number |", "| --- | --- | --- |"]
    for kind, readings in sorted(READINGS.items()):
        forks: dict[str, list[str]] = {}
        for reading in readings:
            forks.setdefault(reading.section, []).extend(f"`{fork}` {reading.number}" for fork in reading.forks)
        rows += [f"| {kind} | {name} | {', '.join(dict.fromkeys(known))} |" for name, known in forks.items()]
    sources = [
        "",
        "| fork | source |",
        "| --- | --- |",
        *(f"| *{fork}* | {source} |" for fork, source in KNOWN.items()),
    ]
    return f"{NUMBERS}\n" + "\n".join([*rows, *sources]) + "\n"


def section(module: str, classes: dict[type[Layer], list[str]], fields: Mapping[str, str]) -> str:
    """A family: its module's first sentence and a row a layer class."""
    rows = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for cls, names in classes.items():
        same: dict[str, list[str]] = {}
        for name in names:
            same.setdefault(fields.get(name, UNKNOWN), []).append(name)
        rows += ["| " + " | ".join((*row(cls, alike), read)) + " |" for read, alike in same.items()]
    file = module.partition(".layers.")[2].replace(".", "/") + ".py"
    return f"## {file}\n\n{first_sentence(sys.modules[module].__doc__)}\n\n" + "\n".join(rows) + "\n"


def row(cls: type[Layer], names: list[str]) -> tuple[str, ...]:
    """One layer class in words."""
    special = {"input": "input", "loss": "loss"}.get(cls.role, "")
    checked = [name for name in names if name in known_types()]
    return (
        ", ".join(f"`{name}`" for name in names),
        first_sentence(inspect.getdoc(cls)),
        counts(*cls.bottoms),
        counts(*cls.tops),
        written(cls, "onnx", special),
        written(cls, "torch", special),
        "yes" if len(checked) == len(names) else ", ".join(checked) or "no",
    )


def written(cls: type[Layer], form: str, special: str) -> str:
    """Whether a layer class has an emission of its own."""
    if special == "input":
        return "input"
    has = getattr(cls, form) is not getattr(Layer, form)
    return (special or "yes") if has else "no"


def counts(least: int, most: int) -> str:
    """`2`, `1–3`, `2 or more`."""
    if least == most:
        return str(least)
    return f"{least} or more" if most >= UNLIMITED else f"{least}–{most}"


def first_sentence(text: str | None) -> str:
    """Up to the first full stop that ends one, in one line, safe in a table."""
    line = " ".join((text or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", line)[0].replace("|", "\\|")


def main(arguments: Sequence[str]) -> None:
    """Write the page anew."""
    kept = fields_of(PAGE.read_text(encoding="utf-8"))
    walked = walked_kinds() if "--walk" in arguments else arguments
    with TemporaryDirectory() as folder:
        fields = {kind: described(walk(kind, Path(folder))) for kind in walked}
    PAGE.write_text(page({**kept, **fields}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
