"""Layers of Synopsys' fork that set two blobs against each other, and its Python layers about shapes.

Facts from add_layer.cpp and from eltwise.py, shape.py, pad.py and reshape.py in the fork's python folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from prototxt.param_dict import dict_of
from verify.layers.parameters import shape_text
from verify.layers.registry import Array, Call, Feeding, Sensitivity, Wide, largest, narrow, register, wide


def _both(call: Call) -> tuple[int, ...]:
    """The shape of both bottoms together, sizes of 1 standing for any."""
    shapes = [b.shape for b in call.bottoms]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise call.fail(f"{shape_text(shapes[0])} and {shape_text(shapes[1])} do not go together") from None


@register("Add", bottoms=2)
def add(call: Call) -> list[Array]:
    """The sum, aligned at the last axis."""
    call.room(_both(call))
    return [np.asarray(call.bottoms[0] + call.bottoms[1], np.float32)]


_OPERATIONS: dict[object, Callable[[Wide, Wide], Wide]] = {
    0: np.multiply,
    1: np.add,
    2: np.maximum,
    3: np.divide,
    4: np.minimum,
}


def _coefficients(call: Call) -> tuple[float, float]:
    params = dict_of(call.layer)
    if params.get("operation") != 1:
        return 1.0, 1.0
    stated = params.get("coeff")
    call.require(isinstance(stated, Sequence) and len(stated) >= 2, "needs two coeff for operation 1")
    first, second = stated[:2]  # type: ignore[index]
    return float(first), float(second)


def _eltwise_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Slopes of a product and a quotient are the other bottom's values."""
    operation = dict_of(call.layer).get("operation")
    a, b = call.bottoms
    if operation == 0:
        return [Sensitivity(1, (largest(b), largest(a)))]
    if operation == 3:
        with np.errstate(divide="ignore", invalid="ignore"):
            return [Sensitivity(1, (largest(1 / b), largest(a / (b * b))))]
    first, second = _coefficients(call)
    return [Sensitivity(3, (abs(first), abs(second)))]


@register("Python eltwise.Eltwise", bottoms=2, error=_eltwise_error)
def eltwise(call: Call) -> list[Array]:
    """Product, sum with coefficients, maximum, quotient or minimum; the top has the shape of one of the bottoms."""
    operation = dict_of(call.layer).get("operation")
    call.require(operation in _OPERATIONS, f"operation {operation!r} is none of 0 to 4")
    together = _both(call)
    a, b = call.bottoms
    top = max(a.shape, b.shape) if a.ndim == b.ndim else max(a.shape, b.shape, key=len)
    call.require(top == together, f"a top of {shape_text(top)} cannot hold {shape_text(together)}")
    call.room(together)
    first, second = _coefficients(call)
    with np.errstate(divide="ignore", invalid="ignore"):
        return [narrow(_OPERATIONS[operation](wide(a) * first, wide(b) * second))]


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
    call.require(fits, f"{call.x.size} values do not fill {shape_text(sizes)}")
    return [call.x.reshape(sizes)]
