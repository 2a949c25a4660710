"""Which layers of a net take part, by their `include` and `exclude` rules and the net's state.

A state is a phase, a level and a set of stages. A rule is met when all that it says holds:

    phase      equals the state's
    min_level  <= level <= max_level
    stage      each is among the state's stages
    not_stage  none is

A layer with `include` rules takes part if one of them is met; one with `exclude` rules unless one of them is; one
without rules always. Both kinds in one layer are an error.  (Source: behaviour of BVLC Caffe 1.0, net.cpp.)

The field `phase` of a layer does not filter. It is the phase in which the layer runs (Dropout, BatchNorm); where it is
unset, the net's.
"""

from __future__ import annotations

from collections.abc import Iterable

from prototxt import caffe_pb2
from prototxt.change import Where, nowhere
from prototxt.errors import CaffeModelError, NetError, RequestError, raise_all


def net_state(
    message: caffe_pb2.NetParameter, *, phase: str = "TEST", level: int = 0, stages: Iterable[str] = ()
) -> caffe_pb2.NetState:
    """The state in which Caffe opens a net file: phase and level as asked, the file's own stages and then `stages`.

    The phase and level that the file's `state` names do not count, as in Caffe's `Net(file, phase, level, stages)`.

    Raises:
        RequestError: a phase other than TRAIN and TEST.
    """
    if phase not in ("TRAIN", "TEST"):
        raise RequestError(f"unknown phase {phase!r}; expected TRAIN or TEST")
    number = caffe_pb2.TRAIN if phase == "TRAIN" else caffe_pb2.TEST
    return caffe_pb2.NetState(phase=number, level=level, stage=[*message.state.stage, *stages])


def meets(state: caffe_pb2.NetState, rule: caffe_pb2.NetStateRule) -> bool:
    """Whether everything that the rule says holds for the state; an empty rule always does."""
    if rule.HasField("phase") and rule.phase != state.phase:
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    stages = set(state.stage)
    return stages.issuperset(rule.stage) and stages.isdisjoint(rule.not_stage)


def takes_part(layer: caffe_pb2.LayerParameter, state: caffe_pb2.NetState) -> bool:
    """Whether the layer belongs to the net in this state; the layer has rules of one kind at most."""
    if layer.include:
        return any(meets(state, rule) for rule in layer.include)
    return not any(meets(state, rule) for rule in layer.exclude)


def filter_net(
    message: caffe_pb2.NetParameter, state: caffe_pb2.NetState | None = None, where: Where = nowhere
) -> list[int]:
    """Indices of the `layer` entries that take part, ascending.

    Args:
        message: a net in the present form; it is not changed.
        state: by default the net's own `state`, whose phase is TEST and level 0 where it says nothing.
        where: gives the place of a `layer` entry, for errors.

    Raises:
        NetError: a layer has both include and exclude rules (ErrorGroup when several do).
    """
    state = message.state if state is None else state
    errors: list[CaffeModelError] = [
        NetError(
            f"has {len(layer.include)} include and {len(layer.exclude)} exclude rules; expected one kind only",
            position=where("layer", index),
            layer=layer.name,
            layer_type=layer.type,
        )
        for index, layer in enumerate(message.layer)
        if layer.include and layer.exclude
    ]
    raise_all(errors)
    return [index for index, layer in enumerate(message.layer) if takes_part(layer, state)]


def layer_phase(layer: caffe_pb2.LayerParameter, state: caffe_pb2.NetState) -> str:
    """The phase in which the layer runs, "TRAIN" or "TEST": its own where set, else the net's."""
    phase = layer.phase if layer.HasField("phase") else state.phase
    return "TRAIN" if phase == caffe_pb2.TRAIN else "TEST"
