"""Runs of a net side by side, layer by layer, which read each layer's learned blobs once for all.

Before anything is computed, everything that stands in the way is said: feeds that are missing, types that are unknown.
A top is held until the last layer that reads it, or its memory, has run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from prototxt import Net, NetLayer
from prototxt.errors import CaffeModelError, RequestError, UnsupportedError, raise_all
from prototxt.recording import Record
from prototxt.unread import Unread, check_all_read
from prototxt.words import format_shape, listed
from verify.interpreter.memory import Block, Held, block_of
from verify.interpreter.steps import Step
from verify.interpreter.wiring import Wired
from verify.layers import find
from verify.layers.parameters import Parameters, match_parameters
from verify.layers.registry import UNBOUNDED, Array, Call, Leaves, Sensitivity, known_types
from weights import Weights


@dataclass(frozen=True)
class Made:
    """One top in all lanes.

    Attributes:
        steps: one for each lane. How errors grow is that of the first.
        gone: places, among the steps of the run, of tops that no layer reads any more.
        is_read: of a step that is there `again`, whether a layer reads it.
    """

    steps: tuple[Step, ...]
    gone: tuple[int, ...] = ()
    is_read: bool = False


@dataclass
class Lane:
    """One of several runs of a net side by side, which read each layer's learned blobs once for all.

    Attributes:
        feeds: by blob name, as for `run`.
        instead: as for `run`; it is asked for a top when the caller has seen it.
    """

    feeds: Mapping[str, npt.ArrayLike]
    instead: Mapping[int, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class SideBySide:
    """The tops of several runs in net order, as in a `Stream`."""

    made: Iterator[Made]
    unread: list[Unread]


def side_by_side(
    net: Net,
    weights: Weights | None,
    lanes: Sequence[Lane],
    order: Sequence[Wired],
    *,
    train: bool = False,
) -> SideBySide:
    """What `stream` does, for several runs at once, layer by layer; arguments and errors are those of `run`.

    `order` is what `wire` makes of the net.
    """
    running = [_Running(_given(lane.feeds), lane.instead) for lane in lanes]
    for lane in running:
        _check_feeds(net, lane.given)
    _check_types(order, running[0].given)
    unread: list[Unread] = []
    return SideBySide(_made(order, running, match_parameters(net, weights), train, net.lenient, unread), unread)


def _given(feeds: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(value, np.float32).reshape(np.shape(value)) for name, value in feeds.items()}


@dataclass
class _Running:
    """A lane at work: what is fed, what later layers read instead, and the tops that something reads later."""

    given: Mapping[str, Array]
    instead: Mapping[int, Array]
    held: dict[int, Held] = field(default_factory=dict)
    named: dict[str, Block] = field(default_factory=dict)

    def keep(self, item: Wired, place: int, step: Step, count: int, beside: list[Block], *, wanted: bool) -> bool:
        """Note where a top lies, and the top itself where it is wanted; `beside` grows by its memory.

        Returns whether nothing will look there again.
        """
        values = np.require(self.instead.get(count, step.value), np.float32, "C")
        block = block_of(place, values, count, item.layer, item.shared, beside)
        if item.learned:
            block = self.named.setdefault(item.learned, block)
            block.holders += 1
        beside.append(block)
        if wanted:
            block.holders += 1
            self.held[item.makes + place] = Held(block, step.top, values, count, block.writings)
        return block.holders == 0

    def let_go(self, index: int) -> list[int]:
        """Hold a top no longer; returns its place among the steps, if nothing will look into its memory again."""
        held = self.held.pop(index)
        held.block.holders -= 1
        return [] if held.block.holders else [held.step]

    def learned(self, parameters: Parameters) -> Parameters:
        """A layer's learned blobs, with what layers in place wrote to them."""
        written = {name: block.values for name, block in self.named.items() if block.writings}
        return parameters.as_written(written) if written else parameters


def _made(
    order: Sequence[Wired],
    lanes: Sequence[_Running],
    learned: Sequence[Parameters],
    train: bool,
    lenient: bool,
    unread: list[Unread],
) -> Iterator[Made]:
    """The tops in net order; what no later layer reads is not kept."""
    last = {index: item.index for item in order for index in item.reads}
    last |= {index: order[-1].index + 1 for item in order for index in item.ends}
    count = 0
    gone: list[int] = []
    for item in order:
        layer = item.layer
        for made in _looks_again([[lane.held[index] for index in item.reads] for lane in lanes], count, lanes):
            count += 1
            yield replace(made, is_read=True)
        for made in _writes_over(item, learned[item.index], count, lanes, train):
            count += 1
            yield replace(made, is_read=True)
        bottoms = [[lane.held[index] for index in item.reads] for lane in lanes]
        for index in dict.fromkeys(item.reads):
            if last[index] <= item.index:
                left = [lane.let_go(index) for lane in lanes]
                gone += left[0]
        reads = tuple(bottom.step for bottom in bottoms[0])
        steps = _run_lanes(item, lanes, bottoms, learned[item.index], train, lenient, unread)
        beside = [[bottom.block for bottom in lane] for lane in bottoms]
        del bottoms
        for place, top in enumerate(layer.tops):
            values, error = steps.pop(0)
            step = Step(layer.name, layer.type, top, values[0], reads, error.fan_in, error.gains, error.own)
            now, gone = (gone, []) if not steps else ([], gone)  # each of the tops tells what it was made of
            made = Made((step, *(replace(step, value=value) for value in values[1:])), tuple(now))
            del values, step
            yield made
            wanted = item.makes + place in last
            lying = zip(lanes, made.steps, beside, strict=True)
            idle = [lane.keep(item, place, own, count, blocks, wanted=wanted) for lane, own, blocks in lying]
            gone += [count] if idle[0] else []
            count += 1
            del made
        del beside  # what nothing reads shall be gone when the next layer runs
    yield from _looks_again([list(lane.held.values()) for lane in lanes], count, lanes)


def _looks_again(tops: Sequence[Sequence[Held]], count: int, lanes: Sequence[_Running]) -> Iterator[Made]:
    """A step for each top whose memory a layer in place on another blob wrote to; `tops` of each lane."""
    for beside in zip(*tops, strict=True):
        if beside[0].overwritten:
            steps = [_seen_again(held) for held in beside]
            yield Made(tuple(steps))
            for lane, held, step in zip(lanes, beside, steps, strict=True):
                held.look_again(np.require(lane.instead.get(count, step.value), np.float32, "C"), count)
            count += 1


def _seen_again(held: Held) -> Step:
    block = held.block
    writer = block.writer
    value = block.values.reshape(held.values.shape)
    return Step(writer.name, writer.type, held.top, value, (block.step,), 1, (1.0,), again=True)


def _writes_over(
    item: Wired, learned: Parameters, count: int, lanes: Sequence[_Running], train: bool
) -> Iterator[Made]:
    """A step for each bottom that a layer writes over before it reads it; other tops in its memory are looked at again
    when something reads them.
    """
    layer, rule = item.layer, find(item.layer.kind)
    if rule is None or rule.leaves is None or _is_fed(layer, lanes[0].given):
        return
    tops = [[lane.held[index] for index in item.reads] for lane in lanes]
    calls = [Call(layer, tuple(held.values for held in beside), learned, train) for beside in tops]
    with np.errstate(all="ignore"):
        left = [_left(call, rule.leaves) for call in calls]
    if not left[0]:
        return
    if len({id(held.block) for held in tops[0]}) < len(item.reads):
        raise calls[0].fail("writes over one memory twice, which two of its bottoms share")
    if not set(layer.bottoms).isdisjoint(layer.tops):
        raise calls[0].fail("works in place on a bottom that it writes over before")
    for place, name in enumerate(layer.bottoms):
        reads = (tops[0][place].step,)
        steps = [Step(layer.name, layer.type, name, own[place], reads, 0, (UNBOUNDED,), again=True) for own in left]
        yield Made(tuple(steps))
        for lane, beside, step in zip(lanes, tops, steps, strict=True):
            values = np.require(lane.instead.get(count, step.value), np.float32, "C")
            beside[place].block.write(values, count, layer)
            beside[place].look_again(values, count)
        count += 1


def _left(call: Call, leaves: Leaves) -> Sequence[Array]:
    with _as_faults(call):
        return leaves(call)


def _check_feeds(net: Net, given: Mapping[str, Array]) -> None:
    inputs = dict.fromkeys(top for layer in net.layers if not layer.bottoms for top in layer.tops)
    for name in given:
        if name not in inputs:
            raise RequestError(f"{name!r} is fed but is no input; the net's inputs are {', '.join(inputs) or 'none'}")


def _is_fed(layer: NetLayer, given: Mapping[str, Array]) -> bool:
    return not layer.bottoms and bool(layer.tops) and all(top in given for top in layer.tops)


def _check_types(order: Sequence[Wired], given: Mapping[str, Array]) -> None:
    """Report every missing feed, unknown type and wrong count of bottoms before anything is computed."""
    errors: list[CaffeModelError] = []
    lost: set[str] = set()
    last = {top: place for place, item in enumerate(order) for top in item.layer.tops}
    for place, item in enumerate(order):
        if not _is_fed(item.layer, given):
            there = [blob for blob in item.layer.bottoms if blob not in given and blob not in lost]
            wrong = _why_not(item.layer, given, [blob for blob in there if last[blob] < place])
            errors += wrong
            if wrong or not lost.isdisjoint(item.layer.bottoms):
                lost.update(item.layer.tops)
    raise_all(errors)


def _why_not(layer: NetLayer, given: Mapping[str, Array], ends: Sequence[str]) -> Sequence[CaffeModelError]:
    """What keeps a layer from being run; `ends` are those of its bottoms with which the net could end here."""
    rule = find(layer.kind)
    if layer.fault is not None and (rule is not None or not layer.type):
        return layer.fault.each
    missing = [top for top in layer.tops if top not in given]
    if not layer.bottoms and (rule is None or rule.always_fed or len(missing) < len(layer.tops)):
        names = listed(list(map(repr, missing)))
        return [_fault(RequestError, layer, f"{names} must be fed: the net does not hold its values")]
    if rule is None:
        return [_unknown(layer, ends)]
    return rule.faults(layer)


def _unknown(layer: NetLayer, ends: Sequence[str] = ()) -> UnsupportedError:
    from prototxt.unknown_types import unknown_type

    return unknown_type(layer, known_types(), ends, reader="the interpreter")


def _fault(kind: type[CaffeModelError], layer: NetLayer, message: str) -> CaffeModelError:
    return kind(message, position=layer.position, layer=layer.name, layer_type=layer.type)


def _run_lanes(
    item: Wired,
    lanes: Sequence[_Running],
    bottoms: Sequence[Sequence[Held]],
    learned: Parameters,
    train: bool,
    lenient: bool,
    unread: list[Unread],
) -> list[tuple[list[Array], Sensitivity]]:
    """For each top of a layer its values in every lane, and how errors grow in it, as seen in the first."""
    layer = item.layer
    if _is_fed(layer, lanes[0].given):
        return [([lane.given[top] for lane in lanes], Sensitivity()) for top in layer.tops]
    parameters = [lane.learned(learned) for lane in lanes]
    given = [tuple(bottom.values for bottom in held) for held in bottoms]
    with np.errstate(all="ignore"):
        first = Call(layer.read_by(Record()), given[0], parameters[0], train)
        if len(lanes) > 1 and _at_once(layer, given, parameters):
            made = [_run_beside(first, [values for (values,) in given[1:]])]
        else:
            others = zip(given[1:], parameters[1:], strict=True)
            calls = [first, *(Call(layer, *other, train) for other in others)]  # what is read has been written down
            made = [list(values) for values in zip(*map(_run_layer, calls), strict=True)]
        unread += check_all_read(layer, first.record, lenient=lenient, reader="the interpreter")
        errors = _errors(first, [values[0] for values in made])
    return list(zip(made, errors, strict=True))


def _at_once(layer: NetLayer, given: Sequence[tuple[Array, ...]], parameters: Sequence[Parameters]) -> bool:
    """Whether a layer can be run on what all lanes give it at once."""
    rule = find(layer.kind)
    if rule is None or rule.beside is None or (len(layer.bottoms), len(layer.tops)) != (1, 1):
        return False
    return len({values[0].shape for values in given}) == 1 and all(one is parameters[0] for one in parameters)


def _run_beside(call: Call, others: Sequence[Array]) -> list[Array]:
    """The top of one layer in every lane; `others` are the bottoms in those beside the first."""
    rule = find(call.layer.kind)
    assert rule is not None
    assert rule.beside is not None
    with _as_faults(call):
        made = rule.beside(call, others)
        call.parameters.check_taken()
        return made


def _run_layer(call: Call) -> list[Array]:
    """The tops of one layer."""
    layer, rule = call.layer, find(call.layer.kind)
    if rule is None:
        raise _unknown(layer)
    with _as_faults(call):
        made = [np.asarray(top) for top in rule.forward(call)]  # numpy makes a number of a blob without axes
        call.parameters.check_taken()
        if len(made) < len(layer.tops):
            raise call.fail(f"has {len(layer.tops)} tops but makes {len(made)}")
        return made[: len(layer.tops)]


def _errors(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """How errors grow in each top."""
    rule = find(call.layer.kind)
    assert rule is not None
    with _as_faults(call):
        return list(rule.error(call, tops))


@contextmanager
def _as_faults(call: Call) -> Iterator[None]:
    """A rule checks what Caffe checks; shapes that no one thought of (a scalar where a batch belongs) end in numpy, and
    are the net's fault all the same.
    """
    try:
        yield
    except MemoryError as error:
        raise call.fail("its tops do not fit into memory") from error
    except (ArithmeticError, LookupError, ValueError) as error:
        shapes = ", ".join(format_shape(bottom.shape) for bottom in call.bottoms)
        raise call.fail(f"cannot work on bottoms of {shapes}: {error}{_not_finite(call)}") from error


def _not_finite(call: Call) -> str:
    """Which bottoms hold what is no number, in words behind an error."""
    said = ""
    for name, values in zip(call.layer.bottoms, call.bottoms, strict=True):
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            place = tuple(map(int, wrong[0]))
            found = f"{values[place]:g} at {place} first"
            said += f"; {len(wrong)} of {values.size} values of {name!r} are not finite, {found}"
    return said
