"""Two blobs set against each other from the last axis, sizes of 1 standing for any (Synopsys' fork).

Facts from add_layer.cpp and from eltwise.py in the fork's python folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from prototxt.param_dict import dict_of
from prototxt.words import format_shape
from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, wide


def _both(call: Call) -> tuple[int, ...]:
    """The shape of both bottoms together, sizes of 1 standing for any."""
    shapes = [b.shape for b in call.bottoms]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise call.fail(f"{format_shape(shapes[0])} and {format_shape(shapes[1])} do not go together") from None


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
        call.ignores("of a sum", "python_param.param_str.coeff")
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
    call.require(top == together, f"a top of {format_shape(top)} cannot hold {format_shape(together)}")
    call.room(together)
    first, second = _coefficients(call)
    with np.errstate(divide="ignore", invalid="ignore"):
        return [narrow(_OPERATIONS[operation](wide(a) * first, wide(b) * second))]
