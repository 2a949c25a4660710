"""`resnet-convert upgrade`: an old prototxt, solver or caffemodel in today's form."""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf.message import DecodeError

from converter.cli_options import Arguments
from prototxt import format_net, upgrade_net, upgrade_solver
from prototxt.caffe_pb2 import NetParameter, SolverParameter
from prototxt.errors import Position, RequestError, WeightsError
from prototxt.net import read_net_message
from prototxt.parse import is_solver, parse, read_text
from weights import atomic_file, is_caffemodel, open_weights


def run(arguments: Arguments) -> int:
    """Upgrade one file and say what changed; the exit status."""
    path = Path(arguments.net)
    data, notes = _upgraded_binary(path, arguments.output) if is_caffemodel(path) else _upgraded_text(path, arguments)
    if arguments.output is None:
        sys.stdout.write(data.decode("utf-8", "replace"))
    else:
        with atomic_file(arguments.output) as out:
            out.write(data)
    if not arguments.quiet:
        for note in notes or ("nothing to upgrade: the file has today's form",):
            print(f"{path}: {note}", file=sys.stderr)
    return 0


def _upgraded_text(path: Path, arguments: Arguments) -> tuple[bytes, tuple[str, ...]]:
    text = read_text(path)
    if is_solver(text):
        solver, _, _ = parse(text, SolverParameter, str(path), allow_unknown=arguments.allow_unknown)
        before = solver.SerializeToString(deterministic=True)
        upgrade_solver(solver)
        changed = solver.SerializeToString(deterministic=True) != before
        return format_net(solver).encode("utf-8", "surrogateescape"), ("solver_type became type",) if changed else ()
    message, notes = read_net_message(text, str(path), allow_unknown=arguments.allow_unknown)
    return format_net(message).encode("utf-8", "surrogateescape"), notes


def _upgraded_binary(path: Path, output: str | None) -> tuple[bytes, tuple[str, ...]]:
    if output is None:
        raise RequestError("a caffemodel is binary; name the file to write with -o NEW")
    open_weights(path).close()  # says what is wrong with a file that is no caffemodel
    try:
        message = NetParameter.FromString(path.read_bytes())
    except DecodeError:
        raise WeightsError("this is no caffemodel in protobuf form", position=Position(str(path))) from None
    upgraded = upgrade_net(message)
    return upgraded.message.SerializeToString(deterministic=True), upgraded.notes
