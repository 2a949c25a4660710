"""Features at fractions of their places, for regions of interest: Mask R-CNN's ROIAlign as forks of Caffe have it.

Each samples on a grid, so that a region's samples are a product: weights of rows × features × weights of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape
from converter.layers.base import OnnxOps, TorchOps, fault, register, shortest, unsupported
from converter.layers.detection.roi import (
    PADDED_REGIONS,
    ROUND_HALF_AWAY,
    check_regions,
    padded_regions,
    read_pooled,
    read_scale,
    regions_as_rows,
    tables_of_regions,
    torch_padded,
    torch_rows,
)
from converter.layers.detection.roi_bins import numbers, round_half_away
from converter.layers.shared.sizes import FLOAT, INT64, int_size
from converter.node import Layer
from prototxt import NetLayer
from prototxt.dialects import unguessed

if TYPE_CHECKING:
    from converter.node import Node

HALF_PIXEL_MODE, NOT_IN_ONNXRUNTIME = 16, 22
"""Opsets from which RoiAlign has to be told that it starts at the corner, as before, and which onnxruntime lacks."""

MOST_SAMPLES = 1000


@register
class ROIAlign(Layer):
    """Samples of each region; whose layer it is, the file's evidence says, or --dialect: it is refused without.

    - `detectron`: R×C×pooled_h×pooled_w, the mean of sampling_ratio² bilinear samples spread over each bin, as many as
      a bin is features long where sampling_ratio is 0 or less. A region is at least one feature long; what lies more
      than one beyond the features counts as 0. ONNX's RoiAlign.
    - `zuokai` (is_multi_interpolate, bi_type, pad_ratio): the sample in the middle of each bin, or the largest of the
      four in the middles of its quarters, bilinear or (bi_type 1) bicubic. Regions are cut at 0, and one feature longer
      than their corners are apart; samples are moved onto the features. One *on the last row or column* is 0, since
      both of its weights are. is_multi_interpolate is true unless the net says otherwise, as in the first such fork.
    - `cascade_rcnn` (pad_ratio): R×C×(pooled_h + 1)×(pooled_w + 1), the bilinear samples at the corners of the bins,
      half a feature before what spatial_scale says, 0 for those beyond half a feature and for an upside-down region.
    """

    types = ("ROIAlign",)
    tabulates = True
    bottoms = (2, 2)
    fork: str = "detectron"
    pooled: tuple[int, int] = (1, 1)
    spatial_scale: float = 1.0
    sampling_ratio: int = -1
    pad_ratio: float = 0.0
    is_multi_interpolate: bool = False
    cubic: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> ROIAlign:
        fork = source.dialect
        if not fork:
            raise unsupported(source, unguessed(source), "type")
        section = "roi_align_param" if fork == "detectron" else "roi_pooling_param"
        pooled, scale = read_pooled(source, section), read_scale(source, section)
        if fork == "detectron":
            own = source.param.roi_align_param
            if own.roi_end_mode:
                message = f"roi_end_mode is {own.roi_end_mode}; no public source says what but 0 means"
                raise unsupported(source, message, section, "roi_end_mode")
            if own.sampling_ratio > MOST_SAMPLES:
                message = f"sampling_ratio is {own.sampling_ratio}; expected at most {MOST_SAMPLES}"
                raise unsupported(source, message, section, "sampling_ratio")
            return cls(fork, pooled, scale, max(own.sampling_ratio, 0))
        p = source.param.roi_pooling_param
        ratio = shortest(p.pad_ratio)
        if fork == "cascade_rcnn":
            return cls(fork, pooled, scale, pad_ratio=ratio)
        if p.bi_type > 1:
            raise fault(source, f"bi_type is {p.bi_type}; expected 0 (bilinear) or 1 (bicubic)", section, "bi_type")
        return cls(
            fork, pooled, scale, pad_ratio=ratio, is_multi_interpolate=p.is_multi_interpolate, cubic=p.bi_type == 1
        )

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        features, rois = inputs
        check_regions(features, rois)
        more = self.fork == "cascade_rcnn"
        return [(rois[0], features[1], self.pooled[0] + more, self.pooled[1] + more)]

    def tables(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Shape]:
        return tables_of_regions(inputs, outputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        features = node.inputs[0].shape
        rois = regions_as_rows(g, x[1], node.inputs[1].shape)
        images = g.op("Cast", g.op("Squeeze", g.slice(rois, 1, 0, 1), g.ints([1])), to=INT64)
        if self.fork == "detectron":
            return self._means(g, x[0], features, rois, images)
        rois = padded_regions(g, rois, self.pad_ratio)
        edges = g.op("Mul", g.slice(rois, 1, 1, 5), g.scalar(self.spatial_scale, "scale"))
        rows, columns = (self._weights(g, edges, x[0], features, axis) for axis in (0, 1))
        if self.fork == "cascade_rcnn":
            size = g.op("Sub", g.slice(edges, 1, 2, 4), g.slice(edges, 1, 0, 2))
            upright = g.op("Greater", g.reduce("ReduceMin", size, [1]), g.scalar(0.0, "zero"))
            rows = g.op("Where", g.unsqueeze(upright, [2]), rows, g.scalar(0.0, "zero"))

        def sample(inner: OnnxOps, number: str) -> str:
            image = inner.op("Gather", x[0], inner.op("Gather", images, number, axis=0), axis=0)
            down, across = (inner.op("Gather", weights, number, axis=0) for weights in (rows, columns))
            return inner.op("MatMul", down, inner.op("MatMul", image, across))

        top = g.loop(g.op("Squeeze", g.op("Shape", images), g.ints([0])), sample)
        if not self.is_multi_interpolate:
            return top
        apart = g.op("Reshape", top, g.ints([0, 0, self.pooled[0], 2, self.pooled[1] * 2], "shape"))
        apart = g.reduce("ReduceMax", apart, [3], keepdims=False)
        apart = g.op("Reshape", apart, g.ints([0, 0, 0, self.pooled[1], 2], "shape"))
        return g.reduce("ReduceMax", apart, [4], keepdims=False)

    def _means(self, g: OnnxOps, x: str, features: Shape, rois: str, images: str) -> str:
        """Detectron's: an operator of ONNX, or where onnxruntime lacks it, region by region the mean weights."""
        corners = g.slice(rois, 1, 1, 5)
        if g.opset < NOT_IN_ONNXRUNTIME:
            words = {"output_height": self.pooled[0], "output_width": self.pooled[1], "mode": "avg"}
            mode = {"coordinate_transformation_mode": "output_half_pixel"} if g.opset >= HALF_PIXEL_MODE else {}
            grid = {"sampling_ratio": self.sampling_ratio, "spatial_scale": self.spatial_scale}
            return g.op("RoiAlign", x, corners, images, **words, **grid, **mode)
        edges = g.op("Mul", corners, g.scalar(self.spatial_scale, "scale"))
        sizes = [g.op("Cast", int_size(g, x, features, axis), to=FLOAT) for axis in (2, 3)]
        places = [numbers(g, x, features, axis) for axis in (2, 3)]

        def sample(inner: OnnxOps, number: str) -> str:
            image = inner.op("Gather", x, inner.op("Gather", images, number, axis=0), axis=0)
            edge = inner.op("Gather", edges, number, axis=0)
            down, across = (self._mean_weights(inner, edge, sizes[axis], places[axis], axis) for axis in (0, 1))
            return inner.op("MatMul", down, inner.op("MatMul", image, inner.op("Transpose", across, perm=[1, 0])))

        return g.loop(g.op("Squeeze", g.op("Shape", images), g.ints([0])), sample)

    def _mean_weights(self, g: OnnxOps, edge: str, size: str, places: str, axis: int) -> str:
        """What each bin of one region takes of each row or column, bins × size: the mean of its samples' weights."""
        zero, one, bins = g.scalar(0.0), g.scalar(1.0), self.pooled[axis]
        low, high = (g.slice(edge, 0, 1 - axis + behind, 2 - axis + behind) for behind in (0, 2))
        step = g.op("Div", g.op("Max", g.op("Sub", high, low), one), g.scalar(float(bins), "bins"))
        ratio = self.sampling_ratio
        count = g.scalar(float(ratio)) if ratio else g.op("Ceil", g.op("Squeeze", step, g.ints([0])))
        index = g.constant(np.arange(bins, dtype=np.float32)[:, None], "index")
        part = g.op("Add", g.op("Range", zero, count, one), g.scalar(0.5, "half"))
        at = g.op("Add", low, g.op("Mul", index, step))
        at = g.op("Add", at, g.op("Div", g.op("Mul", part, step), count))
        inside = g.op("And", g.op("GreaterOrEqual", at, g.op("Neg", one)), g.op("LessOrEqual", at, size))
        inside = g.op("Cast", inside, to=FLOAT)
        last = g.op("Sub", size, one)
        at = g.op("Min", g.op("Max", at, zero), last)
        first = g.op("Floor", at)
        behind = g.op("Min", g.op("Add", first, one), last)
        share = g.op("Sub", at, first)
        taps = ((first, g.op("Mul", g.op("Sub", one, share), inside)), (behind, g.op("Mul", share, inside)))
        near, far = (
            g.op("Where", g.op("Equal", g.unsqueeze(place, [2]), places), g.unsqueeze(weight, [2]), zero)
            for place, weight in taps
        )
        return g.reduce("ReduceMean", g.op("Add", near, far), [1], keepdims=False)

    def _weights(self, g: OnnxOps, edges: str, x: str, features: Shape, axis: int) -> str:
        """What each sample takes of each row, R × samples × H, or of each column, R × W × samples."""
        size = g.op("Cast", int_size(g, x, features, 2 + axis), to=FLOAT)
        low, high = (g.slice(edges, 1, 1 - axis + behind, 2 - axis + behind) for behind in (0, 2))
        taps = {"cascade_rcnn": self._corners, "zuokai": self._middles}[self.fork](g, low, high, size, axis)
        places = numbers(g, x, features, 2 + axis)
        parts = [
            g.op("Where", g.op("Equal", g.unsqueeze(place, [2]), places), g.unsqueeze(weight, [2]), g.scalar(0.0))
            for place, weight in taps
        ]
        total = parts[0]
        for part in parts[1:]:
            total = g.op("Add", total, part)
        return g.op("Transpose", total, perm=[0, 2, 1]) if axis else total

    def _corners(self, g: OnnxOps, low: str, high: str, size: str, axis: int) -> list[tuple[str, str]]:
        """Place and weight of the two features of each sample, R × (bins + 1): Cascade R-CNN's."""
        zero, half, one = (g.scalar(v) for v in (0.0, 0.5, 1.0))
        last, bins = g.op("Sub", size, one), self.pooled[axis]
        low, high = (g.op("Sub", edge, half) for edge in (low, high))
        step = g.op("Div", g.op("Sub", high, low), g.scalar(float(bins), "bins"))
        index = g.constant(np.arange(bins + 1, dtype=np.float32), "index")
        at = g.op("Add", low, g.op("Mul", index, step))
        inside = g.op(
            "And", g.op("GreaterOrEqual", at, g.op("Neg", half)), g.op("LessOrEqual", at, g.op("Sub", size, half))
        )
        inside = g.op("Cast", inside, to=FLOAT)
        before = g.op("Floor", at)
        at, before, behind = (g.op("Min", g.op("Max", v, zero), last) for v in (at, before, g.op("Add", before, one)))
        share = g.op("Sub", at, before)
        near, far = g.op("Mul", g.op("Sub", one, share), inside), g.op("Mul", share, inside)
        return [(before, near), (behind, far)]

    def _middles(self, g: OnnxOps, low: str, high: str, size: str, axis: int) -> list[tuple[str, str]]:
        """Place and weight of the features of each sample, R × samples: zuokai's."""
        zero, one = g.scalar(0.0), g.scalar(1.0)
        last, bins = g.op("Sub", size, one), self.pooled[axis]
        low = g.op("Max", low, zero)
        image = round_half_away(g, g.op("Div", size, g.scalar(self.spatial_scale, "scale")))
        high = g.op("Min", g.op("Sub", image, one), high)
        extent = g.op("Max", g.op("Add", g.op("Sub", high, low), one), one)
        step = g.op("Div", extent, g.scalar(float(bins), "bins"))
        offsets = np.asarray([0.25, 0.75] if self.is_multi_interpolate else [0.5])
        index = g.constant((np.arange(bins)[:, None] + offsets).ravel().astype(np.float32), "index")
        at = g.op("Min", g.op("Max", g.op("Add", g.op("Mul", index, step), low), zero), last)
        first = g.op("Floor", at)
        if not self.cubic:
            behind = g.op("Min", g.op("Add", first, one), last)
            return [(first, g.op("Sub", behind, at)), (behind, g.op("Sub", at, first))]
        share = g.op("Sub", at, first)
        return [
            (g.op("Min", g.op("Max", g.op("Add", first, g.scalar(float(step))), zero), last), _cubic(g, share, step))
            for step in (-1, 0, 1, 2)
        ]

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        rois = torch_rows(x[1], node.inputs[1].shape)
        t.helper("samples", SAMPLES)
        if self.fork == "detectron":
            name = t.helper("roi_align_of_means", OF_MEANS)
            return f"{name}({x[0]}, {rois}, {self.pooled}, {self.spatial_scale!r}, {self.sampling_ratio})"
        if self.pad_ratio:
            t.helper("padded_regions", PADDED_REGIONS)
        rois = torch_padded(t, rois, self.pad_ratio)
        if self.fork == "cascade_rcnn":
            name = t.helper("roi_align_of_corners", OF_CORNERS)
            return f"{name}({x[0]}, {rois}, {self.pooled}, {self.spatial_scale!r})"
        t.helper("round_half_away", ROUND_HALF_AWAY)
        name = t.helper("roi_align_of_middles", OF_MIDDLES)
        words = f"{self.pooled}, {self.spatial_scale!r}, several={self.is_multi_interpolate}, cubic={self.cubic}"
        return f"{name}({x[0]}, {rois}, {words})"


def _cubic(g: OnnxOps, share: str, step: int) -> str:
    """1 - 2d² + d³ for a distance d below 1, 4 - 8d + 5d² - d³ for one below 2: the fork's bicubic weights."""
    far = g.op("Abs", g.op("Sub", share, g.scalar(float(step))))
    factors = (1.0, 0.0, -2.0, 1.0) if step in (0, 1) else (4.0, -8.0, 5.0, -1.0)
    weight = g.scalar(factors[3])
    for factor in factors[2::-1]:
        weight = g.op("Add", g.op("Mul", weight, far), g.scalar(factor))
    return weight


SAMPLES = '''
def samples(x, rois, rows, columns):
    """Regions × channels × samples down × samples across; rows and columns list places and weights, R × samples."""
    def weights(taps, size):
        return sum(F.one_hot(place.long(), size).to(x) * weight[..., None] for place, weight in taps)

    down, across = weights(rows, x.shape[2]), weights(columns, x.shape[3])
    parts = [down[n] @ x[image] @ across[n].T for n, image in enumerate(rois[:, 0].int().tolist())]
    return torch.stack(parts) if parts else x.new_zeros(0, x.shape[1], down.shape[1], across.shape[1])
'''

OF_MEANS = '''
def roi_align_of_means(x, rois, pooled, scale, sampling):
    """The mean of samples spread evenly over each bin of each region (Detectron)."""
    def taps(low, high, bins, size):
        extent = (high - low).clamp(min=1)
        step = extent / extent.new_tensor(bins)
        count = sampling or int(step.ceil())
        index = torch.arange(bins, device=x.device)[:, None] * step
        at = (low + index + (torch.arange(count, device=x.device) + 0.5) * step / step.new_tensor(count)).reshape(1, -1)
        inside = (at >= -1) & (at <= size)
        at = at.clamp(0, size - 1)
        first = at.floor()
        behind = (first + 1).clamp(max=size - 1)
        return count, [(first, (1 - (at - first)) * inside), (behind, (at - first) * inside)]

    top = x.new_empty(len(rois), x.shape[1], *pooled)
    edges = rois[:, 1:] * scale
    for n, (x0, y0, x1, y1) in enumerate(edges):
        (down, rows), (across, columns) = taps(y0, y1, pooled[0], x.shape[2]), taps(x0, x1, pooled[1], x.shape[3])
        values = samples(x, rois[n : n + 1], rows, columns)[0]
        top[n] = values.reshape(-1, pooled[0], down, pooled[1], across).mean(dim=(2, 4))
    return top
'''

OF_CORNERS = '''
def roi_align_of_corners(x, rois, pooled, scale):
    """The samples at the corners of each bin of each region (Cascade R-CNN)."""
    edges = rois[:, 1:] * scale
    upright = (edges[:, 2:] > edges[:, :2]).all(dim=1)[:, None]

    def taps(low, high, bins, size):
        low, high = low[:, None] - 0.5, high[:, None] - 0.5
        at = low + torch.arange(bins + 1, device=x.device) * ((high - low) / high.new_tensor(bins))
        inside = (at >= -0.5) & (at <= size - 0.5) & upright
        first = at.floor()
        at, first, behind = (v.clamp(0, size - 1) for v in (at, first, first + 1))
        return [(first, (1 - (at - first)) * inside), (behind, (at - first) * inside)]

    x0, y0, x1, y1 = edges.unbind(1)
    return samples(x, rois, taps(y0, y1, pooled[0], x.shape[2]), taps(x0, x1, pooled[1], x.shape[3]))
'''

OF_MIDDLES = '''
def roi_align_of_middles(x, rois, pooled, scale, several, cubic):
    """The sample in the middle of each bin of each region, or the largest in those of its quarters (zuokai)."""
    def taps(low, high, bins, size):
        image = round_half_away((size / low.new_tensor(scale)))
        low, high = low.clamp(min=0), high.minimum(image - 1)
        step = (high - low + 1).clamp(min=1) / low.new_tensor(bins)
        parts = torch.tensor([0.25, 0.75] if several else [0.5], device=x.device)
        index = (torch.arange(bins, device=x.device)[:, None] + parts).flatten()
        at = (index * step[:, None] + low[:, None]).clamp(0, size - 1)
        first = at.floor()
        if not cubic:
            behind = (first + 1).clamp(max=size - 1)
            return [(first, behind - at), (behind, at - first)]
        return [((first + k).clamp(0, size - 1), weight((at - first - k).abs())) for k in (-1, 0, 1, 2)]

    def weight(far):
        near = ((far - 2) * far) * far + 1
        return torch.where(far < 1, near, torch.where(far < 2, ((5 - far) * far - 8) * far + 4, 0))

    x0, y0, x1, y1 = (rois[:, 1:] * scale).unbind(1)
    values = samples(x, rois, taps(y0, y1, pooled[0], x.shape[2]), taps(x0, x1, pooled[1], x.shape[3]))
    if not several:
        return values
    return values.unflatten(3, (-1, 2)).amax(dim=4).unflatten(2, (-1, 2)).amax(dim=3)
'''
