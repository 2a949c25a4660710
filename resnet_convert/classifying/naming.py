"""Names of classes, from the lists that people have: synset_words.txt, a name a line, SSD's labelmap, meta.mat.

    item { name: "n02958343" label: 7 display_name: "car" }          a labelmap: the label stands beside the name

A list names class 0 first. One in ILSVRC's own order, whose IDs are no net's classes, is taken in Caffe's order. A
detector's list may leave out the background, which it gives no boxes of.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from converter.options import File
from prototxt.errors import Position, PrototxtError, RequestError
from prototxt.words import plural
from verify.evaluation.datasets.class_order import in_nets_order
from verify.evaluation.datasets.synsets import caffe_order, names, read_synsets

_ITEM = re.compile(rb"^\s*item\s*:?\s*\{", re.MULTILINE)
_HEAD = 1 << 16
_BUILT_IN = 1000


@dataclass(frozen=True)
class ClassNames:
    """Names by label.

    Attributes:
        where: the file, for messages; empty for names from elsewhere.
        names, wnids: by label; what nobody says is not in there.
        listed: how many a list has one after the other; 0 where each stands beside its label.
        note: what the user should know of them, in words.
    """

    where: str = ""
    names: Mapping[int, str] = field(default_factory=dict)
    wnids: Mapping[int, str] = field(default_factory=dict)
    listed: int = 0
    note: str = ""

    def of(self, label: int) -> tuple[str, str]:
        """Name and WordNet ID of a class; empty where they are not known."""
        return self.names.get(label, ""), self.wnids.get(label, "")


def given_names(labels: File | Sequence[str] | None) -> ClassNames:
    """Names from a file, or in order; none where nothing is given.

    Raises:
        RequestError, PrototxtError: a file that is no list of classes; with the line.
        MissingDependencyError: meta.mat without scipy.
    """
    if labels is None:
        return ClassNames()
    if not isinstance(labels, (str, os.PathLike)):
        return ClassNames(names=dict(enumerate(map(str, labels))), listed=len(labels))
    if _is_labelmap(labels):
        return _labelmap(os.fspath(labels))
    found = in_nets_order(read_synsets(labels))
    wnids, words = (dict(enumerate(each)) for each in (found.wnids, found.names))
    return ClassNames(os.fspath(labels), words, wnids, len(found))


def for_scores(given: ClassNames, classes: int, *, imagenet: bool) -> ClassNames:
    """The names of a net that gives so many scores.

    Args:
        given: by the user.
        classes: how many scores there are.
        imagenet: whether the classes are known to be those of ILSVRC 2012.

    Raises:
        RequestError: a list of another length, or a labelmap that lacks a class or has more.
    """
    if not given.names and not given.wnids:
        if classes != _BUILT_IN:
            return given
        note = "" if imagenet else "the 1,000 classes are taken for ILSVRC 2012's in Caffe's order (--labels)"
        return ClassNames("", dict(enumerate(names())), dict(enumerate(caffe_order())), _BUILT_IN, note)
    if given.listed and given.listed != classes:
        raise _misfit(given, f"names {given.listed:,} classes, but the net gives {classes:,} scores")
    _refuse_unnamed(given, range(classes))
    return given


def for_boxes(given: ClassNames, classes: Sequence[int]) -> ClassNames:
    """The names of a detector's classes; a list may name the background or leave it out.

    Args:
        given: by the user.
        classes: of which the detector gives boxes.

    Raises:
        RequestError: a list of another length, or a labelmap that lacks a class.
    """
    if not given.names and not given.wnids:
        return given
    if given.listed and given.listed == len(classes) <= max(classes):
        note = f"the {plural(given.listed, 'name')} are those of classes {classes[0]} to {classes[-1]}, no background"
        moved = [{label: each[place] for place, label in enumerate(classes)} if each else {} for each in _tables(given)]
        return ClassNames(given.where, moved[0], moved[1], given.listed, note)
    if given.listed and given.listed != max(classes) + 1:
        both = f"{len(classes):,}" + (f", or {max(classes) + 1:,} with its background" * (len(classes) <= max(classes)))
        raise _misfit(given, f"names {given.listed:,} classes, but the detector has {both}")
    _refuse_unnamed(given, classes)
    return given


def _tables(given: ClassNames) -> tuple[Mapping[int, str], Mapping[int, str]]:
    return given.names, given.wnids


def _refuse_unnamed(given: ClassNames, classes: Collection[int]) -> None:
    known = given.names or given.wnids
    missing = next((label for label in classes if label not in known), None)
    if missing is not None:
        raise _misfit(given, f"has no name for class {missing} of the net's {len(classes):,}")
    beyond = max(known, default=0)
    if beyond > max(classes, default=0):
        raise _misfit(given, f"names class {beyond}, but the net's classes end at {max(classes)}")


def _misfit(given: ClassNames, message: str) -> RequestError:
    if given.where:
        return RequestError(message, position=Position(given.where))
    return RequestError(f"the list of labels {message}")


def _is_labelmap(path: File) -> bool:
    try:
        with open(path, "rb") as file:
            return _ITEM.search(file.read(_HEAD)) is not None
    except (OSError, ValueError):  # which the reader of lists says
        return False


def _labelmap(path: str) -> ClassNames:
    from prototxt.caffe_pb2 import LabelMap
    from prototxt.parse import parse, read_text

    made, tree, lines = parse(read_text(path), LabelMap, path)
    found: dict[int, str] = {}
    for item, place in zip(made.item, tree.find("item"), strict=True):
        name = item.display_name or item.name
        problem = _item_problem(item.label if item.HasField("label") else -1, name, found)
        if problem:
            raise PrototxtError(f"the item {problem}", position=lines.position(place.offset))
        found[item.label] = name
    return ClassNames(path, found)


def _item_problem(label: int, name: str, before: Mapping[int, str]) -> str:
    if label < 0:
        return "has no label from 0 on"
    if not name:
        return "has neither a name nor a display_name"
    return f"has label {label}, which {before[label]!r} has already" if label in before else ""
