"""Which top each bottom reads, by Caffe's rules for blobs of one name.

A bottom reads the top that wrote its name last before its layer. Caffe first puts a Split behind every top that has
more than one reader (a loss weight counts as one), which gives each reader a name of its own; only then does a layer
whose top bears the name of the bottom in the same place work in place. So an in-place layer on a blob that anything
else reads is no longer in place, and its top is "produced by multiple sources", whichever of the two stands first. Once
the in-place layer is the only reader of its bottom, later layers read what it left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from prototxt import Net, NetLayer
from prototxt.errors import MOST_SHOWN, CaffeModelError, NetError, RequestError, raise_all
from prototxt.words import nearest
from verify.interpreter.memory import in_place
from verify.layers import find


@dataclass(frozen=True)
class Wired:
    """A layer, and where its bottoms and tops stand in the list of all tops of the net.

    Attributes:
        layer: the layer.
        index: its place in the net.
        reads: for each bottom, the index of the top that it reads.
        makes: the index of its first top; the others follow.
        shared: which of its tops may lie in memory that is there already; see `Rule.shared`.
        learned: the name of a Parameter layer's blob, which its top is; "" where it has none.
        writers: the indices of the tops, of layers in place, that were last written to the memory of each bottom, and
            to learned blobs that it shares with a Parameter layer; of a layer that wrote over its bottoms its first.
        ends: those of its tops that are outputs of the net, and the top that is written to their memory last.
    """

    layer: NetLayer
    index: int
    reads: tuple[int, ...]
    makes: int
    shared: Mapping[int, int] = field(default_factory=dict)
    learned: str = ""
    writers: tuple[int, ...] = ()
    ends: Mapping[int, int] = field(default_factory=dict)


def wire(net: Net, blobs: Collection[str] | None = None) -> list[Wired]:
    """Connect the layers of `net`: those that the last version of each of `blobs` depends on, or all.

    What is wrong with layers that nobody needs stops nothing.

    Raises:
        NetError: a bottom that no earlier layer makes, or a blob with several sources (ErrorGroup for more than one).
        RequestError: a name in `blobs` that no layer makes.
    """
    wired, unknown = _connect(net)
    wired = _with_memory(wired)
    order = wired if blobs is None else needed(wired, blobs)
    places = {item.index for item in order}
    for faults in (unknown, _sources(wired)):
        raise_all([error for index, error in faults if index in places])
    return order


def _with_memory(wired: Sequence[Wired]) -> list[Wired]:
    """Find which tops share memory, and which layer in place wrote there last before each that reads it."""
    first: dict[int, int] = {}  # top -> the top that its memory was made for
    written: dict[int, int] = {}  # such a top -> the top that was written there last
    named: dict[str, int] = {}  # learned blob -> the first top that it is
    found: list[Wired] = []
    for item in wired:
        rule = find(item.layer.kind)
        shared = rule.shared(item.layer) if rule else {}
        specs = [spec.name for spec in item.layer.param.param if spec.name]
        learned = specs[0] if specs and rule is not None and rule.gives_blob else ""
        known = [named[name] for name in specs if name in named]
        writers = tuple(written[first[index]] for index in (*item.reads, *known) if first.get(index) in written)
        if rule is not None and rule.leaves is not None:
            written.update((first[index], item.makes) for index in item.reads if index in first)
        beside = [*item.reads, *range(item.makes, item.makes + len(item.layer.tops))]
        for place, index in enumerate(beside[len(item.reads) :]):
            where = shared.get(place, place if in_place(item.layer, place) else None)
            first[index] = index if where is None else first.get(beside[where], index)
            if learned and named.setdefault(learned, index) != index:
                first[index] = first[named[learned]]
            elif place not in shared:
                written[first[index]] = index
        found.append(replace(item, shared=shared, learned=learned, writers=writers))
    ends = _ends(found)
    over = {index: written[first[index]] for index in ends if written[first[index]] != index}
    return [_with_ends(item, over) if over.keys() & _tops(item) else item for item in found]


def _with_ends(item: Wired, over: Mapping[int, int]) -> Wired:
    return replace(item, ends={index: over[index] for index in over.keys() & _tops(item)})


def _ends(wired: Iterable[Wired]) -> set[int]:
    """The last tops of their names, of those that no layer reads."""
    wired = list(wired)
    last = {name: item.makes + place for item in wired for place, name in enumerate(item.layer.tops)}
    return set(last.values()).difference(index for item in wired for index in item.reads)


def _tops(item: Wired) -> set[int]:
    return set(range(item.makes, item.makes + len(item.layer.tops)))


Faults: TypeAlias = "list[tuple[int, CaffeModelError]]"
"""What is wrong with layers, by their places in the net."""


def _connect(net: Net) -> tuple[list[Wired], Faults]:
    last: dict[str, int] = {}
    wired: list[Wired] = []
    errors: Faults = []
    count = 0
    for place, layer in enumerate(net.layers):
        unknown = [name for name in layer.bottoms if name not in last]
        errors += [(place, _unknown_bottom(layer, name, last if len(errors) < MOST_SHOWN else ())) for name in unknown]
        wired.append(Wired(layer, place, tuple(last.get(name, -1) for name in layer.bottoms), count))
        for name in layer.tops:
            last[name] = count
            count += 1
    return wired, errors


def _unknown_bottom(layer: NetLayer, name: str, known: Collection[str]) -> NetError:
    near = nearest(name, known)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return _fault(layer, f"no earlier layer makes bottom {name!r}{hint}")


def _sources(wired: Sequence[Wired]) -> Faults:
    """A fault for each top whose blob exists already and that is not written in place."""
    readers = Counter(index for item in wired for index in item.reads)
    for item in wired:
        weights = item.layer.param.loss_weight[: len(item.layer.tops)]
        readers.update(item.makes + place for place, weight in enumerate(weights) if weight)
    made_by: dict[str, NetLayer] = {}
    errors: Faults = []
    for item in wired:
        for place, name in enumerate(item.layer.tops):
            over = in_place(item.layer, place)
            if name in made_by and not (over and readers[item.reads[place]] == 1):
                why = _why(made_by[name], over)
                fault = _fault(item.layer, f"top {name!r} is produced by multiple sources: {why}")
                errors.append((item.index, fault))
            made_by[name] = item.layer
    return errors


def _why(maker: NetLayer, over: bool) -> str:
    if over:
        return "it works in place on a blob that another layer reads too"
    return f"layer {maker.name!r} ({maker.position}) makes it already"


def _fault(layer: NetLayer, message: str) -> NetError:
    return NetError(message, position=layer.position, layer=layer.name, layer_type=layer.type)


def needed(wired: Sequence[Wired], blobs: Collection[str]) -> list[Wired]:
    """The layers that the last version of each of `blobs` depends on, in net order.

    Raises:
        RequestError: a name that no layer makes.
    """
    last = {name: item.makes + place for item in wired for place, name in enumerate(item.layer.tops)}
    for name in blobs:
        if name not in last:
            near = nearest(name, last)
            raise RequestError(f"no layer makes blob {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    ends = {index: writer for item in wired for index, writer in item.ends.items()}
    wanted = {last[name] for name in blobs}
    wanted.update([ends[index] for index in wanted if index in ends])
    kept: list[Wired] = []
    for item in reversed(wired):
        if wanted & _tops(item):
            wanted.update(item.reads, item.writers)
            kept.append(item)
    return kept[::-1]
