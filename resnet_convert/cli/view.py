"""`resnet-convert view`: a picture of a net."""

from __future__ import annotations

from argparse import Namespace

from prototxt.names import readable
from prototxt.words import plural
from resnet_convert.cli.arguments import request_of, shown_of
from resnet_convert.cli.terminal import say, say_json, warn
from resnet_convert.requests import ViewRequest
from resnet_convert.viewing.writing import viewed


def run(parsed: Namespace) -> int:
    """Write the picture and say where; the exit status."""
    request, asked = request_of(ViewRequest, parsed), shown_of(parsed)
    done = viewed(request)
    for warning in done.warnings:
        warn(warning)
    if asked.json:
        facts = {"file": str(done.file), "name": done.net.name, "layers": len(done.net.layers)}
        say_json({**facts, "warnings": list(map(readable, done.warnings))}, request)
    elif asked.talks:
        say(f"{done.net.name or 'the net'}: {plural(len(done.net.layers), 'layer')} -> {done.file}")
    return 0
