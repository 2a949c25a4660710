"""Which values lie in one piece of Caffe's memory.

Some layers give a top the memory of a bottom (Flatten, Reshape, Split …: `Layer.memory`). A layer in place on such a
top then writes over the bottom too, and over every other top that lies there: who reads one of them later sees what it
left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from converter.dims import count
from converter.node import Node, Value


@dataclass(eq=False, repr=False)
class _Place:
    """A piece of memory: the value that was written last, and all that were laid there, from the first on."""

    written: Value
    values: list[Value]


@dataclass(eq=False, repr=False)
class Memory:
    """Where each value lies, and which of them still hold what they held when they were made."""

    _places: dict[int, _Place] = field(default_factory=dict)
    _holds: dict[int, Value] = field(default_factory=dict)  # value -> whose numbers it has

    def lay(self, value: Value, before: Value | None, where: int) -> None:
        """Find a top its memory: a bottom's, another top's, that of the blob it is written over, or its own.

        Args:
            value: the top.
            before: what its blob held until now.
            where: the place among its layer's bottoms and tops that `Layer.memory` names.
        """
        size, shared = int(count(value.shape)), _bottom_or_top(value.producer, where)
        if shared is not None and int(count(shared.shape)) == size:
            self.share(value, shared)
        elif before is not None and int(count(before.shape)) == size:
            self.write(value, before)
        else:
            self.make(value)

    def make(self, value: Value) -> None:
        """Give a value memory of its own."""
        self._places[id(value)] = _Place(value, [value])
        self._holds[id(value)] = value

    def share(self, value: Value, other: Value) -> None:
        """Lay a value where another lies, with the numbers that are there now."""
        place = self._places[id(value)] = self._places[id(other)]
        place.values.append(value)
        self._holds[id(value)] = place.written

    def write(self, value: Value, over: Value) -> None:
        """Lay a value where another lies, with numbers of its own: of all others there, those are now the numbers."""
        place = self._places[id(value)] = self._places[id(over)]
        place.values.append(value)
        self._holds[id(value)] = place.written = value

    def overwritten_by(self, value: Value) -> Value | None:
        """The value whose numbers lie where this one was; None while it has its own."""
        written = self._places[id(value)].written
        return None if self._holds[id(value)] is written else written

    def first(self, value: Value) -> Value:
        """What was put first where a value lies."""
        return self._places[id(value)].values[0]

    def together(self, value: Value) -> Sequence[Value]:
        """All that were laid where a value lies."""
        return self._places[id(value)].values


def _bottom_or_top(node: Node | None, place: int) -> Value | None:
    """A bottom of a node, or behind them a top that it has by now."""
    if node is None:
        return None
    behind = place - len(node.inputs)
    if behind < 0:
        return node.inputs[place]
    return node.outputs[behind] if behind < len(node.outputs) else None
