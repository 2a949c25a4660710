"""The blobs of Caffe's layers from the parameters of a module: `bridging` the other way.

Where both sides have the same the numbers keep their bits. `channels` says what becomes of what a module has for each
channel behind a sum, `weight_form` of the sum's weights. All is computed in float64 and cast once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from converter.folding import Float64
from converter.graph import Graph
from converter.matching.bridging import Bridge
from converter.matching.channels import Channels, Filling, vector
from converter.matching.pairing import Pairing
from converter.matching.plain import AFFINE
from converter.matching.skeleton import NetPart
from converter.matching.spread import NoRoomError
from converter.matching.weight_form import WeightForm, reformed
from converter.node import Node
from converter.tensor import Array, Tensor
from prototxt.names import utf8

State = Mapping[str, Array]
"""A module's parameters and buffers by their keys, as float32."""


@dataclass
class Solved:
    """What Caffe's layers get.

    Attributes:
        values: by `id` of a blob's tensor in the graph: its values, computed when they are written.
        sources: by the same, the module's part that they come from.
        bridges: what had to be made up for.
        refused: pairs whose parameters Caffe's layers have no room for, and why.
    """

    values: dict[int, Tensor] = field(default_factory=dict)
    sources: dict[int, NetPart] = field(default_factory=dict)
    bridges: list[Bridge] = field(default_factory=list)
    refused: list[Bridge] = field(default_factory=list)


def solve(pairing: Pairing, graph: Graph, state: State) -> Solved:
    """The blobs of all pairs that fit.

    Args:
        pairing: of the graph's skeleton with a module's.
        graph: built without folding; the values of its tensors are not looked at.
        state: the module's.
    """
    done = Solved()
    nodes = {utf8(node.name): node for node in graph.nodes if node.tensors}
    misfits = {id(ours) for ours, _ in pairing.misfits}
    for ours, theirs in pairing.pairs:
        held = any(part.parameters for side in (ours, theirs) for part in side.part.together)
        if id(ours) in misfits or not held:
            continue
        try:
            _enter(done, ours.part, theirs.part, _blobs(ours.part, theirs.part, nodes, state))
        except NoRoomError as error:
            done.refused.append(Bridge(ours.part, theirs.part, str(error)))
    return done


def _enter(done: Solved, caffe: NetPart, module: NetPart, blobs: Filling) -> None:
    for key, tensor in blobs.values.items():
        if key in done.values and not np.array_equal(done.values[key].load(), tensor.load()):
            raise NoRoomError(f"{tensor.name} is one for this layer and for {done.sources[key]}; the module has two")
    done.values.update(blobs.values)
    done.sources.update(dict.fromkeys(blobs.values, module))
    done.bridges += [Bridge(caffe, module, note) for note in blobs.notes]


def _blobs(caffe: NetPart, module: NetPart, nodes: Mapping[str, Node], state: State) -> Filling:
    """All blobs of a pair; NoRoomError where Caffe's layers cannot hold what there is."""
    blobs = Filling(caffe, nodes)
    if caffe.kind == "weighted sum":
        _note_form(blobs, caffe, module)
        bias = vector(module.parameters.get("bias"), state)
        factor = Channels(blobs, caffe, module.affine, state).fill(bias)
        _put_weight(blobs, caffe, module, state, factor)
    elif caffe.kind in AFFINE:
        Channels(blobs, caffe, module.together, state).fill(None)
    elif caffe.kind == "learned rectifier":
        _put_slopes(blobs, caffe, state[module.parameters["weight"].name].ravel())
    elif caffe.parameters.keys() == module.parameters.keys():
        for role, held in module.parameters.items():
            blobs.put(caffe, role, state[held.name])
    else:
        raise NoRoomError(f"parameters {', '.join(module.parameters)}: nobody here knows how they go over")
    return blobs


def _put_slopes(blobs: Filling, caffe: NetPart, slopes: Array) -> None:
    """One for all, or one a channel: another number of them holds what is the same everywhere."""
    count = caffe.settings["slopes"]
    if len(slopes) != count:
        if len(np.unique(slopes)) != 1:
            raise NoRoomError("Caffe's layer has one slope for all channels, the module one for each")
        blobs.notes.append(
            "one slope for all channels, in each" if count > 1 else "equal slopes as one for all channels"
        )
        slopes = np.full(count, slopes[0])
    blobs.put(caffe, "weight", slopes)


def _note_form(blobs: Filling, caffe: NetPart, module: NetPart) -> None:
    if bool(caffe.settings.get("linear")) != bool(module.settings.get("linear")):
        forms = ["a fully connected layer", f"a convolution of {'×'.join(map(str, caffe.settings['kernel']))}"]
        theirs, ours = forms if module.settings.get("linear") else forms[::-1]
        blobs.notes.append(f"{theirs} as {ours}")


def _put_weight(blobs: Filling, caffe: NetPart, module: NetPart, state: State, factor: Float64 | None) -> None:
    held = module.parameters["weight"]
    given, wanted = WeightForm.of(module, turned=held.turned), WeightForm.of(caffe, turned="stored" in caffe.settings)
    if given.order != wanted.order:
        blobs.notes.append("the inputs in the order in which Caffe flattens its map")
    array = state[held.name]
    blobs.put(caffe, "weight", array if factor is None and given == wanted else reformed(array, given, wanted, factor))
