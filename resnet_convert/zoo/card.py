"""What a zoo's folder states of its net: its name and licence, its files with their digests, where they are published.

The sums are held against the files by `check_sums`, before anything is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from prototxt.errors import CaffeModelError, Position, RequestError, WeightsError, raise_all
from prototxt.words import plural, reason, unreadable

LARGEST = 1 << 20
"""Bytes that are read of a readme or a model.yml."""
PIECE = 1 << 20


class Digest(NamedTuple):
    """A sum that a file shall have.

    Attributes:
        kind: as `hashlib` calls it: sha1, sha256 …
        value: hexadecimal, in lower case.
        position: where it is stated.
    """

    kind: str
    value: str
    position: Position


@dataclass(frozen=True)
class StatedFile:
    """One file of a net.

    Attributes:
        name: its path from the folder.
        digest: None where none is stated.
        size: in bytes, likewise.
        source: where it is published; empty where that is not said.
    """

    name: str
    digest: Digest | None = None
    size: int | None = None
    source: str = ""


@dataclass(frozen=True)
class Card:
    """What a readme.md or a model.yml says of the net in its folder.

    Attributes:
        path: of that file.
        name, license: of the net, as stated; empty where they are not.
        weights: the weight file.
        net: the prototxt; None where the folder's own counts.
        options: of a conversion, by name as in a manifest of `batch`.
        notes: what is stated and cannot be followed, a sentence each.
    """

    path: Path
    name: str
    license: str
    weights: StatedFile
    net: StatedFile | None = None
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.path.parent

    @property
    def files(self) -> tuple[StatedFile, ...]:
        """Prototxt, if it is stated, and weights."""
        return tuple(filter(None, (self.net, self.weights)))

    @property
    def missing(self) -> tuple[StatedFile, ...]:
        """Those that are not there."""
        return tuple(file for file in self.files if not (self.folder / file.name).is_file())

    @property
    def metadata(self) -> dict[str, str]:
        """What a model made of it shall carry; `model_license` is the name that ONNX gives to a licence."""
        digest = self.weights.digest
        said = {
            "model_license": self.license,
            "resnet_convert.name": self.name,
            "resnet_convert.published_at": self.weights.source,
            f"resnet_convert.{digest.kind}" if digest else "": digest.value if digest else "",
        }
        return {key: value for key, value in said.items() if key and value}

    def absence(self, file: StatedFile) -> WeightsError:
        """The error for a file that is not there: where it can be had."""
        digest = f" ({file.digest.kind} {file.digest.value})" if file.digest else ""
        where = f"it is published at {file.source}{digest}" if file.source else "nor is said where it is published"
        named = f"no such file, which {self.path.name} names"
        return WeightsError(f"{named}; {where}", position=Position(str(self.folder / file.name)))


def text_of(path: Path) -> str:
    """The beginning of a card's file.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(LARGEST).decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise WeightsError(unreadable(error), position=Position(str(path))) from error


def inside(name: str, position: Position) -> str:
    """A file's path from the folder, as stated; it may lie deeper, never elsewhere.

    Raises:
        RequestError: it leads out of the folder.
    """
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or "\0" in name:
        raise RequestError(f"{name!r} is no file of this folder", position=position)
    return name


def check_sums(card: Card) -> None:
    """Hold the files against what is stated of them.

    Raises:
        WeightsError: a file of another size or sum, with both, or one that cannot be read; of all files at once
            (ErrorGroup).
    """
    faults: list[CaffeModelError] = []
    for file in card.files:
        try:
            _check(card.folder / file.name, file, card.path.name)
        except WeightsError as error:
            faults.append(error)
    raise_all(faults)


def _check(path: Path, file: StatedFile, stated_in: str) -> None:
    place = Position(str(path))
    try:
        size = path.stat().st_size
        if file.size is not None and file.size != size:
            stated = plural(file.size, "byte")
            raise WeightsError(f"has {plural(size, 'byte')}, but {stated_in} states {stated}", position=place)
        if file.digest is None:
            return
        found = digest_of(path, file.digest.kind)
    except OSError as error:
        raise WeightsError(f"cannot be read: {reason(error)}", position=place) from error
    if found != file.digest.value:
        kind, value, where = file.digest
        stated = f"{Path(where.path).name}:{where.line}" if where.line else stated_in
        what = f"its {kind} is {found}, but {stated} states {value}"
        raise WeightsError(f"{what}: not the file that was published, or not all of it", position=place)


def digest_of(path: Path, kind: str) -> str:
    """A file's sum, hexadecimal."""
    import hashlib  # loads OpenSSL, which a run without digests does not need

    made = hashlib.new(kind)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            made.update(piece)
    return made.hexdigest()
