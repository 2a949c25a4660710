"""`resnet-convert upgrade`: an old prototxt, solver or caffemodel in today's form."""

from __future__ import annotations

import sys
from argparse import Namespace

from resnet_convert.cli.arguments import request_of, shown_of
from resnet_convert.cli.terminal import say, say_json
from resnet_convert.requests import UpgradeRequest
from resnet_convert.upgrading import upgraded


def run(parsed: Namespace) -> int:
    """Upgrade one file and say what changed; the exit status."""
    request, shown = request_of(UpgradeRequest, parsed), shown_of(parsed)
    found = upgraded(request)
    if shown.json:
        file = None if request.output is None else str(request.output)
        text = None if file else found.data.decode()
        say_json({"file": file, "text": text, "notes": found.notes}, request)
        return 0
    if request.output is None:
        sys.stdout.write(found.data.decode())
    if not shown.quiet:
        for note in found.notes or ("nothing to upgrade: the file has today's form",):
            say(f"{request.old}: {note}", failed=True)
    return 0
