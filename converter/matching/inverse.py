"""The blobs of Caffe's layers from the parameters of a module: `bridging` with the two sides in each other's place.

caffe = plain(wanting(caffe_skeleton(graph), graph))     its parts want parameters, as a module's do elsewhere
module = plain(giving(trace(module, shapes).skeleton, state))
solved = solve(pair(caffe, module), graph)

Where only names change the numbers keep their bits. BatchNorm stores what Caffe divides mean and variance by: 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.folding import Float64
from converter.graph import Graph
from converter.matching.aten import StateEntry
from converter.matching.bridging import Bridge, Bridged, bridge
from converter.matching.pairing import Pairing
from converter.matching.skeleton import NetPart, Skeleton
from converter.node import Node
from converter.tensor import Array, Tensor, as_float32, constant
from prototxt.names import utf8

State = Mapping[str, npt.NDArray[Any]]
"""A module's parameters and buffers by their names."""


def wanting(skeleton: Skeleton, graph: Graph) -> Skeleton:
    """The skeleton of a graph that was built without folding, with room for each blob in place of its numbers."""
    nodes = {utf8(node.name): node for node in graph.nodes if node.tensors}
    for part in skeleton.parts:
        if part.parameters:
            held = {_ROLES.get(role, role): tensor.root for role, tensor in nodes[part.label].tensors.items()}
            part.parameters = {role: _room(held[role], part, role) for role in part.parameters if role in held}
    return skeleton


def _room(tensor: Tensor, part: NetPart, role: str) -> StateEntry:
    turned = role == "weight" and "stored" in part.settings
    return StateEntry(tensor.name, tuple(map(int, tensor.shape)), turned)


_ROLES = {"inverse_std": "variance"}
"""What a blob stands for, where that is not what it stores."""


def giving(skeleton: Skeleton, state: State) -> Skeleton:
    """The skeleton of a module with the numbers of its parameters; a normalisation has scale and bias in any case."""
    for part in skeleton.parts:
        part.parameters = {role: _given(held, state) for role, held in part.parameters.items()}
        if part.kind == "normalisation":
            channels = part.shape[1]
            part.parameters.setdefault("gamma", constant(f"{part.label}.weight", np.ones(channels)))
            part.parameters.setdefault("beta", constant(f"{part.label}.bias", np.zeros(channels)))
    return skeleton


def _given(held: StateEntry, state: State) -> Tensor:
    array = state[held.name]
    return Tensor(held.name, held.shape, lambda: as_float32(array).reshape(held.shape))


@dataclass
class Solved(Bridged):
    """What Caffe's layers get; `tensors` are by the names of the graph's, `sources` parts of the module."""

    def of(self, node: Node) -> list[Tensor] | None:
        """A layer's blobs in Caffe's order; None where one of them was given no numbers."""
        made = [self._blob(node, role) for role in node.tensors]
        found = [tensor for tensor in made if tensor is not None]
        return found if len(found) == len(made) else None

    def _blob(self, node: Node, role: str) -> Tensor | None:
        wanted = node.tensors[role]
        if role == "scale_factor":
            return constant(wanted.name, np.ones(wanted.shape))
        found = self.tensors.get(wanted.root.name)
        late = getattr(node.layer, "eps_behind_root", 0.0)
        if found is None or role not in ("inverse_std", "variance") or (role == "variance" and not late):
            return None if found is None else found.reshaped(wanted.shape)
        return found.map(_inverse_root if role == "inverse_std" else lambda v: _before_eps(v, late), wanted.shape)


def _inverse_root(variance: Array) -> Float64:
    made: Float64 = 1 / np.sqrt(variance.astype(np.float64))
    return made


def _before_eps(variance: Array, eps: float) -> Float64:
    """What is stored where eps is added to the root of it."""
    made: Float64 = np.maximum(np.sqrt(variance.astype(np.float64)) - eps, 0) ** 2
    return made


def solve(pairing: Pairing) -> Solved:
    """The blobs of all pairs that fit, of a net whose parts are `wanting` and a module whose parts are `giving`."""

    def turned(pairs: Any) -> list[Any]:
        return [(theirs, ours) for ours, theirs in pairs]

    found = bridge(Pairing(turned(pairing.pairs), turned(pairing.misfits)))
    bridges, refused = ([_turned(each) for each in some] for some in (found.bridges, found.refused))
    return Solved(found.tensors, found.sources, bridges, refused)


def _turned(bridge: Bridge) -> Bridge:
    """What is said of a port into a module, said of one out of it."""

    def other(match: re.Match[str]) -> str:
        return f"Caffe{match[2] or ''}" if match[1] == "the module" else f"the module{match[2] or ''}"

    return Bridge(bridge.module, bridge.caffe, re.sub(r"\b(the module|Caffe)\b('s)?", other, bridge.what))
