"""What the files of a folder are: nets to deploy, nets to train, weight files, snapshots of one training."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prototxt.careful import is_solver
from prototxt.errors import CaffeModelError
from prototxt.net import read_net_message
from prototxt.parse import read_text
from resnet_convert.zoo.quiet import quietly

Role = Literal["deploy", "training", "solver", "other", "unreadable"]
NETS = (".prototxt", ".prototxt.txt")
WEIGHTS = (".caffemodel", ".caffemodel.h5")
SNAPSHOT = re.compile(r"(.+)_iter_(\d+)")
SAID = {"solver": "a solver", "other": "no net: it has no layers", "training": "a net for training"}
"""By role, what a file is."""


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is nothing to convert, and why."""

    path: Path
    why: str


def is_net(name: str) -> bool:
    """Whether a file's name is a prototxt's."""
    return name.lower().endswith(NETS)


def is_weights(name: str) -> bool:
    """Whether a file's name is a weight file's."""
    return name.lower().endswith(WEIGHTS)


def stem_of(path: Path) -> str:
    """A file's name without the suffixes that these files have."""
    name = path.name
    for suffix in sorted((*NETS, *WEIGHTS), key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def role_of(path: Path) -> Role:
    """What a prototxt is for, by its content: a net to deploy has an input, one to train gets its data from layers."""
    try:
        text = read_text(path)
        if is_solver(text):
            return "solver"
        with quietly():
            net, _ = read_net_message(text, str(path), allow_unknown=True)
    except CaffeModelError:
        return "unreadable"
    if not net.layer:
        return "other"
    return "deploy" if any(layer.HasField("input_param") for layer in net.layer) else "training"


def once_each(paths: Iterable[Path]) -> Iterator[Path | LeftOut]:
    """Of several names of one file the first that is no link; a link that leads nowhere stays, for who reads it."""
    seen: dict[tuple[int, int], Path] = {}
    for path in sorted(paths, key=lambda each: (each.is_symlink(), each.name)):
        try:
            found = path.stat()
        except OSError:
            yield path
            continue
        other = seen.setdefault((found.st_dev, found.st_ino), path)
        yield path if other is path else LeftOut(path, f"the same file as {os.path.relpath(other, path.parent)}")


def latest(weights: Sequence[Path]) -> tuple[list[Path], list[LeftOut]]:
    """The weight files without the earlier snapshots of a training, and without what is there in both formats."""
    left: list[LeftOut] = []
    kept = _one_format(sorted(weights), left)
    last: dict[str, tuple[int, Path]] = {}
    for path in kept:
        found = SNAPSHOT.fullmatch(stem_of(path))
        if found:
            last[found[1]] = max(last.get(found[1], (-1, path)), (int(found[2]), path))
    for path in list(kept):
        found = SNAPSHOT.fullmatch(stem_of(path))
        if found and last[found[1]][1] is not path:
            kept.remove(path)
            left.append(LeftOut(path, f"an earlier snapshot than {last[found[1]][1].name}"))
    return kept, left


def _one_format(weights: Sequence[Path], left: list[LeftOut]) -> list[Path]:
    named: dict[str, Path] = {}
    for path in sorted(weights, key=lambda each: (not each.name.lower().endswith(WEIGHTS[0]), each.name)):
        other = named.setdefault(stem_of(path), path)
        if other is not path:
            left.append(LeftOut(path, f"of the same name as {other.name}, in the other format"))
    return sorted(named.values())
