"""Records of the form of 2014 whose types only a fork has: whose they are, and the same records as the schema has them.

Forks gave the numbers behind BVLC's to layers of their own, and two of them the same ones to different layers. So the
fork is one that may have written all of a file's records, by their types, sections and bottoms; where just one is, or
the user names it, types and sections get the schema's numbers. Else they stay, and what reads them says that it cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prototxt.caffe_pb2 import V1LayerParameter
from prototxt.old_fork_numbers import LAST_OF_BVLC, OLD_FORKS, OldFork, OldType
from weights.section_bytes import fields_of, misfits
from weights.wire import LENGTH, VARINT, encoded, prefixed

_BOTTOM, _TOP, _TYPE, _BLOBS = 2, 3, 5, 6
_LOSS = 42
_FIELDS = V1LayerParameter.DESCRIPTOR.fields_by_name
_TYPES = V1LayerParameter.LayerType.DESCRIPTOR.values_by_name


def written_by(records: Iterable[bytes], asked: Mapping[str, str]) -> str:
    """The fork whose types the records have; empty where none is needed, or where it cannot be told.

    Args:
        records: of a file's layers.
        asked: layer type -> fork, as `--dialect` says.
    """
    told = [data for data in records if _is_forks(data)]
    if not told:
        return ""
    found = [name for name, fork in OLD_FORKS.items() if all(_may_write(fork, data) for data in told)]
    wished = [name for name in found if name in asked.values()]
    chosen = wished or found
    return chosen[0] if len(chosen) == 1 else ""


def renumbered(data: bytes, name: str) -> bytes:
    """A record of the fork as the schema has it."""
    fork = OLD_FORKS[name]
    known = _type_of(fork, data)
    names = dict(fork.common)
    if known is not None and known.section:
        names[known.number] = known.section
    out: list[bytes] = []
    for number, form, value, payload, raw in fields_of(data):
        if number == _TYPE and form == VARINT and known is not None:
            out.append(encoded(_TYPE << 3 | VARINT) + encoded(_TYPES[known.name].number))
        elif number in names and form == LENGTH:
            out.append(prefixed(_FIELDS[names[number]].number, payload))
        elif number in names and form == VARINT:
            out.append(encoded(_FIELDS[names[number]].number << 3 | VARINT) + encoded(value))
        else:
            out.append(raw)
    return b"".join(out)


def _number(data: bytes) -> int:
    """The number of a record's type."""
    return next((value for number, form, value, *_ in fields_of(data) if number == _TYPE and form == VARINT), 0)


def _count(data: bytes, wanted: int) -> int:
    return sum(number == wanted for number, *_ in fields_of(data))


def _is_forks(data: bytes) -> bool:
    """Whether a record's type is none of BVLC's: a Deconvolution without bottoms is none either."""
    number = _number(data)
    return number > LAST_OF_BVLC or (number == LAST_OF_BVLC and not _count(data, _BOTTOM))


def _type_of(fork: OldFork, data: bytes) -> OldType | None:
    return fork.types.get(_number(data)) if _is_forks(data) else None


def _may_write(fork: OldFork, data: bytes) -> bool:
    """Whether a record of a fork's type can be this one's."""
    known = _type_of(fork, data)
    if known is None:
        return False
    for number, (least, most) in ((_BOTTOM, known.bottoms), (_TOP, known.tops)):
        if not least <= _count(data, number) <= most:
            return False
    if _count(data, _BLOBS) and not known.blobs:
        return False
    allowed = {*fork.common, known.number}
    strange = [number for number, *_ in fields_of(data) if number not in allowed and not _is_bvlcs(number)]
    return not strange and not _misfit(known, [p for number, _, _, p, _ in fields_of(data) if number == known.number])


def _is_bvlcs(number: int) -> bool:
    """Whether it is BVLC's and may be in such a record; none of these layers is a loss."""
    field = V1LayerParameter.DESCRIPTOR.fields_by_number.get(number)
    return field is not None and number != _LOSS and number < _FIELDS["mcwindow_data_param"].number


def _misfit(known: OldType, payloads: Sequence[bytes]) -> bool:
    return bool(payloads) and bool(misfits(_FIELDS[known.section].message_type, b"".join(payloads)))
