"""Layers in place: which they are, where Caffe refuses them, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from converter.building.memory import Memory
from converter.node import WRITES_FIRST, Layer, Node, Value
from prototxt import NetLayer
from prototxt.errors import NetError

CHANGES = "works in place on a learned blob, which Caffe changes anew in each pass; here each pass is the first"


def is_in_place(source: NetLayer | None, place: int) -> bool:
    """Whether a layer writes its top over the bottom in the same place, as Caffe tells it by their names."""
    if source is None or place >= min(len(source.bottoms), len(source.tops)):
        return False
    return bool(source.bottoms[place] == source.tops[place])


def several_sources(
    nodes: Sequence[Node], reads: Mapping[int, Sequence[Value]], among: Sequence[Node]
) -> Iterator[NetError]:
    """Where Caffe calls a blob "produced by multiple sources".

    It copies a blob that has two readers, of which a loss weight is one, before it looks for layers in place; one that
    reads such a copy would make the blob a second time.

    Args:
        nodes: of the whole net.
        reads: by `id` of a node, the top that each of its bottoms names.
        among: those of the nodes that matter.
    """
    readers: dict[int, list[Node]] = {}
    for node in nodes:
        for value in reads.get(id(node), ()):
            readers.setdefault(id(value), []).append(node)
    for node in among:
        for origin in node.origins:
            for place, value in enumerate(reads.get(id(node), ())):
                if is_in_place(origin.source, place) and (why := _other_reader(node, value, readers[id(value)])):
                    message = f"it works in place on {value.blob!r}, which {why}; Caffe refuses that"
                    error = NetError(f"{message} (produced by multiple sources)", position=origin.position)
                    error.layer, error.layer_type = origin.name, origin.type
                    yield error


def _other_reader(node: Node, value: Value, readers: Sequence[Node]) -> str:
    """What reads a value beside a node that works in place on it, in words; empty for nothing."""
    other = next((other for other in readers if other is not node), None)
    if other is not None:
        return f"layer {other.name!r} reads too"
    if len(readers) > 1:
        return "it reads twice"
    maker = value.producer.origins[0].source if value.producer else None
    weighted = maker is not None and any(maker.param.loss_weight[maker.tops.index(value.blob) :][:1])
    return "has a loss weight" if weighted else ""


def cautions(source: NetLayer, layer: Layer, bottoms: Sequence[Value], memory: Memory) -> tuple[str, ...]:
    """What is to be said of a layer, if it works in place; `bottoms` as their names say."""
    over = [value for place, value in enumerate(bottoms) if is_in_place(source, place)]
    if not over:
        return ()
    stays = layer.in_place == WRITES_FIRST and layer.memory(source)[0] == 0  # Nothing is moved, nothing written.
    makers = [memory.first(value).producer for value in over]
    learned = any(maker is not None and maker.layer.gives_blob for maker in makers)
    return (*[layer.in_place] * bool(layer.in_place and not stays), *[CHANGES] * learned)
