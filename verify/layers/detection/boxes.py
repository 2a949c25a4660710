"""Boxes as SSD's bbox_util has them: decoding against priors, overlap, suppression. Corners are x0 y0 x1 y1.

All arithmetic is float32, as in SSD: what is kept depends on comparisons, and those must fall the same way.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from verify.layers.registry import Array, Feeding


class Decoder(Protocol):
    """Turns offsets (P×4) into corners, given priors and variances (P×4 each)."""

    def __call__(self, prior: Array, variance: Array, offset: Array) -> Array: ...


def from_corners(prior: Array, variance: Array, offset: Array) -> Array:
    """CORNER: offsets are added to the prior's corners."""
    return prior + variance * offset


def from_centers(prior: Array, variance: Array, offset: Array) -> Array:
    """CENTER_SIZE: offsets move the centre by shares of the prior's size, and scale the size by their exponential."""
    size = prior[:, 2:] - prior[:, :2]
    centre = (prior[:, :2] + prior[:, 2:]) / np.float32(2)
    middle = variance[:, :2] * offset[:, :2] * size + centre
    half = np.exp(variance[:, 2:] * offset[:, 2:]) * size / np.float32(2)
    return np.concatenate([middle - half, middle + half], axis=1)


def from_corner_sizes(prior: Array, variance: Array, offset: Array) -> Array:
    """CORNER_SIZE: offsets of the corners are shares of the prior's size."""
    size = prior[:, 2:] - prior[:, :2]
    corners: Array = prior + variance * offset * np.concatenate([size, size], axis=1)
    return corners


def polygons(prior: Array, variance: Array, offset: Array) -> Array:
    """TextBoxes++: four points, clockwise from the upper left, each its prior's corner moved by shares of its size."""
    x0, y0, x1, y1 = prior.T
    size = (x1 - x0, y1 - y0)
    corners = (x0, y0, x1, y0, x1, y1, x0, y1)
    numbers = enumerate(zip(offset.T, corners, strict=True))
    return np.stack([variance[:, i % 2] * moved * size[i % 2] + corner for i, (moved, corner) in numbers], axis=1)


def rotated_boxes(prior: Array, variance: Array, offset: Array) -> Array:
    """TextBoxes++: the two points of the upper edge, moved from the prior's centre, and the height scaled."""
    x0, y0, x1, y1 = prior.T
    size, centre = (x1 - x0, y1 - y0), ((x0 + x1) / np.float32(2), (y0 + y1) / np.float32(2))
    edge = [variance[:, i % 2] * offset[:, i] * size[i % 2] + centre[i % 2] for i in range(4)]
    return np.stack([*edge, np.exp(variance[:, 3] * offset[:, 4]) * size[1]], axis=1)


def boxes_fed(feeding: Feeding) -> Array:
    """Prior boxes within the image, each corner on its side, with variances of a tenth to a fifth: 1×2×(4 · boxes)."""
    count = feeding.shape[2] // 4
    low, size = feeding.rng.uniform(0, 0.6, (count, 2)), feeding.rng.uniform(0.05, 0.4, (count, 2))
    boxes = np.concatenate([low, low + size], axis=1)
    variances = feeding.rng.uniform(0.1, 0.2, (count, 4))
    return np.stack([boxes.ravel(), variances.ravel()])[None].astype(np.float32)


def areas(boxes: Array) -> Array:
    """Area of each box; 0 where a corner lies on the wrong side."""
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    area: Array = np.where((width < 0) | (height < 0), np.float32(0), width * height)
    return area


def overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of one box with each of the others."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    size = high - low
    common = np.where((size > 0).all(axis=1), size[:, 0] * size[:, 1], np.float32(0))
    union: Array = areas(box) + areas(others) - common
    share: Array = np.divide(common, union, out=np.zeros_like(common), where=common > 0)
    return share


def suppress(
    boxes: Array, scores: Array, *, floor: float, limit: float, eta: float, top_k: int
) -> npt.NDArray[np.int64]:
    """Positions kept: best score first, each box that overlaps no kept one by more than `limit`.

    Args:
        floor: scores not above it are dropped first.
        eta: below 1, `limit` shrinks by it after every kept box as long as it is above 0.5.
        top_k: how many of the best scores take part; -1 for all. Equal scores keep their order.
    """
    candidates = np.flatnonzero(scores > np.float32(floor))
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    if top_k > -1:
        candidates = candidates[:top_k]
    kept: list[int] = []
    threshold = np.float32(limit)
    for index in candidates:
        if not kept or not (overlaps(boxes[index], boxes[kept]) > threshold).any():
            kept.append(int(index))
            if eta < 1 and threshold > 0.5:
                threshold *= np.float32(eta)
    return np.array(kept, np.int64)
