"""What every layer class gives: how it reads its parameters, its shape rule, its weights, and its two emissions.

A layer file knows Caffe and both targets, and imports neither torch nor onnx: emission records data through
`OnnxOps` and `TorchOps`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TypeVar

import numpy as np

from converter.emission import OnnxOps, TorchOps
from converter.node import Layer, Parameter
from prototxt import NetLayer, Position
from prototxt.caffe_pb2 import FillerParameter
from prototxt.errors import NetError, UnsupportedError
from prototxt.families import FAMILY_OF
from prototxt.sections import declare_section

UNLIMITED = 1 << 20


L = TypeVar("L", bound=type[Layer])
_REGISTRY: dict[str, type[Layer]] = {}


class _Registry(Mapping[str, type[Layer]]):
    """All types: the built-in ones, each loaded with its family when it is asked for, and those of plugins."""

    def __getitem__(self, kind: str) -> type[Layer]:
        if kind not in _REGISTRY and kind in FAMILY_OF:
            import_module(f"converter.layers.{FAMILY_OF[kind]}")
        return _REGISTRY[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in FAMILY_OF or kind in _REGISTRY

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*FAMILY_OF, *_REGISTRY)))

    def __len__(self) -> int:
        return len({*FAMILY_OF, *_REGISTRY})


def register(cls: L) -> L:
    """Class decorator: serve `cls.types`. Two classes for one type are a programming error."""
    for name in cls.types:
        taken = registry().get(name)  # a built-in class is loaded first, so that a plugin is told of it
        if taken is not None:
            raise ValueError(f"layer type {name!r} is registered by {taken.__name__} already")
        _REGISTRY[name] = cls
    for section, fields in cls.sections.items():
        declare_section(section, fields)
    return cls


def registry() -> Mapping[str, type[Layer]]:
    """Caffe layer type -> class, of everything registered; reading off the types alone loads no class."""
    return _Registry()


def fault(source: NetLayer, message: str, *path: str) -> NetError:
    """An error about a layer, placed at one of its fields."""
    return NetError(message, position=source.where(*path), layer=source.name, layer_type=source.type)


def unsupported(source: NetLayer, message: str, *path: str) -> UnsupportedError:
    """Like `fault`, for what Caffe or a fork can do and this toolkit cannot."""
    return UnsupportedError(message, position=source.where(*path), layer=source.name, layer_type=source.type)


def at_least_one(source: NetLayer, section: str, *names: str) -> None:
    """Refuse a field of a section that is below 1."""
    for name in names:
        value = getattr(getattr(source.param, section), name)
        if value < 1:
            raise fault(source, f"{name} is {value}; expected at least 1", section, name)


def canonical_axis(axis: int, rank: int) -> int:
    """A possibly negative axis as a position; NetError outside -rank … rank-1."""
    if not -rank <= axis < rank:
        raise NetError(f"axis {axis} is out of range for a blob of {rank} axes")
    return axis % rank


class BottomsDifferError(NetError):
    """Bottoms whose shapes do not go together; the builder adds each one's name and shape."""


def require(condition: bool, message: str) -> None:
    """NetError with this message unless the condition holds; the builder adds layer and position."""
    if not condition:
        raise NetError(message)


def shortest(value: float) -> float:
    """A float32 field as its shortest decimal (0.1, not 0.10000000149), the same float32 again when it is cast."""
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))


def filler(message: object, name: str) -> FillerParameter | None:
    """The filler that a layer's parameter message states, None where it is silent."""
    has: bool = message.HasField(name)  # type: ignore[attr-defined]
    return getattr(message, name) if has else None


__all__ = [
    "UNLIMITED",
    "BottomsDifferError",
    "Layer",
    "OnnxOps",
    "Parameter",
    "Position",
    "TorchOps",
    "at_least_one",
    "canonical_axis",
    "fault",
    "filler",
    "register",
    "registry",
    "require",
    "shortest",
    "unsupported",
]
