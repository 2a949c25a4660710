"""`resnet-convert diff`: two weight files of any kinds, and which layers differ."""

from __future__ import annotations

import math
from argparse import Namespace

from converter.dims import format_shape
from prototxt.columns import aligned
from prototxt.names import shown
from prototxt.words import few, plural
from resnet_convert.cli.arguments import request_of, shown_of
from resnet_convert.cli.terminal import say, say_json, table
from resnet_convert.porting import compared
from resnet_convert.requests import DiffRequest
from weights.layouts.compare import Comparison, Difference

SAME, DIFFERENT = 0, 3
SHOWN = 40
_HEADS = ("layer", "parameter", "shape", "max abs", "max rel", "differ")
_NUMBERS = (3, 4, 5)


def run(parsed: Namespace) -> int:
    """Compare and print; 0 when the files hold the same, 3 when not."""
    request, shown = request_of(DiffRequest, parsed), shown_of(parsed)
    found = compared(request)
    if shown.json:
        say_json(_facts(found), request)
    elif shown.talks:
        _print(found, (str(request.first), str(request.second)))
    return SAME if found.same else DIFFERENT


def _print(found: Comparison, files: tuple[str, str]) -> None:
    if found.different:
        table(aligned([_HEADS, *map(_row, found.different[:SHOWN])], _NUMBERS))
        if len(found.different) > SHOWN:
            say(f"  ({len(found.different) - SHOWN} more)")
    for file, names in zip(files, found.only, strict=True):
        if names:
            say(f"only in {file}: {few(names, 6)}")
    for note in found.notes:
        say(f"note: {note}")
    layers = len({entry.layer for entry in found.different})
    differ = f"{plural(len(found.different), 'array')} of {plural(layers, 'layer')}"
    say(f"{plural(found.compared, 'array')} in both files; different: {differ if layers else 'none'}")


def _row(entry: Difference) -> tuple[str, ...]:
    a, b = entry.shapes
    name = shown(entry.layer), shown(entry.parameter)
    if not entry.values:
        return (*name, f"{format_shape(a)} and {format_shape(b)}", "", "", "shapes")
    total = math.prod(a)
    return (*name, format_shape(a), f"{entry.largest:.2g}", f"{entry.relative:.2g}", f"{entry.values:,} of {total:,}")


def _facts(found: Comparison) -> dict[str, object]:
    """JSON has no NaN and no infinity: None stands for both."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "same": found.same,
        "matched_by": found.how,
        "compared": found.compared,
        "different": [
            {
                "layer": entry.layer,
                "parameter": entry.parameter,
                "shapes": [list(shape) for shape in entry.shapes],
                "max_abs": number(entry.largest),
                "max_rel": number(entry.relative),
                "values": entry.values,
            }
            for entry in found.different
        ],
        "only_first": found.only[0],
        "only_second": found.only[1],
        "notes": found.notes,
    }
