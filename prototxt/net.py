"""A net as the toolkit sees it: V2 layers of one phase, each knowing where in the user's file it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prototxt.caffe_pb2 import LayerParameter, NetParameter
from prototxt.errors import Position, PrototxtError
from prototxt.parse import is_solver, parse, read_text
from prototxt.phase import filter_net, net_state
from prototxt.scan import Field, Lines
from prototxt.upgrade import upgrade_net


@dataclass(frozen=True)
class NetLayer:
    """One layer in today's form.

    Attributes:
        param: its message.
        position: where its `layer {` stands.
    """

    param: LayerParameter
    position: Position
    _written: Field | None = field(default=None, repr=False, compare=False)
    _lines: Lines | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.param.name

    @property
    def type(self) -> str:
        """The layer's type."""
        return self.param.type

    @property
    def bottoms(self) -> tuple[str, ...]:
        """Names of the blobs that it reads."""
        return tuple(self.param.bottom)

    @property
    def tops(self) -> tuple[str, ...]:
        """Names of the blobs that it writes."""
        return tuple(self.param.top)

    def where(self, *path: str) -> Position:
        """The place of a field, e.g. `where("pooling_param", "pad")`; of what encloses it where it isn't written."""
        if self._written is None or self._lines is None:
            return self.position
        found = self._written
        for name in path:
            # V0 files write a layer's fields without the section around them.
            inner = found.find(name) or [f for child in found.find("layer") for f in child.find(name)]
            if inner:
                found = inner[0]
        return self._lines.position(found.offset)


@dataclass(frozen=True)
class Net:
    """A net of one phase.

    Attributes:
        path: the file it came from.
        name: the prototxt's `name`.
        layers: in the order of the file.
        message: the whole in today's form, with these layers only.
        notes: what was upgraded, in words.
    """

    path: str
    name: str
    layers: tuple[NetLayer, ...]
    message: NetParameter = field(repr=False)
    notes: tuple[str, ...] = ()


def load_net(
    path: str | Path,
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
    allow_unknown: bool = False,
) -> Net:
    """Read a prototxt of any age: V0, V1 or V2, with input fields or Input layers.

    Args:
        path: the file.
        phase: TEST or TRAIN.
        level, stages: the rest of Caffe's net state, against which include and exclude rules are held.
        allow_unknown: leave out fields that the schema lacks instead of refusing them.

    Raises:
        PrototxtError: not a prototxt, or faults in it, all of them at once.
        NetError: a form that Caffe can't upgrade, rules that contradict each other.
    """
    text = read_text(path)
    return parse_net(text, str(path), phase=phase, level=level, stages=stages, allow_unknown=allow_unknown)


def parse_net(
    text: str,
    path: str = "<string>",
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
    allow_unknown: bool = False,
) -> Net:
    """Like `load_net`, from text; `path` is its name in messages."""
    _refuse_solver(text, path)
    message, root, lines = parse(text, NetParameter, path, allow_unknown=allow_unknown)
    return net_from_message(message, path, phase=phase, level=level, stages=stages, written=(root, lines))


def net_from_message(
    message: NetParameter,
    path: str = "<message>",
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
    written: tuple[Field, Lines] | None = None,
) -> Net:
    """Like `load_net`, from a message, which is upgraded in place; `written` gives the places of its fields."""
    root, lines = written or (None, None)
    places = _Places(path, root, lines)
    upgraded = upgrade_net(message, places.where, keep_inputs=True)
    state = net_state(upgraded.message, phase=phase, level=level, stages=stages)
    origins = upgraded.origins
    kept = filter_net(upgraded.message, state, lambda _, index: places.of_entry(origins[index]))
    layers = tuple(
        NetLayer(
            upgraded.message.layer[i],
            places.of_entry(upgraded.origins[i]),
            places.field(upgraded.origins[i]),
            lines,
        )
        for i in kept
    )
    if not layers:
        raise PrototxtError("the net has no layers", position=Position(path))
    whole = NetParameter()
    whole.CopyFrom(upgraded.message)
    del whole.layer[:]
    whole.layer.extend(layer.param for layer in layers)
    return Net(path, upgraded.message.name, layers, whole, upgraded.notes)


class _Places:
    """Where the entries of the original file stand: k-th layer for k >= 0, the (-1 - k)-th `input` field below."""

    def __init__(self, path: str, root: Field | None, lines: Lines | None) -> None:
        self._path, self._lines = path, lines
        children = root.children if root else []
        self._layers = [f for f in children if f.name in ("layer", "layers")]
        self._inputs = [f for f in children if f.name == "input"]

    def field(self, origin: int) -> Field | None:
        entries = self._layers if origin >= 0 else self._inputs
        index = origin if origin >= 0 else -1 - origin
        return entries[index] if index < len(entries) else None

    def where(self, field: str, index: int) -> Position:
        """The place of the `index`-th entry of `layers`, `layer` or `input`."""
        return self.of_entry(-1 - index if field == "input" else index)

    def of_entry(self, origin: int) -> Position:
        found = self.field(origin)
        return self._lines.position(found.offset) if found and self._lines else Position(self._path)


def read_net_message(text: str, path: str, *, allow_unknown: bool = False) -> tuple[NetParameter, tuple[str, ...]]:
    """The whole net of a text in today's form, all phases, and what was upgraded, in words.

    Raises:
        PrototxtError, NetError: as `load_net`.
    """
    _refuse_solver(text, path)
    message, root, lines = parse(text, NetParameter, path, allow_unknown=allow_unknown)
    upgraded = upgrade_net(message, _Places(path, root, lines).where)
    return upgraded.message, upgraded.notes


def _refuse_solver(text: str, path: str) -> None:
    """A solver in place of a net is a common slip, worth more than forty unknown fields."""
    if is_solver(text):
        net = re.search(r"^\s*(?:net|train_net)\s*:\s*[\"']([^\"'\n]*)", text, re.M)
        hint = f"; the net it trains is {net[1]!r}" if net else ""
        raise PrototxtError(f"this is a solver, not a net{hint}", position=Position(path))
