"""`resnet-convert port`: a ResNet's weights under another framework's names, or back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from converter.cli_options import Arguments
from converter.cli_port import PortArguments
from converter.names import printable
from prototxt.errors import RequestError
from weights.layouts.port import CAFFE, Ported, Preprocessing, port


def run(arguments: Arguments) -> int:
    """Write the file and say what it is for; the exit status."""
    asked = arguments.port
    if asked.layout is None and asked.source is None:
        raise RequestError("nothing to do: name the layout to write (--layout), or the one that is read (--from)")
    to, source = asked.layout or CAFFE, asked.source or CAFFE
    done = port(
        asked.weights,
        asked.output or _default_output(asked.weights, to),
        to=to,
        source=source,
        preprocessing=_preprocessing(asked),
        net=asked.net,
        prototxt=asked.prototxt,
    )
    if arguments.json:
        print(json.dumps(_facts(done, to)))
        return 0
    for warning in done.warnings:
        print(f"warning: {printable(warning)}", file=sys.stderr)
    if not arguments.quiet:
        _print(done, to)
    return 0


def _preprocessing(asked: PortArguments) -> Preprocessing | None:
    given = asked.order is not None or asked.mean is not None or asked.scale is not None
    if given != asked.fold_preprocessing:
        raise RequestError(
            "--fold-preprocessing and what to fold (--input-order, --mean, --scale) go together; "
            "without it the model takes what the Caffe net takes"
        )
    if not given:
        return None
    from converter.preprocess import read_mean  # loads every layer of the converter, 0.1 s

    mean = None if asked.mean is None else read_mean(asked.mean)
    scale = 1.0 if asked.scale is None else asked.scale
    return Preprocessing(asked.order or "bgr", mean, scale)


def _default_output(weights: str, to: str) -> str:
    stem = Path(weights).name
    for suffix in (".h5", ".weights", ".caffemodel", ".safetensors", ".npz"):
        stem = stem.removesuffix(suffix)
    if to == CAFFE:
        return f"{stem}.caffemodel"
    return f"{stem}_{to}{'.weights.h5' if to == 'keras' else '.safetensors'}"


def _print(done: Ported, to: str) -> None:
    classes = "no last layer" if done.classes is None else f"{done.classes} classes"
    size = done.files[0].stat().st_size / 1e6
    names = "Caffe's names" if to == CAFFE else f"the names of {to}"
    file = printable(str(done.files[0]))
    print(f"ResNet-{done.depth}, {classes}: {done.arrays} arrays -> {file} ({size:.1f} MB, {names})")
    for other in done.files[1:]:
        print(f"  and {printable(str(other))}")
    for note in done.notes:
        print(f"  note: {printable(note)}")


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
