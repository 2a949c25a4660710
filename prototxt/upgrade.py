"""Bring any net or solver that Caffe ever read to its present form, as Caffe does when it loads one.

Each step is a pair `needs_x(message) -> bool` and `upgrade_x(message, where) -> Change`, and leaves a net that it finds
done as it is. The order is Caffe's:

    V0 -> V1            upgrade_v0.py   flat layers, padding layers
    data transformation upgrade_v1.py   only in `layers`
    V1 -> V2            upgrade_v1.py
    input fields        upgrade_v2.py
    BatchNorm           upgrade_v2.py

A binary `.caffemodel` is a NetParameter with blobs and takes the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from prototxt import caffe_pb2
from prototxt.change import Change, Where, nowhere
from prototxt.errors import Position, PrototxtError
from prototxt.upgrade_v0 import needs_v0_upgrade, upgrade_v0
from prototxt.upgrade_v1 import needs_data_upgrade, needs_v1_upgrade, upgrade_data, upgrade_v1
from prototxt.upgrade_v2 import needs_batch_norm_upgrade, needs_input_upgrade, upgrade_batch_norm, upgrade_inputs

__all__ = [
    "SOLVER_TYPES",
    "Upgraded",
    "needs_batch_norm_upgrade",
    "needs_data_upgrade",
    "needs_input_upgrade",
    "needs_solver_upgrade",
    "needs_upgrade",
    "needs_v0_upgrade",
    "needs_v1_upgrade",
    "upgrade_batch_norm",
    "upgrade_data",
    "upgrade_inputs",
    "upgrade_net",
    "upgrade_solver",
    "upgrade_v0",
    "upgrade_v1",
]

SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}
"""Name in the old `solver_type` enum -> `type` string."""

_NEEDS: tuple[Callable[[caffe_pb2.NetParameter], bool], ...] = (
    needs_v0_upgrade,
    needs_data_upgrade,
    needs_v1_upgrade,
    needs_input_upgrade,
    needs_batch_norm_upgrade,
)


class Upgraded(NamedTuple):
    """A net in Caffe's present form.

    Attributes:
        message: the net; it has `layer` entries only, and no input fields.
        origins: for each of its layers the index of the `layers` or `layer` entry that it came from, or -1-k for an
            Input layer made from the k-th `input` (one layer takes them all; k is that of its first top).
        notes: what was changed, and what Caffe does not carry over, one sentence each. Empty when nothing was to do.
        lost: those of the notes that tell what Caffe does not carry over.
    """

    message: caffe_pb2.NetParameter
    origins: list[int]
    notes: tuple[str, ...]
    lost: tuple[str, ...] = ()


def needs_upgrade(message: caffe_pb2.NetParameter) -> bool:
    """Whether `upgrade_net` would change the net."""
    return any(needs(message) for needs in _NEEDS)


def upgrade_net(message: caffe_pb2.NetParameter, where: Where = nowhere, *, keep_inputs: bool = False) -> Upgraded:
    """Apply every upgrade that the net needs.

    Args:
        message: is changed in place and becomes `Upgraded.message`, so that the blobs of a caffemodel are copied only
            where the change of form asks for it. Copy it first to keep it.
        where: gives the place of a `layers`, `layer` or `input` entry, for errors.
        keep_inputs: save the inputs that Caffe's upgrade loses (`input` without a shape; `input_shape` of a V0 net):
            they become an Input layer, without a shape if none is given. By default the result equals Caffe's, in
            which the layers that read these inputs lack a bottom.

    Raises:
        NetError: the net mixes `layers` and `layer`, has inputs without a shape beside others with one, or a padding
            layer that cannot be folded.
        UnsupportedError: a layer type that V0 never had.
    """
    origins = list(range(len(message.layers) or len(message.layer)))
    notes: list[str] = []
    lost: list[str] = []
    steps: list[Callable[..., Change]] = [
        partial(upgrade_v0, keep_input_shape=keep_inputs),
        upgrade_data,
        upgrade_v1,
        partial(upgrade_inputs, keep_bare=keep_inputs),
        upgrade_batch_norm,
    ]
    for needs, upgrade in zip(_NEEDS, steps, strict=True):
        if needs(message):
            change = upgrade(message, where)
            origins = [origins[index] if index >= 0 else index for index in change.origins]
            notes += change.notes
            lost += change.lost
    return Upgraded(message, origins, tuple(notes), tuple(lost))


def needs_solver_upgrade(message: caffe_pb2.SolverParameter) -> bool:
    """Whether the solver names its method by the old enum `solver_type`."""
    return bool(message.HasField("solver_type"))


def upgrade_solver(message: caffe_pb2.SolverParameter, position: Position | None = None) -> tuple[str, ...]:
    """Turn `solver_type: ADAM` into `type: "Adam"`, in place; returns notes, none when nothing was to do.

    Args:
        message: the solver.
        position: of `solver_type` in the user's file, for the error.

    Raises:
        PrototxtError: both `solver_type` and `type` are given.
    """
    if not needs_solver_upgrade(message):
        return ()
    old = caffe_pb2.SolverParameter.SolverType.Name(message.solver_type)
    if message.HasField("type"):
        raise PrototxtError(
            f"solver_type {old} and type {message.type!r} are both given; expected only type", position=position
        )
    message.type = SOLVER_TYPES[old]
    message.ClearField("solver_type")
    return (f"solver_type {old} became type {message.type!r}",)
