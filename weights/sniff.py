"""What a file is by its first bytes, so that a wrong one is refused with the reason instead of a parser's complaint."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import Final, NoReturn

from prototxt.errors import Position, WeightsError
from prototxt.words import unreadable
from weights.wire import FIXED32, FIXED64, LENGTH, VARINT, Malformed, Wire

HEAD: Final = 4096
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_PROTOTXT: Final = r"(?m)^\s*(name|layers?|input|input_dim|input_shape|net|train_net|base_lr|force_backward)\s*[:{]"

_MAGIC: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"\x1f\x8b", "a gzip archive: unpack it first"),
    (0, b"BZh", "a bzip2 archive: unpack it first"),
    (0, b"\xfd7zXZ\0", "an xz archive: unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive: unpack it first"),
    (257, b"ustar", "a tar archive: unpack it first"),
    (0, b"\x93NUMPY", "a NumPy array (.npy), not Caffe weights"),
    (0, b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", "a PyTorch checkpoint, not Caffe weights"),
    (0, b"\x80\x02", "a Python pickle, not Caffe weights"),
    (0, b"\x80\x03", "a Python pickle, not Caffe weights"),
    (0, b"\x80\x04", "a Python pickle, not Caffe weights"),
    (0, b"\x80\x05", "a Python pickle, not Caffe weights"),
    (4, b"TFL3", "a TensorFlow Lite model, not Caffe weights"),
    (0, b"\x89PNG", "a PNG image, not Caffe weights"),
    (0, b"\xff\xd8\xff", "a JPEG image, not Caffe weights"),
    (0, b"%PDF", "a PDF document, not Caffe weights"),
)


def read_head(path: str | os.PathLike[str]) -> bytes:
    """The first bytes of a regular file that is not empty.

    Raises:
        WeightsError: the file is missing, no regular file, unreadable or empty.
    """
    name = os.fspath(path)
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            _refuse(name, "is a directory; a file is needed")
        if not stat.S_ISREG(mode):
            _refuse(name, "is no regular file; weights are mapped into memory, so write them to a file first")
        with open(name, "rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError as fault:
        raise WeightsError("no such file", position=Position(name)) from fault
    except (OSError, ValueError) as fault:  # ValueError: a null byte in the path
        raise WeightsError(unreadable(fault), position=Position(name)) from fault
    if not head:
        _refuse(name, "is empty")
    return head


def sniff_weights(path: str | os.PathLike[str]) -> bool:
    """Whether a weight file is HDF5 (True) or may be a binary NetParameter (False).

    Raises:
        WeightsError: it is something else, and the message says what.
    """
    head = read_head(path)
    if _is_hdf5(head):
        return True
    refuse_foreign(os.fspath(path), head)
    return False


def is_prototxt(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a net's text."""
    text = _as_text(head)
    return text is not None and re.search(_PROTOTXT, text) is not None


def refuse_foreign(path: str, head: bytes) -> None:
    """Pass if `head` may begin a Caffe message.

    Raises:
        WeightsError: it begins something else, and the message says what.
    """
    if head.startswith(_LFS):
        _refuse(path, "is a Git LFS pointer, not the weights: run `git lfs pull`")
    if head.startswith(b"PK\x03\x04"):
        _refuse(path, f"is {_zip_kind(head)}")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27:
        _refuse(path, "is a safetensors file, not Caffe weights")
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            _refuse(path, f"is {kind}")
    text = _as_text(head)
    if text is None:
        return
    start = text.lstrip("\ufeff \t\r\n")[:200].lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<?xml", "<body")):
        _refuse(path, "is a web page, not the weights: the download went wrong")
    if is_prototxt(head):
        _refuse(path, "is a prototxt, not the weights: the binary .caffemodel is needed")
    _refuse(path, f"is text, not the weights; it begins with {text.strip()[:40]!r}")


def name_other_message(wire: Wire) -> str | None:
    """What protobuf message it is, going by its top-level fields, if it is one that gets mistaken for weights."""
    keys: set[tuple[int, int]] = set()
    with suppress(Malformed):  # what comes before the fault is enough to go by
        for number, kind, _, _ in wire.records(0, wire.size):
            keys.add((number, kind))
    if keys & {(100, LENGTH)}:
        return None
    if {(1, VARINT), (2, LENGTH)} <= keys and keys <= {(1, VARINT), (2, LENGTH), (3, LENGTH), (4, VARINT)}:
        return "a solver state (.solverstate), which has no weights: give the .caffemodel saved with it"
    if {(1, VARINT), (7, LENGTH)} <= keys and not keys & {(2, VARINT), (5, LENGTH)}:
        return "an ONNX model, not Caffe weights"
    numbers = {(5, LENGTH), (5, FIXED32), (8, LENGTH), (8, FIXED64), (12, LENGTH)}
    if keys & numbers and keys & {(1, VARINT), (7, LENGTH)}:
        return "a single blob, such as a mean image (.binaryproto), not the weights of a net"
    return None


def _is_hdf5(head: bytes) -> bool:
    """HDF5's signature lies at the start, or after a user block of 512, 1024, 2048... bytes."""
    if head.startswith(_HDF5):
        return True
    return any(head.startswith(_HDF5, offset) for offset in (512, 1024, 2048))


def _zip_kind(head: bytes) -> str:
    if b"data.pkl" in head:
        return "a PyTorch checkpoint, not Caffe weights"
    if b".npy" in head:
        return "a NumPy archive (.npz), not Caffe weights"
    return "a ZIP archive: unpack it first"


def _as_text(head: bytes) -> str | None:
    """The bytes as text, None where they hold control characters, as every protobuf message soon does."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", "replace")
    if any(byte < 32 and byte not in b"\t\n\r\f" for byte in head):
        return None
    return head.decode("utf-8", "replace")


def _refuse(path: str, message: str) -> NoReturn:
    raise WeightsError(message, position=Position(path))
