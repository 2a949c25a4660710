"""`resnet-convert layers`: what is supported of the layer types."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence

from prototxt.columns import aligned
from prototxt.names import shown
from resnet_convert.cli.arguments import request_of, shown_of
from resnet_convert.cli.statuses import DONE
from resnet_convert.cli.terminal import say, say_json, table
from resnet_convert.layer_types import LayerType, by_section, layers
from resnet_convert.requests import LayersRequest

HEADS = ("ONNX", "PyTorch", "trained", "checked", "layer")


def run(parsed: Namespace) -> int:
    """Print all types, a line each, or one of them in full."""
    request, asked = request_of(LayersRequest, parsed), shown_of(parsed)
    found = layers(request.type, plugins=request.plugins)
    if asked.json:
        say_json({"types": [each.to_json() for each in found]}, request)
    elif asked.talks:
        if request.type is None:
            _print_all(found)
        else:
            say(*_detail(found[0]))
    return DONE


def _print_all(found: Sequence[LayerType]) -> None:
    table(aligned([HEADS, *map(_row, found)]))
    say(f"{len(found)} types; 'resnet-convert layers TYPE' says more of one")


def _row(each: LayerType) -> tuple[str, ...]:
    return (*_supported(each), f"{shown(each.name)}: {shown(each.does)}")


def _supported(each: LayerType) -> tuple[str, str, str, str]:
    """Whether it can be written as ONNX and PyTorch, trained, and checked."""
    written = [(each.role if each.role != "layer" else "yes") if has else "no" for has in (each.onnx, each.torch)]
    return written[0], written[1], "–" if each.role == "input" else each.training, "yes" if each.checked else "no"


def _detail(each: LayerType) -> Iterator[str]:
    onnx, torch, training, checked = _supported(each)
    yield each.name
    yield from (f"  {line}".rstrip() for line in each.description.split("\n"))
    yield ""
    yield f"  bottoms: {_count(each.bottoms)}; tops: {_count(each.tops)}"
    yield f"  ONNX: {onnx}; PyTorch: {torch}; checked by the interpreter: {checked}"
    yield f"  trained: {training}" + (f", {each.why_untrained}" if each.why_untrained else "")
    if each.fields is not None:
        yield "  fields that it reads:" + " none" * (not each.fields)
        yield from (f"    {section}" for section in by_section(each.fields))
        if any(read.held for read in each.fields):
            yield "    * no other value than the default"
    if each.forks:
        yield "  forks that mean different things by it (--dialect):"
        yield from (f"    {fork.name}: {fork.meaning}" for fork in each.forks)
    if each.stored:
        yield "  other numbers of its section in a caffemodel alone:"
        yield from (f"    {stored.section} {stored.number}: {', '.join(stored.forks)}" for stored in each.stored)


def _count(counts: tuple[int, int | None]) -> str:
    least, most = counts
    if least == most:
        return str(least)
    return f"{least} or more" if most is None else f"{least} to {most}"
