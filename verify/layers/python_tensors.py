"""Synopsys' Python layers about shapes, from shape.py, pad.py and reshape.py in the fork's python folder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prototxt.param_dict import dict_of
from prototxt.words import format_shape
from verify.layers.registry import Array, Call, Feeding, Sensitivity, register


def _constant_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (0.0,))]


@register("Python shape.TensorShape", error=_constant_error)
def tensor_shape(call: Call) -> list[Array]:
    """Its sizes, one an axis."""
    return [np.asarray(call.x.shape, np.float32)]


@register("Python pad.PadTensor")
def pad_tensor(call: Call) -> list[Array]:
    """numpy's pad around rows and columns."""
    params = dict_of(call.layer)
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    sides = []
    for name in ("pad_t", "pad_b", "pad_l", "pad_r"):
        side = params.get(name)
        call.require(isinstance(side, int) and side >= 0, f"{name} is {side!r}, expected a number of pixels")
        sides.append(int(str(side)))
    mode = params.get("pad_mode")
    call.require(mode in ("constant", "edge", "reflect"), f"pad_mode {mode!r} is none of constant, edge and reflect")
    n, c, h, w = call.x.shape
    call.room((n, c, h + sides[0] + sides[1], w + sides[2] + sides[3]))
    widths = [(0, 0), (0, 0), (sides[0], sides[1]), (sides[2], sides[3])]
    return [np.pad(call.x, widths, str(mode))]  # type: ignore[call-overload]


def _sizes(feeding: Feeding) -> Array:
    """Sizes that hold whatever the first bottom has: the last is worked out."""
    values = np.ones(feeding.shape, np.float32)
    values[-1:] = -1
    return values


@register("Python reshape.Reshape", bottoms=2, error=lambda call, tops: [Sensitivity(1, (1.0, 0.0))], feeds={1: _sizes})
def reshape(call: Call) -> list[Array]:
    """The first bottom in the shape that the second one lists; a last -1 is worked out."""
    sizes = [int(size) for size in call.bottoms[1].reshape(-1)]
    if sizes and sizes[-1] == -1:
        rest = math.prod(sizes[:-1])
        call.require(rest > 0 and call.x.size % rest == 0, f"{call.x.size} values do not divide by {rest} for the -1")
        sizes[-1] = call.x.size // rest
    fits = min(sizes, default=1) > 0 and math.prod(sizes) == call.x.size
    call.require(fits, f"{call.x.size} values do not fill {format_shape(sizes)}")
    return [call.x.reshape(sizes)]
