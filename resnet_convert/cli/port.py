"""`resnet-convert port`: a ResNet's weights under another framework's names, or back; any net's into a module."""

from __future__ import annotations

from argparse import Namespace

from prototxt.errors import RequestError
from resnet_convert.cli.arguments import refuse_options, request_of, shown_of
from resnet_convert.cli.terminal import say, say_json, warn
from resnet_convert.porting import ported
from resnet_convert.requests import PortIntoRequest, PortRequest
from weights.layouts.port import CAFFE, Ported


def run(parsed: Namespace) -> int:
    """Write the file and say what it is for; the exit status."""
    if hasattr(parsed, "into"):
        from resnet_convert.cli.into import run as run_into

        return run_into(parsed)
    refuse_options(parsed, PortIntoRequest, PortRequest, "goes with --into MODULE")
    if hasattr(parsed, "stored"):
        raise RequestError(f"{parsed.stored}: a second file goes with --into MODULE")
    request, shown = request_of(PortRequest, parsed), shown_of(parsed)
    done = ported(request)
    to = request.to or CAFFE
    if shown.json:
        say_json(_facts(done, to), request)
        return 0
    for warning in done.warnings:
        warn(warning)
    if shown.talks:
        _print(done, to)
    return 0


def _print(done: Ported, to: str) -> None:
    classes = "no last layer" if done.classes is None else f"{done.classes} classes"
    size = done.files[0].stat().st_size / 1e6
    names = "Caffe's names" if to == CAFFE else f"the names of {to}"
    say(f"ResNet-{done.depth}, {classes}: {done.arrays} arrays -> {done.files[0]} ({size:.1f} MB, {names})")
    for other in done.files[1:]:
        say(f"  and {other}")
    for note in done.notes:
        say(f"  note: {note}")


def _facts(done: Ported, to: str) -> dict[str, object]:
    return {
        "files": [str(file) for file in done.files],
        "layout": to,
        "depth": done.depth,
        "classes": done.classes,
        "arrays": done.arrays,
        "warnings": done.warnings,
        "notes": done.notes,
    }
