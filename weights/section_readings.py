"""Which reading explains a section's bytes: the schema's, or one of the forks' that have the number for that layer.

A reading must explain every byte. Where several do and come to the same, it does not matter which. Where they differ,
the user's word counts, then what the file's other layers show of its fork, then BVLC's meaning of BVLC's own fields;
else there is no telling.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prototxt.fork_numbers import BVLC, FORKS, Reading
from prototxt.words import listed
from weights.section_bytes import fields_of, misfits, translated
from weights.strings import read_message

OWN = "own"


class UnclearError(Exception):
    """A section has no reading, or several; says which, and how `--dialect` calls them."""

    def __init__(self, message: str, dialects: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.dialects = tuple(dialects)


@dataclass(frozen=True)
class Candidate:
    """One reading of a section.

    Attributes:
        forks: whose; `own` is the schema's.
        message: the section; None where the reading does not explain it.
        unread: stored fields that the fork has and the schema lacks.
        wrong: what of the bytes it does not explain.
    """

    forks: tuple[str, ...]
    message: Any
    unread: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def outcome(self) -> tuple[bytes, tuple[str, ...]]:
        """What the reading comes to; a value that is the default counts as not written."""
        plain = type(self.message)()
        plain.CopyFrom(self.message)
        for known, value in self.message.ListFields():
            if known.has_presence and known.message_type is None and value == known.default_value:
                plain.ClearField(known.name)
        return plain.SerializeToString(deterministic=True), self.unread


def candidates(cls: type[Any], *, own: bool, readings: Iterable[Reading], payload: bytes) -> list[Candidate]:
    """The readings of a section, the schema's first where the number is its own."""
    found = []
    if own:
        wrong = tuple(misfits(cls.DESCRIPTOR, payload))
        found.append(Candidate((OWN,), None if wrong else read_message(cls, payload), (), wrong))
    return [*found, *(_read_as(cls, reading, payload) for reading in readings)]


def _read_as(cls: type[Any], reading: Reading, payload: bytes) -> Candidate:
    data, unread, wrong = payload, list[str](), list[str]()
    if reading.layout is not None:
        data, unread, wrong = translated(cls.DESCRIPTOR, reading.layout, payload)
    wrong = wrong or misfits(cls.DESCRIPTOR, data)
    if wrong:
        return Candidate(reading.forks, None, (), tuple(wrong))
    message = read_message(cls, data)
    for name, value in reading.defaults.items():
        if not message.HasField(name):
            setattr(message, name, value)
    return Candidate(reading.forks, message, tuple(unread))


def choose(
    kind: str, section: str, number: int, found: Sequence[Candidate], payload: bytes, *, shown: set[str]
) -> tuple[Candidate, str]:
    """The one reading that counts, and a sentence where it does not go without saying.

    Args:
        kind: the layer's type, for messages; so are `section` and `number`.
        found: the readings, those of the user's fork alone if he named one.
        payload: the section's bytes.
        shown: forks that may have written the file, going by its other layers.

    Raises:
        UnclearError: none does, or several that differ.
    """
    good = [candidate for candidate in found if not candidate.wrong]
    if not good:
        wrong = min((candidate.wrong for candidate in found), key=len)
        raise UnclearError(f"{listed(wrong)} of its {section} (number {number}) is of an unknown fork")
    chosen, why = good[0], ""
    if len({candidate.outcome for candidate in good}) > 1:
        of_shown = [candidate for candidate in good if shown.intersection(candidate.forks)]
        if len({candidate.outcome for candidate in of_shown}) == 1:
            if of_shown[0].outcome != chosen.outcome:
                chosen = of_shown[0]
                why = f"its {section} is read as in {source_of(chosen.forks)}, as the file's other layers are"
        elif not _is_bvlcs(section, chosen, payload):
            raise UnclearError(_several(kind, section, number, good), [candidate.forks[0] for candidate in good])
    if chosen.unread:
        what = listed(chosen.unread)
        raise UnclearError(f"its {section} says {what}, as in {source_of(chosen.forks)}, which is not supported")
    return chosen, why


def _is_bvlcs(section: str, first: Candidate, payload: bytes) -> bool:
    """Whether all that is stored are fields that BVLC has and forks hardly use otherwise."""
    stored = {number for number, *_ in fields_of(payload)}
    return OWN in first.forks and max(stored, default=0) <= BVLC.get(section, 0)


def _several(kind: str, section: str, number: int, good: Sequence[Candidate]) -> str:
    sources = ", another in ".join(source_of(candidate.forks) for candidate in good)
    wishes = ", ".join(f"{kind}={candidate.forks[0]}" for candidate in good)
    return f"its {section} (number {number}) means one thing in {sources}; --dialect {wishes} says which"


def source_of(forks: tuple[str, ...]) -> str:
    """Where a reading is from, for messages."""
    return "the schema" if forks == (OWN,) else f"{forks[0]}'s fork ({FORKS[forks[0]]})"
