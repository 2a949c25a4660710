"""A conversion, and the comparison after it, as one request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from converter.api import Conversion as Written
from converter.api import converted, default_output, files_of
from converter.dims import count
from prototxt.errors import MissingDependencyError, UnsupportedError
from prototxt.words import plural
from resnet_convert.gating import Gate, gated
from resnet_convert.guarding import guard
from resnet_convert.option import takes
from resnet_convert.plugins import load_plugins
from resnet_convert.requests import ConversionRequest
from verify.machine import room_for
from weights import Outputs

if TYPE_CHECKING:
    from verify import Report
    from verify.parity import OnPart

VERIFIED = ("onnx", "torch", "caffe")
"""What can be run; the other targets hold weights alone."""


class Check(NamedTuple):
    """The comparison after a conversion.

    Attributes:
        report: what it found; None where there was none.
        why_not: why there was none, in words.
    """

    report: Report | None = None
    why_not: str = ""


@dataclass(eq=False)
class Conversion(Written):
    """What a conversion did.

    Attributes:
        report: what the comparison after it found; None where none was asked for or possible.
        others: as of `converter.api.Conversion`.
    """

    report: Report | None = None


@takes(ConversionRequest)
def convert(request: ConversionRequest) -> Conversion:
    """Convert a Caffe net and write the result; nothing is left behind on failure.

    Arguments are the fields of `ConversionRequest`: those of the command line's verb, with arrays where it has files.

    Returns:
        the files written, the net as read and as folded, how often each pass fired, and with `verify` the comparison;
        the model's inputs and outputs are float32, in Caffe's layout N×C×H×W.

    Raises:
        CaffeModelError: see `prototxt.errors` for the tree.

    Example:
        >>> net, weights = "examples/digits/deploy.prototxt", "examples/digits/digits_resnet.caffemodel"
        >>> done = resnet_convert.convert(net, weights, output="digits.onnx", verify=True)
        >>> done.files, done.fired["fold_batch_norm"], done.report.ok
        ([PosixPath('digits.onnx')], 12, True)
    """
    with gated(request, "convert", request.net) as gate:
        found = Check()
        with Outputs() as outputs, converting(request, outputs) as done:
            if request.verify:
                found = check(done, request, outputs)
        tell(gate, done, found)
        return Conversion(**vars(done), report=found.report)


def tell(gate: Gate, done: Written, found: Check) -> None:
    """Tell a CI server what was written, once it is there, and what the comparison found."""
    if not gate.asked:
        return
    from verify.report.markdown import headed, prose

    text = headed(found.report is None or found.report.ok, prose(summary(done)), [])
    if found.report is None:
        gate.tell_uncompared(text, found.why_not or "no comparison was asked for, or it holds weights alone")
    else:
        gate.tell_reports([found.report], text)


FIRED = {
    "fold_batch_norm": "{} BatchNorm + Scale merged",
    "fold_into_convolution": "{} folded into the layer before",
}


def summary(done: Written) -> str:
    """What was written, in one line."""
    size = sum(Path(f).stat().st_size for f in done.files) / 1e6
    facts = [f"{size:.1f} MB", *(FIRED[name].format(times) for name, times in done.fired.items() if times)]
    files = ", ".join(map(str, done.files))
    layers = plural(len(done.net.layers), "layer")
    return f"{done.net.name or 'the net'}: {layers} -> {files} ({', '.join(facts)})"


@contextmanager
def converting(request: ConversionRequest, outputs: Outputs) -> Iterator[Written]:
    """The conversion, with its weight file open for a check; the files get their names when `outputs` ends well."""
    target = Path(request.output or default_output(request.net, request.to))
    guard(request, output=files_of(request.to, target))
    load_plugins(request.plugins)
    with converted(
        request.net,
        request.weights,
        to=request.to,
        output=target,
        opset=request.opset,
        options=request.to_options(),
        outputs=outputs,
    ) as done:
        yield done


def check(done: Written, request: ConversionRequest, outputs: Outputs, progress: OnPart | None = None) -> Check:
    """Compare what was written with Caffe's numbers, where it can be run, and write the page that is asked for.

    Raises:
        CaffeModelError: the check cannot be made, for another reason than a package or layer that we lack.
    """
    if request.to not in VERIFIED:
        return Check()
    from resnet_convert.verification import compare

    model = done.files[0] if request.to == "onnx" else done.files[0].parent
    values = sum(int(count(v.shape)) for node in done.graph.nodes for v in node.outputs)
    if not room_for(values):
        return Check(why_not=f"{values:,} values of blobs cannot be compared in this machine's memory")
    staged = outputs.staged(model)
    try:
        (report,) = compare(
            done.net, done.weights, [staged], request, request.mean, _by_name(progress, outputs), apart=False
        )
    except (MissingDependencyError, UnsupportedError) as error:
        # The model is whole; what is missing is a runtime, or a layer of the interpreter.
        return Check(why_not=outputs.named(str(error).removeprefix("error: ")))
    report = replace(report, model=str(model))
    if request.report is not None:
        from resnet_convert.provenance import provenance
        from verify import write_html

        write_html(report, outputs.file(request.report), provenance(request))
    return Check(report)


def _by_name(progress: OnPart | None, outputs: Outputs) -> OnPart | None:
    """Tells of the model under the name that it will have."""
    if progress is None:
        return None
    return lambda doing, done, total: progress(outputs.named(doing), done, total)
