"""Constants of a graph: weights that are read, or computed, when they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from converter.dims import Shape, count
from prototxt.names import utf8
from weights.model import in_parts

Array = npt.NDArray[np.float32]


@dataclass(eq=False, repr=False, slots=True)
class Tensor:
    """A constant that is read, or computed, when it is written out.

    Attributes:
        name: `layer.parameter`, e.g. `conv1.weight`, in UTF-8.
        shape: its dimensions.
        load: gives the float32 values; may read them from the file each time.
        shared: several layers use it (`param { name }`), so no pass may rewrite it.
        base: the tensor of a layer's blob whose values this one has in the same order, in another shape.
    """

    name: str
    shape: Shape
    load: Callable[[], Array]
    shared: bool = False
    base: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.name = utf8(self.name)

    def map(self, function: Callable[[Array], npt.NDArray[np.floating]], shape: Shape | None = None) -> Tensor:
        """The same constant after `function`, computed when it is written; float32 again at the end."""
        out = self.shape if shape is None else shape
        return Tensor(self.name, out, lambda: as_float32(function(self.load())).reshape(out))

    def reshaped(self, shape: Shape) -> Tensor:
        """The same values in the same order, in another shape."""
        return Tensor(self.name, shape, lambda: self.load().reshape(shape), self.shared, self.root)

    def parts(self) -> Iterator[Array]:
        """The values in their order, in one or more flat parts, each good until the next: what is read is read so."""
        return in_parts(self.root.load)

    @property
    def root(self) -> Tensor:
        """The blob that the values are, whatever their shape here."""
        return self.base or self

    @property
    def nbytes(self) -> int:
        """Bytes of the float32 values."""
        return 4 * count(self.shape)


def as_float32(array: npt.NDArray[np.floating]) -> Array:
    """The one cast at the end of float64 arithmetic."""
    return np.ascontiguousarray(array, dtype=np.float32)


def constant(name: str, array: npt.NDArray[np.floating]) -> Tensor:
    """A `Tensor` of values that are already here."""
    values = as_float32(array)
    return Tensor(name, values.shape, lambda: values)
