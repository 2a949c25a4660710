"""Write docs/layers.md, the table of layer types: `python -m docs.make_layers [TYPE ...]`.

Most of it is in the registries. Which fields of the prototxt a type reads is measured, by the walk over every field
that the tests make too (`tests.every_field`): for the types that are named, or for all with `--walk`. What it finds
goes into `resnet_convert/layer_fields.json`, which the page and `resnet-convert layers` read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import resnet_convert
from prototxt.dialects import DIALECTS
from prototxt.fork_numbers import FORKS as KNOWN
from prototxt.fork_numbers import READINGS
from resnet_convert.layer_types import FIELDS, HELD, LayerType, by_section, family_does, read_fields
from tests.every_field import Walked, walk, walked_kinds

PAGE = Path(__file__).with_name("layers.md")

HEAD = """\
# Layers

Every Caffe layer type that is converted, one section a file of `converter/layers/`. Written by `python -m
docs.make_layers` from the registries of the converter and of the interpreter that checks it; a test compares.

- *bottoms*, *tops*: how many it takes and makes.
- *ONNX*, *PyTorch*: whether it can be written there. An *input* becomes an input of the model; a *loss* or measure is
  left out unless `--outputs` asks for it.
- *trained*: whether a PyTorch module with it trains as Caffe's net did (`--train`); *in part* where that hangs on its
  settings.
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

COLUMNS = ("type", "what it does", "bottoms", "tops", "ONNX", "PyTorch", "trained", "checked", "fields")
NO_FIELDS = "none"
UNKNOWN = "–"


def page() -> str:
    """The whole text."""
    families: dict[str, list[LayerType]] = {}
    known = resnet_convert.layers()
    for each in known:
        families.setdefault(each.family, []).append(each)
    sections = [section(family, families[family]) for family in sorted(families)]
    return "\n".join([HEAD, f"{len(known)} types.\n", *sections, dialects(), numbers()])


def dialects() -> str:
    """The types that forks read differently."""
    rows = ["| type | fork | what it means there |", "| --- | --- | --- |"]
    for kind, known in sorted(DIALECTS.items()):
        rows += [f"| {kind} | `{dialect.name}` | {dialect.meaning.replace('|', chr(92) + '|')} |" for dialect in known]
    return f"{FORKS}\n" + "\n".join(rows) + "\n"


def read_paths(walked: Iterable[Walked]) -> list[str]:
    """The fields of a type that count, as `layer_fields.json` has them."""
    return [each.path + HELD * (each.verdict == "held") for each in walked if each.verdict in ("used", "held")]


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


def section(family: str, types: Sequence[LayerType]) -> str:
    """A family: what its layers have in common, and a row for each class of them with all its types."""
    rows = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    alike: dict[LayerType, list[str]] = {}
    for each in types:
        alike.setdefault(replace(each, name="", forks=(), stored=()), []).append(each.name)
    rows += ["| " + " | ".join(row(each, names)) + " |" for each, names in alike.items()]
    return f"## {family}.py\n\n{family_does(family)}\n\n" + "\n".join(rows) + "\n"


def row(each: LayerType, names: Sequence[str]) -> tuple[str, ...]:
    """One layer class in words."""
    return (
        ", ".join(f"`{name}`" for name in names),
        each.does.replace("|", "\\|"),
        counts(*each.bottoms),
        counts(*each.tops),
        written(each, has=each.onnx),
        written(each, has=each.torch),
        "–" if each.role == "input" else each.training,
        "yes" if each.checked else "no",
        UNKNOWN if each.fields is None else "; ".join(by_section(each.fields)) or NO_FIELDS,
    )


def written(each: LayerType, *, has: bool) -> str:
    """Whether a layer has a form of its own, and as what."""
    return (each.role if each.role != "layer" else "yes") if has else "no"


def counts(least: int, most: int | None) -> str:
    """`2`, `1–3`, `2 or more`."""
    if least == most:
        return str(least)
    return f"{least} or more" if most is None else f"{least}–{most}"


def write_fields(found: Mapping[str, Sequence[str]]) -> None:
    """Write what each type reads, a line each."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(paths)}" for name, paths in sorted(found.items()))
    FIELDS.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    read_fields.cache_clear()


def main(arguments: Sequence[str]) -> None:
    """Write the page anew."""
    walked = walked_kinds() if "--walk" in arguments else arguments
    with TemporaryDirectory() as folder:
        fields = {kind: read_paths(walk(kind, Path(folder))) for kind in walked}
    if fields:
        write_fields({**json.loads(FIELDS.read_text(encoding="utf-8")), **fields})
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
