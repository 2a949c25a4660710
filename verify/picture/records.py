"""A net as a picture needs it: layers in order, what each reads, and how it is to look.

Nothing here knows what a layer computes. Whoever draws a net fills these from what it knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

DrawnTop: TypeAlias = tuple[int, int]
"""One top of one layer: the layer's place among the layers, and the top's among its tops."""


@dataclass(frozen=True)
class DrawnLayer:
    """One layer of a picture.

    Attributes:
        name, type: which.
        reads: what each bottom is; only of layers before it.
        tops: name and shape, in words, of each blob that it writes.
        family: one of `FAMILIES`.
        hint: what tells it from others of its type, in a few characters: a window, a stride, a number of channels.
        line: in the prototxt; 0 for none.
        rides: whether it may share the box of the layer that it reads, where nobody else reads that.
        facts: what else the page says of it.
    """

    name: str
    type: str
    reads: tuple[DrawnTop, ...]
    tops: tuple[tuple[str, str], ...]
    family: str
    hint: str = ""
    line: int = 0
    rides: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DrawnNet:
    """What is drawn.

    Attributes:
        name: of the net.
        layers: in the order in which they run.
        outputs: the tops that the net gives.
    """

    name: str
    layers: Sequence[DrawnLayer]
    outputs: Sequence[DrawnTop] = ()


FAMILIES: Final[Mapping[str, str]] = {
    "input": "data data_forks python_tensors",
    "convolution": "convolution volumes deformable dense_block im2col",
    "dense": "inner_product",
    "recurrent": "recurrent recurrent_forks",
    "normalization": "normalization batch_norm batch_norm_forks item_norms normalize",
    "activation": "activation activation_forks powers reduction",
    "pooling": "pooling volume_pooling pyramid pyramid_pooling unpooling",
    "join": "arithmetic broadcast",
    "shape": "shaping reshape rearrange reorg cropping padding selection space_depth resize resize_inisis "
    "resize_synopsys",
    "detection": "detection face_attention text_decoding",
    "loss": "loss loss_forks margins measures",
    "other": "",
}
"""The colours of a picture, and the families of layers (`prototxt.families`) that have each."""

_COLOURS = {family: colour for colour, families in FAMILIES.items() for family in families.split()}


def colour_of(family: str, bottoms: int) -> str:
    """The colour of a layer: what joins several blobs looks like it, and what scales one like a normalisation."""
    colour = _COLOURS.get(family.partition(".")[0], "other")
    if colour == "shape" and bottoms > 1:
        return "join"
    return "normalization" if colour == "join" and bottoms < 2 else colour
