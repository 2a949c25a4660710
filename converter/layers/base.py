"""What every layer class gives: how it reads its parameters, its shape rule, its weights, and its two emissions.

A layer file knows Caffe and both targets, and imports neither torch nor onnx: emission records data through
`OnnxOps` and `TorchOps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from converter.emission import OnnxOps, TorchOps
from converter.graph import Shape
from prototxt import NetLayer, Position
from prototxt.caffe_pb2 import FillerParameter
from prototxt.errors import NetError, UnsupportedError
from prototxt.sections import Default, declare_section

if TYPE_CHECKING:
    from typing_extensions import Self

    from converter.graph import Node

UNLIMITED = 1 << 20


@dataclass(frozen=True)
class Parameter:
    """One learnable blob of a layer: its name in the written files, its shape, and the filler the net states."""

    name: str
    shape: Shape
    filler: FillerParameter | None = None


@dataclass(frozen=True)
class Layer:
    """Base of all layers; a subclass is a frozen dataclass of Caffe's own parameters.

    Attributes:
        types: the Caffe type names that it serves.
        bottoms, tops: how many it takes, as (least, most).
        sections: of a plugin's layer: what stands in the prototxt that no known Caffe has (`prototxt.sections`).
        role: `layer`, or `input` for a layer that brings data in, or `loss` for one that is left out unless asked for.
    """

    types: ClassVar[tuple[str, ...]] = ()
    bottoms: ClassVar[tuple[int, int]] = (1, 1)
    tops: ClassVar[tuple[int, int]] = (1, 1)
    sections: ClassVar[Mapping[str, Mapping[str, Default]]] = {}
    role: ClassVar[str] = "layer"

    @classmethod
    def read(cls, source: NetLayer) -> Layer:
        """The layer as the prototxt states it, as a rule of this class; NetError or UnsupportedError where it can't."""
        return cls()

    @property
    def caution(self) -> str:
        """What the user should know though nothing fails, to be read behind the layer's name; empty for nothing."""
        return ""

    @property
    def untrainable(self) -> str:
        """Why a module with this layer can't be trained as Caffe trained it; empty where it can."""
        return ""

    def told_by(self, blobs: Sequence[Shape]) -> Self:
        """The layer as its stored blobs show it to be, where the prototxt alone leaves several forms open."""
        return self

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        """Shapes of the tops; NetError where Caffe would refuse the bottoms. By default a top is as its bottom."""
        return list(inputs)

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        """The learnable blobs, in the order of the caffemodel."""
        return ()

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        """Multiplications with an addition each, for all items of the batch."""
        return 0

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str | list[str]:
        """Record ONNX operators that read the values `x`; returns the name of each top."""
        raise NotImplementedError(f"{type(self).__name__} has no ONNX form")

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str | list[str]:
        """The same for a module that is trained: in Caffe's phase TRAIN while `training` is on, with its gradients."""
        return self.torch(t, node, *x)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str | list[str]:
        """Record modules and buffers; returns a Python expression over the variables `x` for each top."""
        raise NotImplementedError(f"{type(self).__name__} has no PyTorch form")


L = TypeVar("L", bound=type[Layer])
_REGISTRY: dict[str, type[Layer]] = {}


def register(cls: L) -> L:
    """Class decorator: serve `cls.types`. Two classes for one type are a programming error."""
    for name in cls.types:
        if name in _REGISTRY:
            raise ValueError(f"layer type {name!r} is registered by {_REGISTRY[name].__name__} already")
        _REGISTRY[name] = cls
    for section, fields in cls.sections.items():
        declare_section(section, fields)
    return cls


def registry() -> dict[str, type[Layer]]:
    """Caffe layer type -> class, of everything registered."""
    return dict(_REGISTRY)


def fault(source: NetLayer, message: str, *path: str) -> NetError:
    """An error about a layer, placed at one of its fields."""
    return NetError(message, position=source.where(*path), layer=source.name, layer_type=source.type)


def unsupported(source: NetLayer, message: str, *path: str) -> UnsupportedError:
    """Like `fault`, for what Caffe or a fork can do and this toolkit cannot."""
    return UnsupportedError(message, position=source.where(*path), layer=source.name, layer_type=source.type)


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
    "canonical_axis",
    "fault",
    "filler",
    "register",
    "registry",
    "require",
    "shortest",
    "unsupported",
]
