"""Protobuf bytes by hand, so that the tests of the weight reader do not lean on the writer beside it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st


def varint(value: int) -> bytes:
    value %= 1 << 64
    out = b""
    while True:
        low, value = value % 128, value // 128
        if not value:
            return out + bytes([low])
        out += bytes([low + 128])


def key(field: int, wire: int) -> bytes:
    return varint(field * 8 + wire)


def number(field: int, value: int) -> bytes:
    return key(field, 0) + varint(value)


def message(field: int, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return key(field, 2) + varint(len(payload)) + payload


def text(field: int, value: str) -> bytes:
    return message(field, value.encode())


def floats(values: Sequence[float], field: int = 5) -> bytes:
    return message(field, struct.pack(f"<{len(values)}f", *values))


def unpacked_floats(values: Sequence[float], field: int = 5) -> bytes:
    return b"".join(key(field, 5) + struct.pack("<f", value) for value in values)


def doubles(values: Sequence[float], field: int = 8) -> bytes:
    return message(field, struct.pack(f"<{len(values)}d", *values))


def unpacked_doubles(values: Sequence[float], field: int = 8) -> bytes:
    return b"".join(key(field, 1) + struct.pack("<d", value) for value in values)


def shape(*dims: int) -> bytes:
    return message(7, message(1, *map(varint, dims)))


def unpacked_shape(*dims: int) -> bytes:
    return message(7, *(number(1, dim) for dim in dims))


def legacy_shape(*dims: int) -> bytes:
    return b"".join(number(field, dim) for field, dim in enumerate(dims, 1))


def layer(name: str, kind: str, *blobs: bytes, extra: bytes = b"") -> bytes:
    """A V2 layer; each blob is the body of a BlobProto."""
    return message(100, text(1, name), text(2, kind), extra, *(message(7, blob) for blob in blobs))


def v1_layer(name: str, kind: int, *blobs: bytes) -> bytes:
    return message(2, text(4, name), number(5, kind), *(message(6, blob) for blob in blobs))


def v0_layer(name: str, kind: str, *blobs: bytes) -> bytes:
    return message(2, message(1, text(1, name), text(2, kind), *(message(50, blob) for blob in blobs)))


SMALL = (
    text(1, "small")
    + layer("data", "Input")
    + layer(
        "conv",
        "Convolution",
        shape(2, 3, 1, 2) + floats([0.5 * n for n in range(12)]),
        unpacked_shape(2) + unpacked_floats([-1.5, 2.25]),
        extra=text(3, "data") + text(4, "conv") + message(106, number(1, 2)),
    )
    + layer("scale", "Scale", legacy_shape(1, 1, 1, 3) + unpacked_doubles([1.0, 2.0, 4.0]))
)


def saved(folder: Path, data: bytes, name: str = "net.caffemodel") -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """One of the files with up to four bytes set, or pieces inserted, deleted or repeated."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["set", "insert", "delete", "copy"]))
        if kind == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=6))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 9))]
        else:
            begin = draw(st.integers(0, len(data)))
            data[at:at] = data[begin : begin + draw(st.integers(1, 40))]
    return bytes(data)
