"""`resnet-convert port … --into MODULE`: a net's weights in any PyTorch module, and whether the numbers are equal."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from prototxt.errors import RequestError
from resnet_convert.cli.arguments import Shown, refuse_options, request_of, shown_of
from resnet_convert.cli.terminal import progress, say, say_json, warn
from resnet_convert.cli.verify import tell
from resnet_convert.into import PortedInto, ported_into
from resnet_convert.requests import PortIntoRequest, PortRequest
from weights import Outputs


def run(parsed: Namespace) -> int:
    """Port, compare, write, and say what was found; 3 if the numbers leave their bounds."""
    refuse_options(parsed, PortRequest, PortIntoRequest, "does not go with --into")
    if hasattr(parsed, "net"):
        raise RequestError("--net does not go with --into")
    net, weights = parsed.weights, getattr(parsed, "stored", None)
    given = {"net": net, "weights": weights}
    if not hasattr(parsed, "output"):
        given["output"] = _default_output(parsed.into)
    request, shown = request_of(PortIntoRequest, parsed, **given), shown_of(parsed)
    with Outputs() as outputs, progress(shown.talks) as line:
        done = ported_into(request, outputs, line)
    if shown.json:
        say_json(_facts(done), request)
    else:
        _tell(done, shown)
    return 0 if done.report is None or done.report.ok else 3


def _default_output(into: str) -> str:
    name = into.rpartition(":")[2]
    return f"{name}.safetensors"


def _tell(done: PortedInto, shown: Shown) -> None:
    if shown.talks:
        say(_summary(done), *(f"  {line}" for line in _notes(done)))
    for fault in done.left:
        warn(f"not ported: {fault}")
    for mismatch in done.mismatches:
        advice = f"; equal with {mismatch.advice}" if mismatch.advice else ""
        warn(f"{mismatch}{advice}")
    if done.report is not None:
        tell(done.report, shown, briefly=True)
        if done.cause is not None:
            say(str(done.cause), failed=True)


def _summary(done: PortedInto) -> str:
    files = [f" -> {file} ({Path(file).stat().st_size / 1e6:.1f} MB)" for file in done.files]
    return f"{done.name}: {len(done.layers)} layers paired, {len(done.arrays)} arrays filled{''.join(files)}"


def _notes(done: PortedInto) -> Iterator[str]:
    """What was made up for, what was set, and what hangs on order: one line for each sentence, with its layers."""
    by_what: dict[str, list[str]] = {}
    for bridge in done.bridges:
        by_what.setdefault(bridge.what, []).append(bridge.caffe.label)
    for what, layers in by_what.items():
        yield f"{_few(layers)}: {what}"
    for part in done.beyond:
        yield f"{part} is not in the module, which gives what it reads"
    for ours, theirs in done.pairing.by_order:
        yield f"{ours.part} is {theirs.part} by the order of the two alone: others stand in the same place"
    if done.kept:
        yield f"{_few(done.kept)}: left as built, since no pass in eval mode reads them"
    if done.patched:
        yield f"set, so write it in your own code as well: {'; '.join(each.advice for each in done.patched)}"


def _few(names: list[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _facts(done: PortedInto) -> dict[str, object]:
    cause = done.cause
    return {
        "files": [str(file) for file in done.files],
        "module": done.name,
        "pairs": [
            {
                "layers": [part.label for part in ours.together],
                "place": ours.place,
                "modules": [part.label for part in theirs.together],
                "by_order": by_order,
            }
            for ours, theirs, by_order in done.layers
        ],
        "arrays": done.arrays,
        "kept": done.kept,
        "left": done.left,
        "bridges": [{"layer": b.caffe.label, "module": b.module.label, "what": b.what} for b in done.bridges],
        "differences": [
            {
                "layer": None if each.caffe is None else each.caffe.label,
                "place": None if each.caffe is None else each.caffe.place,
                "module": None if each.module is None else each.module.label,
                "what": str(each),
                "advice": each.advice,
            }
            for each in done.mismatches
        ],
        "patched": [each.advice for each in done.patched],
        "leaves_at": None if cause is None else {"layer": cause.caffe.label, "module": cause.module.label},
        "verification": None if done.report is None else done.report.to_json(),
    }
