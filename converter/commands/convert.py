"""`resnet-convert [convert]`: read, fold, write, verify, say what happened."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from converter.api import Conversion, Target, converted
from converter.cli_options import Arguments
from converter.commands.options import options_of
from converter.graph import count
from converter.names import printable
from prototxt.errors import MissingDependencyError, UnsupportedError

if TYPE_CHECKING:
    from verify import Report


def run(arguments: Arguments) -> int:
    """Convert, verify unless told not to, and print what happened; 3 if the numbers leave their bounds."""
    options = options_of(arguments)
    to = cast(Target, arguments.to)
    report = None
    with converted(
        arguments.net, arguments.weights, to=to, output=arguments.output, opset=arguments.opset, options=options
    ) as done:
        for warning in done.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        if not arguments.quiet and not arguments.json:
            print(_summary(done))
            for reading in done.net.readings:
                print(f"note: {reading}")
            if arguments.explain:
                print("\n".join(f"  {note}" for note in done.notes))
        if to in VERIFIED and not arguments.no_verify:
            report = _verified(done, to, arguments)
    if arguments.json:
        print(json.dumps({**_as_json(done), "verification": report.to_json() if report else None}))
    return 0 if report is None or report.ok else 3


class InterruptedCheckError(KeyboardInterrupt):
    """Ctrl-C after the conversion: the model is whole, the check is not."""

    def __init__(self, model: Path) -> None:
        super().__init__(f"interrupted; {model} is written, but not verified")


RUNS_AT_ONCE = 4  # the engine's, the interpreter's, the probe for the bounds, and each layer alone


def physical_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


VERIFIED = ("onnx", "torch", "caffe")  # what can be run; the other targets hold weights alone


def _verified(done: Conversion, to: Target, arguments: Arguments) -> Report | None:
    from converter.commands.verify import check_all, show, write_pages

    model = done.files[0] if to == "onnx" else done.files[0].parent
    needed = RUNS_AT_ONCE * sum(4 * int(count(v.shape)) for node in done.graph.nodes for v in node.outputs)
    if needed > physical_memory():
        print(f"warning: not verified: it would take about {needed / 1e9:.0f} GB of memory", file=sys.stderr)
        return None
    try:
        (report,) = check_all(done.net, done.weights, [model], arguments)
    except KeyboardInterrupt:
        raise InterruptedCheckError(model) from None
    except (MissingDependencyError, UnsupportedError) as error:
        # The model is whole; what is missing is a runtime, or a layer of the interpreter.
        print(f"warning: not verified: {str(error).removeprefix('error: ')}", file=sys.stderr)
        return None
    show(report, arguments)
    write_pages([report], arguments)
    return report


def _as_json(done: Conversion) -> dict[str, object]:
    return {
        "files": [str(f) for f in done.files],
        "inputs": {v.name: [str(d) if hasattr(d, "symbol") else d for d in v.shape] for v in done.graph.inputs},
        "outputs": done.graph.output_names,
        "layers": len(done.net.layers),
        "parameters": sum(int(count(t.shape)) for t in done.graph.tensors()),
        "passes": done.fired,
        "notes": done.notes,
        "warnings": done.warnings,
    }


FIRED = {
    "fold_batch_norm": "{} BatchNorm + Scale merged",
    "fold_into_convolution": "{} folded into the layer before",
}


def _summary(done: Conversion) -> str:
    size = sum(Path(f).stat().st_size for f in done.files) / 1e6
    facts = [f"{size:.1f} MB", *(FIRED[name].format(times) for name, times in done.fired.items() if times)]
    name = printable(done.net.name) or "the net"
    return f"{name}: {len(done.net.layers)} layers -> {', '.join(map(str, done.files))} ({', '.join(facts)})"
