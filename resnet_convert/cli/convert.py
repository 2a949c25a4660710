"""`resnet-convert [convert]`: read, fold, write, verify, say what happened."""

from __future__ import annotations

from argparse import Namespace

from converter.api import Conversion
from converter.dims import count, is_free
from prototxt.names import readable, utf8
from resnet_convert.cli.arguments import Shown, request_of, shown_of
from resnet_convert.cli.garbage import take_up
from resnet_convert.cli.terminal import progress, say, say_json, warn
from resnet_convert.conversion import Check, check, converting, summary, tell
from resnet_convert.gating import gated
from resnet_convert.requests import ConversionRequest
from weights import Outputs


def run(parsed: Namespace) -> int:
    """Convert, verify unless told not to, and print what happened; 3 if the numbers leave their bounds."""
    request, shown = request_of(ConversionRequest, parsed), shown_of(parsed)
    found = Check()
    with gated(request, "convert", request.net) as gate:
        with Outputs() as outputs, converting(request, outputs) as done:
            for warning in done.warnings:
                warn(warning)
            if request.verify:
                take_up()
                with progress(shown.talks) as line:
                    found = check(done, request, outputs, line)
            if found.why_not:
                warn(f"not verified: {found.why_not}")
        tell(gate, done, found)
    _tell(done, found, request, shown)
    return 0 if found.report is None or found.report.ok else 3


def _tell(done: Conversion, found: Check, request: ConversionRequest, shown: Shown) -> None:
    report = found.report
    if shown.talks:
        say(summary(done), *(f"note: {reading}" for reading in done.net.readings))
        if request.explain:
            say(*(f"  {note}" for note in done.notes))
    if report is not None:
        from resnet_convert.cli import verify

        verify.tell(report, shown, briefly=True)
        if not report.ok:
            files = " and ".join(map(str, done.files))
            say(f"note: {files}: written all the same, so that it can be looked at", failed=True)
    if shown.json:
        say_json({**_as_json(done), "verification": report.to_json() if report else None}, request)


def _as_json(done: Conversion) -> dict[str, object]:
    return {
        "files": [str(f) for f in done.files],
        "inputs": {v.name: [str(d) if is_free(d) else int(d) for d in v.shape] for v in done.graph.inputs},
        "outputs": [utf8(name) for name in done.graph.output_names],
        "layers": len(done.net.layers),
        "parameters": sum(int(count(t.shape)) for t in done.graph.tensors()),
        "passes": done.fired,
        "notes": [readable(note) for note in done.notes],
        "warnings": [readable(warning) for warning in done.warnings],
    }
