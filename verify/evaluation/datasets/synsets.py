"""The classes of ImageNet in the two orders that are about, and class lists as people have them.

    ILSVRC's order     by ILSVRC2012_ID, 1 to 1000: the ground-truth file of the development kit counts so
    Caffe's order      wnids sorted, from 0: val.txt, class folders and nearly every net count so

`ilsvrc2012.txt` holds wnid and a short name by ID. Where two classes share a name (crane, maillot) it tells them apart.
Source: the label map that SSD made of the development kit's map_clsloc.txt; checked against samples of another copy,
sorted lists of wnids with their words, and the first 100 validation labels in both orders.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from prototxt.errors import Position, RequestError
from prototxt.words import unreadable
from verify.evaluation.datasets.matlab import is_mat, read_meta

_FILE: Final = Path(__file__).with_name("ilsvrc2012.txt")
_LARGEST: Final = 8 << 20
_WNID: Final = re.compile(r"[a-z]\d{8}", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@lru_cache(maxsize=1)
def _classes() -> tuple[tuple[str, str], ...]:
    """Wnid and name by ID."""
    lines = _FILE.read_text(encoding="ascii").splitlines()
    pairs = [line.split(" ", 1) for line in lines]
    return tuple((wnid, name) for wnid, name in pairs)


def wnids() -> tuple[str, ...]:
    """The 1000 wnids by ILSVRC2012_ID; place 0 holds that of ID 1."""
    return tuple(wnid for wnid, _ in _classes())


@lru_cache(maxsize=1)
def caffe_order() -> tuple[str, ...]:
    """The 1000 wnids by Caffe's label."""
    return tuple(sorted(wnids()))


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """A short name for each class, all different, by Caffe's label."""
    by_wnid = dict(_classes())
    return tuple(by_wnid[wnid] for wnid in caffe_order())


def caffe_label(ilsvrc_id: int) -> int:
    """Caffe's label, 0 to 999, of an ILSVRC2012_ID, 1 to 1000.

    Raises:
        RequestError: no class has this ID.
    """
    if not 1 <= ilsvrc_id <= len(_classes()):
        raise RequestError(f"no class of ILSVRC 2012 has the ID {ilsvrc_id}; expected 1 to {len(_classes())}")
    return int(ilsvrc_to_caffe()[ilsvrc_id - 1])


@lru_cache(maxsize=1)
def ilsvrc_to_caffe() -> npt.NDArray[np.int64]:
    """Caffe's label by ILSVRC2012_ID - 1; a permutation of 0 to 999, read-only."""
    place = {wnid: label for label, wnid in enumerate(caffe_order())}
    order = np.array([place[wnid] for wnid in wnids()], np.int64)
    order.flags.writeable = False
    return order


@dataclass(frozen=True)
class Synsets:
    """The classes of a list, in its order; what the list does not say is empty.

    Attributes:
        wnids: all different.
        names: in words; of several synonyms the first, unless another class has that too.
        order: `caffe` where the wnids are sorted, `ilsvrc` where they are those of ILSVRC 2012 by ID.
    """

    wnids: tuple[str, ...]
    names: tuple[str, ...]
    order: Literal["caffe", "ilsvrc", "other"]

    def __len__(self) -> int:
        return len(self.wnids or self.names)


def read_synsets(path: str | os.PathLike[str]) -> Synsets:
    """A list of classes, one a line: `wnid`, `wnid words` (Caffe's synset_words.txt), `wnid ID name` (ILSVRC's
    map_clsloc.txt, taken in the order of its IDs), a name without a wnid; or ILSVRC's meta.mat.

    Raises:
        RequestError: the file cannot be read, is empty or another kind of file, or a line does not fit the others;
            names the line.
    """
    where = os.fspath(path)
    data = _read(where)
    if is_mat(data):
        rows = read_meta(data, where)
        return _synsets([wnid for wnid, _ in rows], [words for _, words in rows])
    lines = _lines(data, where)
    first = [_WNID.fullmatch(line.split(None, 1)[0]) for _, line in lines]
    if not any(first):
        return Synsets((), tuple(line for _, line in lines), "other")
    if not all(first):
        number, line = lines[first.index(None)]
        example = next(match[0] for match in first if match)
        raise _fault(where, f"expected a wnid such as {example} first, not {line[:40]!r}", number)
    _refuse_repeats([(number, line.split(None, 1)[0]) for number, line in lines], where)
    rest = [line.split(None, 1)[1] if " " in line or "\t" in line else "" for _, line in lines]
    listed = [line.split(None, 1)[0] for _, line in lines]
    if all(re.fullmatch(r"\d{1,9}\s+\S+", words, re.ASCII) for words in rest) or _count(rest):
        return _by_id(lines, where)
    if any(rest) and not all(rest):
        raise _fault(where, "expected words after the wnid, as on other lines", lines[rest.index("")][0])
    return _synsets(listed, rest if all(rest) else [])


def _read(where: str) -> bytes:
    try:
        with open(where, "rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as fault:  # ValueError: a null character in the name
        raise _fault(where, f"{unreadable(fault)}; expected a list of classes") from fault
    if not data.strip():
        raise _fault(where, "is empty; expected a list of classes")
    if len(data) > _LARGEST:
        raise _fault(where, f"is larger than {_LARGEST >> 20} MiB; expected a list of classes")
    return data


def _lines(data: bytes, where: str) -> list[tuple[int, str]]:
    """The lines without blanks at their ends, with their numbers; blank lines at the end of the file are left out."""
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as fault:
        number = data.count(b"\n", 0, fault.start) + 1
        raise _fault(where, "is not UTF-8 text; expected a list of classes", number) from fault
    lines = [(number, line.strip()) for number, line in enumerate(text.rstrip().split("\n"), 1)]
    for number, line in lines:
        if not line:
            raise _fault(where, "is blank: every line is a class", number)
        bad = _CONTROL.search(line)
        if bad:
            raise _fault(where, f"has the control character {bad[0]!r}; expected a list of classes", number)
    return lines


def _by_id(lines: Sequence[tuple[int, str]], where: str) -> Synsets:
    """The lines of a map_clsloc.txt, with or without names, in the order of their IDs, which run from 1 on."""
    rows: list[tuple[str, str] | None] = [None] * len(lines)
    for number, line in lines:
        wnid, identity, *name = line.split()
        if not 1 <= int(identity) <= len(lines):
            raise _fault(where, f"expected an ID from 1 to {len(lines)}, the number of classes, not {identity}", number)
        if rows[int(identity) - 1]:
            raise _fault(where, f"the ID {identity} was given to another class before", number)
        rows[int(identity) - 1] = (wnid, " ".join(name).replace("_", " "))
    full = [row for row in rows if row]
    words = [name for _, name in full]
    return _synsets([wnid for wnid, _ in full], words if all(words) else [])


def _count(words: Sequence[str]) -> bool:
    """Whether they are the numbers from 1 on, in any order; else they may be names."""
    if not all(re.fullmatch(r"\d{1,9}", each, re.ASCII) for each in words):
        return False
    return sorted(map(int, words)) == list(range(1, len(words) + 1))


def _synsets(listed: Sequence[str], words: Sequence[str]) -> Synsets:
    ids = tuple(listed)
    order: Literal["caffe", "ilsvrc", "other"] = "other"
    if ids == wnids():
        order = "ilsvrc"
    elif list(ids) == sorted(ids):
        order = "caffe"
    return Synsets(ids, _short(words), order)


def _short(words: Sequence[str]) -> tuple[str, ...]:
    """The first of each class's synonyms, or all where that would name two classes alike."""
    first = [each.split(",")[0].strip() or each for each in words]
    count = Counter(first)
    return tuple(short if count[short] == 1 else full for short, full in zip(first, words, strict=True))


def _refuse_repeats(ids: Sequence[tuple[int, str]], where: str) -> None:
    seen: dict[str, int] = {}
    for number, wnid in ids:
        if wnid in seen:
            raise _fault(where, f"{wnid} was on line {seen[wnid]} already", number)
        seen[wnid] = number


def _fault(where: str, message: str, line: int = 0) -> RequestError:
    return RequestError(message, position=Position(where, line))
