"""What a picture shows of stored weights: how the values of each blob are spread, and a first convolution's filters."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

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
    values = tensor.load()
    made: dict[str, Json] = {"name": name, "shape": format_shape(tensor.shape), **_spread(values)}
    if first and values.ndim == 4 and values.shape[1] <= 4 and values.shape[2] > 1 and np.isfinite(values).all():
        made["filters"] = _filters(values)
    return made


def _spread(values: npt.NDArray[np.float32]) -> dict[str, Json]:
    """Range, mean, deviation and histogram of what is finite."""
    finite = values[np.isfinite(values)].astype(np.float64)
    made: dict[str, Json] = {"odd": int(values.size - finite.size)} if finite.size < values.size else {}
    if not finite.size:
        return made | dict.fromkeys(("min", "max", "mean", "std"))
    low, high = float(finite.min()), float(finite.max())
    made |= {"min": low, "max": high, "mean": float(finite.mean()), "std": float(finite.std())}
    if high > low:
        made["bins"] = np.histogram(finite, BINS, (low, high))[0].tolist()
    return made


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
