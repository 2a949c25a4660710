"""Pyramids of pooled images, from the source of Synopsys' fork (icnet_subgraph_layer.cpp)."""

from __future__ import annotations

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


@case("icnet_subgraph")
def icnet_subgraph() -> Naive:
    """Averages of windows of four sizes; interp.cpp's interpolation, pixel by pixel."""
    x = random(1, 1, 2, 33, 65).astype(np.float64)
    y = x.copy()
    for kh, kw, sh, sw in ((33, 65, 33, 65), (17, 33, 16, 32), (13, 25, 10, 20), (8, 15, 5, 10)):
        rows, columns = (33 - kh) // sh + 1, (65 - kw) // sw + 1
        small = np.empty((1, 2, rows, columns))
        for i, j in np.ndindex(rows, columns):
            small[:, :, i, j] = x[:, :, i * sh : i * sh + kh, j * sw : j * sw + kw].sum(axis=(2, 3)) / (kh * kw)
        for h, w in np.ndindex(33, 65):
            r, s = h * (rows - 1) / 32, w * (columns - 1) / 64
            i, j = int(r), int(s)
            i1, j1, dr, ds = min(i + 1, rows - 1), min(j + 1, columns - 1), r - int(r), s - int(s)
            above = (1 - ds) * small[:, :, i, j] + ds * small[:, :, i, j1]
            below = (1 - ds) * small[:, :, i1, j] + ds * small[:, :, i1, j1]
            y[:, :, h, w] += (1 - dr) * above + dr * below
    return Naive(layer("ICNetSubgraph"), {"x": x.astype(np.float32)}, {("it", "out"): y.astype(np.float32)})
