"""Regions of interest pooled to bins: the largest value (Fast R-CNN), or the mean of a bin's own plane (R-FCN).

A region is a row of image, x0, y0, x1, y1, the corners inside it, in pixels of the image; `spatial_scale` leads from
those to the features. How many there are may be known only when the net runs.

Which features a bin holds hangs on float32 arithmetic: 57 rows in 7 bins are 8.142858 each, and the last bin ends
behind row 57.000004, so at 58. The operations stand in Caffe's order, in both targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, fault, register, require, shortest
from converter.layers.detection.roi_bins import largest_of_bins, numbers, round_half_away
from converter.layers.shared.sizes import FLOAT
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node


def read_scale(source: NetLayer, section: str) -> float:
    """`spatial_scale`, from pixels of the image to features."""
    scale: float = getattr(source.param, section).spatial_scale
    if not 0 < scale < np.inf:
        raise fault(source, f"spatial_scale is {scale:g}; expected a number above 0", section, "spatial_scale")
    return shortest(scale)


def read_pooled(source: NetLayer, section: str) -> tuple[int, int]:
    """`pooled_h` and `pooled_w`, the rows and columns of bins."""
    at_least_one(source, section, "pooled_h", "pooled_w")
    p = getattr(source.param, section)
    return p.pooled_h, p.pooled_w


def check_regions(features: Shape, rois: Shape) -> None:
    """Refuse features that are no N×C×H×W, and regions that are no rows of 5."""
    require(len(features) == 4, f"the first bottom is {format_shape(features)}; expected 4 axes (N×C×H×W)")
    values = "image, x0, y0, x1 and y1 of each region"
    fits = len(rois) >= 2 and int(count(rois[1:])) == 5
    require(fits, f"the second bottom is {format_shape(rois)}; expected rows of 5: {values}")


def regions_as_rows(g: OnnxOps, rois: str, shape: Shape) -> str:
    """The regions as R×5, where they are R×5×1×1 perhaps."""
    return rois if len(shape) == 2 else g.op("Reshape", rois, g.ints([-1, 5], "shape"))


def torch_rows(rois: str, shape: Shape) -> str:
    """The same in torch."""
    return rois if len(shape) == 2 else f"{rois}.flatten(1)"


def padded_regions(g: OnnxOps, rois: str, ratio: float) -> str:
    """Regions grown on each side by a share of their size (MS-CNN's fork); a box from 3 to 5 has size 3."""
    if not ratio:
        return rois
    low, high = g.slice(rois, 1, 1, 3), g.slice(rois, 1, 3, 5)
    size = g.op("Add", g.op("Sub", high, low), g.scalar(1.0, "one"))
    pad = g.op("Mul", size, g.scalar(ratio, "ratio"))
    return g.op("Concat", g.slice(rois, 1, 0, 1), g.op("Sub", low, pad), g.op("Add", high, pad), axis=1)


def torch_padded(t: TorchOps, rois: str, ratio: float) -> str:
    """The same in torch."""
    return f"{t.helper('padded_regions', PADDED_REGIONS)}({rois}, {ratio!r})" if ratio else rois


@register
class ROIPooling(Layer):
    """The largest feature of each bin of each region: R×C×pooled_h×pooled_w (Fast R-CNN: roi_pooling_layer.cpp).

    Corners are scaled and then rounded, half away from zero; a region has at least one row and one column. Bins
    overlap by up to one row, as each begins at the floor and ends at the ceiling; what lies outside of the features
    does not count, and 0 stands for a bin of none. That is what MaxRoiPool does in onnxruntime. OpenCV 5 lacks it;
    OpenVINO divides by multiplying with a reciprocal, which makes some bins a row longer.

    MS-CNN's fork has a `pad_ratio`. In the fork of CNN_tabletennis a region is a row of 4, without its image: there is
    one for each.
    """

    types = ("ROIPooling",)
    bottoms = (2, 2)
    pooled: tuple[int, int] = (1, 1)
    spatial_scale: float = 1.0
    pad_ratio: float = 0.0

    @classmethod
    def read(cls, source: NetLayer) -> ROIPooling:
        section = "roi_pooling_param"
        ratio = shortest(source.param.roi_pooling_param.pad_ratio)
        return cls(read_pooled(source, section), read_scale(source, section), ratio)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        features, rois = inputs
        if _one_an_image(rois):
            check_regions(features, (rois[0], 5))
            pair = f"{rois[0]} regions of 4 values for {features[0]} images; expected one for each"
            require(int(rois[0]) == int(features[0]), pair)
            return [(features[0], features[1], *self.pooled)]
        check_regions(features, rois)
        return [(rois[0], features[1], *self.pooled)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        features, regions = (v.shape for v in node.inputs)
        if _one_an_image(regions):
            boxes = g.op("Reshape", x[1], g.ints([-1, 4], "shape"))
            images = g.op("Reshape", numbers(g, x[0], features, 0), g.ints([-1, 1], "shape"))
            rois = g.op("Concat", images, boxes, axis=1)
        else:
            rois = regions_as_rows(g, x[1], regions)
        rois = padded_regions(g, rois, self.pad_ratio)
        return largest_of_bins(g, x[0], features, rois, self.pooled, self.spatial_scale)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("round_half_away", ROUND_HALF_AWAY)
        t.helper("largest_in_bins", LARGEST_IN_BINS)
        if _one_an_image(node.inputs[1].shape):
            images = f"torch.arange(len({x[1]})).to({x[1]})[:, None]"
            rois = t.let("rois", f"torch.cat([{images}, {x[1]}.flatten(1)], dim=1)")
        else:
            rois = torch_rows(x[1], node.inputs[1].shape)
        rois = torch_padded(t, rois, self.pad_ratio)
        return f"{t.helper('roi_pooling', ROI_POOLING)}({x[0]}, {rois}, {self.pooled}, {self.spatial_scale!r})"


def _one_an_image(rois: Shape) -> bool:
    return len(rois) >= 2 and int(count(rois[1:])) == 4


@register
class PSROIPooling(Layer):
    """The mean of each bin of each region, each bin in a plane of its own (R-FCN: psroi_pooling_layer.cpp).

    N×(output_dim · g · g)×H×W gives R×output_dim×g×g: bin (p, q) of channel c is taken from plane (c · g + p) · g + q.
    Unlike ROIPooling, the corners are rounded first and scaled then, to fractions of a feature; a region has at least
    0.1 of one; its far side lies one pixel behind its corner. Each bin goes from the floor of its start to the ceiling
    of its end; without any feature inside it is 0.

    Both targets sum with a mask of each bin: a matrix product for each of the g · g planes.
    """

    types = ("PSROIPooling",)
    bottoms = (2, 2)
    output_dim: int = 1
    group_size: int = 1
    spatial_scale: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> PSROIPooling:
        p, section = source.param.psroi_pooling_param, "psroi_pooling_param"
        at_least_one(source, section, "output_dim", "group_size")
        return cls(p.output_dim, p.group_size, read_scale(source, section))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        features, rois = inputs
        check_regions(features, rois)
        expected = self.output_dim * self.group_size**2
        message = (
            f"{features[1]} channels; expected {expected}, output_dim {self.output_dim} · group_size {self.group_size}²"
        )
        require(not is_free(features[1]) and int(features[1]) == expected, message)
        return [(rois[0], self.output_dim, self.group_size, self.group_size)]

    def tabulated(self, inputs: Sequence[Shape], tops: Sequence[Shape]) -> Sequence[Shape]:
        return [tops[0][2:]]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        features = node.shape
        planes = self.group_size**2
        image, low, step = self._steps(g, regions_as_rows(g, x[1], node.inputs[1].shape))
        row, column = np.divmod(np.arange(planes, dtype=np.float32)[:, None], self.group_size)
        down, across = numbers(g, x[0], features, 2), numbers(g, x[0], features, 3)
        rows = _inside(g, row, g.slice(step, 0, 1, 2), g.slice(low, 0, 1, 2), g.unsqueeze(down, [1]))
        columns = _inside(g, column, g.slice(step, 0, 0, 1), g.slice(low, 0, 0, 1), across)
        if is_free(features[0]) or int(features[0]) > 1:
            images = g.op("Reshape", numbers(g, x[0], features, 0), g.ints([-1, 1, 1], "shape"))
            rows = g.op("And", rows, g.op("Equal", images, g.unsqueeze(image, [1, 2, 3])))
        rows, columns = g.op("Cast", rows, to=FLOAT), g.op("Cast", columns, to=FLOAT)
        apart = g.op("Reshape", x[0], g.ints([0, self.output_dim, planes, -1], "shape"))
        apart = g.op("Transpose", apart, perm=[2, 0, 3, 1])
        apart = g.op("Reshape", apart, g.ints([planes, -1, self.output_dim], "shape"))
        places = count((features[0], *features[2:]))
        flat = _flat(g, apart) if is_free(places) else g.ints([0, 0, places], "shape")
        sums = g.op("MatMul", g.op("Reshape", g.op("Mul", rows, columns), flat), apart)
        high, broad = (g.reduce("ReduceSum", marks, [2, 3, 4], keepdims=False) for marks in (rows, columns))
        area = g.op("Max", g.op("Mul", high, broad), g.scalar(1.0, "one"))
        means = g.op("Transpose", g.op("Div", sums, g.unsqueeze(area, [2])), perm=[1, 2, 0])
        return g.op("Reshape", means, g.ints([0, self.output_dim, self.group_size, self.group_size], "shape"))

    def _steps(self, g: OnnxOps, rois: str) -> tuple[str, str, str]:
        """The image of each region (R); the near corner and the size of a bin, each x and y (2×R)."""
        lines = g.op("Transpose", rois, perm=[1, 0])
        corners, scale = round_half_away(g, g.slice(lines, 0, 1, 5)), g.scalar(self.spatial_scale, "scale")
        low = g.op("Mul", g.slice(corners, 0, 0, 2), scale)
        high = g.op("Mul", g.op("Add", g.slice(corners, 0, 2, 4), g.scalar(1.0, "one")), scale)
        size = g.op("Max", g.op("Sub", high, low), g.scalar(0.1, "least"))
        step = g.op("Div", size, g.scalar(float(self.group_size), "group"))
        image = g.op("Floor", g.op("Squeeze", g.slice(lines, 0, 0, 1), g.ints([0])))
        return image, low, step

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("round_half_away", ROUND_HALF_AWAY)
        rois = torch_rows(x[1], node.inputs[1].shape)
        return f"{t.helper('psroi_pooling', PSROI_POOLING)}({x[0]}, {rois}, {self.group_size}, {self.spatial_scale!r})"


def _flat(g: OnnxOps, apart: str) -> str:
    """The shape planes × R × places of a mask, places being the second axis of `apart`: with -1 no R could be 0.

    A product, since onnxruntime makes a -1 of a part that was concatenated.
    """
    return g.op("Mul", g.ints([0, 0, 1], "shape"), g.slice(g.op("Shape", apart), 0, 1, 2))


def _inside(g: OnnxOps, index: np.ndarray[tuple[int, ...], np.dtype[np.float32]], step: str, low: str, at: str) -> str:
    """Whether each position of `at` lies in each bin: bins × R × 1 × (positions × 1, or 1 × positions)."""
    start, end = (
        g.op("Add", g.op("Mul", g.constant((index + behind).astype(np.float32), "bins"), step), low)
        for behind in (0, 1)
    )
    start, end = (g.unsqueeze(g.op(kind, edge), [2, 3, 4]) for kind, edge in (("Floor", start), ("Ceil", end)))
    return g.op("And", g.op("GreaterOrEqual", at, start), g.op("Less", at, end))


ROUND_HALF_AWAY = '''
def round_half_away(x):
    """C's round; torch's own takes halves to the even number."""
    return x.trunc() + x.sign() * (x.frac().abs() >= 0.5)
'''

PADDED_REGIONS = '''
def padded_regions(rois, ratio):
    """Regions grown on each side by a share of their size."""
    image, low, high = rois.split([1, 2, 2], dim=1)
    pad = (high - low + 1) * ratio
    return torch.cat([image, low - pad, high + pad], dim=1)
'''

LARGEST_IN_BINS = '''
def largest_in_bins(x, dim, bins):
    """The largest along a dimension in each bin (its first place, the one behind its last); 0 in one that is empty."""
    empty = torch.zeros_like(x.select(dim, 0))
    return torch.stack([x.narrow(dim, a, b - a).amax(dim) if a < b else empty for a, b in bins], dim)
'''

ROI_POOLING = '''
def roi_pooling(x, rois, pooled, scale):
    """The largest value in each bin of each region (image, x0, y0, x1, y1); 0 in a bin that is empty."""
    def bins(low, high, count, size):
        step = (high - low + 1).clamp(min=1) / low.new_tensor(count)  # by a number, CUDA would multiply by 1 / count
        index = torch.arange(count, device=x.device)
        start, end = (index * step[:, None]).floor(), ((index + 1) * step[:, None]).ceil()
        return (torch.stack([start, end], dim=2) + low[:, None, None]).clamp(0, size).int().tolist()

    x0, y0, x1, y1 = round_half_away(rois[:, 1:] * scale).unbind(1)
    rows, columns = bins(y0, y1, pooled[0], x.shape[2]), bins(x0, x1, pooled[1], x.shape[3])
    top = x.new_empty(len(rois), x.shape[1], *pooled)
    for n, image in enumerate(rois[:, 0].int().tolist()):
        top[n] = largest_in_bins(largest_in_bins(x[image], 1, rows[n]), 2, columns[n])
    return top
'''

PSROI_POOLING = '''
def psroi_pooling(x, rois, group, scale):
    """The mean of each bin of each region (image, x0, y0, x1, y1), each bin in a plane of its own; 0 if it is empty."""
    corners = round_half_away(rois[:, 1:])
    low, high = corners[:, :2] * scale, (corners[:, 2:] + 1) * scale
    step = (high - low).clamp(min=0.1) / low.new_tensor(group)  # by a number, CUDA would multiply by 1 / group

    def mask(low, step, size):
        index, place = torch.arange(group, device=x.device), torch.arange(size, device=x.device)
        start, end = (index * step[:, None] + low[:, None]).floor(), ((index + 1) * step[:, None] + low[:, None]).ceil()
        return ((place >= start[..., None]) & (place < end[..., None])).to(x)

    rows, columns = mask(low[:, 1], step[:, 1], x.shape[2]), mask(low[:, 0], step[:, 0], x.shape[3])
    images = F.one_hot(rois[:, 0].long(), len(x)).to(x)
    planes = x.unflatten(1, (-1, group, group))
    sums = torch.einsum("rph,rqw,rn,ncpqhw->rcpq", rows, columns, images, planes)
    area = rows.sum(dim=2)[:, None, :, None] * columns.sum(dim=2)[:, None, None, :]
    return sums / area.clamp(min=1)
'''
