"""All nets below a folder: which files are pairs, what is ambiguous, what is missing, and what is nothing to convert.

Files of one folder belong together first. What is left over there may go with what lies a folder above or below, by the
fit of its blobs, or in a folder beside it (`prototxt/` and `weights/`), by its name and its fit. A `.caffemodel` that
has no prototxt near it is converted by the net that it holds.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prototxt.words import listed, reason
from resnet_convert.zoo.card import Card
from resnet_convert.zoo.fitting import Fitting
from resnet_convert.zoo.folder import Folder, files_in, look, meant, settle
from resnet_convert.zoo.pairing import Pair, Unclear, names_of, pair_up
from resnet_convert.zoo.roles import LeftOut

Trouble = Literal["ambiguous", "missing", "failed"]
MANIFEST = "name the pair that is meant in a manifest"


@dataclass(frozen=True)
class FoundNet:
    """A net of a tree, or why there is none.

    Attributes:
        net: the prototxt, or a weight file that brings its own; for what is no pair the file or folder that it is of.
        weights: the weight file; None without.
        why: how the pair was found.
        card: what its folder states of it.
        trouble: why it cannot be converted; empty for a pair.
        message: the same, as a sentence.
    """

    net: Path
    weights: Path | None = None
    why: str = ""
    card: Card | None = None
    trouble: Trouble | Literal[""] = ""
    message: str = ""


@dataclass
class Findings:
    """What lies in a tree.

    Attributes:
        nets: in the order of their paths.
        left: what is nothing to convert, likewise.
    """

    nets: list[FoundNet] = field(default_factory=list)
    left: list[LeftOut] = field(default_factory=list)


def find_nets(root: Path, *, without: Collection[Path] = ()) -> Findings:
    """Look through a folder and those in it, but for hidden ones.

    Links are followed; what several lead to is looked at once.

    Args:
        root: the folder.
        without: folders that are not looked into.
    """
    found, fitting = Findings(), Fitting()
    folders = []
    for path, names in _walk(root, {_identity(each) for each in without} - {None}, found):
        folder = look(path, names)
        settle(folder, fitting)
        folders.append(folder)
    near = _near(folders, fitting)
    for folder in folders:
        found.nets += [*_of_card(folder), *_pairs(folder.pairs), *_unclear(folder.unclear, folder.path)]
        found.left += folder.left
    found.nets += [*_pairs(near.pairs), *_unclear(near.unclear, root)]
    used = {_identity(each.weights): each.weights for each in found.nets if each.weights and not each.trouble}
    for folder in folders:
        found.left += _used_elsewhere(folder, used, root)
        found.nets += _alone(folder, fitting)
    found.nets.sort(key=lambda each: (each.net.parent.parts, each.net.name, str(each.weights or "")))
    found.left.sort(key=lambda each: each.path.parts)
    return found


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _walk(root: Path, seen: set[tuple[int, int] | None], found: Findings) -> Iterator[tuple[Path, list[str]]]:
    """Each folder once with the names of its files; links to folders come last, so that paths without links count."""
    waiting, links = [root], list[Path]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        identity = _identity(folder)
        if identity in seen:
            continue
        seen.add(identity)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            said = f"cannot be looked into: {reason(error)}"
            found.nets.append(FoundNet(folder, trouble="failed", message=f"{folder}: error: {said}"))
            continue
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        inner = [entry for entry in shown if entry.is_dir()]
        links += [folder / entry.name for entry in inner if entry.is_symlink()]
        waiting += [folder / entry.name for entry in reversed(inner) if not entry.is_symlink()]
        yield folder, files_in(shown)


@dataclass
class _Near:
    pairs: list[Pair] = field(default_factory=list)
    unclear: list[Unclear] = field(default_factory=list)


def _near(folders: Sequence[Folder], fitting: Fitting) -> _Near:
    """Pair what is left over in folders beside, above and below each other."""
    found = _Near()
    by_path = {folder.path: folder for folder in folders}
    families: dict[Path, list[Folder]] = {}
    for folder in folders:
        families.setdefault(folder.path.parent, []).append(folder)
    for parent, children in families.items():
        _pair_across(children, fitting, found, named=True)
        if parent in by_path:
            above = by_path[parent]
            _pair_across([above, *children], fitting, found, between=above)
    return found


def _pair_across(
    folders: Sequence[Folder], fitting: Fitting, found: _Near, *, named: bool = False, between: Folder | None = None
) -> None:
    """Pair across folders; with `between` only what lies there with what lies elsewhere."""
    sides: list[tuple[Iterable[Folder], Iterable[Folder]]] = [(folders, folders)]
    if between is not None:
        others = [folder for folder in folders if folder is not between]
        sides = [([between], others), (others, [between])]
    for with_nets, with_weights in sides:
        nets = [net for folder in with_nets for net in folder.free_nets]
        weights = [each for folder in with_weights for each in folder.free_weights]
        if not nets or not weights:
            continue
        paired = pair_up(nets, weights, fitting, named=named)
        found.pairs += paired.pairs
        found.unclear += paired.unclear
        for folder in folders:
            folder.free_nets = [net for net in folder.free_nets if net in paired.nets or net not in nets]
            folder.free_weights = [w for w in folder.free_weights if w in paired.weights or w not in weights]


def _of_card(folder: Folder) -> Iterator[FoundNet]:
    card = folder.card
    if folder.fault is not None:
        yield FoundNet(folder.path, trouble="failed", message=str(folder.fault))
    if card is None:
        return
    if folder.of_card is not None:
        yield FoundNet(folder.of_card.net, folder.of_card.weights, folder.of_card.why, card)
    elif card.missing:
        said = "\n".join(str(card.absence(file)) for file in card.missing)
        weights = folder.path / card.weights.name
        yield FoundNet(meant(folder, card) or folder.path, weights, card=card, trouble="missing", message=said)


def _pairs(pairs: Iterable[Pair]) -> Iterator[FoundNet]:
    for pair in pairs:
        yield FoundNet(pair.net, pair.weights, pair.why)


def _unclear(groups: Iterable[Unclear], folder: Path) -> Iterator[FoundNet]:
    for group in groups:
        several = len(group.weights) > 1
        fit = f"{names_of(group.weights, folder)} {'fit' if several else 'fits'} {names_of(group.nets, folder)}"
        alike = " alike" if several or len(group.nets) > 1 else ""
        yield FoundNet(group.nets[0], trouble="ambiguous", message=f"{folder}: error: {fit}{alike}; {MANIFEST}")


def _used_elsewhere(folder: Folder, used: Mapping[tuple[int, int] | None, Path], root: Path) -> Iterator[LeftOut]:
    """Weights to which a link leads that is part of a pair."""
    for each in list(folder.free_weights):
        other = used.get(_identity(each))
        if other is not None:
            folder.free_weights.remove(each)
            yield LeftOut(each, f"the same file as {os.path.relpath(other, root)}")


def _alone(folder: Folder, fitting: Fitting) -> Iterator[FoundNet]:
    """What goes with nothing."""
    for net in folder.free_nets:
        yield FoundNet(net, trouble="missing", message=f"{net}: error: no weight file near it fits")
    for weights in folder.free_weights:
        misfits = [f"{net.name} ({fit.why})" for net in folder.nets if not (fit := fitting.fit(net, weights))]
        if misfits:
            said = f"is of none of the nets in its folder: {listed(misfits)}"
            yield FoundNet(weights, trouble="missing", message=f"{weights}: error: {said}")
        elif weights.name.lower().endswith(".h5"):
            said = "no prototxt is near it, and an HDF5 file holds the blobs alone"
            yield FoundNet(weights, trouble="missing", message=f"{weights}: error: {said}")
        else:
            yield FoundNet(weights, None, "no prototxt is near it: the net that it holds")
