"""What a weight file holds: layers by name, each with its blobs, whose numbers are read only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Blob:
    """One parameter array of a layer, still in the file.

    Attributes:
        shape: as stored; the old num × channels × height × width form gives 4 dimensions.
        legacy: whether it was stored in that old form, which `fits` treats leniently.
        stored: False for a hole in an HDF5 file: Caffe saves a shared parameter only under the layer that owns it.
    """

    shape: Shape
    legacy: bool
    read: Callable[[], FloatArray] = field(repr=False, compare=False)
    stored: bool = True

    def array(self) -> FloatArray:
        """The numbers, float32 in C order.

        A view into the mapped file where that holds packed floats, a fresh copy otherwise; nothing is cached.

        Raises:
            WeightsError: the file was closed, or an HDF5 file turns out damaged.
        """
        return self.read()

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether Caffe would load this blob into a parameter of `shape` (Blob::ShapeEquals).

        Shapes must be equal; one stored in the old form must be equal once `shape` is padded with 1s in front to
        four dimensions, so that 1×1×1×N fits N and 1×1×M×N fits M×N.
        """
        wanted = tuple(shape)
        if self.legacy and self.stored:
            return len(wanted) <= 4 and self.shape == (1,) * (4 - len(wanted)) + wanted
        return self.shape == wanted


def blob_from_array(array: npt.ArrayLike) -> Blob:
    """A blob that holds `array` as float32 in C order; copies only where that takes a conversion."""
    values = np.require(array, np.float32, "C")
    return Blob(values.shape, False, lambda: values)


@dataclass(frozen=True)
class LayerWeights:
    """A layer as a weight file has it; `type` is its current (V2) name, empty where the file does not say (HDF5)."""

    name: str
    type: str
    blobs: tuple[Blob, ...]


@dataclass(frozen=True)
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


class NonFinite(NamedTuple):
    """A blob with numbers that are none: how many NaN and how many infinities of how many values."""

    layer: LayerWeights
    blob: int
    nans: int
    infinities: int
    values: int


def nonfinite(weights: Weights) -> Iterator[NonFinite]:
    """Each blob that holds NaN or infinity, in file order; reads one blob at a time."""
    for layer in weights.layers:
        for index, blob in enumerate(layer.blobs):
            if not blob.stored:
                continue
            array = blob.array()
            with np.errstate(over="ignore", invalid="ignore"):
                if np.isfinite(array.sum()):  # one NaN or infinity makes the sum one, so this pass clears most blobs
                    continue
            nans, infinities = int(np.isnan(array).sum()), int(np.isinf(array).sum())
            if nans or infinities:
                yield NonFinite(layer, index, nans, infinities, array.size)
