"""The head of a .safetensors file: what each array is called, and where its bytes lie behind the head."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

KINDS: Final = {"float32": "F32", "float64": "F64", "int64": "I64"}
"""By the names that numpy has."""


class TensorEntry(NamedTuple):
    """An array to be written; `kind` is numpy's name of its type."""

    name: str
    kind: str
    shape: Sequence[int]
    nbytes: int


def safetensors_head(entries: Iterable[TensorEntry], metadata: Mapping[str, str] | None = None) -> bytes:
    """All that goes before the arrays' own bytes, which follow in the order of the entries without gaps."""
    header: dict[str, Any] = {"__metadata__": dict(metadata or {})}
    offset = 0
    for entry in entries:
        end = offset + entry.nbytes
        shape = [int(size) for size in entry.shape]
        header[entry.name] = {"dtype": KINDS[entry.kind], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
