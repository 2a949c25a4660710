"""ONNX's messages in protobuf's wire form, so that a model is written without loading onnx.

    ModelProto      1 ir_version   2 producer_name   3 producer_version   7 graph   8 opset_import   14 metadata_props
    GraphProto      1 node   2 name   5 initializer   11 input   12 output   13 value_info
    NodeProto       1 input   2 output   3 name   4 op_type   5 attribute   6 doc_string
    AttributeProto  1 name   2 f   3 i   4 s   6 g   7 floats   8 ints   9 strings   20 type
    ValueInfoProto  1 name   2 type   3 doc_string        type: 1 tensor_type: 1 elem_type   2 shape: 1 dim (each)
                                                          dim: 1 dim_value or 2 dim_param
    TensorProto     1 dims   2 data_type   8 name   9 raw_data   13 external_data   14 data_location

Fields stand in the order of their numbers and lists are not packed, as protobuf writes this schema (proto2), so that
the bytes are those that onnx itself would write.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import copysign, inf
from struct import pack
from typing import Any, Final

import numpy as np

from weights.wire import FIXED32, encoded, prefixed

GRAPH: Final = 7
"""Field of a ModelProto."""

FLOAT: Final = 1
INT64: Final = 7
BOOL: Final = 9
DOUBLE: Final = 11
"""Types of a tensor's elements."""

KINDS: Final = {"float32": FLOAT, "float64": DOUBLE, "int64": INT64, "bool": BOOL}
"""By the names that numpy has."""

_A_FLOAT, _AN_INT, _A_STRING, _A_GRAPH, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 5, 6, 7, 8
_EXTERNAL: Final = 1
_OFTEN: Final = 1 << 10
"""A net has few shapes, kernels and strides; of so many the bytes are kept."""
_LOW_64_BITS: Final = (1 << 64) - 1


def number(field: int, value: int) -> bytes:
    """A record of a whole number; a negative one is written as two's complement."""
    return encoded(field << 3) + encoded(value & _LOW_64_BITS)


def text(field: int, value: str) -> bytes:
    """A record of a string."""
    return prefixed(field, value.encode())


def _float(field: int, value: float) -> bytes:
    try:
        four = pack("<f", value)
    except OverflowError:  # beyond float32 is infinity, as in C
        four = pack("<f", copysign(inf, value))
    return encoded(field << 3 | FIXED32) + four


class Subgraph(bytes):
    """A graph that is an attribute's value, serialised."""


def attribute(name: str, value: Any) -> bytes:
    """An AttributeProto: a whole number, a float, a string, a list of one of them that is not empty, or a graph."""
    if isinstance(value, Subgraph):
        return text(1, name) + prefixed(6, value) + number(20, _A_GRAPH)
    if isinstance(value, str):
        return text(1, name) + text(4, value) + number(20, _A_STRING)
    if isinstance(value, (int, np.integer)):
        return text(1, name) + number(3, int(value)) + number(20, _AN_INT)
    if isinstance(value, (float, np.floating)):
        return text(1, name) + _float(2, float(value)) + number(20, _A_FLOAT)
    values = list(value)
    if not values:
        raise ValueError(f"attribute {name!r} is an empty list, which has no type")
    if all(isinstance(each, (int, np.integer)) for each in values):
        return _ints(name, tuple(map(int, values)))
    if all(isinstance(each, str) for each in values):
        return b"".join([text(1, name), *(text(9, each) for each in values), number(20, _STRINGS)])
    return b"".join([text(1, name), *(_float(7, float(each)) for each in values), number(20, _FLOATS)])


@lru_cache(_OFTEN)
def _ints(name: str, values: tuple[int, ...]) -> bytes:
    return b"".join([text(1, name), *(number(8, value) for value in values), number(20, _INTS)])


def node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], name: str, attributes: Mapping[str, Any], doc: str
) -> bytes:
    """A NodeProto, its attributes in the order of their names."""
    parts = [text(1, value) for value in inputs]
    parts += [text(2, value) for value in outputs]
    parts += [text(3, name), text(4, kind)]
    parts += [prefixed(5, attribute(key, value)) for key, value in sorted(attributes.items())]
    if doc:
        parts.append(text(6, doc))
    return b"".join(parts)


def value_info(name: str, kind: int, shape: Iterable[int | str] | None, doc: str = "") -> bytes:
    """A ValueInfoProto of a tensor; a size may be a name, and None is a shape that nobody knows."""
    type_ = _type(kind, None if shape is None else tuple(shape))
    return text(1, name) + type_ + (text(3, doc) if doc else b"")


@lru_cache(_OFTEN)
def _type(kind: int, shape: tuple[int | str, ...] | None) -> bytes:
    """The record of a ValueInfoProto's type."""
    dims = b""
    if shape is not None:
        sizes = [text(2, size) if isinstance(size, str) else number(1, size) for size in shape]
        dims = prefixed(2, b"".join([prefixed(1, size) for size in sizes]))
    return prefixed(2, prefixed(1, number(1, kind) + dims))


def tensor_head(name: str, kind: int, shape: Iterable[int]) -> bytes:
    """A TensorProto up to its numbers."""
    return b"".join([*(number(1, size) for size in shape), number(2, kind), text(8, name)])


def elsewhere(location: str, offset: int, length: int) -> bytes:
    """What a TensorProto has in place of numbers that lie in another file."""
    places = {"location": location, "offset": str(offset), "length": str(length)}
    return b"".join([prefixed(13, text(1, key) + text(2, value)) for key, value in places.items()]) + number(
        14, _EXTERNAL
    )


def nodes_and_name(nodes: Iterable[bytes], name: str) -> bytes:
    """The fields of a GraphProto before its initializers."""
    return b"".join([*(prefixed(1, each) for each in nodes), text(2, name)])


def values(inputs: Iterable[bytes], outputs: Iterable[bytes], inner: Iterable[bytes] = ()) -> bytes:
    """The fields of a GraphProto behind its initializers."""
    return b"".join(
        [prefixed(field, each) for field, some in ((11, inputs), (12, outputs), (13, inner)) for each in some]
    )


def model_opening(ir_version: int, producer: str, version: str) -> bytes:
    """The fields of a ModelProto before its graph."""
    return number(1, ir_version) + text(2, producer) + text(3, version)


def model_closing(opset: int, metadata: Mapping[str, str]) -> bytes:
    """The fields of a ModelProto behind its graph."""
    entries = [prefixed(14, text(1, key) + text(2, value)) for key, value in metadata.items()]
    return b"".join([prefixed(8, text(1, "") + number(2, opset)), *entries])
