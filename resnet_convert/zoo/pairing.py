"""Which prototxt goes with which weight file: by name, and by the fit of the blobs.

Two files are a pair when each is the other's best: among those whose blobs fit, first by name, then by the share of the
stored layers that the net has. Pairs are taken out and the rest is looked at again, so that what is left over goes with
what is left over. What then has several equals is ambiguous, and nobody guesses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prototxt.words import listed
from resnet_convert.zoo.fitting import Fit, Fitting
from resnet_convert.zoo.roles import stem_of

USUAL = frozenset(
    "deploy net model models weights weight train val test trainval solver iter final release pretrained".split()
)
"""Words that say nothing of which net a file is of."""
MAIN = "deploy"


@dataclass(frozen=True)
class Pair:
    """Two files that go together; a weight file alone brings its own net.

    Attributes:
        why: how that was found, in words.
    """

    net: Path
    weights: Path | None
    why: str


@dataclass(frozen=True)
class Unclear:
    """Files among which several choices are as good."""

    nets: tuple[Path, ...]
    weights: tuple[Path, ...]


@dataclass
class Pairing:
    """What became of some nets and weight files.

    Attributes:
        pairs, unclear: what was found.
        nets, weights: what goes with nothing that is free.
    """

    pairs: list[Pair] = field(default_factory=list)
    unclear: list[Unclear] = field(default_factory=list)
    nets: list[Path] = field(default_factory=list)
    weights: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class _Edge:
    net: Path
    weights: Path
    by_name: int
    fit: Fit

    def __iter__(self) -> Iterator[Path]:
        yield from (self.net, self.weights)

    @property
    def rank(self) -> tuple[int, float]:
        return self.by_name, round(self.fit.share, 3)


def pair_up(nets: Sequence[Path], weights: Sequence[Path], fitting: Fitting, *, named: bool = False) -> Pairing:
    """Pair what goes together.

    Args:
        nets, weights: the files.
        fitting: compares them.
        named: only what has a name of its own, and the same, counts.
    """
    found = Pairing(nets=list(nets), weights=list(weights))
    edges = list(_edges(nets, weights, fitting, named=True))
    _take(found, edges)
    if not named:  # which many files need not be compared for, once those of one name are paired
        edges = list(_edges(found.nets, found.weights, fitting, named=False))
    found.unclear = list(_components(_take(found, edges)))
    unclear = {path for each in found.unclear for path in (*each.nets, *each.weights)}
    found.nets = [net for net in found.nets if net not in unclear]
    found.weights = [each for each in found.weights if each not in unclear]
    return found


def _take(found: Pairing, edges: Sequence[_Edge]) -> list[_Edge]:
    """Take out the pairs, one round of the best after another; what is left of the edges."""
    rivals = Counter(path for edge in edges for path in edge)
    edges = [edge for edge in edges if edge.net in found.nets and edge.weights in found.weights]
    while best := _mutual(edges):
        found.pairs += [Pair(edge.net, edge.weights, _why(edge, rivals)) for edge in best]
        taken = {path for edge in best for path in edge}
        found.nets = [net for net in found.nets if net not in taken]
        found.weights = [each for each in found.weights if each not in taken]
        edges = [edge for edge in edges if taken.isdisjoint(edge)]
    return edges


def _edges(nets: Sequence[Path], weights: Sequence[Path], fitting: Fitting, *, named: bool) -> Iterator[_Edge]:
    for net in nets:
        for stored in weights:
            by_name = likeness(net, stored)
            if named and not (by_name >= SAME_WORDS and words_of(stem_of(net))):
                continue
            if fit := fitting.fit(net, stored):
                yield _Edge(net, stored, by_name, fit)


def _mutual(edges: Sequence[_Edge]) -> list[_Edge]:
    """Those that are the one best of both their ends."""
    best: dict[Path, list[_Edge]] = {}
    for edge in edges:
        for path in edge:
            held = best.setdefault(path, [])
            if held and held[0].rank < edge.rank:
                held.clear()
            if not held or held[0].rank == edge.rank:
                held.append(edge)
    return [edge for edge in edges if all(best[path] == [edge] for path in edge)]


def _components(edges: Sequence[_Edge]) -> Iterator[Unclear]:
    rest = list(edges)
    while rest:
        nets, stored = {rest[0].net}, {rest[0].weights}
        while grown := [each for each in rest if (each.net in nets) != (each.weights in stored)]:
            nets |= {each.net for each in grown}
            stored |= {each.weights for each in grown}
        yield Unclear(tuple(sorted(nets)), tuple(sorted(stored)))
        rest = [each for each in rest if each.net not in nets]


SAME_STEM, SAME_WORDS, IS_MAIN, HAS_MAIN, UNLIKE = 4, 3, 2, 1, 0


def likeness(net: Path, weights: Path) -> int:
    """How much the names say that two files go together."""
    one, other = stem_of(net).casefold(), stem_of(weights).casefold()
    if one == other:
        return SAME_STEM
    words = words_of(one)
    if words and words == words_of(other):
        return SAME_WORDS
    return IS_MAIN if one == MAIN else HAS_MAIN if MAIN in one else UNLIKE


def words_of(stem: str) -> tuple[str, ...]:
    """What a name says of the net: `ResNet-50-deploy` and `ResNet-50-model_iter_100` are both of ResNet 50."""
    stem = re.sub(r"_iter_\d+$", "", stem.casefold())
    return tuple(word for word in re.split(r"[\W_]+", stem) if word and word not in USUAL)


def _why(edge: _Edge, rivals: Counter[Path]) -> str:
    fit = "its blobs fit" if edge.fit.proven else "its layers have the net's names"
    if edge.by_name >= SAME_WORDS:
        return f"of the same name, and {fit}"
    if all(rivals[path] == 1 for path in edge):
        return f"{fit}, and no other's do"
    return f"{fit}; others do as well, but {_preferred(edge)}"


def _preferred(edge: _Edge) -> str:
    return f"{edge.net.name} is what a net to deploy is called" if edge.by_name else "not so well, or have their own"


def names_of(paths: Sequence[Path], folder: Path) -> str:
    """Files as a sentence has them, from a folder."""
    return listed([path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path) for path in paths])
