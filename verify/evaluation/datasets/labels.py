"""Labels as people have them, read into names and numbers.

val.txt             Caffe's list: `name label` a line; names may hold blanks, so the label is the last word
ground truth        `ILSVRC2012_validation_ground_truth.txt`: one ID a line, from 1, for the images in sorted order
annotations         an XML file for each image, whose `<object><name>` is the class's WordNet ID

The IDs of the second are in ILSVRC's own order of classes, not in Caffe's; `synsets.py` converts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from prototxt.errors import CaffeModelError, Position, RequestError, raise_all
from prototxt.words import shortened

Labels = npt.NDArray[np.int32]
"""One an image; -1 where there is none."""

LARGEST_LABEL: Final = 9_999_999
_MOST_ERRORS: Final = 10
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_LARGEST_ANNOTATION: Final = 1 << 20


@dataclass(frozen=True)
class ImageList:
    """What a val.txt says: names in its order, with `/`, and their labels; `lines` are their places in the file."""

    names: list[str]
    labels: Labels
    lines: npt.NDArray[np.int32]


def text_of(data: bytes, path: str) -> str:
    """The text of a list; bytes that are no UTF-8 stay as Python's file functions keep them.

    Raises:
        RequestError: it is no text, or empty.
    """
    if data.startswith(b"MATLAB"):
        raise _fault(path, 0, "is a MATLAB file, not a list of labels; the option for the order of classes takes it")
    if b"\0" in data[:4096]:
        raise _fault(path, 0, "is no text; expected lines of `name label`")
    if not data.strip():
        raise _fault(path, 0, "is empty; expected lines of `name label`")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def is_ground_truth(text: str) -> bool:
    """Whether a list holds bare numbers, as ILSVRC's ground truth does."""
    first = next((line for _, line in _lines(text)), "")
    return _INTEGER.fullmatch(first) is not None


def read_image_list(text: str, path: str) -> ImageList:
    """Caffe's `val.txt`.

    Raises:
        RequestError: a line without a label, a label that is no class, a name that leads out of the data folder;
            several as an ErrorGroup.
    """
    names: list[str] = []
    labels: list[int] = []
    places: list[int] = []
    errors: list[CaffeModelError] = []
    for number, line in _lines(text):
        words = line.rsplit(maxsplit=1)
        problem = _line_problem(words)
        if problem:
            errors.append(_fault(path, number, problem))
            if len(errors) == _MOST_ERRORS:
                break
            continue
        names.append(_tidy(words[0]))
        labels.append(int(words[1]))
        places.append(number)
    raise_all(errors)
    return ImageList(names, np.array(labels, np.int32), np.array(places, np.int32))


def read_ground_truth(text: str, path: str, classes: int) -> Labels:
    """ILSVRC's ground truth as ID - 1 of each image.

    Args:
        text, path: the file.
        classes: how many there are; IDs run from 1 to it.

    Raises:
        RequestError: a line that holds no such ID; several as an ErrorGroup.
    """
    found: list[int] = []
    errors: list[CaffeModelError] = []
    for number, line in _lines(text):
        if _INTEGER.fullmatch(line) and len(line) < 10 and 1 <= int(line) <= classes:
            found.append(int(line) - 1)
            continue
        what = f"expected an ILSVRC ID from 1 to {classes}, found {shortened(line)!r}"
        if line == "0":
            what += "; labels that count from 0 are written as `name label` lines"
        errors.append(_fault(path, number, what))
        if len(errors) == _MOST_ERRORS:
            break
    raise_all(errors)
    return np.array(found, np.int32)


def read_annotation(data: bytes, path: str) -> tuple[str, ...]:
    """The classes that an XML annotation names, the first object's first, each once.

    Raises:
        RequestError: it is no XML, too large, names no object, or has a DOCTYPE (which no annotation needs, and which
            can make a short file expand without end).
    """
    if len(data) > _LARGEST_ANNOTATION:
        raise _fault(path, 0, f"has {len(data) >> 20} MB; an annotation is a few kilobytes of XML")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if "<!DOCTYPE" in text:
        raise _fault(path, 0, "has a DOCTYPE, which is not read: an annotation is plain XML without one")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as fault:
        raise _fault(path, fault.position[0], f"is no XML: {fault}") from fault
    found = dict.fromkeys((element.text or "").strip() for element in root.findall("object/name"))
    names = tuple(name for name in found if name)
    if root.tag != "annotation" or not names:
        raise _fault(path, 0, "names no class; expected <annotation><object><name>n01440764</name>")
    return names


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, numbered from 1."""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped:
            yield number, stripped


def _line_problem(words: list[str]) -> str:
    if len(words) != 2 or not _INTEGER.fullmatch(words[1]):
        return f"expected `name label` with a label that counts from 0, found {shortened(' '.join(words))!r}"
    if len(words[1]) > 10 or not 0 <= int(words[1]) <= LARGEST_LABEL:
        return f"label {shortened(words[1])!r} is no class; labels count from 0"
    name = words[0].replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:/", name):
        return f"{shortened(words[0])!r} is an absolute path; names are relative to the data folder"
    if ".." in name.split("/"):
        return f"{shortened(words[0])!r} may lead out of the data folder; names are relative to it, without .."
    return ""


def _tidy(name: str) -> str:
    """Without the `./` and `//` that mean nothing."""
    if name.startswith("./") or "//" in name or "/./" in name:
        return "/".join(part for part in name.split("/") if part not in ("", "."))
    return name


def _fault(path: str, line: int, message: str) -> RequestError:
    return RequestError(message, position=Position(path, line))
