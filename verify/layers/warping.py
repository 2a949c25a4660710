"""Bent images, from flow_warp_layer.cpp and .cu (FlowNet2), warp_layer.cu (PWC-Net, LiteFlowNet) and st_layer.cu.

Each pixel of the top is read at a row and a column between the bottom's pixels, in all channels alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, narrow, register, wide
from verify.layers.shared.between import Border, Cells, cells_around, read_at
from verify.layers.shared.rounding import UNIT_ROUNDOFF, of_sum

JUMP = 1e-3
"""How near a place may lie to where it is no longer read, before an error could carry it over."""
STEPS = 8
"""Roundings of a value: two shares, their products with each other and a pixel, the sum of four."""

RowsAndColumns: TypeAlias = "tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]"
"""Rows and columns, items × height × width of the top."""


def _channels(x: Array, places: RowsAndColumns, edge: Border) -> Iterator[tuple[int, int, Cells]]:
    for n, c in np.ndindex(*x.shape[:2]):
        yield n, c, cells_around(x[n, c], places[0][n], places[1][n], edge)


def _read(call: Call, places: RowsAndColumns, edge: Border) -> Wide:
    y = np.zeros((*call.x.shape[:2], *places[0].shape[1:]))
    for n, c, cells in _channels(call.x, places, edge):
        y[n, c] = cells.read()
    return y


def _edge(call: Call) -> Border:
    if call.layer.type == "FlowWarp":
        return "repeated"
    return "inside" if call.layer.dialect == "pwc_net" else "faded"


def _flowed(call: Call) -> RowsAndColumns:
    """Where the second bottom, columns first, says that each pixel comes from; float32 as in the forks."""
    x, flow = call.x, call.bottoms[1]
    call.require(x.ndim == 4, f"needs a bottom of 4 axes, it has {x.ndim}")
    wanted = (x.shape[0], 2, *x.shape[2:])
    call.require(flow.shape == wanted, f"has a second bottom of {flow.shape}, expected {wanted}")
    columns, rows = flow[:, 0], flow[:, 1]
    if _edge(call) == "faded":
        return rows, columns
    i, j = np.indices(x.shape[2:]).astype(np.float32)
    return rows + i, columns + j


def _warp_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """A flow that is off moves a place, by the slope between the pixels there, or out of the image."""
    edge, places = _edge(call), _flowed(call)
    own = slope = 0.0
    for _, _, cells in _channels(call.x, places, edge):
        own = max(own, float(cells.magnitude().max(initial=0.0)))
        by_row, by_column = cells.slopes()
        slope = max(slope, float((by_row + by_column).max(initial=0.0)))
    if edge != "faded" and _near_an_end(places, call.x.shape[2:], edge):
        slope = UNBOUNDED
    return [Sensitivity(0, (1.0, slope), of_sum(STEPS) * own)]


def _near_an_end(places: RowsAndColumns, sizes: Sequence[int], edge: Border) -> bool:
    for place, size in zip(places, sizes, strict=True):
        end = size - 1 if edge == "inside" else size
        if min(np.abs(place).min(initial=np.inf), np.abs(place - end).min(initial=np.inf)) < JUMP:
            return True
    return False


@register("FlowWarp", bottoms=2, error=_warp_error, keeps_shape=True)
def flow_warp(call: Call) -> list[Array]:
    """x2 = x + flow where 0 ≤ x2 < width, the pixel right of the last being the last; 0 or no number elsewhere."""
    places, p = _flowed(call), call.param.flow_warp_param
    y = narrow(_read(call, places, "repeated"))
    if p.fill_value == p.NOT_A_NUMBER:
        reads = [read_at(place, size, "repeated") for place, size in zip(places, y.shape[2:], strict=True)]
        y[np.broadcast_to(~(reads[0] & reads[1])[:, None], y.shape)] = np.nan
    return [y]


@register("Warp", bottoms=2, error=_warp_error, keeps_shape=True)
def warp(call: Call) -> list[Array]:
    """PWC-Net: x + flow where 0 ≤ x ≤ W - 1, else 0. LiteFlowNet: at the places themselves, 0 around the image."""
    return [narrow(_read(call, _flowed(call), _edge(call)))]


@register("Grid", error=lambda call, tops: [Sensitivity(1, (0.0,))])
def grid(call: Call) -> list[Array]:
    """w in channel 0 and h in channel 1 (LiteFlowNet's grid_layer.cpp)."""
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    items, _, height, width = call.x.shape
    y = np.empty((items, 2, height, width), np.float32)
    y[:, 0], y[:, 1] = np.arange(width), np.arange(height)[:, None]
    return [y]


def _matrix(call: Call) -> Wide:
    """Items × 2 × 3: what the prototxt fixes, and the second bottom's numbers in their order elsewhere."""
    p, theta = call.param.st_param, call.bottoms[1]
    names = ("theta_1_1", "theta_1_2", "theta_1_3", "theta_2_1", "theta_2_2", "theta_2_3")
    open_ = [i for i, name in enumerate(names) if not p.HasField(name)]
    call.require(theta.ndim > 1 and len(theta) == len(call.x), "needs a second bottom with numbers for each item")
    given = theta.size // max(len(theta), 1)
    call.require(given == len(open_), f"has {given} numbers of the matrix in its second bottom, expected {len(open_)}")
    matrix: Wide = np.empty((len(theta), 6))
    matrix[:] = np.asarray([getattr(p, name) for name in names], np.float32)
    matrix[:, open_] = theta.reshape(len(theta), given)
    return matrix.reshape(-1, 2, 3)


def _transformed(call: Call) -> tuple[RowsAndColumns, Wide, tuple[int, int]]:
    """Rows and columns, the matrix and the top's size."""
    p = call.param.st_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    plain = p.transform_type == "affine" and p.sampler_type == "bilinear" and not p.de_transform
    call.require(plain, "is not affine and bilinear, or de_transform")
    height = p.output_H if p.HasField("output_H") else call.x.shape[2]
    width = p.output_W if p.HasField("output_W") else call.x.shape[3]
    call.require(min(height, width) > 0, f"makes {height}×{width}")
    call.room((*call.x.shape[:2], height, width))
    matrix = _matrix(call)
    down, along = (wide((np.arange(n) / n * 2 - 1).astype(np.float32)) for n in (height, width))
    made = []
    for (a, b, c), size in zip(np.moveaxis(matrix, 0, 2), call.x.shape[2:], strict=True):
        moved = a[:, None, None] * down[:, None] + b[:, None, None] * along + c[:, None, None]
        made.append((moved + 1) / 2 * size)
    return (made[0], made[1]), matrix, (height, width)


def _transformer_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """A place is a float32 sum of three, and 1, times half the size; it moves the value by the slope there."""
    places, matrix, _ = _transformed(call)
    reach = np.abs(matrix).sum(axis=2) + 1
    own = gain = 0.0
    for n, _, cells in _channels(call.x, places, "faded"):
        halves = (size / 2 for size in call.x.shape[2:])
        slopes = [float(each.max(initial=0.0)) * half for each, half in zip(cells.slopes(), halves, strict=True)]
        rounded = sum(6 * UNIT_ROUNDOFF * reach[n, axis] * slope for axis, slope in enumerate(slopes))
        own = max(own, of_sum(STEPS) * float(cells.magnitude().max(initial=0.0)) + rounded)
        gain = max(gain, 3 * sum(slopes))
    return [Sensitivity(0, (1.0, gain), own)]


@register("SpatialTransformer", bottoms=2, error=_transformer_error)
def spatial_transformer(call: Call) -> list[Array]:
    """Row ((a u + b v + c) + 1) / 2 H, column likewise by the second three; u = 2 s / H' - 1, v = 2 t / W' - 1."""
    places, _, _ = _transformed(call)
    return [narrow(_read(call, places, "faded"))]
