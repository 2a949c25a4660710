"""Arrays that are read, or computed, when they are written out: what a layout gives and takes.

`numpy.asarray(lazy)` gives the numbers. They are read one array at a time, so that a port of a large net needs little
memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from weights.model import FloatArray, Shape, in_parts

Float64Array: TypeAlias = npt.NDArray[np.float64]
_BLOCK = 32


@dataclass(frozen=True)
class LazyArray:
    """A float32 array that is not here yet.

    Attributes:
        shape: its dimensions.
        read: gives the numbers in float32, or in float64 where they were computed; of that shape or one that reshapes
            to it.
    """

    shape: Shape
    read: Callable[[], npt.NDArray[Any]] = field(repr=False, compare=False)

    @property
    def nbytes(self) -> int:
        """Bytes of the float32 values."""
        return 4 * prod(self.shape)

    def array(self) -> FloatArray:
        """The numbers, float32 in C order: the one cast after whatever was computed in float64."""
        with np.errstate(over="ignore"):
            return np.require(self.read(), np.float32, "C").reshape(self.shape)

    def parts(self) -> Iterator[FloatArray]:
        """The numbers of `array` in their order, in flat parts, each good until the next."""
        with np.errstate(over="ignore"):
            for part in in_parts(self.read):
                yield np.require(part, np.float32, "C")

    def wide(self) -> Float64Array:
        """The numbers in float64, not yet rounded to float32 where they were computed."""
        return np.asarray(self.read(), np.float64).reshape(self.shape)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.array(), dtype, copy=bool(copy)) if copy or dtype is not None else self.array()

    def transposed(self, axes: Sequence[int]) -> LazyArray:
        """The same numbers with the axes in another order."""
        return LazyArray(tuple(self.shape[axis] for axis in axes), lambda: transpose(self.array(), axes))


Arrays: TypeAlias = Mapping[str, LazyArray]
"""What a file of weights holds, by name."""


def held(array: npt.ArrayLike) -> LazyArray:
    """A `LazyArray` of numbers that are here already."""
    values = np.asarray(array)
    return LazyArray(values.shape, lambda: values)


def transpose(array: FloatArray, axes: Sequence[int]) -> FloatArray:
    """`array.transpose(axes)` in C order, copied in blocks of the last axis, so that both sides stay in the cache."""
    moved = array.transpose(axes)
    if moved.ndim < 2 or moved.size < 1 << 16:
        return np.ascontiguousarray(moved)
    out = np.empty(moved.shape, array.dtype)
    for start in range(0, moved.shape[-1], _BLOCK):
        out[..., start : start + _BLOCK] = moved[..., start : start + _BLOCK]
    return out
