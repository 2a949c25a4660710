"""Caffe's nets, run layer by layer in numpy: the reference that every converted model is compared with.

    trace = run(load_net("deploy.prototxt"), open_weights("model.caffemodel"), {"data": image})
    trace.blobs["prob"]                      the final value of a blob
    trace.tops["bn_conv1", "conv1"]          what one layer left in it, in-place steps included

Values are float32 as in Caffe; each layer computes in float64 and rounds once at its end, so the trace is nearer to the
exact result than Caffe's own float32 sums, whose error grows with the number of terms (`Step.fan_in`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from prototxt import Net, NetLayer
from prototxt.errors import CaffeModelError, RequestError, UnsupportedError, raise_all
from verify.layers import find
from verify.layers.parameters import Parameters, match_parameters, shape_text
from verify.layers.registry import Array, Call, Sensitivity, largest
from verify.wiring import Wired, needed, wire
from weights import Weights

Key: TypeAlias = tuple[str, str]
"""Layer name and top name."""


@dataclass(frozen=True)
class Step:
    """One top of one layer, as that layer left it.

    For error bounds: let e_i be the absolute error of input i, relative to exact arithmetic. Then this top's error is
    about  sum of gains[i] * e_i  +  a rounding term that grows with fan_in (at most fan_in * 2**-24 of the sum of
    magnitudes of its terms for a float32 sum in any order).

    Attributes:
        layer, layer_type, top: what made it.
        value: float32.
        inputs: indices into `Trace.steps` of the tops that the layer read, in bottom order; an implicit split or an
            in-place layer needs no special care. Empty for what is fed.
        fan_in: number of terms summed into each value; 1 for an elementwise layer.
        gains: one per input. Where terms are summed it is the root of the sum of squared factors (largest over
            outputs): independent errors add that way. Elsewhere it is the largest slope, at the values seen, so
            BatchNorm's is the largest 1/std and Scale's the largest |factor|. 0: the input's values do not matter
            (only its shape). inf: the top jumps (an index, a count, a comparison), no bound holds near a tie.
        own: rounding that `fan_in` and `gains` do not tell, as an absolute error; inf where the layer makes a choice
            that rounding within the layer may turn.
    """

    layer: str
    layer_type: str
    top: str
    value: Array
    inputs: tuple[int, ...]
    fan_in: int
    gains: tuple[float, ...]
    own: float = 0.0

    @property
    def key(self) -> Key:
        """Layer and top name."""
        return self.layer, self.top


@dataclass(frozen=True)
class Trace:
    """Every top of a run, in net order.

    The mappings are keyed by (layer, top); should a net have two layers of one name with a top of one name, they hold
    the later one, and `steps` has both.
    """

    steps: tuple[Step, ...]

    @cached_property
    def tops(self) -> dict[Key, Array]:
        """Each top as its layer left it."""
        return {step.key: step.value for step in self.steps}

    @cached_property
    def blobs(self) -> dict[str, Array]:
        """The final value of each blob by name, in the order in which the names first appear."""
        return {step.top: step.value for step in self.steps}

    @cached_property
    def fan_in(self) -> dict[Key, int]:
        """Terms summed into each value."""
        return {step.key: step.fan_in for step in self.steps}

    @cached_property
    def inputs(self) -> dict[Key, tuple[Key, ...]]:
        """The tops that each top's layer read."""
        return {step.key: tuple(self.steps[i].key for i in step.inputs) for step in self.steps}

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the blobs whose final value no layer read, in net order."""
        read = {index for step in self.steps for index in step.inputs}
        last = {step.top: index for index, step in enumerate(self.steps)}
        return tuple(name for name, index in last.items() if index not in read)

    def amplification(self, step: Step) -> tuple[float, ...]:
        """For each input of `step`: by how much an error, as a share of the largest value, can grow in it.

            gain * max|input| / max|value|

        For BatchNorm + Scale together that is |factor| / std * max|x| / max|y|, the larger the more mean is taken off.
        inf where the top is all zero or jumps.
        """
        peak = largest(step.value)
        shares = []
        for gain, index in zip(step.gains, step.inputs, strict=True):
            size = gain * largest(self.steps[index].value) if gain else 0.0
            shares.append(size / peak if peak else (np.inf if size else 0.0))
        return tuple(shares)


@dataclass(frozen=True)
class Stream:
    """The tops of a run in net order, each made when it is asked for; `steps` can be gone through once.

    A value is held until the last layer that reads it has run: with the caller holding none, memory is that of a run
    in Caffe's phase TEST and not of every top.
    """

    steps: Iterator[Step]


def run(
    net: Net,
    weights: Weights | None,
    feeds: Mapping[str, npt.ArrayLike],
    *,
    blobs: Collection[str] | None = None,
    instead: Mapping[Key, Array] | None = None,
    train: bool = False,
) -> Trace:
    """Run a net and keep every top.

    Args:
        net: as loaded; the phase's rules have been applied already.
        weights: the learned blobs, matched by layer name; None for a net without.
        feeds: by blob name, the tops of layers without bottoms (Input and data layers). Their shapes may differ from
            those in the prototxt, as after Caffe's Reshape. Converted to float32.
        blobs: run only what these blobs depend on; None runs every layer. Data that nobody needs is not asked for.
        instead: what later layers read in place of these tops, float32 of the same shapes. With a converted model's
            own blobs, each layer is seen alone: its top is what the layer makes of the model's inputs to it.
        train: compute as in phase TRAIN (BatchNorm with the batch's statistics); layers that draw at random are
            refused.

    Raises:
        NetError: bottoms that no layer makes, blobs with several sources, shapes that do not fit.
        UnsupportedError: layer types that the interpreter does not know (ErrorGroup for several).
        WeightsError: blobs that are absent or have another shape than the layer gives them.
        RequestError: a feed for a blob that is no input, or an input without a feed.
    """
    return Trace(tuple(stream(net, weights, feeds, blobs=blobs, instead=instead, train=train).steps))


def stream(
    net: Net,
    weights: Weights | None,
    feeds: Mapping[str, npt.ArrayLike],
    *,
    blobs: Collection[str] | None = None,
    instead: Mapping[Key, Array] | None = None,
    train: bool = False,
) -> Stream:
    """What `run` does, top by top as they are asked for; arguments and errors are those of `run`."""
    order = wire(net) if blobs is None else needed(wire(net), blobs)
    given = {name: np.ascontiguousarray(value, np.float32).reshape(np.shape(value)) for name, value in feeds.items()}
    _check_feeds(net, given)
    _check_types(order, given)
    learned = match_parameters(net, weights)
    return Stream(_steps(order, given, learned, instead or {}, train))


def _steps(
    order: Sequence[Wired],
    given: Mapping[str, Array],
    learned: Sequence[Parameters],
    instead: Mapping[Key, Array],
    train: bool,
) -> Iterator[Step]:
    """The tops in net order; what no later layer reads is not kept."""
    last = {index: item.index for item in order for index in item.reads}
    place: dict[int, int] = {}
    kept: dict[int, Array] = {}
    count = 0
    for item in order:
        layer = item.layer
        bottoms = tuple(kept[index] for index in item.reads)
        for index in [index for index in kept if last.get(index, -1) <= item.index]:
            del kept[index]
        with np.errstate(all="ignore"):
            made = _run_layer(Call(layer, bottoms, learned[item.index], train), given)
        reads = tuple(place[index] for index in item.reads)
        for index, (top, (value, error)) in enumerate(zip(layer.tops, made, strict=True), item.makes):
            step = Step(layer.name, layer.type, top, value, reads, error.fan_in, error.gains, error.own)
            place[index], count = count, count + 1
            if index in last:
                kept[index] = np.require(instead.get(step.key, value), np.float32, "C")
            yield step


def _check_feeds(net: Net, given: Mapping[str, Array]) -> None:
    inputs = [top for layer in net.layers if not layer.bottoms for top in layer.tops]
    for name in given:
        if name not in inputs:
            raise RequestError(f"{name!r} is fed but is no input; the net's inputs are {', '.join(inputs) or 'none'}")


def _is_fed(layer: NetLayer, given: Mapping[str, Array]) -> bool:
    return not layer.bottoms and bool(layer.tops) and all(top in given for top in layer.tops)


def _check_types(order: Sequence[Wired], given: Mapping[str, Array]) -> None:
    """Report every missing feed, unknown type and wrong count of bottoms before anything is computed."""
    errors: list[CaffeModelError] = []
    for item in order:
        layer, rule = item.layer, find(item.layer.kind)
        if _is_fed(layer, given):
            continue
        missing = [top for top in layer.tops if top not in given]
        if not layer.bottoms and (rule is None or rule.always_fed or len(missing) < len(layer.tops)):
            names = " and ".join(map(repr, missing))
            errors.append(_fault(RequestError, layer, f"{names} must be fed: the net does not hold its values"))
        elif rule is None:
            errors.append(_fault(UnsupportedError, layer, _unknown(layer)))
        else:
            errors += rule.faults(layer)
    raise_all(errors)


def _unknown(layer: NetLayer) -> str:
    what = "this layer type" if layer.kind == layer.type else layer.kind.replace("Python", "the Python layer", 1)
    return f"the interpreter does not know {what}"


def _fault(kind: type[CaffeModelError], layer: NetLayer, message: str) -> CaffeModelError:
    return kind(message, position=layer.position, layer=layer.name, layer_type=layer.type)


def _run_layer(call: Call, given: Mapping[str, Array]) -> list[tuple[Array, Sensitivity]]:
    """The tops of one layer, each with how errors grow in it.

    A rule checks what Caffe checks; shapes that no one thought of (a scalar where a batch belongs) end in numpy, and
    are the net's fault all the same.
    """
    layer, rule = call.layer, find(call.layer.kind)
    if _is_fed(layer, given):
        return [(given[top], Sensitivity()) for top in layer.tops]
    if rule is None:
        raise _fault(UnsupportedError, layer, _unknown(layer))
    try:
        made = list(rule.forward(call))
        if len(made) < len(layer.tops):
            raise call.fail(f"has {len(layer.tops)} tops but makes {len(made)}")
        tops = made[: len(layer.tops)]
        return list(zip(tops, rule.error(call, tops), strict=True))
    except MemoryError as error:
        raise call.fail("its tops do not fit into memory") from error
    except (ArithmeticError, LookupError, ValueError) as error:
        shapes = ", ".join(shape_text(bottom.shape) for bottom in call.bottoms)
        raise call.fail(f"cannot work on bottoms of {shapes}: {error}") from error
