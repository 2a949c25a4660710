"""Where Caffe's backward pass is not the derivative of the forward pass, told by where values and gradients lie.

A layer's backward reads its bottom and top where they lie, once the whole forward pass is over; a layer in place behind
it has written there by then (`left_in_memory`). And each blob has its gradient in a second memory, which layers share
too, but not the same ones:

    Reshape, Concat and Slice of one, Parameter, LSTM and RNN     give the top's to the bottom, before the forward pass
    Flatten, a Permute that moves nothing                         take the top's for the bottom, in the backward pass

Where the second kind reads what the first has made, the bottom of the first never hears of the gradient
(`without_gradient`). A Split in between, which Caffe adds where several layers read a blob, copies it on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from converter.building.in_place import is_in_place
from converter.building.memory import Memory
from converter.node import Node, Value


def left_in_memory(values: Iterable[Value], memory: Memory) -> dict[int, Value]:
    """By `id` of a value, what its memory holds after the last layer, where that is another.

    What lies between two layers that Caffe runs as one is nobody's top, and has no memory here.
    """
    written = ((value, memory.overwritten_by(value)) for value in values if value.tops)
    return {id(value): last for value, last in written if last is not None}


def without_gradient(nodes: Sequence[Node], reads: Mapping[int, Sequence[Value]]) -> set[int]:
    """`id` of the nodes that pass no gradient on to what made their first bottom.

    Args:
        nodes: of the whole net.
        reads: by `id` of a node, the top that each of its bottoms names.
    """
    readers = Counter(id(value) for named in reads.values() for value in named)
    found: set[int] = set()
    for taker in filter(_takes_tops, nodes):
        bottom = reads[id(taker)][0]
        if readers[id(bottom)] == 1 and not _has_weight(bottom):
            chain = [taker, *_makers(bottom, reads)]
            found.update(id(above) for above, below in pairwise(chain) if _gives_its_own(below))
    return found


def _takes_tops(node: Node) -> bool:
    """Whether the bottom's gradient comes to lie where the top's does."""
    return node.layer.gradient_memory == "taken" and _is_view(node)


def _gives_its_own(node: Node) -> bool:
    """Whether the gradient of a layer's first top lay where that of its bottom, or of its own insides, does."""
    kind = node.layer.gradient_memory
    return kind == "inside" or (kind == "joined" and _is_view(node))


def _is_view(node: Node) -> bool:
    """Whether the first top of a layer of the net lies in its first bottom's memory."""
    source = node.origins[0].source if node.origins else None
    return source is not None and node.layer.memory(source)[0] == 0


def _makers(value: Value, reads: Mapping[int, Sequence[Value]]) -> Iterator[Node]:
    """The layers that wrote a blob, the last first: in place, but for the one that made it, as its first top."""
    node = value.producer
    while node is not None and node.outputs[0] is value:
        yield node
        source, place = node.origins[0].source, 0
        if not is_in_place(source, place):
            return
        value = reads.get(id(node), node.inputs)[place]
        node = value.producer


def _has_weight(value: Value) -> bool:
    """Whether a loss weight reads the value too."""
    if value.producer is None or value.producer.origins[0].source is None:
        return False
    weights = value.producer.origins[0].source.param.loss_weight
    return any(weights[value.producer.outputs.index(value) :][:1])
