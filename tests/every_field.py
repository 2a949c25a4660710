"""The walk over every field of every section that a layer type may state, and what becomes of each.

A base is a small net with one layer of the type. In it a field is set to values that are not its default, the net is
built and run by the interpreter and as ONNX, and the numbers are held against the base's. Bases are drawn
(`tests.drawn`), so that each field meets a net in which it can matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

import tests.drawn  # noqa: F401 (registers the strategies)
from converter.api import prepare
from converter.graph import Graph
from converter.layers.base import registry
from converter.layers.data import DummyData
from converter.options import Options
from prototxt import Net, NetLayer, net_from_message, parse_net
from prototxt.caffe_pb2 import LayerParameter
from prototxt.effects import why_none
from prototxt.errors import CaffeModelError, ErrorGroup, UnreadError
from prototxt.recording import FILLER, Record, is_repeated
from prototxt.unread import READ_BY_ALL, is_own
from tests.drawn.base import Drawn, net_text, strategies
from tests.golden import run_onnx
from verify import known_types, run
from weights import ArrayWeights

Array = npt.NDArray[np.float32]
Answers = dict[str, Array]

BASES = 300
"""Drawn nets a type: the more, the likelier that a field that counts only beside others meets them."""

MANY = 40
"""Drawn nets after which a field that changed nothing, but was refused or known to have no effect, is left at that."""

FEW = 8
"""Drawn nets after which a field that nobody read is taken for one that nobody reads."""

GOOD = ("used", "held", "not read", "no effect")
"""What may become of a field."""

CHANGED, SAME, IGNORED, REFUSED, UNREAD = "changed", "same", "ignored", "refused", "unread"

_STOPPED = (REFUSED, UNREAD)


@dataclass
class Walked:
    """What became of one field over all bases and values.

    Attributes:
        path: `section.field`.
        outcomes: (converter's, interpreter's) -> an example, base and value.
        listed: why `prototxt.effects` says that it has no effect; empty where it does not.
        stated: whether a net that runs states it, other than by default; a field that nobody reads would stop the net.
    """

    path: str
    outcomes: dict[tuple[str, str], str] = field(default_factory=dict)
    listed: str = ""
    stated: bool = False

    @property
    def verdict(self) -> str:
        """`used`, `held` (what would matter is refused), `not read`, `no effect`, or what is wrong."""
        seen = set(self.outcomes)
        if not seen:
            return "no effect"  # an enumeration of one value has no other
        torn = [pair for pair in seen if _is_torn(pair)]
        if torn:
            return f"one side only: {self._examples(torn)}"
        if (CHANGED, CHANGED) in seen:
            return "used"
        if self.listed:
            return "no effect"
        sides = [{pair[side] for pair in seen} for side in (0, 1)]
        if seen and all(side <= set(_STOPPED) for side in sides):
            return "not read" if any(UNREAD in side for side in sides) and not self.stated else "held"
        if (REFUSED, REFUSED) in seen:
            return "held"
        if any(IGNORED in side for side in sides) and not any(CHANGED in side for side in sides):
            return "no effect"
        if any(CHANGED not in side and REFUSED in side for side in sides):
            return "held"
        return f"read, and changes nothing: {self._examples(seen)}"

    def _examples(self, pairs: Any) -> str:
        return "; ".join(f"{pair}: {self.outcomes[pair]}" for pair in sorted(pairs))


def _is_torn(pair: tuple[str, str]) -> bool:
    """Whether the sides differ in what a field means; one may refuse what the other takes."""
    if REFUSED in pair or pair[0] == pair[1]:
        return False
    return UNREAD in pair or CHANGED in pair


def walked_kinds() -> list[str]:
    """The layer kinds that are computed from bottoms, not fed by the caller."""
    known = strategies().keys() & set(known_types())
    return sorted(k for k, cls in registry().items() if k in known and cls.role != "input" and cls is not DummyData)


def walk(kind: str, folder: Path) -> list[Walked]:
    """Every field of every section of a layer kind, in the order of their paths."""
    bases = _Bases(kind, folder)
    found = []
    for path in _paths(bases.first(FEW)):
        default = _field(LayerParameter(), path)[0].default_value
        walked = Walked(path, listed=why_none(path, kind, training=False, fed=False))
        for number, base in enumerate(bases.in_turns(path)):
            enough = {"not read": FEW, "held": MANY, "no effect": MANY}.get(walked.verdict, BASES)
            if number >= enough:
                break
            walked.stated |= base.states(path)
            for value in base.values(path):
                pair, example = base.outcome(path, value, folder)
                if value == default and pair == (SAME, SAME):  # It may matter that a field is stated, or not.
                    continue
                walked.outcomes.setdefault(pair, example)
            if (CHANGED, CHANGED) in walked.outcomes:
                break
        found.append(walked)
    return found


@cache
def _bases(kind: str) -> tuple[Drawn, ...]:
    drawn: list[Drawn] = []
    chosen = settings(
        max_examples=BASES, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    @chosen
    @given(data=st.data())
    def collect(data: st.DataObject) -> None:
        drawn.append(data.draw(strategies()[kind]()))

    collect()
    return tuple(drawn)


class _Bases:
    """Drawn nets of a type that both sides take, made as they are asked for."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind, self._folder = kind, folder
        self._all = [_Base(drawn) for drawn in _bases(kind)]

    def first(self, count: int) -> list[_Base]:
        """At least one."""
        found = list(islice(self._running(self._all), count))
        assert found, f"no drawn net of {self._kind} can be run"
        return found

    def in_turns(self, path: str) -> Iterator[_Base]:
        """One that states a field, in which it is likeliest to matter, then one that doesn't, and so on."""
        stating = [base for base in self._all if base.states(path)]
        others = [base for base in self._all if not base.states(path)]
        turns = chain.from_iterable(zip_longest(stating, others))
        return self._running([base for base in turns if base is not None])

    def _running(self, bases: Sequence[_Base]) -> Iterator[_Base]:
        return (base for base in bases if base.runs(self._folder))


def _paths(bases: Sequence[_Base]) -> Iterator[str]:
    """Leaves of the sections that a reader of the layer looks into, or that bear its name."""
    layer = bases[0].net.layers[bases[0].place]
    known = Record()
    known.sections = set().union(*(record.sections for base in bases for record in base.records))
    beside = () if layer.tops else READ_BY_ALL  # no output depends on what a layer without a top starts from
    for name, entry in sorted(LayerParameter.DESCRIPTOR.fields_by_name.items()):
        if entry.message_type is not None and name not in beside and is_own(layer, known, f"{name}.x"):
            yield from _leaves(entry.message_type, f"{name}.")


def _leaves(descriptor: Descriptor, path: str) -> Iterator[str]:
    for entry in descriptor.fields:
        if entry.message_type is None:
            yield path + entry.name
        elif entry.message_type.name not in (FILLER, "BlobProto"):
            yield from _leaves(entry.message_type, f"{path}{entry.name}.")


class _Base:
    """A net with one layer whose fields are set, and its answers."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn
        self.net = parse_net(net_text(drawn), "net.prototxt")
        self.place = max(i for i, layer in enumerate(self.net.layers) if layer.name == "it")
        self.records: list[Record] = []
        self.interpreted: Answers = {}
        self.converted: Answers = {}
        self._runs: bool | None = None

    def states(self, path: str) -> bool:
        """Whether the layer states a field, and other than by default."""
        entry, message = _field(self.net.layers[self.place].param, path)
        if message is None or is_repeated(entry):
            return message is not None and bool(getattr(message, entry.name))
        return bool(message.HasField(entry.name) and getattr(message, entry.name) != entry.default_value)

    def runs(self, folder: Path) -> bool:
        """Whether both sides take the net as it is drawn."""
        if self._runs is None:
            self._runs = self._is_taken(folder)
        return self._runs

    def _is_taken(self, folder: Path) -> bool:
        graph, record = self._build(self.net)
        self.records = [record]
        if isinstance(graph, CaffeModelError):
            return False
        found, record = self._interpret(self.net)
        self.records.append(record)
        if isinstance(found, CaffeModelError):
            return False
        self.interpreted, self.graph = found, graph
        self.converted = run_onnx(graph, self.drawn.feeds, folder)
        return True

    def values(self, path: str) -> list[Any]:
        """What a field is set to: other than what it is, its default too where it is not stated."""
        entry, message = _field(self.net.layers[self.place].param, path)
        now = getattr(message, entry.name) if message is not None else None
        if not is_repeated(entry) and message is not None and not message.HasField(entry.name):
            now = None
        if is_repeated(entry):
            present = list(now or ())
            single = _others(entry, present[0] if present else None)
            return [[value, *present[1:]] for value in single] + [[*present, value] for value in single[:1]]
        return _others(entry, now)

    def outcome(self, path: str, value: Any, folder: Path) -> tuple[tuple[str, str], str]:
        """What each side makes of the field at that value, and the example in words."""
        message = type(self.net.message)()
        message.CopyFrom(self.net.message)
        _set(message.layer[self.place], path, value)
        net = net_from_message(message, "net.prototxt")
        example = f"{path} {value!r} in {self.drawn.text!r}"
        graph, record = self._build(net)
        ours = self._judged(graph, path, record)
        if ours == SAME and not isinstance(graph, CaffeModelError):
            unlike = [str(node.layer) for node in graph.nodes] != [str(node.layer) for node in self.graph.nodes]
            shapes = [v.shape for v in graph.outputs] != [v.shape for v in self.graph.outputs]
            if unlike or shapes:
                ours = self._ran(graph, folder, ours)
        found, record = self._interpret(net)
        theirs = self._judged(found, path, record)
        if isinstance(found, dict) and _differ(found, self.interpreted):
            theirs = CHANGED
        return (ours, theirs), example

    def _ran(self, graph: Graph, folder: Path, otherwise: str) -> str:
        feeds = {v.blob: self.drawn.feeds[v.blob] for v in graph.inputs}
        if any(feeds[v.blob].shape != v.shape for v in graph.inputs):
            return CHANGED
        try:
            got = run_onnx(graph, feeds, folder)
        except (CaffeModelError, InvalidArgument, Fail):  # the last: a value of a bottom fits the old setting alone
            return REFUSED
        return CHANGED if _differ(got, self.converted) else otherwise

    def _judged(self, found: object, path: str, record: Record) -> str:
        if isinstance(found, UnreadError) and path in found.paths:
            return UNREAD
        if isinstance(found, CaffeModelError):
            return REFUSED
        return IGNORED if path in record.ignored else SAME

    def _build(self, net: Net) -> tuple[Graph | CaffeModelError, Record]:
        outputs = list(self.drawn.outputs or net.layers[-1].tops)
        sizes = {name: self.drawn.feeds[name].shape for name in self.drawn.sized}
        weights = ArrayWeights(self.drawn.blobs) if self.drawn.blobs else None
        with _record_of("it") as record:
            try:
                ready = prepare(net, weights, Options(random_weights=5, outputs=outputs, input_shapes=sizes))
            except CaffeModelError as error:
                return _first(error), record[-1]
        self.weights = ready.weights
        return ready.graph, record[-1]

    def _interpret(self, net: Net) -> tuple[Answers | CaffeModelError, Record]:
        outputs = list(self.drawn.outputs or net.layers[-1].tops)
        with _record_of("it") as record:
            try:
                blobs = run(net, self.weights, self.drawn.feeds, blobs=outputs).blobs
            except CaffeModelError as error:
                return _first(error), record[-1]
        return {name: blobs[name] for name in outputs}, record[-1]


@contextmanager
def _record_of(name: str) -> Iterator[list[Record]]:
    """What the next reader of a layer asks for: the list's last."""
    kept = [Record()]
    read_by = NetLayer.read_by

    def keep(layer: NetLayer, record: Record) -> NetLayer:
        if layer.name == name:
            kept.append(record)
        return read_by(layer, record)

    with patch.object(NetLayer, "read_by", keep):
        yield kept


def _first(error: CaffeModelError) -> CaffeModelError:
    return error.errors[0] if isinstance(error, ErrorGroup) else error


def _differ(some: Answers, others: Answers) -> bool:
    """Whether one of the blobs has another shape, or values that float32 does not explain."""
    return any(
        some[name].shape != others[name].shape
        or not np.allclose(some[name], others[name], rtol=1e-6, atol=1e-9, equal_nan=True)
        for name in others
    )


def _field(message: Any, path: str) -> tuple[FieldDescriptor, Any]:
    """The field at a path, and the message that holds it; None for that where a list on the way is empty."""
    *outer, last = path.split(".")
    descriptor = message.DESCRIPTOR
    for name in outer:
        entry = descriptor.fields_by_name[name]
        descriptor = entry.message_type
        if message is not None:
            message = getattr(message, name)
            if is_repeated(entry):
                message = message[0] if len(message) else None
    return descriptor.fields_by_name[last], message


def _set(message: Any, path: str, value: Any) -> None:
    *outer, last = path.split(".")
    for name in outer:
        entry = message.DESCRIPTOR.fields_by_name[name]
        message = getattr(message, name)
        if is_repeated(entry):
            message = message[0] if len(message) else message.add()
    if isinstance(value, list):
        del getattr(message, last)[:]
        getattr(message, last).extend(value)
    else:
        setattr(message, last, value)


_UNSIGNED = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)


def _others(entry: FieldDescriptor, now: Any) -> list[Any]:
    """Values of a scalar field that it does not have now; `now` is None where it is not stated."""
    if entry.enum_type is not None:
        values: list[Any] = [value.number for value in entry.enum_type.values]
    elif entry.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        values = [True, False]
    elif entry.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        values = [0.375, 2.5, (now or 0) * 0.5 + 0.125, -0.75, 40.0]
    elif entry.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        values = [b"x" if entry.type == FieldDescriptor.TYPE_BYTES else "x"]
    else:
        values = [2, 1, 3, (now or 0) + 1, 0, 4, 20] + ([-1] if entry.cpp_type not in _UNSIGNED else [])
    return [value for value in dict.fromkeys(values) if value != now]
