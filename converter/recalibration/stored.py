"""Which layers keep statistics of what they saw, in what form, who shares them, and in what order to renew them.

    layer                      stored                        form
    BatchNorm                  mean, variance, factor        both are divided by the factor
    BN of four blobs           mean, variance                as they are
    BN of four, dialect cudnn4 mean, inverse deviation       1 / sqrt(variance + eps)
    DenseBlock                 one pair a normalisation      divided by the block's factor

SegNet's BN of two blobs keeps none, and a layer told to use the statistics of the batch at hand does not read what it
keeps: both are refused, as the numbers behind them would depend on the size of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from converter.graph import Graph
from converter.node import Node
from converter.tensor import Array, constant
from converter.traits import KeptStatistics
from prototxt.errors import CaffeModelError, RequestError, raise_all

Wide = npt.NDArray[np.float64]
FACTOR = "scale_factor"


@dataclass(frozen=True)
class Site:
    """A place where stored statistics normalise: the layer, and what it keeps."""

    node: Node
    kept: KeptStatistics

    @property
    def name(self) -> str:
        """The layer's name, for one place of several with the module's behind a slash."""
        return f"{self.node.name}/{self.kept.module}" if self.kept.module else self.node.name


@dataclass(eq=False)
class Stored:
    """A mean and a spread a channel, and every place that uses them: several where `param { name }` shares them."""

    sites: list[Site] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The first place's name."""
        return self.sites[0].name

    @property
    def nodes(self) -> list[Node]:
        """The layers, each once."""
        return list({id(site.node): site.node for site in self.sites}.values())

    def mean(self) -> Wide:
        """The stored mean."""
        site = self.sites[0]
        return site.node.tensors[site.kept.mean].load().ravel().astype(np.float64)

    def deviation(self) -> Wide:
        """What the first place divides by: sqrt(variance + eps), or what else the stored spread stands for."""
        site = self.sites[0]
        spread = site.node.tensors[site.kept.spread].load().ravel().astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1 / spread if site.kept.inverse else np.sqrt(spread + site.kept.eps) + site.kept.behind

    def correction(self, values: int) -> float:
        """What a variance over so many values is stored times: m / (m - 1) in Caffe's BatchNorm, if there are several.

        NVIDIA's, forks' BN and DenseBlock store it as it is.
        """
        unbiased = all(site.kept.unbiased for site in self.sites)
        return values / (values - 1) if unbiased and values > 1 else 1.0

    def put(self, mean: Wide, variance: Wide) -> None:
        """Store new statistics in every place, float32 from here on."""
        for site in self.sites:
            spread = 1 / np.sqrt(variance + site.kept.eps) if site.kept.inverse else variance
            for key, values in ((site.kept.mean, mean), (site.kept.spread, spread)):
                old = site.node.tensors[key]
                site.node.tensors[key] = constant(old.name, values.reshape(tuple(map(int, old.shape))))


def stored_statistics(graph: Graph) -> list[Stored]:
    """Every mean and spread that the graph's layers keep, in the order of the net; scale factors are divided out.

    What several layers share is one entry. The nodes' tensors are replaced: the scale factor is 1 from here on.

    Raises:
        RequestError: layers that normalise by the batch at hand, or share some of their statistics but not all.
    """
    found: dict[tuple[object, ...], Stored] = {}
    errors: list[CaffeModelError] = []
    for node in graph.nodes:
        if node.layer.batch_field is not None:
            errors.append(_of_batch(node, node.layer.batch_field))
            continue
        for kept in node.layer.statistics:
            key = (node.tensors[kept.mean].name, node.tensors[kept.spread].name, kept.inverse and kept.eps)
            found.setdefault(key, Stored()).sites.append(Site(node, kept))
    errors += _shared_in_part(graph, list(found.values()))
    raise_all(errors)
    for node in {id(n): n for stored in found.values() for n in stored.nodes}.values():
        _divide_out(node)
    return list(found.values())


def _divide_out(node: Node) -> None:
    """Make the scale factor 1. A BatchNorm that never saw a batch has 0 for it, which makes its statistics 0."""
    if FACTOR not in node.tensors:
        return
    factor = float(node.tensors[FACTOR].load().ravel()[0])
    for kept in node.layer.statistics:
        share = 1 / factor if factor else kept.factor_of_none
        for key in (kept.mean, kept.spread):
            node.tensors[key] = node.tensors[key].map(_times(share))
    node.tensors[FACTOR] = constant(node.tensors[FACTOR].name, np.ones(tuple(map(int, node.tensors[FACTOR].shape))))


def _times(share: float) -> Callable[[Array], Wide]:
    return lambda values: values.astype(np.float64) * share


def _of_batch(node: Node, path: Sequence[str]) -> RequestError:
    origin = node.origins[0]
    place = origin.position
    if not path:
        message = "its two blobs hold no statistics: it normalises by the batch at hand, at test time too"
    else:
        place = origin.source.where(*path) if origin.source is not None else place
        message = (
            f"{path[1]}: false has it normalise by the batch at hand, whatever is stored; without that line it uses "
            "what is stored, which can be computed then"
        )
    return RequestError(message, position=place, layer=origin.name, layer_type=origin.type)


def _shared_in_part(graph: Graph, found: Sequence[Stored]) -> list[CaffeModelError]:
    """Layers whose mean or spread is another's as well, but not both in the same role."""
    owner: dict[str, Stored] = {}
    mine = set()
    errors: list[CaffeModelError] = []
    for stored in found:
        for site in stored.sites:
            mine |= {(id(site.node), site.kept.mean), (id(site.node), site.kept.spread)}
        first = stored.sites[0]
        for key in (first.kept.mean, first.kept.spread):
            other = owner.setdefault(first.node.tensors[key].name, stored)
            if other is not stored:
                errors.append(_partly(first.node, other.name))
    for node in graph.nodes:
        for key, tensor in node.tensors.items():
            if (id(node), key) not in mine and tensor.name in owner:
                errors.append(_partly(owner[tensor.name].sites[0].node, node.name))
    return errors


def _partly(node: Node, other: str) -> RequestError:
    origin = node.origins[0]
    return RequestError(
        f"it shares some of its statistics with layer {other!r}, but not mean and variance alike: no numbers are right "
        "for both",
        position=origin.position,
        layer=origin.name,
        layer_type=origin.type,
    )


def in_levels(graph: Graph, found: Sequence[Stored]) -> list[list[Stored]]:
    """The statistics in the order in which they can be measured; those of one level do not depend on each other.

    A training pass normalises each layer's input by statistics of that input, and hands the result on. So a layer's
    input is right once all statistics before it are, and those that wait for nothing more make up the next level. What
    is shared waits for all of its places.

    Raises:
        RequestError: shared statistics of which one place lies behind another: they would have to be known before they
            can be measured.
    """
    before = _needs(graph, found)
    levels: list[list[Stored]] = []
    done = 0
    while len(before) > sum(map(len, levels)):
        ready = [i for i, needs in enumerate(before) if not done >> i & 1 and not needs & ~done]
        if not ready:
            raise _circle(found, before, done)
        levels.append([found[i] for i in ready])
        done |= sum(1 << i for i in ready)
    return levels


def _needs(graph: Graph, found: Sequence[Stored]) -> list[int]:
    """For each of the statistics those whose normalised values its input comes from, as bits."""
    at: dict[int, list[int]] = {}
    order = {(id(site.node), site.kept.module): i for i, stored in enumerate(found) for site in stored.sites}
    for node in graph.nodes:
        at[id(node)] = [order[id(node), kept.module] for kept in node.layer.statistics]
    needs = [0] * len(found)
    behind: dict[int, int] = {}
    for node in graph.nodes:
        passed = 0
        for value in node.inputs:
            passed |= behind.get(id(value), 0)
        for i in at[id(node)]:  # in the order in which the layer comes to them
            needs[i] |= passed
            passed |= 1 << i
        behind.update((id(value), passed) for value in node.outputs)
    return needs


def _circle(found: Sequence[Stored], needs: Sequence[int], done: int) -> RequestError:
    in_circle = [found[i] for i in range(len(found)) if not done >> i & 1 and _all_needs(needs, i) >> i & 1]
    stored = next(one for one in in_circle if len(one.sites) > 1)  # without sharing there is no circle
    origin = stored.sites[0].node.origins[0]
    others = ", ".join(repr(site.name) for site in stored.sites[1:])
    return RequestError(
        f"it shares its statistics with {others}, and the input of one such layer depends on the statistics of the "
        "input of another: no pass over the images can measure them",
        position=origin.position,
        layer=origin.name,
        layer_type=origin.type,
    )


def _all_needs(needs: Sequence[int], index: int) -> int:
    """What the statistics need, and what that needs in turn, as bits."""
    found, more = 0, needs[index]
    while more != found:
        found = more
        for i in range(len(needs)):
            if found >> i & 1:
                more |= needs[i]
    return found
