"""A net as the toolkit sees it: V2 layers of one phase, each knowing where in the user's file it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prototxt.caffe_pb2 import LayerParameter, NetParameter
from prototxt.dialects import check_asked, dialect_of, readings
from prototxt.errors import NetError, Position, PrototxtError
from prototxt.parse import parse, read_text
from prototxt.phase import filter_net, net_state
from prototxt.places import Places
from prototxt.scan import Field, Lines
from prototxt.sections import section_message
from prototxt.upgrade import upgrade_net


@dataclass(frozen=True)
class NetLayer:
    """One layer in today's form.

    Attributes:
        param: its message.
        position: where its `layer {`, `layers {` or first `input:` stands in the user's file.
        asked: the dialects that the user asked for, by layer type.
        neighbours: messages of all the net's layers, for what only several of them show.
    """

    param: LayerParameter
    position: Position
    asked: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    neighbours: Sequence[LayerParameter] = field(default=(), repr=False, compare=False)
    _places: Places | None = field(default=None, repr=False, compare=False)
    _written: Field | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.param.name)

    @property
    def type(self) -> str:
        """The layer's type, such as "Convolution"."""
        return str(self.param.type)

    @property
    def kind(self) -> str:
        """What tells layers apart: the type; of a Python layer with module and class, `Python rpn.a_layer.ALayer`."""
        python = self.param.python_param
        return f"Python {python.module}.{python.layer}" if self.type == "Python" else self.type

    @property
    def bottoms(self) -> tuple[str, ...]:
        """Names of the blobs that it reads."""
        return tuple(self.param.bottom)

    @property
    def tops(self) -> tuple[str, ...]:
        """Names of the blobs that it writes."""
        return tuple(self.param.top)

    @property
    def dialect(self) -> str:
        """Whose meaning of the type holds where forks differ (`prototxt.dialects`); empty where they do not."""
        return dialect_of(self, self.asked)[0]

    @property
    def dialect_evidence(self) -> str:
        """Why it is that dialect, in words."""
        return dialect_of(self, self.asked)[1]

    def section(self, name: str) -> Any:
        """A section that a plugin declared (`prototxt.sections`): a message, with defaults where nothing is written."""
        return section_message(name, self._written.find(name) if self._written is not None else [])

    def where(self, *path: str | int) -> Position:
        """The place of a field of this layer, by its name of today whatever form the file has.

        Args:
            path: names from the outside in, such as `where("pooling_param", "pad")`; a number picks one of several of
                the name before it, such as `where("bottom", 1)`. What isn't written gives the place around it.
        """
        if self._places is None or self._written is None:
            return self.position
        return self._places.inside(self._written, path)


@dataclass(frozen=True)
class Net:
    """A net of one phase.

    Attributes:
        path: the file it came from.
        name: the prototxt's `name`.
        layers: those that take part, in the order of the file.
        message: the whole in today's form, with these layers only; its `layer` entries are the layers' `param`.
        notes: what was upgraded, in words.
        left_out: the file's other layers, which their include and exclude rules keep out of this phase.
    """

    path: str
    name: str
    layers: tuple[NetLayer, ...]
    message: NetParameter = field(repr=False)
    notes: tuple[str, ...] = ()
    left_out: tuple[NetLayer, ...] = field(default=(), repr=False)

    @property
    def readings(self) -> list[str]:
        """How layer types of several meanings were read, and on what evidence, one sentence each."""
        return readings(self.layers)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets the layers and what forks were asked for, not the places in the text."""
        asked = dict(self.layers[0].asked) if self.layers else {}
        return _from_bytes, (self.path, self.message.SerializeToString(), asked, self.notes)


def _from_bytes(path: str, data: bytes, asked: Mapping[str, str], notes: tuple[str, ...]) -> Net:
    message = NetParameter.FromString(data)
    layers = tuple(NetLayer(param, Position(path), asked, message.layer) for param in message.layer)
    return Net(path, message.name, layers, message, notes)


def load_net(
    path: str | Path,
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    allow_unknown: bool = False,
    dialects: Mapping[str, str] | None = None,
) -> Net:
    """Read a prototxt of any age: V0, V1 or V2, with input fields or Input layers.

    Args:
        path: the file.
        phase: TEST or TRAIN.
        level, stages: the rest of Caffe's net state, against which include and exclude rules are held.
        allow_unknown: leave out fields that the schema lacks, with a warning, instead of refusing them.
        dialects: layer type -> fork, where forks differ and the file's own evidence shall not decide; the type "" goes
            for all.

    Raises:
        PrototxtError: not a prototxt, or faults in it, all of them at once (ErrorGroup).
        NetError: a form that Caffe can't upgrade, rules that contradict each other, no layer in this phase.
        RequestError: a phase or a dialect that does not exist.
    """
    return parse_net(
        read_text(path),
        str(path),
        phase=phase,
        level=level,
        stages=stages,
        allow_unknown=allow_unknown,
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
    dialects: Mapping[str, str] | None = None,
) -> Net:
    """Like `load_net`, from text; `path` is its name in messages."""
    message, root, lines = parse(text, NetParameter, path, allow_unknown=allow_unknown)
    return _build(message, Places(path, root, lines), phase, level, stages, dialects or {})


def net_from_message(
    message: NetParameter,
    path: str = "<message>",
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    written: tuple[Field, Lines] | None = None,
    dialects: Mapping[str, str] | None = None,
) -> Net:
    """Like `load_net`, from a message, which is copied; `written` gives the places of its fields."""
    own = NetParameter()
    own.CopyFrom(message)
    return _build(own, Places(path, *(written or (None, None))), phase, level, stages, dialects or {})


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
    message, written = upgraded.message, [places.written(origin) for origin in upgraded.origins]
    kept = filter_net(message, state, lambda name, index: places.position(written[index]))
    _refuse_empty(message, kept, places, phase)

    def layer(param: LayerParameter, index: int) -> NetLayer:
        return NetLayer(param, places.position(written[index]), dialects, message.layer, places, written[index])

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
