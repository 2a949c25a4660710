"""`resnet-convert diff`: two weight files of any kinds, and which layers differ."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from converter.cli_options import Arguments
from converter.dims import format_shape
from converter.names import printable
from weights.layouts.compare import Comparison, Difference, compare

SAME, DIFFERENT = 0, 3
SHOWN = 40
_HEADS = ("layer", "parameter", "shape", "max abs", "max rel", "differ")


def run(arguments: Arguments) -> int:
    """Compare and print; 0 when the files hold the same, 3 when not."""
    asked = arguments.diff
    first, second = asked.files
    found = compare(first, second, tolerance=asked.tolerance)
    if arguments.json:
        print(json.dumps(_facts(found)))
    elif not arguments.quiet:
        for line in _lines(found, asked.files):
            print(line)
    return SAME if found.same else DIFFERENT


def _lines(found: Comparison, files: list[str]) -> Iterator[str]:
    if found.different:
        yield from _table([_row(entry) for entry in found.different[:SHOWN]])
        if len(found.different) > SHOWN:
            yield f"  ({len(found.different) - SHOWN} more)"
    for file, names in zip(files, found.only, strict=True):
        if names:
            more = f", and {len(names) - 6} more" if len(names) > 6 else ""
            yield printable(f"only in {file}: {', '.join(names[:6])}{more}")
    for note in found.notes:
        yield f"note: {printable(note)}"
    layers = len({entry.layer for entry in found.different})
    differ = f"{_count(len(found.different), 'array')} of {_count(layers, 'layer')}"
    yield f"{_count(found.compared, 'array')} in both files; different: {differ if layers else 'none'}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _row(entry: Difference) -> tuple[str, ...]:
    a, b = entry.shapes
    name = printable(entry.layer), printable(entry.parameter)
    if not entry.values:
        return (*name, f"{format_shape(a)} and {format_shape(b)}", "", "", "shapes")
    total = math.prod(a)
    return (*name, format_shape(a), f"{entry.largest:.2g}", f"{entry.relative:.2g}", f"{entry.values:,} of {total:,}")


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    for row in (_HEADS, *rows):
        left = "  ".join(cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True))
        right = "  ".join(cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True))
        yield f"{left}  {right}".rstrip()


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
