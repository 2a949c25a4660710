"""A net as the toolkit sees it: V2 layers of one phase, each knowing where in the user's file it stands."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from prototxt.caffe_pb2 import LayerParameter, NetParameter
from prototxt.dialects import check_asked, dialect_of, readings
from prototxt.errors import CaffeModelError, NetError, Position, PrototxtError, together
from prototxt.parse import parse, read_text
from prototxt.phase import filter_net, net_state
from prototxt.places import Places
from prototxt.recording import Record, plain, stated, viewed
from prototxt.scan import Field, Lines
from prototxt.sections import declared_sections, section_message
from prototxt.upgrade import upgrade_net

log = logging.getLogger(__name__)

T = TypeVar("T")


class Neighbours:
    """Messages of all the net's layers, for what only several of them show."""

    def __init__(self, layers: Sequence[LayerParameter] = ()) -> None:
        self._layers = layers
        self._found: dict[Callable[[Sequence[LayerParameter]], Any], Any] = {}

    def __iter__(self) -> Iterator[LayerParameter]:
        return iter(self._layers)

    def once(self, look: Callable[[Sequence[LayerParameter]], T]) -> T:
        """What a function finds in the layers; it is called once a net, not once a layer."""
        if look not in self._found:
            self._found[look] = look(self._layers)
        found: T = self._found[look]
        return found


class NetLayer:
    """One layer in today's form; nobody changes one, `replaced` makes another.

    Attributes:
        param: its message.
        position: where its `layer {`, `layers {` or first `input:` stands in the user's file.
        name: of the layer.
        type: such as "Convolution".
        kind: what tells layers apart: the type; of a Python layer with module and class, `Python rpn.a_layer.ALayer`.
        bottoms, tops: names of the blobs that it reads and writes.
        asked: the dialects that the user asked for, by layer type.
        neighbours: all the net's layers.
        record: of a layer that is being read, what was asked for (`read_by`).
        fault: why the layer cannot be read, where its file does not say enough; raised by whoever needs the layer.
    """

    def __init__(
        self,
        param: LayerParameter,
        position: Position,
        asked: Mapping[str, str] | None = None,
        neighbours: Neighbours | None = None,
        places: Places | None = None,
        written: Field | None = None,
    ) -> None:
        self.param: LayerParameter = param
        self.position: Position = position
        self.name, self.type = param.name, param.type
        self.kind = self.type
        if self.type == "Python":
            self.kind = f"Python {param.python_param.module}.{param.python_param.layer}"
        self.bottoms, self.tops = tuple(param.bottom), tuple(param.top)
        self.asked: Mapping[str, str] = {} if asked is None else asked
        self.neighbours = Neighbours() if neighbours is None else neighbours
        self._places, self._written = places, written
        self.record: Record | None = None
        self.fault: CaffeModelError | None = None
        self._found: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"NetLayer({self.name!r}, {self.type!r}, {str(self.position)!r})"

    def replaced(
        self,
        *,
        param: LayerParameter | None = None,
        neighbours: Neighbours | None = None,
        fault: CaffeModelError | None = None,
    ) -> NetLayer:
        """The same with another message, neighbours or fault."""
        around = self.asked, neighbours or self.neighbours, self._places, self._written
        made = NetLayer(plain(self.param) if param is None else param, self.position, *around)
        made.fault = fault or self.fault
        return made

    @property
    def dialect(self) -> str:
        """Whose meaning of the type holds where forks differ (`prototxt.dialects`); empty where they do not."""
        return self._reading[0]

    @property
    def dialect_evidence(self) -> str:
        """Why it is that dialect, in words."""
        return self._reading[1]

    @property
    def _reading(self) -> tuple[str, str]:
        if self._found is None:
            self._found = dialect_of(self, self.asked)
        return self._found

    def section(self, name: str) -> Any:
        """A section that a plugin declared (`prototxt.sections`): a message, with defaults where nothing is written."""
        message = self._section(name)
        if self.record is None:
            return message
        self.record.sections.add(name)
        return viewed(message, self.record, f"{name}.")

    def _section(self, name: str) -> Message:
        return section_message(name, self._written.find(name) if self._written is not None else [])

    @property
    def declared(self) -> dict[str, Message]:
        """The sections that are written here and that plugins declared, by their names."""
        written = self._written
        names = () if written is None else (name for name in declared_sections() if written.find(name))
        return {name: self._section(name) for name in names}

    def stated_for_plugins(self) -> Iterator[str]:
        """Paths of the fields that are written in sections which plugins declared."""
        for name, section in self.declared.items():
            yield from stated(section, f"{name}.")

    def read_by(self, record: Record) -> NetLayer:
        """This layer for one reader: what it asks for of `param`, or of a plugin's section, is kept in the record."""
        self._found = self._reading  # the evidence is not what the reader asks for
        read = object.__new__(NetLayer)
        vars(read).update(vars(self), param=viewed(self.param, record), record=record)
        return read

    def without_effect(self, why: str, *paths: str) -> None:
        """Say as a reader of this layer that fields, `section.field`, change nothing here though they may be stated."""
        if self.record is not None:
            self.record.ignored.update(dict.fromkeys(paths, why))

    @property
    def span(self) -> tuple[int, int] | None:
        """Where its own text begins and ends in the file, in characters; None for a layer without, such as an input."""
        written = None if self._written is None else self._written.span
        return written if written and written[1] > written[0] else None

    def faults_among(self, faults: Sequence[tuple[Field, PrototxtError]]) -> list[PrototxtError]:
        """Those of some faults of fields, in the order of the text, that stand within this layer."""
        if self._written is None:
            return []
        first, last = (bisect_left(faults, edge, key=lambda fault: fault[0].offset) for edge in self._written.span)
        return [fault for _, fault in faults[first:last]]

    def where(self, *path: str | int) -> Position:
        """The place of a field of this layer, by its name of today whatever form the file has.

        Args:
            path: names from the outside in, such as `where("pooling_param", "pad")`; a number picks one of several of
                the name before it, such as `where("bottom", 1)`. What isn't written gives the place around it.
        """
        if self._places is None or self._written is None:
            return self.position
        return self._places.inside(self._written, path)


@dataclass(frozen=True, eq=False)
class Net:
    """A net of one phase.

    Attributes:
        path: the file it came from.
        name: the prototxt's `name`.
        layers: those that take part, in the order of the file.
        message: the whole in today's form, with these layers only; its `layer` entries are the layers' `param`.
        notes: what was upgraded, in words.
        left_out: the file's other layers, which their include and exclude rules keep out of this phase.
        lenient: whether a field that nobody reads is warned of where it would be refused (`allow_unknown`).
        sections_read: which sections of a binary file were read as some fork has them, in words.
    """

    path: str
    name: str
    layers: tuple[NetLayer, ...]
    message: NetParameter = field(repr=False)
    notes: tuple[str, ...] = ()
    left_out: tuple[NetLayer, ...] = field(default=(), repr=False)
    lenient: bool = False
    sections_read: tuple[str, ...] = ()

    @property
    def readings(self) -> list[str]:
        """How layer types and sections of several meanings were read, and on what evidence, one sentence each."""
        return [*self.sections_read, *readings(self.layers)]

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets the layers and what forks were asked for, not the places in the text."""
        asked = dict(self.layers[0].asked) if self.layers else {}
        faults = tuple(layer.fault for layer in self.layers)
        return _from_bytes, (self.path, self.message.SerializeToString(), asked, self.notes, self.lenient, faults)


def _from_bytes(
    path: str,
    data: bytes,
    asked: Mapping[str, str],
    notes: tuple[str, ...],
    lenient: bool,
    faults: tuple[CaffeModelError | None, ...],
) -> Net:
    message = NetParameter.FromString(data)
    around = Position(path), asked, Neighbours(message.layer)
    made = (NetLayer(param, *around) for param in message.layer)
    layers = tuple(layer.replaced(fault=fault) for layer, fault in zip(made, faults, strict=True))
    return Net(path, message.name, layers, message, notes, lenient=lenient)


def load_net(
    path: str | Path,
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    allow_unknown: bool = False,
    by_layer: bool = False,
    dialects: Mapping[str, str] | None = None,
) -> Net:
    """Read a prototxt of any age: V0, V1 or V2, with input fields or Input layers.

    Args:
        path: the file.
        phase: TEST or TRAIN.
        level, stages: the rest of Caffe's net state, against which include and exclude rules are held.
        allow_unknown: leave out fields that the schema lacks or nobody reads, with a warning, instead of refusing them.
        by_layer: let a layer's unknown fields and values stop only who needs the layer (`NetLayer.fault`). Those of
            layers that take no part in the phase stop nobody.
        dialects: layer type -> fork, where forks differ and the file's own evidence shall not decide; the type "" goes
            for all.

    Raises:
        PrototxtError: not a prototxt, or faults in it, all of them at once (ErrorGroup).
        NetError: a form that Caffe can't upgrade, rules that contradict each other, no layer in this phase.
        RequestError: a phase or a dialect that does not exist.

    Example:
        >>> net = resnet_convert.load_net("examples/digits/deploy.prototxt")
        >>> net.name, len(net.layers), net.layers[1].type, str(net.layers[1].position)
        ('ResNet-digits', 54, 'Convolution', 'examples/digits/deploy.prototxt:8:1')
    """
    return parse_net(
        read_text(path),
        str(path),
        phase=phase,
        level=level,
        stages=stages,
        allow_unknown=allow_unknown,
        by_layer=by_layer,
        dialects=dialects,
    )


def parse_net(
    text: str,
    path: str = "<string>",
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    allow_unknown: bool = False,
    by_layer: bool = False,
    dialects: Mapping[str, str] | None = None,
) -> Net:
    """Like `load_net`, from text; `path` is its name in messages."""
    found: list[tuple[Field, PrototxtError]] = []
    message, root, lines = parse(text, NetParameter, path, allow_unknown=allow_unknown, by_layer=found)
    try:
        net = _build(message, Places(path, root, lines), phase, level, stages, dialects or {})
    except CaffeModelError:
        _raise_faults([fault for _, fault in found], path)  # where there are any, they may be why
        raise
    if found:
        net = _answering(net, found, by_layer=by_layer)
    return replace(net, lenient=allow_unknown)


def _answering(net: Net, found: Sequence[tuple[Field, PrototxtError]], *, by_layer: bool) -> Net:
    """The net, whose layers answer for the faults of their fields; unless `by_layer`, the first to ask is here."""
    from prototxt.check import advised

    faults = [layer.faults_among(found) for layer in net.layers]
    if not by_layer:
        _raise_faults(list(chain.from_iterable(faults)), net.path)
    layers = (layer.replaced(fault=together(advised(own))) for layer, own in zip(net.layers, faults, strict=True))
    return replace(net, layers=tuple(layers))


def _raise_faults(faults: Sequence[PrototxtError], path: str) -> None:
    if faults:
        from prototxt.check import raise_faults  # whatever found a fault has loaded it

        raise_faults(faults, path)


def net_from_message(
    message: NetParameter,
    path: str = "<message>",
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    written: tuple[Field, Lines] | None = None,
    dialects: Mapping[str, str] | None = None,
    sections_read: Sequence[str] = (),
    faults: Mapping[tuple[str, str], CaffeModelError] | None = None,
) -> Net:
    """Like `load_net`, from a message, which is copied.

    Args:
        written: the places of its fields.
        sections_read: what `Net.sections_read` shall say.
        faults: by a layer's name and type, why it cannot be read (`NetLayer.fault`).
    """
    own = NetParameter()
    own.CopyFrom(message)
    net = _build(own, Places(path, *(written or (None, None))), phase, level, stages, dialects or {})
    layers = (layer.replaced(fault=(faults or {}).get((layer.name, layer.type))) for layer in net.layers)
    return replace(net, layers=tuple(layers), sections_read=tuple(sections_read))


def read_net_message(text: str, path: str, *, allow_unknown: bool = False) -> tuple[NetParameter, tuple[str, ...]]:
    """The whole net of a text in today's form, all phases, and what was upgraded, in words.

    Raises:
        PrototxtError, NetError: as `load_net`.
    """
    message, root, lines = parse(text, NetParameter, path, allow_unknown=allow_unknown)
    upgraded = upgrade_net(message, Places(path, root, lines).where)
    return upgraded.message, upgraded.notes


def _build(
    message: NetParameter, places: Places, phase: str, level: int, stages: Iterable[str], dialects: Mapping[str, str]
) -> Net:
    """The net of a message that nobody else holds."""
    check_asked(dialects)
    state = net_state(message, phase=phase, level=level, stages=stages)
    upgraded = upgrade_net(message, places.where, keep_inputs=True)
    for sentence in upgraded.lost:
        log.warning("%s: warning: %s", places.path, sentence)
    message, written = upgraded.message, [places.written(origin) for origin in upgraded.origins]
    kept = filter_net(message, state, lambda name, index: places.position(written[index]))
    _refuse_empty(message, kept, places, phase)

    neighbours = Neighbours(message.layer)

    def layer(param: LayerParameter, index: int) -> NetLayer:
        return NetLayer(param, places.position(written[index]), dialects, neighbours, places, written[index])

    dropped = sorted(set(range(len(message.layer))).difference(kept))
    left_out = []
    for index in dropped:
        param = LayerParameter()
        param.CopyFrom(message.layer[index])
        left_out.append(layer(param, index))
    for index in reversed(dropped):
        del message.layer[index]
    layers = tuple(layer(param, index) for param, index in zip(message.layer, kept, strict=True))
    return Net(places.path, message.name, layers, message, upgraded.notes, tuple(left_out))


def _refuse_empty(message: NetParameter, kept: list[int], places: Places, phase: str) -> None:
    if not message.layer:
        raise PrototxtError("the net has no layers", position=Position(places.path))
    if not kept:
        rules = "by their include and exclude rules"
        what = f"none of the {len(message.layer)} layers takes part in phase {phase}, {rules}"
        raise NetError(what, position=Position(places.path))
