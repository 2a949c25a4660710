"""Which layers share a box: one that computes, and those behind it that only touch up what it made.

A Convolution with BatchNorm, Scale and ReLU in place is one box. A layer joins the box of the layer whose only top it
alone reads; so no box but its last layer is read by others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from verify.picture.records import DrawnLayer

_STAND_ALONE = ("join", "pooling", "shape")
"""Behind these a normalisation that is not in place begins something new: a block that normalises first."""


@dataclass(frozen=True)
class Boxes:
    """Boxes and what lies between them.

    Attributes:
        layers: the layers of each box, in order.
        box: of each layer, its box.
        reads: of each box, the boxes that it reads, each once, in the order of its bottoms.
        readers: of each box, the boxes that read it.
        names: of each box, the name of its first layer.
        looks: of each box, what it and others that look the same have in common.
    """

    layers: list[list[int]]
    box: list[int]
    reads: list[list[int]]
    readers: list[list[int]]
    names: list[str]
    looks: list[tuple[str, ...]]


def box_up(layers: Sequence[DrawnLayer]) -> Boxes:
    """Put layers into boxes."""
    readers = Counter(top for layer in layers for top in layer.reads)
    groups: list[list[int]] = []
    box: list[int] = []
    for index, layer in enumerate(layers):
        if _shares(layer, layers, readers):
            box.append(box[layer.reads[0][0]])
            groups[box[-1]].append(index)
        else:
            box.append(len(groups))
            groups.append([index])
    reads = [list(dict.fromkeys(box[top[0]] for top in layers[group[0]].reads)) for group in groups]
    read_by: list[list[int]] = [[] for _ in groups]
    for reader, boxes in enumerate(reads):
        for read in boxes:
            read_by[read].append(reader)
    looks = [tuple(f"{layers[i].type} {layers[i].hint.partition(',')[0]}" for i in group) for group in groups]
    return Boxes(groups, box, reads, read_by, [layers[group[0]].name for group in groups], looks)


def _shares(layer: DrawnLayer, layers: Sequence[DrawnLayer], readers: Counter[tuple[int, int]]) -> bool:
    if not layer.rides or len(layer.reads) != 1 or len(layer.tops) != 1:
        return False
    before = layers[layer.reads[0][0]]
    if layer.family == "normalization" and before.family in _STAND_ALONE and layer.tops[0][0] != before.tops[0][0]:
        return False
    return bool(before.reads) and len(before.tops) == 1 and readers[layer.reads[0]] == 1
