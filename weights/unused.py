"""What a weight file holds and a net does not use: Caffe's "Ignoring source layer", with what it may mean.

Layers match by name alone, so a layer that was renamed on one side is unused on the other. A Scale behind a BatchNorm
holds its factor and bias, and a net without it computes other numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from prototxt.words import named, plural
from weights.model import LayerWeights, Shape, Weights

MOST_NAMES = 8


def unused_layers(weights: Weights, names: Collection[str]) -> list[LayerWeights]:
    """The layers with blobs that no layer of a net with these layer names takes, in file order."""
    return [layer for layer in weights.layers if layer.blobs and layer.name not in names]


def unused_warnings(weights: Weights | None, names: Iterable[str]) -> list[str]:
    """What the user should know of blobs in the file that a net with these layer names leaves there."""
    if weights is None:
        return []
    names = frozenset(names)
    unused = unused_layers(weights, names)
    scales = list(_lost_scales(weights, names))
    said = []
    if scales:
        norms, lost = (list(dict.fromkeys(column)) for column in zip(*scales, strict=True))
        said.append(
            f"{weights.path}: holds {plural(len(lost), 'Scale layer')} right behind a BatchNorm of the net that the "
            f"net does not have: {named(lost, MOST_NAMES)} (behind {named(norms, 1)}); without its factor and bias "
            "the numbers are most likely wrong"
        )
        named_above = frozenset(lost)
        unused = [layer for layer in unused if layer.name not in named_above]
    if unused:
        others = list(dict.fromkeys(layer.name for layer in unused))
        said.append(
            f"{weights.path}: holds blobs of {plural(len(others), 'layer')} that the net does not have: "
            f"{named(others, MOST_NAMES)}"
        )
    said += _twice(weights, names)
    return said


def _lost_scales(weights: Weights, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each BatchNorm of the net, and the Scale behind it in the file that the net lacks.

    Behind is what reads its top; where the file tells no bottoms, the next layer with blobs.
    """
    maker: dict[str, LayerWeights] = {}
    before: LayerWeights | None = None
    for layer in weights.layers:
        read = maker.get(layer.bottoms[0]) if layer.bottoms else before
        lost = layer.type == "Scale" and layer.blobs and layer.name not in names
        if lost and read is not None and read.type == "BatchNorm" and read.name in names:
            yield read.name, layer.name
        copied = read if layer.type == "Split" and read is not None else layer
        maker.update(dict.fromkeys(layer.tops, copied))
        before = layer if layer.blobs else before


def _twice(weights: Weights, names: Collection[str]) -> list[str]:
    count: dict[str, int] = {}
    for layer in weights.layers:
        if layer.blobs and layer.name in names:
            count[layer.name] = count.get(layer.name, 0) + 1
    twice = [name for name, times in count.items() if times > 1]
    if not twice:
        return []
    return [f"{weights.path}: holds blobs more than once for {named(twice, MOST_NAMES)}; as in Caffe the last count"]


def fitting(weights: Weights, names: Collection[str], shapes: Sequence[Shape]) -> str:
    """For an error about a layer without weights: which unused layers of the file have blobs of its shapes, if any."""
    found = [
        layer.name
        for layer in unused_layers(weights, names)
        if len(layer.blobs) == len(shapes)
        and all(blob.stored and blob.fits(shape) for blob, shape in zip(layer.blobs, shapes, strict=True))
    ]
    if not found:
        return ""
    which = f"unused {'layer' if len(found) == 1 else 'layers'} {named(found, 3)}"
    return f"the file's {which} {'has' if len(found) == 1 else 'have'} blobs of these shapes"
