"""After-training statistics: the mean and variance of each normalisation layer's input over a set of images, exactly.

While a net trains, its layers keep moving averages, in which the last batches count most and which belong to weights
that have changed since. MSRA computed the statistics of their ResNets anew after training, as plain averages over a
large batch: what each layer would compute in a forward pass in phase TRAIN, had all images been one batch. In such a
pass a layer normalises by its own input's statistics before the next layer sees it, so the layers depend on each other,
and a net of L levels (`in_levels`; a ResNet-50 has 49) takes L passes over the images. A pass runs only as far as its
level, so that all of them together cost about L / 2 forward passes over all images; they read and decode the images L
times. `cache_bytes` buys that back with memory: a batch whose blobs fit is not run from the image again, and with all
batches kept the cost is that of one forward pass, and of reading the images once.

A training pass normalises by the mean squared deviation, divided by the number of values m, and so do these. What
BatchNorm stores is m / (m - 1) times that, as in Caffe's own moving average (batch_norm_layer.cpp); NVIDIA's BatchNorm,
forks' BN and DenseBlock store it as it is.

The forward passes run in float64, from the float32 weights and statistics that are stored, so that nothing is rounded
on the way to what is measured: batches of any size give the same numbers once they are float32. `precision="float32"`
is 2 to 6 times faster on a CPU. What is measured is summed in float64 all the same (`moments.py`), but a float32
convolution rounds otherwise for another size of batch, which shows in the last digits, the more so where a channel's
mean is large beside its deviation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np

from converter.api import prepare
from converter.graph import Graph
from converter.layers.base import registry
from converter.options import Options
from converter.recalibration.measuring import Batches, Measuring, OnBatch
from converter.recalibration.moments import Moments, Wide
from converter.recalibration.stepwise import Precision, check_device, fault_of, full_float32
from converter.recalibration.stored import Site, Stored, in_levels, stored_statistics
from converter.recalibration.weights import with_statistics, write_by_name
from prototxt import Net
from prototxt.errors import Position, RequestError
from prototxt.optional import need_torch
from weights import Weights


@dataclass(frozen=True)
class Statistics:
    """What was measured at one layer.

    Attributes:
        layers: its name, and those of the layers that share its statistics (then of all their inputs together).
        mean, variance: a value a channel, float64, as they are stored; the weights hold them rounded to float32.
        deviation: what the layer divides by now, which holds eps.
        old_mean, old_deviation: the same of what was stored.
        values: how many values each channel had.
        constant: how many channels had one value only, so that their variance is 0.
    """

    layers: tuple[str, ...]
    mean: Wide = field(repr=False)
    variance: Wide = field(repr=False)
    deviation: Wide = field(repr=False)
    old_mean: Wide = field(repr=False)
    old_deviation: Wide = field(repr=False)
    values: int
    constant: int


@dataclass(frozen=True)
class Recalibrated:
    """New statistics, and weights that have them.

    Attributes:
        statistics: by layer, in the order of the net; a layer that normalises in several places (DenseBlock) has one
            for each, named `layer/norms.0`. Layers that share statistics stand under each of their names.
        weights: as given but for these layers' blobs; reads the others from the file given, which must still be open.
        images: how many there were.
        passes: how often they were gone through.
        notes: what the user should know, in words: channels without variance, layers left as they were.
    """

    statistics: Mapping[str, Statistics]
    weights: Weights
    images: int
    passes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shift:
    """How far a layer's statistics moved, each in the channel where that was most.

    Attributes:
        layer: its name.
        mean: the distance of new and old mean, in units of the old deviation.
        variance: new over old variance (eps included), the one furthest from 1.
    """

    layer: str
    mean: float
    variance: float


def shift(recalibrated: Recalibrated) -> list[Shift]:
    """The largest changes of each layer, in the order of the net; inf or nan where the old deviation was 0."""
    found = []
    for layer, new in recalibrated.statistics.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.abs(new.mean - new.old_mean) / new.old_deviation
            ratio = (new.deviation / new.old_deviation) ** 2
            furthest = int(np.argmax(np.abs(np.log(ratio))))
        found.append(Shift(layer, float(moved.max()), float(ratio[furthest])))
    return found


def write_weights(recalibrated: Recalibrated, path: str | os.PathLike[str]) -> Path:
    """Write the weights for Caffe, `.caffemodel` or `.caffemodel.h5` by the name; every other blob as it was.

    Raises:
        RequestError: another name, a place that cannot be written, or a `.caffemodel` of what an HDF5 file leaves out.
        WeightsError: a blob cannot be read.
        MissingDependencyError: h5py is not installed.
    """
    return write_by_name(recalibrated.weights, path)


def recalibrate(
    net: Net,
    weights: Weights | None,
    batches: Batches,
    *,
    options: Options | None = None,
    device: str = "cpu",
    precision: Precision = "float64",
    progress: OnBatch | None = None,
    cache_bytes: int = 0,
) -> Recalibrated:
    """Compute every normalisation layer's stored mean and variance anew, over all images.

    Args:
        net: as loaded, in the phase in which it is to run (TEST).
        weights: its weights; None with random ones.
        batches: gives the images anew for each pass, the same ones in the same batches.
        options: as for a conversion; `fold` does not count. With preprocessing it is part of the net, so that images
            come as they are decoded. A layer before a normalisation has to treat images one by one.
        device: of PyTorch, such as `cuda`.
        precision: of the forward passes; `float32` is faster, and the size of a batch then shows in the last digits.
        progress: is told how far it is.
        cache_bytes: memory for blobs that are kept from one pass to the next.

    Raises:
        RequestError: the net has no such layer, or one whose statistics can't be computed; no images, images that are
            not the net's, or others from pass to pass; numbers that are none.
        CaffeModelError: as for a conversion.
        MissingDependencyError: torch is not installed.
    """
    torch = need_torch("computing statistics anew")
    if precision not in get_args(Precision):
        raise RequestError(f"precision {precision!r}; expected float32 or float64")
    check_device(device)
    ready = prepare(net, weights, replace(options or Options(), fold="none"))
    graph = ready.graph
    found = stored_statistics(graph)
    if not found:
        message = "the net has no layer with stored statistics (BatchNorm, BN): there is nothing to compute"
        raise RequestError(message, position=Position(net.path))
    levels = in_levels(graph, found)
    run = Measuring(graph, batches, device, precision, cache_bytes, progress)
    run.refuse_plugins({id(node) for stored in found for node in stored.nodes})
    measured: dict[str, Statistics] = {}
    with torch.inference_mode(), full_float32():
        for number, level in enumerate(levels):
            for stored, moments in zip(level, run.measure(levels, number), strict=True):
                measured.update(_renew(stored, moments))
                for node in stored.nodes:
                    run.steps.forget(node)
    assert ready.weights is not None  # a layer with statistics has been filled with them
    for stored in found:
        measured.update(_as_caffe_stores(stored, measured[stored.name]))
    ordered = {site.name: measured[site.name] for site in _in_order(graph, found)}
    new = with_statistics(ready.weights, net, found)
    return Recalibrated(ordered, new, run.images, len(levels), (*_notes(found, measured), *_left(net, graph)))


def _renew(stored: Stored, moments: Moments) -> dict[str, Statistics]:
    """Put what was measured in place of what is stored, and say what changed."""
    mean, variance = moments.mean, moments.variance
    old_mean, old_deviation = stored.mean(), stored.deviation()
    site = stored.sites[0]
    if variance.max() > np.finfo(np.float32).max:
        raise fault_of(site.node, f"its input's variance is {variance.max():.2g}, more than float32 holds")
    if any(s.kept.eps == s.kept.behind == 0 for s in stored.sites) and not variance.astype(np.float32).all():
        channel = int(np.argmin(variance))
        raise fault_of(site.node, f"channel {channel} of its input never varies, and eps is 0: it would divide by 0")
    stored.put(mean, variance)
    names = tuple(site.name for site in stored.sites)
    new = Statistics(
        names,
        mean,
        variance,
        stored.deviation(),
        old_mean,
        old_deviation,
        moments.values,
        int(np.count_nonzero(moments.constant)),
    )
    return dict.fromkeys(names, new)


def _as_caffe_stores(stored: Stored, new: Statistics) -> dict[str, Statistics]:
    """Put the variance in place as the layer's own training does, which no pass may be run with any more."""
    variance = new.variance * stored.correction(new.values)
    if variance.max() > np.finfo(np.float32).max:
        raise fault_of(stored.sites[0].node, f"its input's variance is {variance.max():.2g}, more than float32 holds")
    stored.put(new.mean, variance)
    return dict.fromkeys(new.layers, replace(new, variance=variance, deviation=stored.deviation()))


def _in_order(graph: Graph, found: Sequence[Stored]) -> list[Site]:
    place = {id(node): index for index, node in enumerate(graph.nodes)}
    return sorted((site for stored in found for site in stored.sites), key=lambda site: place[id(site.node)])


def _notes(found: Sequence[Stored], measured: Mapping[str, Statistics]) -> list[str]:
    notes = []
    for stored in found:
        new, channels = measured[stored.name], len(measured[stored.name].mean)
        if new.constant:
            why = "there is one value a channel" if new.values == 1 else "the same value in all images"
            notes.append(f"layer {stored.name!r}: {new.constant} of {channels} channels have variance 0 ({why})")
        if len(new.layers) > 1:
            notes.append(f"layers {', '.join(map(repr, new.layers))} share their statistics: of all their inputs")
    return notes


def _left(net: Net, graph: Graph) -> list[str]:
    """Layers that the outputs do not need, so that nothing was computed for them."""
    ran = {origin.name for node in graph.nodes for origin in node.origins}
    kinds = {kind for kind, layer in registry().items() if layer.keeps_statistics}
    left = [layer.name for layer in net.layers if layer.kind in kinds and layer.name not in ran]
    return [f"layer {name!r} keeps its statistics: the net's outputs do not need it" for name in left]
