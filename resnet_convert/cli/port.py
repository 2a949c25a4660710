"""`resnet-convert port`: a ResNet's weights under another framework's names, or back; any module's, both ways."""

from __future__ import annotations

from argparse import Namespace

from prototxt.errors import RequestError
from resnet_convert.cli.arguments import refuse_options, request_of, shown_of
from resnet_convert.cli.terminal import say, say_json, warn
from resnet_convert.option import choices_of
from resnet_convert.porting import ported
from resnet_convert.requests import PortIntoRequest, PortRequest
from weights.layouts.port import CAFFE, Ported


def run(parsed: Namespace) -> int:
    """Write the file and say what it is for; the exit status."""
    if hasattr(parsed, "into"):
        from resnet_convert.cli.into import run as run_into

        return run_into(parsed)
    if ":" in getattr(parsed, "source", ""):
        from resnet_convert.cli.back import run as run_back

        return run_back(parsed)
    refuse_options(parsed, PortIntoRequest, PortRequest, "goes with --into MODULE or --from MODULE")
    if hasattr(parsed, "stored"):
        raise RequestError(f"{parsed.stored}: a second file goes with --into MODULE")
    if not hasattr(parsed, "weights"):
        raise RequestError("the following arguments are required: WEIGHTS")
    _check_choices(parsed)
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


def _check_choices(parsed: Namespace) -> None:
    """Of options that take other words with a module than without one."""
    module, prototxt = "a module: torchvision:NAME, timm:NAME, FILE.py:NAME", "with --from MODULE a prototxt"
    for flag, name, other in (("--from", "source", module), ("--net", "net", prototxt)):
        given, choices = getattr(parsed, name, None), choices_of(PortRequest)[name]
        if given is not None and given not in choices:
            raise RequestError(f"{flag} {given!r}: expected {', '.join(choices)}, or {other}")


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
