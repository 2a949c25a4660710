"""What a weight file holds: layers by name, each with its blobs, whose numbers are read only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
Shape: TypeAlias = tuple[int, ...]


def in_parts(read: Callable[[], FloatArray]) -> Iterator[FloatArray]:
    """What `read` gives, in flat parts, each good until the next: those of its own `parts`, if it has that."""
    parts: Callable[[], Iterator[FloatArray]] | None = getattr(read, "parts", None)
    return parts() if parts is not None else iter((np.ascontiguousarray(read()).reshape(-1),))


class Blob:
    """One parameter array of a layer, still in the file.

    Attributes:
        shape: as stored; the old num × channels × height × width form gives 4 dimensions, C3D's with a length 5.
        legacy: whether it was stored in that old form, which `fits` treats leniently.
        stored: False for a hole in an HDF5 file: Caffe saves a shared parameter only under the layer that owns it.
    """

    __slots__ = ("legacy", "read", "shape", "stored")

    def __init__(self, shape: Shape, legacy: bool, read: Callable[[], FloatArray], stored: bool = True) -> None:
        self.shape, self.legacy, self.read, self.stored = shape, legacy, read, stored

    def __repr__(self) -> str:
        return f"Blob(shape={self.shape}, legacy={self.legacy}, stored={self.stored})"

    def array(self) -> FloatArray:
        """The numbers, float32 in C order.

        Read from the file each time: nothing is cached.

        Raises:
            WeightsError: the file was closed or cut short, or an HDF5 file turns out damaged.
        """
        return self.read()

    def parts(self) -> Iterator[FloatArray]:
        """The numbers in their order, in one or more flat parts, each good until the next; errors as of `array`."""
        return in_parts(self.read)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether Caffe would load this blob into a parameter of `shape` (Blob::ShapeEquals).

        Shapes must be equal; one stored in the old form must be equal once `shape` is padded with 1s in front to
        four dimensions (in C3D five), so that 1×1×1×N fits N and 1×1×M×N fits M×N.
        """
        wanted = tuple(shape)
        if self.legacy and self.stored:
            return self.shape == (1,) * (len(self.shape) - len(wanted)) + wanted
        return self.shape == wanted


def blob_from_array(array: npt.ArrayLike) -> Blob:
    """A blob that holds `array` as float32 in C order; copies only where that takes a conversion."""
    values = np.require(array, np.float32, "C")
    return Blob(values.shape, False, lambda: values)


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """A layer as a weight file has it.

    Attributes:
        type: its current (V2) name, empty where the file does not say (HDF5).
        bottoms, tops: what it reads and makes, where a file of today's form says.
    """

    name: str
    type: str
    blobs: tuple[Blob, ...]
    bottoms: tuple[str, ...] = field(default=(), kw_only=True)
    tops: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, eq=False)
class LayerRecord(LayerWeights):
    """A layer to be written; `param` is its serialised LayerParameter (bottoms, tops, settings; blobs are left out)."""

    param: bytes = b""


class Weights:
    """The layers of one weight file, in the file's order. Use as a context manager, or `close()` it.

    Attributes:
        path: the file, for messages.
        layers: every layer that the file lists, those without blobs too.
        name: the net's name as the file has it, often empty.
    """

    def __init__(
        self, path: str, layers: Sequence[LayerWeights], *, name: str = "", closer: Callable[[], None] | None = None
    ) -> None:
        self.path = path
        self.layers = tuple(layers)
        self.name = name
        self._closer = closer

    @cached_property
    def _by_name(self) -> dict[str, LayerWeights]:
        with_blobs = {layer.name: layer for layer in self.layers if layer.blobs}
        return {layer.name: layer for layer in self.layers} | with_blobs

    def get(self, name: str) -> LayerWeights | None:
        """The layer of that name, or None; of several the last with blobs, as Caffe copies one over the other."""
        return self._by_name.get(name)

    def close(self) -> None:
        """Let go of the file. Arrays already handed out stay valid; blobs can be read no more."""
        if self._closer is not None:
            self._closer()

    def __enter__(self) -> Weights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class ArrayWeights(Weights):
    """Weights that never were in a file: from layer name to arrays, in that order."""

    def __init__(
        self,
        arrays: Mapping[str, Sequence[npt.ArrayLike]],
        path: str = "random weights",
        *,
        types: Mapping[str, str] | None = None,
    ) -> None:
        kinds = types or {}
        super().__init__(
            path,
            [LayerWeights(name, kinds.get(name, ""), tuple(map(blob_from_array, of))) for name, of in arrays.items()],
        )
