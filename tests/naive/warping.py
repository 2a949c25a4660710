"""Bent images, pixel by pixel as flow_warp_layer.cpp, the two warp_layer.cu and st_layer.cu have it."""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

FLOW = np.float32([-1.5, -1, -0.75, -0.25, 0, 0.25, 0.5, 1, 1.25, 2, 3.5])
"""Quarters of pixels, so that places at an edge are there exactly."""


def flows(seed: int, *sizes: int) -> Array:
    picked: Array = np.random.default_rng(seed).choice(FLOW, sizes)
    return picked


def flowed(image: Array, x2: float, y2: float) -> float | None:
    """FlowWarpLayer::Forward_cpu: between the last pixel and the end the last pixel; None outside."""
    height, width = image.shape
    if not (x2 >= 0 and y2 >= 0 and x2 < width and y2 < height):
        return None
    left, top = int(x2), int(y2)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    alpha, beta = x2 - left, y2 - top
    return (
        (1 - alpha) * (1 - beta) * float(image[top, left])
        + alpha * (1 - beta) * float(image[top, right])
        + (1 - alpha) * beta * float(image[bottom, left])
        + alpha * beta * float(image[bottom, right])
    )


@case("flow_warp")
def flow_warp() -> Naive:
    """Channel 0 of the flow moves along the row, channel 1 along the column."""
    x, flow = random(1, 2, 3, 4, 5), flows(2, 2, 2, 4, 5)
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        y[n, c, h, w] = flowed(x[n, c], w + float(flow[n, 0, h, w]), h + float(flow[n, 1, h, w])) or 0.0
    return Naive(layer("FlowWarp", "", "x flow"), {"x": x, "flow": flow}, {("it", "out"): y})


@case("warp_pwc_net")
def warp_pwc_net() -> Naive:
    """WarpForwardGPU: 0 unless x is in 0 … W - 1 and y in 0 … H - 1, else between floor and ceil."""
    x, flow = random(3, 2, 3, 5, 4), flows(4, 2, 2, 5, 4)
    y = np.zeros_like(x)
    for n, c, s, t in np.ndindex(*x.shape):
        at, down = t + float(flow[n, 0, s, t]), s + float(flow[n, 1, s, t])
        if not (0 <= at <= 3 and 0 <= down <= 4):
            continue
        fx, fy, cx, cy = math.floor(at), math.floor(down), math.ceil(at), math.ceil(down)
        ax, ay, image = at - fx, down - fy, x[n, c].astype(float)
        upper = (1 - ax) * image[fy, fx] + ax * image[fy, cx]
        y[n, c, s, t] = (1 - ay) * upper + ay * ((1 - ax) * image[cy, fx] + ax * image[cy, cx])
    return Naive(layer("Warp", "", "x flow"), {"x": x, "flow": flow}, {("it", "out"): y})


def fading(image: Array, row: float, column: float) -> float:
    """The four pixels around a place, those outside being 0."""
    height, width = image.shape
    total = 0.0
    for m in (math.floor(row), math.floor(row) + 1):
        for n in (math.floor(column), math.floor(column) + 1):
            if 0 <= m < height and 0 <= n < width:
                total += (1 - abs(row - m)) * (1 - abs(column - n)) * float(image[m, n])
    return total


@case("warp_liteflownet")
def warp_liteflownet() -> Naive:
    """LiteFlowNet's nets add a flow to grid_layer.cpp's places, at which its warp_layer.cpp reads."""
    x, flow = random(7, 2, 3, 4, 5), flows(8, 2, 2, 4, 5)
    grid, y = np.empty_like(flow), np.empty_like(x)
    for n, h, w in np.ndindex(2, 4, 5):
        grid[n, :, h, w] = w, h
        for c in range(3):
            y[n, c, h, w] = fading(x[n, c], h + float(flow[n, 1, h, w]), w + float(flow[n, 0, h, w]))
    text = 'layer { name: "grid" type: "Grid" bottom: "flow" top: "grid" }\n'
    text += 'layer { name: "add" type: "Eltwise" bottom: "flow" bottom: "grid" top: "places" }\n'
    text += layer("Warp", "", "x places")
    answers = {("grid", "grid"): grid, ("add", "places"): flow + grid, ("it", "out"): y}
    return Naive(text, {"x": x, "flow": flow}, answers)


@case("grid")
def grid() -> Naive:
    """grid_layer.cpp: the column in channel 0, the row in channel 1."""
    x = random(9, 2, 3, 4, 5)
    y: Array = np.empty((2, 2, 4, 5), np.float32)
    for n, h, w in np.ndindex(2, 4, 5):
        y[n, :, h, w] = w, h
    return Naive(layer("Grid"), {"x": x}, {("it", "out"): y})


def transformed(name: str, params: str, fixed: dict[int, float], size: tuple[int, int]) -> None:
    """A case of SpatialTransformer, whose matrix has numbers of its own beside those of the second bottom."""

    @case(name)
    def make() -> Naive:
        x, theta = random(5, 2, 3, 4, 6), random(6, 2, 6 - len(fixed))
        y: Array = np.empty((2, 3, *size), np.float32)
        for i, j, s, t in np.ndindex(y.shape):
            given = iter(theta[i].tolist())
            full = [fixed[k] if k in fixed else next(given) for k in range(6)]
            u, v = s / size[0] * 2 - 1, t / size[1] * 2 - 1
            px, py = (full[k] * u + full[k + 1] * v + full[k + 2] for k in (0, 3))
            y[i, j, s, t] = fading(x[i, j], (px + 1) / 2 * 4, (py + 1) / 2 * 6)
        text = layer("SpatialTransformer", params and f"st_param {{ {params} }}", "x theta")
        return Naive(text, {"x": x, "theta": theta}, {("it", "out"): y})


transformed("spatial_transformer", "", {}, (4, 6))
transformed(
    "spatial_transformer_translation",
    "to_compute_dU: false output_H: 5 output_W: 3 theta_1_1: 0.5 theta_1_2: 0 theta_2_1: 0 theta_2_2: 0.75",
    {0: 0.5, 1: 0.0, 3: 0.0, 4: 0.75},
    (5, 3),
)
