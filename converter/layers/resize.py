"""Forks' layers that enlarge or shrink images: by repeating pixels, by undoing a pooling, by interpolating."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, fault, register, require, unsupported
from converter.layers.shared.sizes import int_size, torch_dims
from converter.layers.unpooling import UNPOOL, check_mask, unpooled_onnx
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import UpsampleParameter

if TYPE_CHECKING:
    from converter.node import Node


def _check_image(shape: Shape) -> None:
    require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")


def repeated_onnx(g: OnnxOps, x: str, down: int, across: int) -> str:
    """Each pixel repeated, `down` × `across` times."""
    scales = g.constant(np.asarray([1, 1, down, across], np.float32), "scales")
    return g.op(
        "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def repeated_torch(t: TorchOps, x: str, down: int, across: int) -> str:
    """The same in torch."""
    return f"{t.module('nn.Upsample', scale_factor=down if down == across else (down, across))}({x})"


def interpolated_onnx(g: OnnxOps, x: str, before: Shape, after: Shape, sizes: str, places: str) -> str:
    """Rows and columns of N×C×H×W interpolated in straight lines, `before` -> `after`.

    What is one pixel high or wide is repeated first: of the one row of a map OpenCV 5 takes another behind it, with a
    weight of a millionth, and mixes in whatever lies in memory there.

    Args:
        before, after: rows and columns, perhaps free.
        sizes: the value that holds all four sizes of the result.
        places: ONNX' coordinate_transformation_mode.
    """
    flat = [i for i in (0, 1) if before[i] == 1 and not is_free(after[i])]
    rest = [i for i in (0, 1) if i not in flat and before[i] != after[i]]
    least = 2 if rest else 1  # So is one that stays alone, until the other axis has its size.
    times = [max(int(after[i]), least) if i in flat else 1 for i in (0, 1)]
    if max(times) > 1:
        x = g.op("Expand", x, g.ints([1, 1, *times], "times"))
    if flat and not rest:
        return x
    doubled = [i for i in flat if after[i] == 1]
    if doubled:
        sizes = g.op("Add", sizes, g.ints([0, 0, *(int(i in doubled) for i in (0, 1))], "doubled"))
    y = g.op("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode=places)
    return g.slice(y, 2 + doubled[0], 0, 1) if doubled else y


@register
class UpsampleDarknet(Layer):
    """Each pixel repeated `stride` times down and across (Synopsys' fork: upsample_darknet_layer.cpp)."""

    types = ("UpsampleDarknet",)
    stride: int = 1

    @classmethod
    def read(cls, source: NetLayer) -> UpsampleDarknet:
        at_least_one(source, "upsample_darknet_param", "stride")
        stride = source.param.upsample_darknet_param.stride
        return cls(stride)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        _check_image(inputs[0])
        n, c, h, w = inputs[0]
        return [(n, c, h * self.stride, w * self.stride)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return repeated_onnx(g, x[0], self.stride, self.stride)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return repeated_torch(t, x[0], self.stride, self.stride)


@register
class Interp(Layer):
    """Bilinear interpolation whose corners fall on the image's corners (DeepLab's fork: interp_layer.cpp, interp.cpp).

    Output sizes are (size - 1) / shrink_factor, rounded down, times zoom_factor, plus 1; one of the factors alone goes
    before `height` and `width`, these before both together. In OpenVINO's nets zoom_factor multiplies the size, as
    Synopsys' `full_zoom_factor` does. With a second bottom (soeaver's fork: `use_blob_size`) the size is that blob's.
    Negative `pad_beg` and `pad_end` crop the image first. An output of 1 takes the first pixel.
    """

    types = ("Interp",)
    bottoms = (1, 2)
    size: tuple[int, int] | None = None
    shrink_factor: int = 1
    zoom_factor: int = 1
    full_zoom_factor: int | None = None
    crop: tuple[int, int] = (0, 0)

    @classmethod
    def read(cls, source: NetLayer) -> Interp:
        p, section = source.param.interp_param, "interp_param"
        at_least_one(source, section, "shrink_factor", "zoom_factor", "full_zoom_factor")
        for name in ("pad_beg", "pad_end"):
            if getattr(p, name) > 0:
                raise fault(source, f"{name} is {getattr(p, name)}; expected 0 or less, to crop", section, name)
        crop = (-p.pad_beg, -p.pad_end)
        shrinks, zooms, by_blob = p.HasField("shrink_factor"), p.HasField("zoom_factor"), p.use_blob_size
        if len(source.bottoms) == 2:
            if shrinks or zooms or p.HasField("height") or p.HasField("width"):
                raise fault(source, "a size beside that of the second bottom; expected one of the two", section)
            return cls(None, crop=crop)
        if by_blob:
            raise fault(source, "use_blob_size with one bottom; expected two", section, "use_blob_size")
        if shrinks != zooms:
            sizes = ("height", "width", "full_zoom_factor")
            source.without_effect("one factor alone outweighs it", *(f"{section}.{name}" for name in sizes))
            if zooms and source.dialect == "openvino":
                return cls(None, full_zoom_factor=p.zoom_factor, crop=crop)
            return cls(None, p.shrink_factor, p.zoom_factor, None, crop)
        if p.HasField("height") and p.HasField("width"):
            source.without_effect("height and width outweigh it", f"{section}.full_zoom_factor")
            if min(p.height, p.width) < 1:
                message = f"height and width are {p.height}×{p.width}; expected at least 1×1"
                raise fault(source, message, section, "height")
            return cls((p.height, p.width), 1, 1, None, crop)
        if shrinks:
            return cls(None, p.shrink_factor, p.zoom_factor, None, crop)
        if not p.HasField("full_zoom_factor"):
            raise fault(source, "no size; expected height and width, zoom_factor or shrink_factor", section)
        return cls(None, 1, 1, p.full_zoom_factor, crop)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        _check_image(shape)
        inner = [size - sum(self.crop) for size in shape[2:]]
        require(min(map(int, inner)) >= 1, f"cropping leaves nothing of {format_shape(shape)}")
        if len(inputs) == 2:
            require(len(inputs[1]) == 4, f"the second bottom is {format_shape(inputs[1])}; expected 4 axes (N×C×H×W)")
            return [(*shape[:2], *inputs[1][2:])]
        if self.size is not None:
            return [(*shape[:2], *self.size)]
        if self.full_zoom_factor is not None:
            return [(*shape[:2], *(size * self.full_zoom_factor for size in inner))]
        return [(*shape[:2], *((size - 1) // self.shrink_factor * self.zoom_factor + 1 for size in inner))]

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        n, c, h, w = outputs[0]
        return 4 * n * c * h * w

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        begin, end = self.crop
        y = x[0]
        if any(self.crop):
            bounds = ([begin, begin], [-end, -end] if end else [2**63 - 1] * 2, [2, 3])
            y = g.op("Slice", y, *(g.ints(b, "bounds") for b in bounds))
        out = node.outputs[0].shape
        if not any(map(is_free, out)):
            whole = g.ints([int(d) for d in out], "sizes")
        else:
            whole = g.op("Concat", *(self._onnx_size(g, node, x, axis) for axis in range(4)), axis=0)
        before = tuple(size - sum(self.crop) for size in node.shape[2:])
        return interpolated_onnx(g, y, before, out[2:], whole, "align_corners")

    def _onnx_size(self, g: OnnxOps, node: Node, x: Sequence[str], axis: int) -> str:
        """A size of the top as a vector of one."""
        out = node.outputs[0].shape[axis]
        if not is_free(out):
            return g.ints([int(out)], "size")
        like = 1 if axis >= 2 and len(x) == 2 else 0
        size = g.unsqueeze(int_size(g, x[like], node.inputs[like].shape, axis), [0])
        if axis < 2 or like:
            return size
        if self.full_zoom_factor is not None:
            inner = g.op("Sub", size, g.ints([sum(self.crop)], "cropped"))
            return g.op("Mul", inner, g.ints([self.full_zoom_factor], "zoom"))
        steps = g.op("Sub", size, g.ints([sum(self.crop) + 1], "cropped"))
        shrunk = g.op("Div", steps, g.ints([self.shrink_factor], "shrink"))
        return g.op("Add", g.op("Mul", shrunk, g.ints([self.zoom_factor], "zoom")), g.ints([1], "one"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        begin, end = self.crop
        y = x[0]
        if any(self.crop):
            cut = f"{begin or ''}:{-end or ''}"
            y = t.let("cropped", f"{y}[:, :, {cut}, {cut}]")
        sizes = []
        for axis in (2, 3):
            out, size = node.outputs[0].shape[axis], f"{y}.shape[{axis}]"
            if not is_free(out):
                sizes.append(str(int(out)))
            elif len(x) == 2:
                sizes.append(f"{x[1]}.shape[{axis}]")
            elif self.full_zoom_factor is not None:
                sizes.append(f"{size} * {self.full_zoom_factor}")
            else:
                sizes.append(f"({size} - 1) // {self.shrink_factor} * {self.zoom_factor} + 1")
        return f"F.interpolate({y}, size=({', '.join(sizes)}), mode='bilinear', align_corners=True)"


@register
class Upsample(Layer):
    """Forks' layers of one name, told apart by their bottoms and fields.

    With one, each pixel is repeated `scale` times down and across (MobileNet-YOLO's: upsample_layer.cpp), once where
    none is stated: that is the default of all forks that have it so, and 2 of those with a mask. With two,
    values go where the mask of a max pooling says they came from, and the rest is 0 (SegNet's: upsample_layer.cpp); the
    size is upsample_h × upsample_w, or `scale` times the bottom's, less 1 where `pad_out_h` or `pad_out_w` says so.
    With `dims_num: 3` (inisis' fork) the bottom is N×C×W, and only its last axis grows. Wulingtian's fork for YOLOv5
    grows to `height` × `width`, or by `height_scale` and `width_scale`: BILINEAR as Interp does it, or NEAREST.
    """

    types = ("Upsample",)
    bottoms = (1, 2)
    read_as = (Interp,)
    scale: tuple[int, int] = (2, 2)
    pad_out: tuple[int, int] = (0, 0)
    size: tuple[int, int] | None = None
    flat: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> Upsample | Interp:
        p, section = source.param.upsample_param, "upsample_param"
        if any(p.HasField(name) for name in ("height", "width", "height_scale", "width_scale", "mode")):
            return cls._read_yolov5s(source)
        if p.dims_num not in (3, 4) or (p.dims_num == 3 and len(source.bottoms) == 2):
            raise fault(source, f"dims_num is {p.dims_num}; expected 4, or 3 without a mask", section, "dims_num")
        times = p.scale if p.HasField("scale") or len(source.bottoms) == 2 else 1
        if not (1 <= times < math.inf and times == int(times)):
            raise unsupported(source, f"scale is {times:g}; expected a whole number, 1 or more", section, "scale")
        scale = (int(times), int(times))
        if p.HasField("scale_h") or p.HasField("scale_w"):
            if len(source.bottoms) == 1:
                raise unsupported(source, "scale_h and scale_w without a mask; expected scale", section, "scale_h")
            scale = (p.scale_h, p.scale_w)
            if min(scale) < 1:
                raise fault(source, f"scale_h and scale_w are {scale}; expected both, 1 or more", section, "scale_h")
        size = None
        if p.HasField("upsample_h") or p.HasField("upsample_w"):
            size = (p.upsample_h, p.upsample_w)
            if min(size) < 1:
                message = f"upsample_h and upsample_w are {size}; expected both, 1 or more"
                raise fault(source, message, section, "upsample_h")
        less = (int(p.pad_out_h), int(p.pad_out_w))
        if len(source.bottoms) == 1 and (size or any(less)):
            raise fault(source, "a size without a mask; expected a second bottom, the mask of a max pooling", section)
        return cls(scale, less, size, p.dims_num == 3)

    @classmethod
    def _read_yolov5s(cls, source: NetLayer) -> Upsample | Interp:
        p, section = source.param.upsample_param, "upsample_param"
        if len(source.bottoms) == 2:
            raise unsupported(source, "mode or a size beside a second bottom; expected one bottom", section)
        if p.HasField("height") and p.HasField("width"):
            source.without_effect("height and width outweigh it", f"{section}.height_scale", f"{section}.width_scale")
            size, by = (p.height, p.width), "height and width"
        else:
            if not (p.HasField("height_scale") and p.HasField("width_scale")):
                raise fault(source, "no size; expected height and width, or height_scale and width_scale", section)
            source.without_effect("alone it says nothing", f"{section}.height", f"{section}.width")
            size, by = (p.height_scale, p.width_scale), "height_scale and width_scale"
        if min(size) < 2:
            raise fault(source, f"{by} are {size[0]} and {size[1]}; expected at least 2", section)
        nearest, stated = p.mode == UpsampleParameter.NEAREST, by == "height and width"
        if nearest and not stated:
            return cls(size)
        if nearest:
            raise unsupported(source, "height and width with mode NEAREST; expected the two scales", section)
        if size[0] != size[1] and not stated:
            raise unsupported(source, f"scales {size[0]} and {size[1]} with mode BILINEAR; expected one", section)
        return Interp(size) if stated else Interp(full_zoom_factor=size[0])

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        if self.flat:
            require(len(shape) == 3, f"the bottom is {format_shape(shape)}; expected 3 axes (dims_num), N×C×W")
            return [(*shape[:2], shape[2] * self.scale[1])]
        _check_image(shape)
        if len(inputs) == 2:
            check_mask(*inputs)
        if self.size is not None:
            return [(*shape[:2], *self.size)]
        return [(*shape[:2], *(shape[2 + i] * self.scale[i] - self.pad_out[i] for i in (0, 1)))]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if self.flat:
            return g.op("Squeeze", repeated_onnx(g, g.unsqueeze(x[0], [2]), 1, self.scale[1]), g.ints([2]))
        if len(x) == 1:
            return repeated_onnx(g, x[0], *self.scale)
        sizes = [self._onnx_size(g, node, x[0], axis) for axis in range(4)]
        return unpooled_onnx(g, x[0], x[1], sizes)

    def _onnx_size(self, g: OnnxOps, node: Node, x: str, axis: int) -> str:
        """A size of the top as a vector of one."""
        out = node.outputs[0].shape[axis]
        if not is_free(out):
            return g.ints([int(out)], "size")
        size = g.unsqueeze(int_size(g, x, node.shape, axis), [0])
        if axis < 2:
            return size
        scaled = g.op("Mul", size, g.ints([self.scale[axis - 2]], "scale"))
        return g.op("Sub", scaled, g.ints([self.pad_out[axis - 2]], "less"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.flat:
            return f"{x[0]}.repeat_interleave({self.scale[1]}, dim=2)"
        if len(x) == 1:
            return repeated_torch(t, x[0], *self.scale)
        t.helper("unpool", UNPOOL)
        sizes = [str(s) for s in self.size or ()]
        for i, size in enumerate(torch_dims(x[0], node.shape)[2:]):
            if self.size is None:
                less = f" - {self.pad_out[i]}" if self.pad_out[i] else ""
                fixed = not is_free(node.shape[2 + i])
                sizes.append(str(int(node.outputs[0].shape[2 + i])) if fixed else f"{size} * {self.scale[i]}{less}")
        return f"unpool({x[0]}, {x[1]}, {', '.join(sizes)})"
