"""An old prototxt, solver or caffemodel in today's form, as one request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError, Message

from prototxt import format_net, upgrade_net, upgrade_solver
from prototxt.caffe_pb2 import NetParameter, SolverParameter
from prototxt.careful import is_solver
from prototxt.coordinates import state_cuts
from prototxt.errors import Position, RequestError, WeightsError
from prototxt.net import read_net_message
from prototxt.parse import parse, read_text
from prototxt.write import net_bytes
from resnet_convert.guarding import guard
from resnet_convert.option import takes
from resnet_convert.requests import UpgradeRequest
from weights import atomic_file, check_old_layers, is_caffemodel, open_weights
from weights.strings import message_bytes, read_message


@dataclass(frozen=True)
class Upgraded:
    """A file in today's form.

    Attributes:
        data: its bytes; of a text, UTF-8 to be printed where no file was asked for.
        notes: what was upgraded; empty where there was nothing to do.
    """

    data: bytes
    notes: tuple[str, ...]


@takes(UpgradeRequest)
def upgrade(request: UpgradeRequest) -> Upgraded:
    """Bring an old prototxt, solver or caffemodel to today's form (V2), and write it if `output` is given.

    Arguments are the fields of `UpgradeRequest`.

    Raises:
        CaffeModelError: a file that cannot be read, or is none of the three.

    Example:
        >>> done = resnet_convert.upgrade("examples/digits/deploy.prototxt")
        >>> done.notes, done.data[:21]
        (("1 input field became the layer 'input'",), b'name: "ResNet-digits"')
    """
    return upgraded(request)


def upgraded(request: UpgradeRequest) -> Upgraded:
    """What `upgrade` does."""
    guard(request)
    path = Path(request.old)
    found = _upgraded_binary(path, request.output is None) if is_caffemodel(path) else _upgraded_text(path, request)
    if request.output is not None:
        with atomic_file(request.output) as out:
            out.write(found.data)
    return found


def _upgraded_text(path: Path, request: UpgradeRequest) -> Upgraded:
    text = read_text(path)
    write = net_bytes if request.output is not None else _printed
    if is_solver(text):
        solver, _, _ = parse(text, SolverParameter, str(path), allow_unknown=request.allow_unknown)
        before = solver.SerializeToString(deterministic=True)
        upgrade_solver(solver)
        changed = solver.SerializeToString(deterministic=True) != before
        return Upgraded(write(solver), ("solver_type became type",) if changed else ())
    message, notes = read_net_message(text, str(path), allow_unknown=request.allow_unknown)
    notes = (*notes, *state_cuts(message))
    return Upgraded(write(message), notes)


def _printed(message: Message) -> bytes:
    return format_net(message).encode()


def _upgraded_binary(path: Path, printed: bool) -> Upgraded:
    if printed:
        raise RequestError("a caffemodel is binary; name the file to write with -o NEW")
    open_weights(path).close()  # says what is wrong with a file that is no caffemodel
    check_old_layers(path)
    try:
        message = read_message(NetParameter, path.read_bytes())
    except DecodeError:
        raise WeightsError("this is no caffemodel in protobuf form", position=Position(str(path))) from None
    today = upgrade_net(message)
    notes = (*today.notes, *state_cuts(today.message))
    return Upgraded(message_bytes(today.message), notes)
