"""Caffe's nets, run layer by layer in numpy: the reference that every converted model is compared with.

    trace = run(load_net("deploy.prototxt"), open_weights("model.caffemodel"), {"data": image})
    trace.blobs["prob"]                      the final value of a blob
    trace.tops["bn_conv1", "conv1"]          what one layer left in it, in-place steps included

Values are float32 as in Caffe; each layer computes in float64 and rounds once at its end, so the trace is nearer to the
exact result than Caffe's own float32 sums, whose error grows with the number of terms (`Step.fan_in`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy.typing as npt

from prototxt import Net
from prototxt.unread import Unread
from verify.interpreter.lanes import Lane, side_by_side
from verify.interpreter.steps import Step, Trace
from verify.interpreter.wiring import wire
from verify.layers.registry import Array
from weights import Weights


@dataclass(frozen=True)
class Stream:
    """The tops of a run in net order, each made when it is asked for; `steps` can be gone through once.

    `unread` grows on the way: what the layers state and did not read, as in a `Trace`.

    A value is held until the last layer that reads it has run: with the caller holding none, memory is that of a run
    in Caffe's phase TEST and not of every top.
    """

    steps: Iterator[Step]
    unread: list[Unread] = field(default_factory=list)


def run(
    net: Net,
    weights: Weights | None,
    feeds: Mapping[str, npt.ArrayLike],
    *,
    blobs: Collection[str] | None = None,
    instead: Mapping[int, Array] | None = None,
    train: bool = False,
) -> Trace:
    """Run a net and keep every top.

    Args:
        net: as loaded; the phase's rules have been applied already.
        weights: the learned blobs, matched by layer name; None for a net without.
        feeds: by blob name, the tops of layers without bottoms (Input and data layers). Their shapes may differ from
            those in the prototxt, as after Caffe's Reshape. Converted to float32.
        blobs: run only what these blobs depend on; None runs every layer. Data that nobody needs is not asked for.
        instead: what later layers read in place of tops, by their places among the steps of this run; float32 of the
            same shapes. With a converted model's own blobs, each layer is seen alone: its top is what the layer makes
            of the model's inputs to it.
        train: compute as in phase TRAIN (BatchNorm with the batch's statistics); layers that draw at random are
            refused.

    Raises:
        NetError: bottoms that no layer makes, blobs with several sources, shapes that do not fit.
        UnsupportedError: layer types that the interpreter does not know (ErrorGroup for several), or a setting of a
            layer that its rule does not read.
        WeightsError: blobs that are absent or have another shape than the layer gives them.
        RequestError: a feed for a blob that is no input, or an input without a feed.
    """
    made = stream(net, weights, feeds, blobs=blobs, instead=instead, train=train)
    return Trace(tuple(made.steps), tuple(made.unread))


def stream(
    net: Net,
    weights: Weights | None,
    feeds: Mapping[str, npt.ArrayLike],
    *,
    blobs: Collection[str] | None = None,
    instead: Mapping[int, Array] | None = None,
    train: bool = False,
) -> Stream:
    """What `run` does, top by top as they are asked for; arguments and errors are those of `run`."""
    lanes = side_by_side(net, weights, [Lane(feeds, instead or {})], wire(net, blobs), train=train)
    return Stream((made.steps[0] for made in lanes.made), lanes.unread)
