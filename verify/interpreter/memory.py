"""The memory that tops lie in, while a net runs.

Caffe gives the tops of some layers (Flatten, Reshape, Split …) the memory of a bottom. What a layer in place then
writes there, every other blob in that memory holds as well, in its own shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prototxt import NetLayer
from verify.layers.registry import Array


@dataclass
class Block:
    """A piece of memory.

    Attributes:
        values: what is in it.
        step: the index, among the steps of the run, of the top that was written last.
        writer: the layer that wrote it.
        writings: how many layers in place have been at work.
        holders: how many tops lie in it that something reads later, learned blobs that it is as well.
    """

    values: Array
    step: int
    writer: NetLayer
    writings: int = 0
    holders: int = 0

    def write(self, values: Array, step: int, writer: NetLayer) -> None:
        """A layer in place at work."""
        self.values, self.step, self.writer = values, step, writer
        self.writings += 1


@dataclass
class Held:
    """A top that something reads later: its memory, its values, the step that they are, and when they were in it."""

    block: Block
    top: str
    values: Array
    step: int
    seen: int

    @property
    def overwritten(self) -> bool:
        """Whether a layer in place on another blob wrote there meanwhile."""
        return self.seen != self.block.writings

    def look_again(self, values: Array, step: int) -> None:
        """Take what is there now."""
        self.values, self.step, self.seen = values, step, self.block.writings


def block_of(
    place: int, values: Array, step: int, layer: NetLayer, shared: Mapping[int, int], beside: Sequence[Block]
) -> Block:
    """The memory of a layer's top, written where the layer works in place.

    Args:
        place, values, step: the top's place among the tops, what is in it, and its index among the steps.
        layer: the layer.
        shared: as `Rule.shared` gives it.
        beside: the memory of the layer's bottoms and of its tops before this one.
    """
    if place in shared and beside[shared[place]].values.size == values.size:
        return beside[shared[place]]
    if in_place(layer, place) and beside[place].values.size == values.size:
        beside[place].write(values, step, layer)
        return beside[place]
    return Block(values, step, layer)


def in_place(layer: NetLayer, place: int) -> bool:
    """Whether a layer's top is written over the bottom in the same place: the one that bears its name."""
    return place < len(layer.bottoms) and layer.bottoms[place] == layer.tops[place]
