"""`resnet-convert [convert]`: read, fold, write, verify, say what happened."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from converter.api import Conversion, Options, Target, convert
from converter.cli_options import Arguments
from converter.graph import count
from converter.names import printable
from converter.passes import Fold
from converter.preprocess import Preprocessing, read_mean


def options_of(arguments: Arguments) -> Options:
    """The options of a conversion, as the command line gives them."""
    mean = None if arguments.mean is None else read_mean(arguments.mean)
    return Options(
        fold=cast(Fold, arguments.fold),
        outputs=arguments.outputs,
        input_shapes=arguments.input_shapes,
        phase=arguments.phase,
        level=arguments.level,
        stages=arguments.stages,
        allow_unknown=arguments.allow_unknown,
        random_weights=arguments.random_weights,
        preprocessing=Preprocessing(mean, arguments.scale, arguments.input_order == "rgb"),
    )


def run(arguments: Arguments) -> int:
    """Convert, verify unless told not to, and print a summary; the exit status."""
    options = options_of(arguments)
    with ExitStack():
        done = convert(
            arguments.net,
            arguments.weights,
            to=cast(Target, arguments.to),
            output=arguments.output,
            opset=arguments.opset,
            options=options,
        )
    for warning in done.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(_as_json(done)))
    elif not arguments.quiet:
        print(_summary(done))
        if arguments.explain:
            print("\n".join(f"  {note}" for note in done.notes))
    return 0


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


def _summary(done: Conversion) -> str:
    folded = ", ".join(f"{name} {times}x" for name, times in done.fired.items() if times)
    files = ", ".join(str(f) for f in done.files)
    size = sum(Path(f).stat().st_size for f in done.files) / 1e6
    name = printable(done.net.name) or "the net"
    return f"{name}: {len(done.net.layers)} layers -> {files} ({size:.1f} MB{'; ' + folded if folded else ''})"
