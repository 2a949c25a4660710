"""`resnet-convert port --from MODULE … --net NET`: a PyTorch module's weights in a Caffe net's layers, proven."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

from converter.matching.caffe_advice import in_prototxt
from converter.matching.differences import Mismatch
from prototxt.errors import RequestError
from prototxt.names import utf8
from resnet_convert.cli.arguments import Shown, refuse_options, request_of, shown_of
from resnet_convert.cli.into import difference, facts, first_few, notes, port_and_tell, written
from resnet_convert.cli.terminal import say, warn
from resnet_convert.cli.verify import tell
from resnet_convert.modules.back import PortedFrom, ported_from
from resnet_convert.requests import PortFromRequest, PortIntoRequest, PortRequest


def run(parsed: Namespace) -> int:
    """Port, compare, write, and say what was found; 3 if the numbers leave their bounds."""
    module, net = parsed.source, getattr(parsed, "net", None)
    given = Namespace(**{name: value for name, value in vars(parsed).items() if name not in ("source", "net")})
    for record in (PortRequest, PortIntoRequest):
        refuse_options(given, record, PortFromRequest, "does not go with --from MODULE")
    if hasattr(parsed, "stored"):
        raise RequestError(f"{parsed.stored}: a second file goes with --into MODULE")
    if net is None:
        raise RequestError("--from MODULE fills the layers of a Caffe net; name its prototxt (--net)")
    named = {} if hasattr(parsed, "output") else {"output": f"{module.rpartition(':')[2]}.caffemodel"}
    request, shown = request_of(PortFromRequest, given, net=net, module=module, **named), shown_of(parsed)
    return port_and_tell(request, shown, ported_from, _facts, _tell)


def _tell(done: PortedFrom, shown: Shown) -> None:
    if shown.talks:
        filled = sum(len(layer.blobs) for layer in done.weights.layers)
        say(f"{done.name}: {len(done.layers)} layers paired, {filled} blobs filled{written(done)}")
        say(*(f"  {line}" for line in _notes(done)))
    for fault in done.left:
        warn(f"not ported: {fault}")
    for mismatch in done.mismatches:
        warn(_with_advice(mismatch))
    if done.report is not None:
        tell(done.report, shown, briefly=True)
        cause = done.cause
        if cause is not None:
            why = "no setting of the two differs" if cause.why is None else _with_advice(cause.why)
            say(f"{cause.where}: {why}", failed=True)


def _with_advice(mismatch: Mismatch) -> str:
    fields = in_prototxt(mismatch)
    return f"{mismatch}; equal with {fields} in the prototxt" if fields else str(mismatch)


def _notes(done: PortedFrom) -> Iterator[str]:
    yield from notes(done)
    if done.unread:
        yield f"{first_few(done.unread)}: in no layer, since no pass in eval mode reads them"


def _facts(done: PortedFrom) -> dict[str, object]:
    blobs = [
        {"layer": utf8(layer.name), "shapes": [list(b.shape) for b in layer.blobs]} for layer in done.weights.layers
    ]
    own = {"blobs": [each for each in blobs if each["shapes"]], "unread": done.unread}
    return {**facts(done), **own, "differences": [difference(each, in_prototxt(each)) for each in done.mismatches]}
