"""A Caffe of a dozen layers, for its memory alone: blobs point to data and to gradients, and layers share the pointers.

Written from net.cpp, insert_splits.cpp and the layers' Forward_cpu and Backward_cpu; float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Rule = Callable[[Array, Array, Array], Array]

NEURONS: dict[str, tuple[str, str, Callable[[Array], Array], Rule]] = {
    "ReLU": ("ReLU", "", lambda x: np.maximum(x, 0), lambda dy, x, y: dy * (x > 0)),
    "Sigmoid": ("Sigmoid", "", lambda x: 1 / (1 + np.exp(-x)), lambda dy, x, y: dy * y * (1 - y)),
    "TanH": ("TanH", "", np.tanh, lambda dy, x, y: dy * (1 - y * y)),
    "BNLL": ("BNLL", "", lambda x: np.log1p(np.exp(x)), lambda dy, x, y: dy / (1 + np.exp(-x))),
    "AbsVal": ("AbsVal", "", np.abs, lambda dy, x, y: dy * np.sign(x)),
    "line": (
        "Power",
        "power_param { scale: -0.75 shift: 0.25 }",
        lambda x: 0.25 - 0.75 * x,
        lambda dy, x, y: dy * -0.75,
    ),
    "square": (
        "Power",
        "power_param { power: 2 scale: 0.5 shift: 1 }",
        lambda x: (0.5 * x + 1) ** 2,
        lambda dy, x, y: dy * (0.5 * x + 1),
    ),
}
SQUARED = ("AbsVal", "line", "square")
"""In place these write their factor where the top's gradient lies, and multiply the two then."""
TAKERS = ("Flatten", "Permute")
GIVERS = ("Reshape", "Concat", "Slice")


@dataclass
class Layer:
    """One layer: `bottoms` and `top` are (name, how often it was written in place) of blobs."""

    name: str
    kind: str
    bottoms: list[tuple[str, int]]
    top: tuple[str, int]
    shape: tuple[int, ...]

    @property
    def in_place(self) -> bool:
        return self.top[0] == self.bottoms[0][0]

    def text(self) -> str:
        """As prototxt."""
        kind, param = NEURONS[self.kind][:2] if self.kind in NEURONS else (self.kind, "")
        axes = " ".join(f"order: {axis}" for axis in range(len(self.shape)))
        sizes = " ".join(f"dim: {size}" for size in self.shape)
        params = {"Reshape": f"reshape_param {{ shape {{ {sizes} }} }}", "Permute": f"permute_param {{ {axes} }}"}
        params |= {"Flatten": "flatten_param { axis: 0 }", "Concat": "concat_param { axis: 0 }"}
        params |= {"Slice": "slice_param { axis: 0 }", "Product": "eltwise_param { operation: PROD }"}
        kind = {"Sum": "Eltwise", "Product": "Eltwise"}.get(kind, kind)
        reads = " ".join(f'bottom: "{bottom}"' for bottom, _ in self.bottoms)
        param = params.get(self.kind, param)
        return f'layer {{ name: "{self.name}" type: "{kind}" {reads} top: "{self.top[0]}" {param} }}'


class Blob:
    """Arrays that others may hold as well."""

    def __init__(self, size: int) -> None:
        self.data, self.diff = np.zeros(size), np.zeros(size)


def passes(
    layers: Sequence[Layer], inputs: Mapping[str, Array], seeds: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The net's outputs, and the gradients of its inputs, of one forward and one backward pass."""
    readers: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for layer in layers:
        for place, key in enumerate(layer.bottoms):
            readers.setdefault(key, []).append((layer.name, place))
    held: dict[tuple[str, int], Blob] = {}
    last: dict[str, Blob] = {}
    steps: list[tuple[str, list[Blob], list[Blob]]] = []

    def made(key: tuple[str, int], blob: Blob) -> None:
        """What reads a blob that others read too reads a copy of its own."""
        last[key[0]] = blob
        reading = readers.get(key, [])
        copies = [Blob(blob.data.size) for _ in reading] if len(reading) > 1 else [blob] * len(reading)
        if len(reading) > 1:
            steps.append(("Split", [blob], copies))
        held.update(zip(reading, copies, strict=True))

    for name, values in inputs.items():
        blob = Blob(values.size)
        blob.data[:] = values.ravel()
        made((name, 0), blob)
    starts = {name: last[name] for name in inputs}
    for layer in layers:
        bottoms = [held[layer.name, place] for place in range(len(layer.bottoms))]
        top = bottoms[0] if layer.in_place else Blob(int(np.prod(layer.shape)))
        steps.append((layer.kind, bottoms, [top]))
        made(layer.top, top)
    for kind, bottoms, tops in steps:
        _forward(kind, bottoms, tops)
    for name, seed in seeds.items():
        last[name].diff[:] = seed.ravel()
    for kind, bottoms, tops in reversed(steps):
        _backward(kind, bottoms, tops)
    return {name: last[name].data for name in seeds}, {name: blob.diff for name, blob in starts.items()}


def _forward(kind: str, bottoms: Sequence[Blob], tops: Sequence[Blob]) -> None:
    first = bottoms[0]
    if kind in NEURONS:
        tops[0].data[:] = NEURONS[kind][2](first.data)
    elif kind in ("Sum", "Product"):
        both = np.stack([bottom.data for bottom in bottoms])
        tops[0].data[:] = both.sum(0) if kind == "Sum" else both.prod(0)
    else:
        for top in tops:
            top.data = first.data
    if kind in GIVERS:
        tops[0].diff = first.diff


def _backward(kind: str, bottoms: Sequence[Blob], tops: Sequence[Blob]) -> None:
    first, top = bottoms[0], tops[0]
    if kind in NEURONS:
        rule = NEURONS[kind][3]
        if kind in SQUARED and first is top:
            top.diff[:] = rule(np.ones_like(top.diff), top.data, top.data) ** 2
        else:
            first.diff[:] = rule(top.diff, first.data, top.data)
    elif kind in TAKERS:
        first.diff = top.diff
    elif kind == "Split":
        first.diff[:] = sum(copy.diff for copy in tops)
    elif kind == "Sum":
        for bottom in bottoms:
            bottom.diff[:] = top.diff
    elif kind == "Product":
        for bottom, other in zip(bottoms, bottoms[::-1], strict=True):
            bottom.diff[:] = other.data * top.diff
