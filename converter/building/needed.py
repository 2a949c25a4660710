"""What outputs depend on: layers by the names of blobs, before anything is built, and nodes by their values."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from converter.building.in_place import is_in_place
from converter.layers.base import registry
from converter.node import Layer, Node, Value
from prototxt import NetLayer


def wanted_layers(layers: Sequence[NetLayer], outputs: Collection[str]) -> set[int]:
    """Places of the layers that these blobs, or copies of blobs, depend on, by the names of blobs alone.

    A layer in place on memory that a blob shares is one of them, where that is read later or is an output of the net;
    so is one that writes over its bottoms.
    """
    last: dict[str, int] = {}
    sources: list[list[int]] = []
    memory: dict[str, tuple[int, int]] = {}  # blob -> the layer and the place of the top that its memory was made for
    written: dict[tuple[int, int], int] = {}
    read: set[tuple[str, int]] = set()
    known = registry()
    for index, layer in enumerate(layers):
        made = [bottom for bottom in layer.bottoms if bottom in last]
        sources.append([last[b] for b in made] + [written[memory[b]] for b in made if memory[b] in written])
        read.update((bottom, last[bottom]) for bottom in made)
        cls = known.get(layer.kind, Layer)
        if cls.writes_bottoms:
            written.update((memory[bottom], index) for bottom in made)
        places = cls.memory(layer)
        for place, top in enumerate(layer.tops):
            shared = [*layer.bottoms, *layer.tops][places[place]]
            if shared != top and shared in memory:
                memory[top] = memory[shared]
            elif is_in_place(layer, place) and top in memory:
                written[memory[top]] = index
            else:
                memory[top] = (index, place)
        last.update(dict.fromkeys(layer.tops, index))
    ends = [name for name in outputs if name in last and (name, last[name]) not in read]
    copied = [name for name in outputs if name not in last and "_split_" in name]
    starts = ((f"{top}_{layer.name}_", index) for index, layer in enumerate(layers) for top in layer.tops)
    stack = [last[name] for name in outputs if name in last]
    stack += [written[memory[name]] for name in ends if memory[name] in written]
    stack += [index for start, index in starts if any(name.startswith(start) for name in copied)]
    found: set[int] = set()
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            stack += sources[index]
    return found


def needed(nodes: Sequence[Node], outputs: Sequence[Value]) -> list[Node]:
    """The nodes that the outputs depend on, in order."""
    wanted = {id(v) for v in outputs}
    kept = []
    for node in reversed(nodes):
        if any(id(v) in wanted for v in node.outputs):
            kept.append(node)
            wanted.update(id(v) for v in node.inputs)
    return kept[::-1]
