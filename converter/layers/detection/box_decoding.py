"""Boxes out of prior boxes and offsets to them (SSD: bbox_util.cpp; shapes beside them: TextBoxes++).

Both emissions work in SSD's order of operations, for its roundings: what is kept later hangs on comparisons. But for
the half of a size, which ONNX takes of the prior box's, a constant mostly: halving rounds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from converter.emission import OnnxOps

CORNER, CENTER_SIZE, CORNER_SIZE = 1, 2, 3
POLYGON, ROTATED = 8, 5
"""How many numbers a shape has: four points, or two points of the upper edge and the height."""


def decoded(g: OnnxOps, code: int, prior: str, offsets: str) -> str:
    """Corners from prior boxes and offsets, both … × 4, the offsets multiplied by the variances already."""
    if code == CORNER:
        return g.op("Add", prior, offsets)
    low, high = g.slice(prior, -1, 0, 2), g.slice(prior, -1, 2, 4)
    size = g.op("Sub", high, low)
    if code == CORNER_SIZE:
        return g.op("Add", prior, g.op("Mul", offsets, g.op("Concat", size, size, axis=-1)))
    two = g.scalar(2.0)
    centre = g.op("Div", g.op("Add", low, high), two)
    centre = g.op("Add", g.op("Mul", g.slice(offsets, -1, 0, 2), size), centre)
    half = g.op("Mul", g.op("Exp", g.slice(offsets, -1, 2, 4)), g.op("Div", size, two))
    return g.op("Concat", g.op("Sub", centre, half), g.op("Add", centre, half), axis=-1)


def decoded_shape(g: OnnxOps, prior: str, variance: str, shape: str, values: int) -> str:
    """TextBoxes++'s shape beside a box: the points of a polygon, or of a rotated box with its height.

    The points of a polygon are offsets to the prior's corners, clockwise; those of a rotated box to its centre. Both
    are shares of its size, with the first two variances; the height is the fourth's.
    """
    low, high = g.slice(prior, -1, 0, 2), g.slice(prior, -1, 2, 4)
    size = g.op("Sub", high, low)
    points = 2 * (values // 2)
    if values == POLYGON:
        from_points = _picked(g, prior, (0, 1, 2, 1, 2, 3, 0, 3))
    else:
        centre = g.op("Div", g.op("Add", low, high), g.scalar(2.0))
        from_points = _picked(g, centre, (0, 1, 0, 1))
    axes = (0, 1) * (points // 2)
    moved = g.op("Mul", _picked(g, variance, axes), g.slice(shape, -1, 0, points))
    moved = g.op("Add", g.op("Mul", moved, _picked(g, size, axes)), from_points)
    if values == POLYGON:
        return moved
    scaled = g.op("Exp", g.op("Mul", g.slice(variance, -1, 3, 4), g.slice(shape, -1, 4, 5)))
    return g.op("Concat", moved, g.op("Mul", scaled, g.slice(size, -1, 1, 2)), axis=-1)


def _picked(g: OnnxOps, x: str, places: Sequence[int]) -> str:
    return g.op("Gather", x, g.ints(places, "places"), axis=-1)


FROM_CORNERS = '''
def from_corners(prior, offset):
    """Offsets are added to the prior's corners."""
    return prior + offset
'''

FROM_CENTERS = '''
def from_centers(prior, offset):
    """Offsets move the centre by shares of the prior's size, and scale the size by their exponential."""
    (low, high), (move, scale) = prior.split(2, dim=-1), offset.split(2, dim=-1)
    size = high - low
    centre = move * size + (low + high) / 2
    half = scale.exp() * size / 2
    return torch.cat([centre - half, centre + half], dim=-1)
'''

FROM_CORNER_SIZES = '''
def from_corner_sizes(prior, offset):
    """Offsets of the corners are shares of the prior's size."""
    low, high = prior.split(2, dim=-1)
    return prior + offset * torch.cat([high - low, high - low], dim=-1)
'''

DECODERS = {
    CORNER: ("from_corners", FROM_CORNERS),
    CENTER_SIZE: ("from_centers", FROM_CENTERS),
    CORNER_SIZE: ("from_corner_sizes", FROM_CORNER_SIZES),
}

POLYGONS = '''
def polygons(prior, variance, offset):
    """Four points, clockwise from the upper left: offsets to the prior's corners are shares of its size."""
    size = prior[..., 2:] - prior[..., :2]
    return variance[..., [0, 1] * 4] * offset * size[..., [0, 1] * 4] + prior[..., [0, 1, 2, 1, 2, 3, 0, 3]]
'''

ROTATED_BOXES = '''
def rotated_boxes(prior, variance, offset):
    """The two points of the upper edge, their offsets from the prior's centre shares of its size, and the height."""
    low, high = prior.split(2, dim=-1)
    size, centre = high - low, (low + high) / 2
    edge = variance[..., [0, 1] * 2] * offset[..., :4] * size[..., [0, 1] * 2] + centre[..., [0, 1] * 2]
    return torch.cat([edge, (variance[..., 3:] * offset[..., 4:]).exp() * size[..., 1:]], dim=-1)
'''

SHAPES = {POLYGON: ("polygons", POLYGONS), ROTATED: ("rotated_boxes", ROTATED_BOXES)}
