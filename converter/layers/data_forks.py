"""Forks' layers that bring data in, images with dense labels, boxes or lanes and frames of videos, or take it out."""

from __future__ import annotations

from collections.abc import Sequence

from converter.graph import Shape
from converter.layers.base import register
from converter.layers.data import DataLayer, HDF5Output, channels_of, image, padded, resized, sized
from prototxt import NetLayer
from prototxt.caffe_pb2 import VideoDataParameter


@register
class DenseImageData(DataLayer):
    """Images listed in a text file, each with an image of labels (SegNet's fork: dense_image_data_layer.cpp).

    ENet's `label_divide_factor` makes the labels smaller by that factor. Without `new_height`, `new_width` or a crop
    the size is that of the files.
    """

    types = ("DenseImageData",)

    @classmethod
    def read(cls, source: NetLayer) -> DenseImageData:
        p = source.param.dense_image_data_param
        height, width = p.crop_height or p.new_height, p.crop_width or p.new_width
        smaller = max(1, p.label_divide_factor)
        images = image(p.batch_size, 3 if p.is_color else 1, height, width)
        labels = image(p.batch_size, 1, height // smaller, width // smaller)
        return cls(padded([images, labels], len(source.tops)))


@register
class ImageSegData(DataLayer):
    """Images listed in a text file, each with an image of labels; a third top has the size that an image had.

    Of DeepLab's fork (image_seg_data_layer.cpp); WindowSegData, windows of such images, is of DeconvNet's.
    """

    types = ("ImageSegData", "WindowSegData")

    @classmethod
    def read(cls, source: NetLayer) -> ImageSegData:
        p = source.param.image_data_param
        height, width = sized(source.param, p.new_height, p.new_width)
        images = image(p.batch_size, 3 if p.is_color else 1, height, width)
        labels = image(p.batch_size, 1, height, width)
        return cls(padded([images, labels, image(p.batch_size, 1, 1, 2)], len(source.tops)))


@register
class SelectSegBinary(DataLayer):
    """Images listed in a text file, each with an image of one class' labels and a third top that says which class.

    Of DecoupledNet's fork (select_seg_binary_layer.cpp): `label_dim` classes, 1 at the one and 0 elsewhere.
    """

    types = ("SelectSegBinary",)

    @classmethod
    def read(cls, source: NetLayer) -> SelectSegBinary:
        p = source.param.image_data_param
        height, width = sized(source.param, p.new_height, p.new_width)
        images = image(p.batch_size, 3 if p.is_color else 1, height, width)
        labels = image(p.batch_size, 1, height, width)
        classes = image(p.batch_size, source.param.window_cls_data_param.label_dim, 1, 1)
        return cls(padded([images, labels, classes], len(source.tops)))


@register
class VideoData(DataLayer):
    """Frames of a film or camera, always in colour (SSD's fork: video_data_layer.cpp), or parts of films.

    The latter are those of temporal segment networks, a stack of `new_length` colour images or pairs of flow images for
    each of `num_segments`; or C3D's and video-caffe's, which have an axis for the frames and neither segments nor a
    modality. C3D 1.0 has their fields in image_data_param.
    """

    types = ("VideoData",)

    @classmethod
    def read(cls, source: NetLayer) -> VideoData:
        p = source.param
        v, crop = p.video_data_param, p.transform_param.crop_size
        if p.HasField("image_data_param"):
            old = p.image_data_param
            films = _films(old.batch_size, 3, old.new_length, old.crop_size, old.new_height, old.new_width)
            return cls(padded([films, (old.batch_size, 1, 1, 1, 1)], len(source.tops)))
        if v.HasField("source") and not any(v.HasField(name) for name in ("num_segments", "modality", "name_pattern")):
            colours = 3 if v.is_color else 1
            films = _films(v.batch_size, colours, v.new_length, crop or v.crop_size, v.new_height, v.new_width)
            return cls(padded([films], len(source.tops)))
        if v.HasField("source"):
            colours = 2 if v.modality == VideoDataParameter.FLOW else 3
            images = image(v.batch_size, colours * v.new_length * v.num_segments, *sized(p))
            label = (v.batch_size,) if v.batch_size else None
            return cls(padded([images, label], len(source.tops)))
        return cls(padded([image(p.data_param.batch_size, 3, *sized(p, *resized(p)))], len(source.tops)))


def _films(batch: int, colours: int, frames: int, crop: int, height: int, width: int) -> Shape | None:
    """Films of so many frames, None unless every size is stated (C3D's video_data_layer.cpp)."""
    shape = (batch, colours, frames, crop or height, crop or width)
    return shape if all(shape) else None


@register
class LaneData(DataLayer):
    """Images of a database with boxes and an image of labels (MobileNet-YOLO's fork: lane_data_layer.cpp).

    How many boxes and how large the labels are, the prototxt does not say.
    """

    types = ("LaneData",)

    @classmethod
    def read(cls, source: NetLayer) -> LaneData:
        p = source.param
        images = image(p.data_param.batch_size, channels_of(p), *sized(p, *resized(p)))
        return cls(padded([images], len(source.tops)))


@register
class EvalData(DataLayer):
    """Images listed in a text file, known boxes, 8 numbers each, and height and width of each image, N×2×1×1.

    Of Cascade R-CNN's fork (eval_data_layer.cpp). Sizes are rounded to whole 32 pixels; only `resize_height` and
    `resize_width` say one, and the list how many boxes there are.
    """

    types = ("EvalData",)

    @classmethod
    def read(cls, source: NetLayer) -> EvalData:
        p = source.param.eval_data_param
        height, width = (32 * ((size + 16) // 32) for size in (p.resize_height, p.resize_width))
        sizes = (p.batch_size, 2, 1, 1) if p.batch_size else None
        return cls(padded([image(p.batch_size, 3, height, width), None, sizes], len(source.tops)))

    def fed_shapes(self, asked: Sequence[Shape | None]) -> Sequence[Shape | None]:
        """How many boxes are asked for says nothing of the images."""
        images, *others = super().fed_shapes([asked[0], *[None] * (len(asked) - 1)])
        return [images, *(own if shape is None else shape for shape, own in zip(asked[1:], others, strict=True))]


@register
class BboxData(DataLayer):
    """Images listed in a text file, with boxes; only the files know how large and how many (OpenCV's SqueezeDet)."""

    types = ("BboxData",)

    @classmethod
    def read(cls, source: NetLayer) -> BboxData:
        return cls(padded([], len(source.tops)))


@register
class Writer(HDF5Output):
    """Nothing: it writes its bottom to a file (FlowNet2: flowriter_layer.cpp and its kin)."""

    types = ("FLOWriter", "FloatWriter", "ImgWriter", "PFMWriter")
    bottoms = (1, 1)
