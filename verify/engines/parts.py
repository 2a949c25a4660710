"""A graph of thousands of nodes in parts, each of which onnxruntime loads and runs as a graph of its own.

It takes every initializer that a fusion leaves over out of a list of all of them, among other walks: time to load grows
with the square of the graph, which is minutes from 50,000 layers on. What the parts hand on are values that would else
be seen by nobody, and no fusion goes over their borders. Where many values are asked for, parts also spare having them
all in memory at a time.

    ModelProto      7 graph
    GraphProto      1 node, 5 initializer, 11 input, 12 output, 13 value_info, 15 sparse_initializer
    NodeProto       1 input, 2 output, 5 attribute
    AttributeProto  6 g, 11 graphs: of a node that holds graphs, which may read every value around them
    ValueInfoProto  1 name, 2 type {1 tensor_type {1 elem_type, 2 shape {1 dim {1 dim_value}}}}
    TensorProto     8 name
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from verify.engines.engine import Array
from weights.wire import VARINT, Malformed, Wire, encoded, prefixed

GRAPH, NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO, SPARSE = 7, 1, 5, 11, 12, 13, 15
NODES = 2000
"""Of a part. Published nets have fewer, and stay whole."""
KINDS = {"f4": 1, "u1": 2, "i1": 3, "i4": 6, "i8": 7, "b1": 9, "f2": 10, "f8": 11}
"""ONNX's numbers for the types of values that can be handed on."""
NAMES = "float uint8 int8 int32 int64 bool float16 double"
TENSORS = {f"tensor({name})": number for name, number in zip(NAMES.split(), KINDS.values(), strict=True)}
"""The same by onnxruntime's names."""


class Named(NamedTuple):
    """An output, as onnxruntime's sessions have them."""

    name: str


@dataclass
class Part:
    """Nodes that are loaded together.

    Attributes:
        records: of its graph, nodes and initializers.
        reads, makes: the values that it takes from before, and its own.
        handed_on: those of its own that later parts read.
    """

    records: list[bytes] = field(default_factory=list)
    reads: dict[bytes, None] = field(default_factory=dict)
    makes: list[bytes] = field(default_factory=list)
    handed_on: set[bytes] = field(default_factory=set)


@dataclass
class Cut:
    """A model in parts.

    Attributes:
        head, around: the records of the model, and of the graph, that belong to every part.
        inputs: of the graph, with their records.
        outputs: of the graph.
        parts: in the order in which they run.
    """

    head: bytes
    around: bytes
    inputs: Mapping[bytes, bytes]
    outputs: Sequence[bytes]
    parts: Sequence[Part]

    def model(self, part: Part, taken: Mapping[bytes, bytes], outputs: Collection[bytes]) -> bytes:
        """A part as a model; `taken` are the records of what it takes from parts before."""
        ends = [prefixed(INPUT, taken.get(name) or self.inputs[name]) for name in part.reads]
        ends += [prefixed(OUTPUT, prefixed(1, name)) for name in outputs]
        return self.head + prefixed(GRAPH, b"".join([self.around, *part.records, *ends]))

    def giving(self, names: Iterable[str]) -> Cut | None:
        """The same model with more of its values as outputs; None where it has not all of them."""
        more = [name.encode() for name in names]
        known = {*self.inputs, *(name for part in self.parts for name in part.makes)}
        return replace(self, outputs=[*self.outputs, *more]) if known.issuperset(more) else None


def cut_up(model: bytes, count: int = 1) -> Cut | None:
    """The parts of a model; None of one that is small, or that onnxruntime shall judge as a whole.

    Args:
        model: the file's content.
        count: how many parts are wanted of a model that could be one.
    """
    with suppress(Malformed):
        wire = Wire(model)
        records = list(wire.records(0, wire.size))
        graphs = [(begin, end) for number, _, begin, end in records if number == GRAPH]
        found = [(number, model[begin:end]) for span in graphs for number, _, begin, end in wire.records(*span)]
        nodes = sum(number == NODE for number, _ in found)
        size = min(NODES, -(-nodes // count))
        if nodes > size and not any(number == SPARSE for number, _ in found):
            return _cut(_rest(model, records), found, size)
    return None


def _rest(model: bytes, records: Sequence[tuple[int, int, int, int]]) -> bytes:
    """A model without its graph."""
    starts = [0, *(end for _, _, _, end in records)]
    return b"".join(
        model[start:end] for start, (number, _, _, end) in zip(starts, records, strict=False) if number != GRAPH
    )


def _cut(head: bytes, records: Sequence[tuple[int, bytes]], size: int) -> Cut | None:
    stored = {_name(data, 8): prefixed(INITIALIZER, data) for number, data in records if number == INITIALIZER}
    inputs = {_name(data, 1): data for number, data in records if number == INPUT}
    inputs = {name: data for name, data in inputs.items() if name not in stored}
    outputs = list(dict.fromkeys(_name(data, 1) for number, data in records if number == OUTPUT))
    apart = (NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO)
    around = b"".join(prefixed(number, data) for number, data in records if number not in apart)
    nodes = [data for number, data in records if number == NODE]
    made_in = dict.fromkeys(inputs, -1)
    parts: list[Part] = []
    for place, start in enumerate(range(0, len(nodes), size)):
        part = Part(reads=dict.fromkeys(inputs if place == 0 else ()))  # the first shows what the graph's inputs are
        weights: dict[bytes, None] = {name: None for name in outputs if name in stored and place == 0}
        part.makes += weights
        for node in nodes[start : start + size]:
            reads, inner, makes = _ends(node)
            for name in (*reads, *(name for name in inner if name in made_in or name in stored)):
                if name in stored:
                    weights[name] = None
                elif name not in made_in:
                    return None
                elif made_in[name] != place:
                    part.reads[name] = None
                    if made_in[name] >= 0:
                        parts[made_in[name]].handed_on.add(name)
            if any(name in made_in or name in stored for name in makes):
                return None
            made_in.update(dict.fromkeys(makes, place))
            part.makes += makes
            part.records.append(prefixed(NODE, node))
        part.records += [stored[name] for name in weights]
        parts.append(part)
    known = all(name in made_in or name in stored for name in outputs)
    return Cut(head, around, inputs, outputs, parts) if known else None


def _name(message: bytes, number: int) -> bytes:
    wire = Wire(message)
    return next((message[begin:end] for field, _, begin, end in wire.records(0, wire.size) if field == number), b"")


def _ends(node: bytes) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """What a node reads, what graphs within it mention, and what it makes."""
    reads: list[bytes] = []
    inner: list[bytes] = []
    makes: list[bytes] = []
    for number, _, begin, end in Wire(node).records(0, len(node)):
        if number == 1:
            reads.append(node[begin:end])
        elif number == 2:
            makes.append(node[begin:end])
        elif number == 5:
            inner += _mentioned(node[begin:end])
    return list(filter(None, reads)), inner, list(filter(None, makes))


def _mentioned(attribute: bytes) -> Iterator[bytes]:
    for number, _, begin, end in Wire(attribute).records(0, len(attribute)):
        if number in (6, 11):
            graph = attribute[begin:end]
            for inner, _, first, last in Wire(graph).records(0, len(graph)):
                if inner == NODE:
                    reads, within, _ = _ends(graph[first:last])
                    yield from (*reads, *within)
                elif inner == OUTPUT:
                    yield _name(graph[first:last], 1)


class InParts:
    """What a session of onnxruntime is, for a model in parts: one session after the other.

    Args:
        cut: the model.
        session: makes a session for a model.
        whole: makes one for the whole model, where parts would have to hand on what is no tensor.
    """

    def __init__(self, cut: Cut, session: Callable[[bytes], Any], whole: Callable[[], Any]) -> None:
        self._cut, self._session, self._whole = cut, session, whole
        first = cut.parts[0]
        outputs = set(cut.outputs)
        asked = [name for name in first.makes if name in first.handed_on or name in outputs]
        self._first: Any = session(cut.model(first, {}, asked or first.makes[-1:]))
        self._meta, self._inputs = self._first.get_modelmeta(), list(self._first.get_inputs())

    def get_modelmeta(self) -> Any:
        """See `InferenceSession`."""
        return self._meta

    def get_inputs(self) -> list[Any]:
        """See `InferenceSession`."""
        return self._inputs

    def get_outputs(self) -> list[Named]:
        """See `InferenceSession`."""
        return [Named(name.decode()) for name in self._cut.outputs]

    def run(self, names: Sequence[str], feeds: Mapping[str, Array], options: Any) -> list[Array]:
        """See `InferenceSession`."""
        made = dict(self._made("run", names, feeds, options))
        return [made[name] for name in names]

    def each(self, names: Sequence[str], feeds: Mapping[str, Any], options: Any) -> Iterator[tuple[str, Any]]:
        """What `run_with_ort_values` gives, by name; a part runs when the values of the one before are taken."""
        return self._made("run_with_ort_values", names, feeds, options)

    def _made(self, by: str, names: Iterable[str], feeds: Mapping[str, Any], options: Any) -> Iterator[tuple[str, Any]]:
        """No part runs behind the last that makes one of the names."""
        values = {name.encode(): value for name, value in feeds.items()}
        wanted = dict.fromkeys(name.encode() for name in names)
        yield from ((name.decode(), values[name]) for name in wanted if name in values)
        left = {name: None for name in wanted if name not in values}
        readers = {name: part for part, each in enumerate(self._cut.parts) for name in each.reads}
        for place, part in enumerate(self._cut.parts):
            asked = [name for name in part.makes if name in left or name in part.handed_on]
            if not left or not asked:
                continue
            given = {name.decode(): values[name] for name in part.reads}
            taken = {name: _described(name, values[name]) for name in part.reads if name not in self._cut.inputs}
            if None in taken.values():
                rest = [name.decode() for name in left]
                yield from zip(rest, getattr(self._whole(), by)(rest, feeds, options), strict=True)
                return
            known = {name: record for name, record in taken.items() if record is not None}
            session = self._loaded(place) or self._session(self._cut.model(part, known, asked))
            made = getattr(session, by)([name.decode() for name in asked], given, options)
            del session, given
            values = {name: value for name, value in values.items() if readers.get(name, 0) > place}
            values |= {name: value for name, value in zip(asked, made, strict=True) if name in part.handed_on}
            made.reverse()
            for name in asked:
                value = made.pop()
                if name in left:
                    del left[name]
                    yield name.decode(), value
                del value

    def _loaded(self, place: int) -> Any:
        """The session of the first part, once."""
        if place:
            return None
        session, self._first = self._first, None
        return session


def _described(name: bytes, value: Any) -> bytes | None:
    """The ValueInfoProto of a value; None where it is no tensor of numbers."""
    if isinstance(value, np.ndarray):
        kind, shape = KINDS.get(value.dtype.str[1:]), value.shape
    else:
        kind = TENSORS.get(value.data_type()) if hasattr(value, "data_type") else None
        shape = value.shape() if kind else ()
    if kind is None:
        return None
    sizes = b"".join(prefixed(1, encoded(1 << 3 | VARINT) + encoded(size)) for size in shape)
    tensor = encoded(1 << 3 | VARINT) + encoded(kind) + prefixed(2, sizes)
    return prefixed(1, name) + prefixed(2, prefixed(1, tensor))
