"""Which top each bottom reads, by Caffe's rules for blobs of one name.

A bottom reads the top that wrote its name last before its layer. Caffe first puts a Split behind every top that has
more than one reader (a loss weight counts as one), which gives each reader a name of its own; only then does a layer
whose top bears the name of the bottom in the same place work in place. So an in-place layer on a blob that anything
else reads is no longer in place, and its top is "produced by multiple sources", whichever of the two stands first. Once
the in-place layer is the only reader of its bottom, later layers read what it left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from prototxt import Net, NetLayer
from prototxt.errors import CaffeModelError, NetError, RequestError, raise_all


@dataclass(frozen=True)
class Wired:
    """A layer, and where its bottoms and tops stand in the list of all tops of the net.

    Attributes:
        layer: the layer.
        index: its place in the net.
        reads: for each bottom, the index of the top that it reads.
        makes: the index of its first top; the others follow.
    """

    layer: NetLayer
    index: int
    reads: tuple[int, ...]
    makes: int


def wire(net: Net) -> list[Wired]:
    """Connect the layers of `net`.

    Raises:
        NetError: a bottom that no earlier layer makes, or a blob with several sources (ErrorGroup for more than one).
    """
    wired, errors = _connect(net)
    raise_all(errors or _sources(wired))
    return wired


def _connect(net: Net) -> tuple[list[Wired], list[CaffeModelError]]:
    last: dict[str, int] = {}
    wired: list[Wired] = []
    errors: list[CaffeModelError] = []
    count = 0
    for place, layer in enumerate(net.layers):
        unknown = [name for name in layer.bottoms if name not in last]
        errors += [_unknown_bottom(layer, name, last) for name in unknown]
        wired.append(Wired(layer, place, tuple(last.get(name, -1) for name in layer.bottoms), count))
        for name in layer.tops:
            last[name] = count
            count += 1
    return wired, errors


def _unknown_bottom(layer: NetLayer, name: str, known: Collection[str]) -> NetError:
    near = get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return _fault(layer, f"no earlier layer makes bottom {name!r}{hint}")


def _sources(wired: Sequence[Wired]) -> list[CaffeModelError]:
    """A fault for each top whose blob exists already and that is not written in place."""
    readers = Counter(index for item in wired for index in item.reads)
    for item in wired:
        weights = item.layer.param.loss_weight[: len(item.layer.tops)]
        readers.update(item.makes + place for place, weight in enumerate(weights) if weight)
    made_by: dict[str, NetLayer] = {}
    errors: list[CaffeModelError] = []
    for item in wired:
        bottoms = item.layer.bottoms
        for place, name in enumerate(item.layer.tops):
            in_place = place < len(bottoms) and bottoms[place] == name
            if name in made_by and not (in_place and readers[item.reads[place]] == 1):
                why = _why(made_by[name], in_place)
                errors.append(_fault(item.layer, f"top {name!r} is produced by multiple sources: {why}"))
            made_by[name] = item.layer
    return errors


def _why(maker: NetLayer, in_place: bool) -> str:
    if in_place:
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
            near = get_close_matches(name, last, 1)
            raise RequestError(f"no layer makes blob {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    wanted = {last[name] for name in blobs}
    kept: list[Wired] = []
    for item in reversed(wired):
        if wanted.intersection(range(item.makes, item.makes + len(item.layer.tops))):
            wanted.update(item.reads)
            kept.append(item)
    return kept[::-1]
