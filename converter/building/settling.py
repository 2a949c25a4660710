"""Which way the Pooling layers of a caffemodel alone round, where their records do not say.

Field 13 of pooling_param is BVLC's round_mode, where 1 is down, and the ceil_mode of several forks, where 1 is up. The
net is built either way. Where no window's count depends on it, it does not matter; where the learned blobs or the
layers behind go with one way only, that is it; else the layers stay refused, and `--dialect Pooling=` tells.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from converter.building.build import build
from converter.building.inputs import InputShapes
from converter.building.parameters import RandomParameters
from converter.node import maker
from prototxt import Net
from prototxt.errors import CaffeModelError, ForksDifferError
from weights import load_structure, open_weights


def settled(
    net: Net,
    path: str | os.PathLike[str],
    *,
    dialects: Mapping[str, str],
    input_shapes: InputShapes,
    outputs: Sequence[str] = (),
) -> Net:
    """The net of a caffemodel with its Pooling layers read the one way that goes with it, if there is one.

    Args:
        net: as loaded.
        path: the caffemodel.
        dialects, input_shapes, outputs: as asked for.

    Raises:
        WeightsError: the file cannot be read or is damaged.
    """
    found = ((x.type, x.fault.dialects) for x in net.layers if isinstance(x.fault, ForksDifferError))
    kind, forks = next(found, ("", ()))
    if not forks:
        return net
    built: dict[str, tuple[Net, list[Any]]] = {}
    with open_weights(path) as weights:
        for fork in forks:
            other = load_structure(path, dialects={**dialects, kind: fork})
            make = RandomParameters(0)
            try:
                graph = build(other, weights, input_shapes=input_shapes, outputs=outputs, make=make)
            except CaffeModelError:
                continue
            shapes = [[value.shape for value in node.outputs] for node in graph.nodes]
            layers = [maker(n).type == kind and n.layer.apart_from_rounding() for n in graph.nodes]
            built[fork] = other, [shapes, layers]
    readings = [reading for _, reading in built.values()]
    if not readings or any(reading != readings[0] for reading in readings):
        return net
    fork, (other, _) = next(iter(built.items()))
    if fork == "own" and len(built) > 1:
        return replace(other, sections_read=net.sections_read)
    whose = "BVLC" if fork == "own" else f"{fork}'s fork"
    said = f"field 13 of pooling_param is read as {whose} has it: read otherwise, the layers do not go together"
    return replace(other, sections_read=(*net.sections_read, f"{net.path}: {said}"))
