"""Write docs/layers.md, the table of layer types, from the registries: `python -m docs.make_layers`."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import converter.layers  # noqa: F401 (registers every layer)
from converter.layers.base import UNLIMITED, Layer, registry
from prototxt.dialects import DIALECTS
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
"""

FORKS = """\
## One name, several meanings

What the file shows decides, and the conversion says what it took and why; without evidence it is the first that is
listed. `--dialect TYPE=FORK` overrides.
"""

COLUMNS = ("type", "what it does", "bottoms", "tops", "ONNX", "PyTorch", "checked")


def page() -> str:
    """The whole text."""
    families: dict[str, dict[type[Layer], list[str]]] = {}
    for name, cls in sorted(registry().items()):
        families.setdefault(cls.__module__, {}).setdefault(cls, []).append(name)
    types = sum(len(names) for classes in families.values() for names in classes.values())
    sections = [section(module, classes) for module, classes in sorted(families.items())]
    return "\n".join([HEAD, f"{types} types.\n", *sections, dialects()])


def dialects() -> str:
    """The types that forks read differently."""
    rows = ["| type | fork | what it means there |", "| --- | --- | --- |"]
    for kind, known in sorted(DIALECTS.items()):
        rows += [f"| {kind} | `{dialect.name}` | {dialect.meaning.replace('|', chr(92) + '|')} |" for dialect in known]
    return f"{FORKS}\n" + "\n".join(rows) + "\n"


def section(module: str, classes: dict[type[Layer], list[str]]) -> str:
    """A family: its module's first sentence and a row a layer class."""
    rows = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    rows += ["| " + " | ".join(row(cls, names)) + " |" for cls, names in classes.items()]
    file = module.rpartition(".")[2] + ".py"
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


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
