"""The weights of a sum in another form: the other way round, over a map that is flattened otherwise, times a factor."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from converter.folding import Float64
from converter.matching.skeleton import NetPart
from converter.tensor import Array, as_float32


@dataclass(frozen=True)
class WeightForm:
    """How the weights of a sum lie.

    Attributes:
        features: how many it makes.
        groups: of its channels.
        window: channels of a group, and the kernel.
        order: the axes of `window`, from 1 on, in the order in which a row has them.
        turned: whether a row is an input and no feature.
        transposed: whether it is a transposed convolution, whose weights have the inputs first.
    """

    features: int
    groups: int
    window: tuple[int, ...]
    order: tuple[int, ...]
    turned: bool
    transposed: bool

    @classmethod
    def of(cls, part: NetPart, *, turned: bool) -> WeightForm:
        """The form of a weighted sum in plain form."""
        s = part.settings
        window = (s["channels"] // s["groups"], *s["kernel"])
        order = part.order[1:] if part.order else tuple(range(1, len(window) + 1))
        return cls(s["features"], s["groups"], window, order, turned, s["transposed"])


def reformed(stored: Array, given: WeightForm, wanted: WeightForm, factor: Float64 | None = None) -> Array:
    """Weights of one form in another.

    Args:
        stored: as they lie; their shape may be any that has their values in order.
        given, wanted: two forms of one sum.
        factor: one a feature.

    Returns:
        float32, in the wanted order; of the shape nothing is promised.
    """
    if given.transposed:
        by_group = stored.reshape(given.groups, -1, given.features // given.groups, prod(given.window[1:]))
        return by_group if factor is None else as_float32(by_group * factor.reshape(given.groups, 1, -1, 1))
    rows = stored.reshape(-1, given.features).T if given.turned else stored.reshape(given.features, -1)
    if factor is not None:
        made = np.empty(rows.shape, np.float32)
        rows = np.multiply(rows, factor[:, None], out=made, dtype=np.float64, casting="same_kind")
    if given.order != wanted.order:
        sizes = [given.window[axis - 1] for axis in given.order]
        moved = (0, *(1 + given.order.index(axis) for axis in wanted.order))
        rows = rows.reshape(-1, *sizes).transpose(moved).reshape(given.features, -1)
    return np.ascontiguousarray(rows.T if wanted.turned else rows)
