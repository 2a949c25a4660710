"""Reading a text file that should be a prototxt, and saying what it is when it is something else."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from prototxt.errors import Position, PrototxtError
from prototxt.names import from_bytes, is_utf8
from prototxt.words import reason

log = logging.getLogger(__name__)

_CONTROL = bytes((*range(9), *range(14, 32)))

LARGEST_FILE = 16 << 20
"""Bytes; eight times the largest prototxt known."""


def read_text(path: str | Path) -> str:
    """A text file's content.

    UTF-8 with or without a byte order mark, and UTF-16 with one. Bytes that are no UTF-8, of names or of comments in an
    old encoding, are kept, a character each (`prototxt.names`).

    Raises:
        PrototxtError: no such file, a directory, empty, a web page, a Git LFS pointer, a binary file, over 16 MiB.
    """
    place = Position(str(path))
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except IsADirectoryError:
        raise PrototxtError("this is a directory; expected a prototxt file", position=place) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        why = reason(error)
        raise PrototxtError(f"can't read the file: {why[:1].lower()}{why[1:]}", position=place) from None
    wrong = what_else(data)
    if wrong:
        raise PrototxtError(wrong, position=place)
    return _decoded(data, str(path))


def _decoded(data: bytes, path: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return from_bytes(data.decode("utf-16", errors="replace").encode())
    text = from_bytes(data.removeprefix(b"\xef\xbb\xbf"))
    if not is_utf8(text):
        log.info("%s: note: the file is not UTF-8 throughout; other bytes are kept as they are", path)
    return text


def what_else(data: bytes) -> str:
    """What the content of a file is that can't be a prototxt, as an error's text; empty if it may be one."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        return "the file is empty"
    if len(data) > LARGEST_FILE:
        return f"the file is larger than {LARGEST_FILE >> 20} MiB; expected a prototxt"
    if start.startswith(b"version https://git-lfs.github.com/"):
        return "this is a Git LFS pointer, not the file itself; run 'git lfs pull'"
    if re.match(rb"<(!doctype|html|\?xml)", start, re.I):
        return "this is a web page, not a prototxt; download the raw file"
    if start.startswith(b"\x89HDF"):
        return "this is an HDF5 file, not a prototxt; a .caffemodel.h5?"
    if start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        return "this is a compressed archive, not a prototxt; unpack it first"
    if is_binary(data[:4096]):
        return "this is a binary file, not a prototxt; a .caffemodel?"
    return ""


def is_binary(head: bytes) -> bool:
    """Whether the first bytes of a file are those of no text."""
    return not head.startswith((b"\xff\xfe", b"\xfe\xff")) and _looks_binary(head)


def _looks_binary(data: bytes) -> bool:
    control = len(data) - len(data.translate(None, _CONTROL))
    return b"\0" in data or control > 0.02 * len(data)
