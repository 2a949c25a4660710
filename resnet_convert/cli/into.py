"""`resnet-convert port … --into MODULE`: a net's weights in any PyTorch module, and whether the numbers are equal."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from converter.matching.differences import Mismatch
from prototxt.errors import RequestError
from resnet_convert.cli.arguments import Shown, refuse_options, request_of, shown_of
from resnet_convert.cli.terminal import progress, say, say_json, warn
from resnet_convert.cli.verify import tell
from resnet_convert.modules.into import PortedInto, ported_into
from resnet_convert.modules.side_by_side import Laid
from resnet_convert.requests import FedRequest, PortIntoRequest, PortRequest
from verify.parity import OnPart
from weights import Outputs

R = TypeVar("R", bound=FedRequest)
L = TypeVar("L", bound=Laid)


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
    return port_and_tell(request, shown, ported_into, _facts, _tell)


def port_and_tell(
    request: R,
    shown: Shown,
    port: Callable[[R, Outputs, OnPart | None], L],
    facts_of: Callable[[L], dict[str, object]],
    tell_of: Callable[[L, Shown], None],
) -> int:
    """Port in one direction, write the page that is asked for, and say what was found; the exit status."""
    with Outputs() as outputs, progress(shown.talks) as line:
        done = port(request, outputs, line)
    if shown.json:
        say_json(facts_of(done), request)
    else:
        tell_of(done, shown)
    return 0 if done.report is None or done.report.ok else 3


def _default_output(into: str) -> str:
    library, _, name = into.rpartition(":")
    return f"{name}{'.weights.h5' if library == 'keras' else '.safetensors'}"


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
    return f"{done.name}: {len(done.layers)} layers paired, {len(done.arrays)} arrays filled{written(done)}"


def written(done: Laid) -> str:
    """The files and their sizes, to stand behind a sentence."""
    return "".join(f" -> {file} ({Path(file).stat().st_size / 1e6:.1f} MB)" for file in done.files)


def _notes(done: PortedInto) -> Iterator[str]:
    yield from notes(done)
    if done.kept:
        yield f"{first_few(done.kept)}: left as built, since no pass in eval mode reads them"
    if done.patched:
        yield f"set, so write it in your own code as well: {'; '.join(each.advice for each in done.patched)}"


def notes(done: Laid) -> Iterator[str]:
    """How it was followed, what was made up for, what hangs on order: one line for each sentence, with its layers."""
    if done.followed.failed:
        yield f"the module was followed by {done.followed.way}, since others can't: {done.followed.failed}"
    by_what: dict[str, list[str]] = {}
    for bridge in done.bridges:
        by_what.setdefault(bridge.what, []).append(bridge.caffe.label)
    for what, layers in by_what.items():
        yield f"{first_few(layers)}: {what}"
    for part in done.beyond:
        yield f"{part} is not in the module, which gives what it reads"
    for ours, theirs in done.pairing.by_order:
        yield f"{ours.part} is {theirs.part} by the order of the two alone: others stand in the same place"


def first_few(names: list[str]) -> str:
    """Three names, and how many more there are."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _facts(done: PortedInto) -> dict[str, object]:
    own = {"arrays": done.arrays, "kept": done.kept, "patched": [each.advice for each in done.patched]}
    return {**facts(done), **own, "differences": [difference(each, each.advice) for each in done.mismatches]}


def facts(done: Laid) -> dict[str, object]:
    """What the JSON of both directions has."""
    cause = done.cause
    return {
        "files": [str(file) for file in done.files],
        "module": done.name,
        "followed_by": done.followed.way,
        "pairs": [
            {
                "layers": [part.label for part in ours.together],
                "place": ours.place,
                "modules": [part.label for part in theirs.together],
                "by_order": by_order,
            }
            for ours, theirs, by_order in done.layers
        ],
        "left": done.left,
        "bridges": [{"layer": b.caffe.label, "module": b.module.label, "what": b.what} for b in done.bridges],
        "leaves_at": None if cause is None else {"layer": cause.caffe.label, "module": cause.module.label},
        "verification": None if done.report is None else done.report.to_json(),
    }


def difference(each: Mismatch, advice: str) -> dict[str, object]:
    """A difference of settings as the JSON has it, and what makes the two equal."""
    return {
        "layer": None if each.caffe is None else each.caffe.label,
        "place": None if each.caffe is None else each.caffe.place,
        "module": None if each.module is None else each.module.label,
        "what": str(each),
        "advice": advice,
    }
