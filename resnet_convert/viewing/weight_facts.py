"""What a picture shows of stored weights: how the values of each blob are spread, and a first convolution's filters."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from converter.dims import count, format_shape
from converter.graph import Graph
from converter.node import Node
from converter.tensor import Tensor
from verify.report.records import Json

BINS = 41
MOST_VALUES = 1 << 16
"""Values of the filters that are drawn; of more filters the first."""


def weight_facts(graph: Graph) -> Mapping[str, Mapping[str, Json]]:
    """By the name of a layer, `w`: its learned blobs, each with name, shape, range, mean, deviation and histogram."""
    fed = {id(value) for value in graph.inputs}
    facts: dict[str, Mapping[str, Json]] = {}
    for node in graph.nodes:
        if node.tensors and node.origins:
            first = any(id(value) in fed for value in node.inputs)
            facts[node.origins[0].name] = {"w": [_blob(name, t, node, first) for name, t in node.tensors.items()]}
    return facts


def _blob(name: str, tensor: Tensor, node: Node, first: bool) -> Json:
    shape = tensor.shape
    made: dict[str, Json] = {"name": name, "shape": format_shape(shape), **_spread(tensor)}
    if first and len(shape) == 4 and shape[1] <= 4 and shape[2] > 1 and "odd" not in made:
        made["filters"] = _filters(tensor.load())
    return made


def _spread(tensor: Tensor) -> dict[str, Json]:
    """Range, mean, deviation and histogram of what is finite; read in pieces, twice."""
    number, total, squares, low, high = 0, 0.0, 0.0, math.inf, -math.inf
    for part in _finite(tensor):
        number += part.size
        total += float(part.sum(dtype=np.float64))
        squares += float(np.square(part, dtype=np.float64).sum())
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    odd = int(count(tensor.shape)) - number
    made: dict[str, Json] = {"odd": odd} if odd else {}
    if not number:
        return made | dict.fromkeys(("min", "max", "mean", "std"))
    mean = total / number
    made |= {"min": low, "max": high, "mean": mean, "std": math.sqrt(max(0.0, squares / number - mean * mean))}
    if high > low:
        bins = np.zeros(BINS, np.int64)
        for part in _finite(tensor):
            bins += np.histogram(part, BINS, (low, high))[0]
        made["bins"] = [*map(int, bins)]
    return made


def _finite(tensor: Tensor) -> Iterator[npt.NDArray[np.float32]]:
    for part in tensor.parts():
        finite = part[np.isfinite(part)]
        if finite.size:
            yield finite


def _filters(values: npt.NDArray[np.float32]) -> Json:
    """Each filter from its smallest value, black, to its largest, white."""
    shown = values[: max(1, MOST_VALUES // count(values.shape[1:]))]
    low = shown.min(axis=(1, 2, 3), keepdims=True)
    range_ = shown.max(axis=(1, 2, 3), keepdims=True) - low
    grey = np.round(255 * (shown - low) / np.where(range_ > 0, range_, 1)).astype(np.uint8)
    number, channels, height, width = grey.shape
    return {
        "count": number,
        "channels": channels,
        "height": height,
        "width": width,
        "data": b64encode(grey.tobytes()).decode("ascii"),
    }
