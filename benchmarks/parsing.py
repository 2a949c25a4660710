#!/usr/bin/env python3
"""How fast prototxts are read, and whether the one pass over usual ones reads what the careful parser reads.

    python -m benchmarks.parsing [--every 10]

Takes the corpus in ../shared, each file as what its index calls it (a net, a solver) and the rest as nets. Every text
is read by `prototxt.parse.parse`, and by the careful parser alone, which is protobuf's own behind a check: message,
tree and places must be equal. Exit status 1 when they are not, or a bar is missed:

    nets and solvers, processor time    6 MB/s, texts that fall back to the careful parser included
"""

from __future__ import annotations

import argparse
import json
import logging
import lzma
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from benchmarks.corpus import CORPUS
from prototxt.caffe_pb2 import NetParameter, SolverParameter
from prototxt.careful import parse_carefully
from prototxt.errors import CaffeModelError
from prototxt.names import from_bytes, typed
from prototxt.one_pass import read_usual
from prototxt.parse import parse
from prototxt.scan import Field, Lines
from prototxt.source import what_else

BAR = 6
"""Megabytes a second."""

Parsed = tuple[Message, Field, Lines]


@dataclass
class Reading:
    """What reading some texts came to; seconds are of processor time."""

    texts: int = 0
    usual: int = 0
    characters: int = 0
    seconds: float = 0
    careful_seconds: float = 0

    @property
    def rate(self) -> float:
        """Megabytes a second."""
        return self.characters / 1e6 / self.seconds if self.seconds else 0

    def row(self, name: str) -> str:
        ratio = self.careful_seconds / self.seconds if self.seconds else 0
        return (
            f"| {name} | {self.texts} | {self.usual} | {self.characters / 1e6:.1f} MB | {self.rate:.1f} MB/s "
            f"| {self.characters / 1e6 / (self.careful_seconds or 1):.2f} MB/s | {ratio:.1f} |"
        )


def texts(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Kind, name and content of each text of the corpus."""
    with lzma.open(folder / "index.json.xz") as file:
        kinds = {entry["file"]: entry["kind"] for entry in json.load(file)}
    with tarfile.open(folder / "prototxt.tar.xz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            data = b"" if stream is None else stream.read()
            if data and not what_else(data):
                kind = kinds.get(member.name, "")
                yield kind if kind in ("net", "solver") else "other", member.name, from_bytes(data)


def timed(read: Callable[[], Parsed]) -> tuple[Parsed | None, float]:
    """What was read, None for a text that is refused, and the seconds."""
    start = time.process_time()
    try:
        return read(), time.process_time() - start
    except CaffeModelError:
        return None, time.process_time() - start


def read_both(text: str, cls: type[Message], reading: Reading) -> str:
    """Read a text both ways; says where they differ, in words, empty if nowhere."""
    text = typed(text)
    usual = read_usual(text, cls, Lines(text, ""))
    found, seconds = timed(lambda: parse(text, cls, ""))
    expected, careful_seconds = timed(lambda: parse_carefully(text, cls, "", allow_unknown=False, by_layer=None))
    reading.texts += 1
    reading.usual += usual is not None
    reading.characters += len(text)
    reading.seconds += seconds
    reading.careful_seconds += careful_seconds
    if found is None or expected is None:
        return "" if found is expected else "read by one, refused by the other"
    if found[0] != expected[0]:
        return "the messages differ"
    return "" if same_places(found[1:], expected[1:]) else "the places differ"


def same_places(one: tuple[Field, Lines], other: tuple[Field, Lines]) -> bool:
    """Whether all fields of two trees are the same and stand on the same lines and columns."""
    (a, a_lines), (b, b_lines) = one, other
    waiting = [(a, b)]
    while waiting:
        a, b = waiting.pop()
        if described(a, a_lines) != described(b, b_lines) or len(a.children) != len(b.children):
            return False
        waiting += zip(a.children, b.children, strict=True)
    return True


def described(field: Field, lines: Lines) -> tuple[object, ...]:
    """A field without those within it."""
    places = map(lines.position, (field.offset, field.value_offset, field.value_end, *field.span))
    return field.name, field.value, field.listed, field.span, field.value_offset, field.value_end, *places


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="the folder of the corpus (%(default)s)")
    parser.add_argument("--every", type=int, default=1, help="read one text of so many (%(default)s)")
    arguments = parser.parse_args()
    readings = {"net": Reading(), "solver": Reading(), "other": Reading()}
    faults = 0
    for index, (kind, name, text) in enumerate(texts(arguments.corpus)):
        if index % arguments.every == 0:
            fault = read_both(text, SolverParameter if kind == "solver" else NetParameter, readings[kind])
            if fault:
                faults += 1
                print(f"{name}: {fault}")
    print("| kind | texts | in one pass | size | read at | carefully | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for kind, reading in readings.items():
        print(reading.row(kind))
    counted = [readings["net"], readings["solver"]]
    rate = sum(r.characters for r in counted) / 1e6 / sum(r.seconds for r in counted)
    print(f"\nnets and solvers: {rate:.1f} MB/s, expected {BAR}; {faults} texts read otherwise")
    return 0 if rate >= BAR and not faults else 1


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # of this process alone: what nets lack is not asked here
    sys.exit(main())
