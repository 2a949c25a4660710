"""A layer's record of a binary net, its sections read as the fork that wrote them meant them.

Which message a section is says its number alone, and forks give one number to different layers. So a record is read by
the layer's type: the section that the type reads, under the schema's number or under one that a fork is known to use
(`prototxt.fork_numbers`), must explain all its bytes. Where two readings do and differ, BVLC's fields mean what BVLC
says, and other fields are refused unless the user says which fork it is. So is a section that no known fork of the type
reads. The refusal is kept with its layer: a layer that nobody asks for stops nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from prototxt.caffe_pb2 import LayerParameter, V1LayerParameter
from prototxt.errors import CaffeModelError, ForksDifferError, Position, UnsupportedError
from prototxt.fork_numbers import READINGS, Reading
from prototxt.type_sections import SECTIONS
from prototxt.upgrade_v1 import TYPES
from prototxt.words import few
from weights.section_bytes import fields_of, fits, misfits
from weights.section_readings import OWN, Candidate, UnclearError, candidates, choose, source_of
from weights.strings import read_message
from weights.wire import LENGTH, prefixed

log = logging.getLogger(__name__)

_L = TypeVar("_L", LayerParameter, V1LayerParameter)
_COMMON = (
    "name type bottom top loss_weight param blobs include exclude phase propagate_down transform_param loss_param "
    "layer blob_share_mode blobs_lr weight_decay"
).split()
_LAST_OF_BVLC = 146
_NEVER_REUSED = 138
"""Numbers that BVLC gave out in 2015; forks came to use those behind."""
_NVIDIA = {145: "forward_type", 146: "backward_type", 147: "forward_math", 148: "backward_math", 149: "debug",
           150: "cudnn_math_override"}  # fmt: skip
_SHARED_BY = 3
"""As many layer types with one unknown field make it a field of all layers."""


@dataclass
class _Found:
    """A section of a layer: where it stood and what it is."""

    number: int
    payload: bytes
    chosen: Candidate


@dataclass
class SectionReader:
    """Reads the layers of one file.

    Attributes:
        path: the file, for messages.
        asked: layer type -> fork, as `--dialect` says.
        faults: (name, type) of a layer -> why it cannot be read.
        shown: the forks that may have written the file, going by the numbers of its sections.
        told: for each such section the forks that have its number.
        old_fork: whose numbers the types of the form of 2014 have, where not BVLC's alone.
        renumbers: whether types of the form of 2014 that only a fork has are read by the fork's numbers.
    """

    path: str
    asked: Mapping[str, str]
    faults: dict[tuple[str, str], CaffeModelError] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    told: list[set[str]] = field(default_factory=list)
    renumbers: bool = True
    old_fork: str = ""
    _spread: dict[int, set[str]] = field(default_factory=dict)
    _notes: dict[str, list[str]] = field(default_factory=dict)
    _warnings: dict[str, list[str]] = field(default_factory=dict)

    def read(self, records: Iterable[bytes], cls: type[_L]) -> list[_L]:
        """The layers of these records, in order; what they lack of their records is in `faults`, or warned of."""
        if cls is V1LayerParameter and self.renumbers:
            records = self._renumbered(list(records))
        heads = [(data, _head(data, cls)) for data in records]
        for data, (_, kind) in heads:
            for number, *_ in fields_of(data):
                self._spread.setdefault(number, set()).add(kind)
        layers = [_LayerReading(self, data, cls, *head).layer() for data, head in heads]
        if self.told:  # Once more, now that it is known whose file this is.
            self.shown = set.intersection(*self.told)
            for said in (self.faults, self._notes, self._warnings):
                said.clear()
            layers = [_LayerReading(self, data, cls, *head).layer() for data, head in heads]
        for what, names in self._warnings.items():
            log.warning("%s: warning: %s: %s", self.path, few(names, 1), what)
        self._warnings.clear()
        return layers

    def _renumbered(self, records: Sequence[bytes]) -> Sequence[bytes]:
        from weights.old_forks import renumbered, written_by

        name = written_by(records, self.asked)
        if not name:
            return records
        self.told.append({name})
        self.old_fork = name
        return [renumbered(data, name) for data in records]

    @property
    def notes(self) -> list[str]:
        """What was read as a fork has it, and how that is known, a sentence each."""
        notes = [f"{self.path}: {few(names, 1)}: {what}" for what, names in self._notes.items()]
        if self.old_fork:
            from prototxt.old_fork_numbers import OLD_FORKS

            source = OLD_FORKS[self.old_fork].source
            notes.insert(0, f"{self.path}: types and sections are numbered as in {self.old_fork}'s fork ({source})")
        return notes

    def note(self, layer: str, what: str) -> None:
        """Remember a reading of a layer."""
        self._notes.setdefault(what, []).append(layer)

    def warn(self, layer: str, what: str) -> None:
        """Remember what a layer's record has and is left out."""
        self._warnings.setdefault(what, []).append(layer)

    def is_shared(self, number: int) -> bool:
        """Whether layers of several types have this field."""
        return len(self._spread[number]) >= _SHARED_BY


class _LayerReading:
    """One layer's record."""

    def __init__(self, reader: SectionReader, data: bytes, cls: Any, name: str, kind: str) -> None:
        self._reader = reader
        self._cls = cls
        self._known: Mapping[int, Any] = cls.DESCRIPTOR.fields_by_number
        self._name = name
        self._kind = kind
        self._title = f"layer {name!r} ({kind})"
        self._sections = SECTIONS.get(kind)
        self._records: dict[int, list[tuple[int, bytes, bytes]]] = {}
        for number, form, _, payload, raw in fields_of(data):
            self._records.setdefault(number, []).append((form, payload, raw))
        self._blobs = len(self._records.get(cls.DESCRIPTOR.fields_by_name["blobs"].number, ()))
        self._kept: list[bytes] = []
        # It brings data in or takes it out: whatever it says, the caller has that in his hand.
        bottom = cls.DESCRIPTOR.fields_by_name["bottom"].number
        self._is_data = bottom not in self._records and kind not in ("Input", "DummyData", "Parameter")

    def layer(self) -> Any:
        placed: dict[str, list[_Found]] = {}
        left: list[int] = []
        for number, records in self._records.items():
            known = self._known.get(number)
            names = self._names(number, known)
            if known is not None and known.name in _COMMON:
                self._common(known, records)
            elif names and all(form == LENGTH for form, *_ in records):
                payload = b"".join(payload for _, payload, _ in records)
                try:
                    section, chosen = self._resolve(number, names, payload)
                    placed.setdefault(section, []).append(_Found(number, payload, chosen))
                except UnclearError as unclear:
                    if self._is_plain(number):
                        left.append(number)
                        continue
                    self._unclear(number, names[0], payload, unclear)
            else:
                left.append(number)
        sections = {name: self._one(name, found) for name, found in placed.items()}
        has_own = any(found.payload for found in sections.values())
        for number in left:
            self._stray(number, has_own)
        self._check_type()
        try:
            layer = read_message(self._cls, b"".join(self._kept))
        except DecodeError:
            raise _damaged(self._reader.path, self._name) from None
        for name, found in sections.items():
            getattr(layer, name).CopyFrom(found.chosen.message)
        return layer

    def _check_type(self) -> None:
        """A layer of the form of 2014 has its type as a number, to which forks add theirs."""
        if self._cls is V1LayerParameter and not self._kind and 5 in self._records:
            what = misfits(V1LayerParameter.DESCRIPTOR, b"".join(raw for *_, raw in self._records[5]))
            if what:
                self._refuse(5, f"its {what[0]} is of an unknown fork")

    def _unclear(self, number: int, section: str, payload: bytes, why: UnclearError) -> None:
        known = self._known.get(number)
        if self._is_data and known is not None and known.name == section:
            try:
                self._cls.FromString(prefixed(number, payload))
            except DecodeError:
                pass  # Then nothing of it can be kept.
            else:
                self._kept.append(prefixed(number, payload))
        self._refuse(number, str(why), why.dialects)

    def _names(self, number: int, known: Any) -> list[str]:
        """The sections that the layer's type reads and that may stand under this number."""
        own = known is not None and known.message_type is not None and known.name not in _COMMON
        names = [known.name] if own and (self._sections is None or known.name in self._sections) else []
        found = [r.section for r in self._readings(number) if r.section in self._cls.DESCRIPTOR.fields_by_name]
        return list(dict.fromkeys([*names, *found]))

    def _readings(self, number: int) -> list[Reading]:
        """The forks' readings of a number; in the form of 2014 sections have other numbers, yet the same layouts."""
        if self._cls is V1LayerParameter:
            known = self._known.get(number)
            usual = None if known is None else LayerParameter.DESCRIPTOR.fields_by_name.get(known.name)
            if usual is None:
                return []
            number = usual.number
        return [reading for reading in READINGS.get(self._kind, ()) if reading.number == number]

    def _common(self, known: Any, records: list[tuple[int, bytes, bytes]]) -> None:
        for form, payload, raw in records:
            self._kept.append(raw)
            if known.message_type is not None and form == LENGTH:
                for what in misfits(known.message_type, payload):
                    self._reader.warn(self._title, f"{what} of its {known.name} is left out, of an unknown fork")

    def _resolve(self, number: int, names: list[str], payload: bytes) -> tuple[str, Candidate]:
        """The one reading of a section, and which section it is."""
        (section,) = names if len(names) == 1 else (self._sections or names)[:1]
        known = self._known.get(number)
        found = candidates(
            type(getattr(self._cls(), section)),
            own=known is not None and known.name == section,
            readings=[
                r for r in self._readings(number) if r.section == section and r.blobs in (0, self._blobs or r.blobs)
            ],
            payload=payload,
        )
        wish = self._wish(found)
        if wish:
            found = [candidate for candidate in found if wish in candidate.forks]
        chosen, why = choose(self._kind, section, number, found, payload, shown=self._reader.shown)
        if why:
            self._reader.note(self._title, why)
        else:
            self._say(number, section, chosen, wish)
        return section, chosen

    def _has_blobs(self, reading: Reading) -> bool:
        """Whether the record stores as many blobs as the fork's layer, or none."""
        return not reading.blobs or self._blobs in (0, reading.blobs)

    def _say(self, number: int, section: str, chosen: Candidate, wish: str) -> None:
        """Note which fork's number it is, where it is a fork's."""
        same = [r.forks for r in self._readings(number) if r.section == section and r.layout is None]
        forks = same[0] if same and OWN in chosen.forks else chosen.forks
        if OWN not in forks and not wish and number > _LAST_OF_BVLC:
            self._reader.told.append(set(forks))
        if wish or OWN not in forks:
            why = "as --dialect says" if wish else f"as in {source_of(forks)}"
            self._reader.note(self._title, f"its settings stand under number {number}, read as {section} {why}")

    def _wish(self, found: list[Candidate]) -> str:
        """The fork that the user asked for, if one of the readings is its."""
        for wish in (self._reader.asked.get(self._kind, ""), self._reader.asked.get("", "")):
            if any(wish in candidate.forks for candidate in found):
                return wish
        return ""

    def _one(self, section: str, found: list[_Found]) -> _Found:
        """The section, where it stands under several numbers."""
        usual = self._cls.DESCRIPTOR.fields_by_name[section].number
        full = [one for one in found if one.payload] or found[:1]
        first = next((one for one in full if one.number == usual), full[0])
        for other in full:
            if other is not first:
                self._refuse(other.number, f"number {other.number} is its {section} too, besides {first.number}")
        return first

    def _stray(self, number: int, has_own: bool) -> None:
        """A field that the layer's type does not read."""
        known, records = self._known.get(number), self._records[number]
        raw = b"".join(raw for *_, raw in records)
        if self._is_plain(number):
            self._kept.append(raw)
            return
        if any(form != LENGTH for form, *_ in records):
            name = f" ({_NVIDIA[number]} in NVIDIA's)" if number in _NVIDIA else ""
            self._reader.warn(self._title, f"field {number}{name} of an unknown fork is left out")
            return
        if not any(payload for _, payload, _ in records):
            return
        if known is not None and self._is_stray_of_bvlc(number, known, has_own):
            self._kept.append(raw)
        elif self._reader.is_shared(number) and has_own:
            self._reader.warn(self._title, f"field {number}, which layers of other types have too, is left out")
        else:
            whose = "is in no fork that we know" if known is None else f"is a section of other layers ({known.name})"
            self._refuse(number, f"field {number} of its record {whose}")

    def _is_plain(self, number: int) -> bool:
        """Whether it is a number or a word that any layer may have, such as Intel's `engine`."""
        known, records = self._known.get(number), self._records[number]
        if known is None or known.message_type is not None or not all(fits(known, form) for form, *_ in records):
            return False
        return all(payload.isascii() and payload.decode().isprintable() for _, payload, _ in records)

    def _is_stray_of_bvlc(self, number: int, known: Any, has_own: bool) -> bool:
        """Whether it is surely what BVLC has under the number: Caffe takes no notice, and the net's reader names it."""
        if known.message_type is None or misfits(known.message_type, b"".join(p for _, p, _ in self._records[number])):
            return False
        if self._cls is V1LayerParameter:
            return True
        usual = [LayerParameter.DESCRIPTOR.fields_by_name[name].number for name in self._sections or ()]
        of_bvlc = max(usual, default=0) <= _LAST_OF_BVLC
        return number <= _LAST_OF_BVLC and (has_own or (of_bvlc and number <= _NEVER_REUSED))

    def _refuse(self, number: int, why: str, dialects: Sequence[str] = ()) -> None:
        if self._is_data:
            self._reader.warn(self._title, f"{why}; what it says is left out")
            return
        message = f"{why}; give the net's prototxt as well, which would tell"
        place: dict[str, Any] = {"position": Position(self._reader.path), "layer": self._name, "layer_type": self._kind}
        fault = ForksDifferError(message, dialects, **place) if dialects else UnsupportedError(message, **place)
        self._reader.faults[self._name, self._kind] = fault


def _head(data: bytes, cls: type[LayerParameter | V1LayerParameter]) -> tuple[str, str]:
    """Name and type of a layer."""
    head = read_message(cls, b"".join(raw for number, *_, raw in fields_of(data) if number in (1, 2, 4, 5)))
    if isinstance(head, LayerParameter):
        return str(head.name), str(head.type)
    if head.HasField("layer"):
        return str(head.layer.name), str(head.layer.type)
    return str(head.name), TYPES.get(V1LayerParameter.LayerType.Name(head.type), "")


def _damaged(path: str, name: str) -> CaffeModelError:
    return UnsupportedError("its record is no layer's", position=Position(path), layer=name)
