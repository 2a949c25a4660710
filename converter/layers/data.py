"""Layers that bring data in; each top becomes an input of the graph (Caffe: input_layer.cpp, data_layer.cpp …)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from converter.graph import Shape
from converter.layers import base
from converter.layers.base import UNLIMITED, OnnxOps, TorchOps, fault, register
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter, LayerParameter, ResizeParameter

if TYPE_CHECKING:
    from converter.node import Node


class DataLayer(Layer):
    """A layer without bottoms whose tops the caller feeds.

    Attributes:
        shapes: one an expected top, None where the prototxt does not say (the size of a database's images, say).
    """

    bottoms: ClassVar[tuple[int, int]] = (0, 0)
    tops: ClassVar[tuple[int, int]] = (1, UNLIMITED)
    role: ClassVar[str] = "input"
    shapes: tuple[Shape | None, ...] = ()

    def fed_shapes(self, asked: Sequence[Shape | None]) -> Sequence[Shape | None]:
        """A label goes with its image: asked for another batch of images, it has as many."""
        batch = next((shape[0] for shape in asked if shape), None)
        stated = self.shapes if batch is None else [shape and (batch, *shape[1:]) for shape in self.shapes]
        return [own if shape is None else shape for shape, own in zip(asked, stated, strict=True)]


def padded(shapes: Sequence[Shape | None], count: int) -> tuple[Shape | None, ...]:
    return (*shapes[:count], *[None] * (count - len(shapes)))


@register
class Input(DataLayer):
    """A blob of the stated shape; one shape may serve all tops (Caffe: input_layer.cpp)."""

    types = ("Input",)

    @classmethod
    def read(cls, source: NetLayer) -> Input:
        stated = [tuple(s.dim) for s in source.param.input_param.shape]
        if len(stated) not in (0, 1, len(source.tops)):
            raise fault(
                source, f"{len(stated)} shapes for {len(source.tops)} tops; expected 0, 1 or one a top", "input_param"
            )
        return cls(tuple(stated * len(source.tops)) if len(stated) == 1 else padded(stated, len(source.tops)))

    def fed_shapes(self, asked: Sequence[Shape | None]) -> Sequence[Shape | None]:
        return [own if shape is None else shape for shape, own in zip(asked, self.shapes, strict=True)]


def image(batch: int, channels: int, height: int, width: int) -> Shape | None:
    """The shape of an image batch, None unless every size is stated."""
    shape = (batch, channels, height, width)
    return shape if all(shape) else None


def resized(layer: LayerParameter) -> tuple[int, int]:
    """Height and width that SSD's `resize_param` gives every image; zeros where it is silent or keeps the aspect."""
    stated = layer.transform_param.resize_param
    fixed = len(stated) == 1 and stated[0].prob == 1 and stated[0].resize_mode != ResizeParameter.FIT_SMALL_SIZE
    return (stated[0].height, stated[0].width) if fixed else (0, 0)


def sized(layer: LayerParameter, height: int = 0, width: int = 0) -> tuple[int, int]:
    """Height and width of the crop that `transform_param` states, else those that the images have been given.

    `crop_size` is both; a side of its own has it in SSD's and happynear's forks (`crop_h`), and in Cysu's and DeepLab's
    (`crop_height`).
    """
    t = layer.transform_param
    rows = t.crop_h if t.HasField("crop_h") else t.crop_height or t.crop_size
    columns = t.crop_w if t.HasField("crop_w") else t.crop_width or t.crop_size
    return rows or height, columns or width


def channels_of(layer: LayerParameter) -> int:
    """Channels as far as `transform_param` shows them: one mean value a channel, or a colour flag; 0 when unknown."""
    p = layer.transform_param
    if len(p.mean_value) > 1:
        return len(p.mean_value)
    if p.force_color:
        return 3
    return 1 if p.force_gray else 0


@register
class Data(DataLayer):
    """Images of a database; a crop gives their size where it is set, in SSD's AnnotatedData `resize_param` too.

    (Caffe: data_layer.cpp; SSD: annotated_data_layer.cpp.)
    """

    types = ("Data", "AnnotatedData")

    @classmethod
    def read(cls, source: NetLayer) -> Data:
        p = source.param
        size = resized(p) if p.type == "AnnotatedData" else (0, 0)
        images = image(p.data_param.batch_size, channels_of(p), *sized(p, *size))
        label = (p.data_param.batch_size,) if p.data_param.batch_size and p.type == "Data" else None
        return cls(padded([images, label], len(source.tops)))


@register
class ImageData(DataLayer):
    """Images listed in a text file (Caffe: image_data_layer.cpp)."""

    types = ("ImageData",)

    @classmethod
    def read(cls, source: NetLayer) -> ImageData:
        p = source.param.image_data_param
        images = image(p.batch_size, 3 if p.is_color else 1, *sized(source.param, p.new_height, p.new_width))
        return cls(padded([images, (p.batch_size,)], len(source.tops)))


@register
class MemoryData(DataLayer):
    """Arrays handed over in memory (Caffe: memory_data_layer.cpp); in Greentea's fork of any shape, said by `dim`."""

    types = ("MemoryData",)

    @classmethod
    def read(cls, source: NetLayer) -> MemoryData:
        p = source.param.memory_data_param
        if p.dim:
            if min(p.dim) < 1:
                raise fault(source, f"dim is {min(p.dim)}; expected at least 1", "memory_data_param", "dim")
            labels = (p.dim[0], *[1] * (len(p.dim) - 1))
            return cls(padded([tuple(p.dim), labels], len(source.tops)))
        images = image(p.batch_size, p.channels, p.height, p.width)
        return cls(padded([images, (p.batch_size,)], len(source.tops)))


@register
class WindowData(DataLayer):
    """Windows cut from images, for R-CNN (Caffe: window_data_layer.cpp). Colour images, square crops."""

    types = ("WindowData",)

    @classmethod
    def read(cls, source: NetLayer) -> WindowData:
        p = source.param
        crop = p.transform_param.crop_size or p.window_data_param.crop_size
        images = image(p.window_data_param.batch_size, 3, crop, crop)
        return cls(padded([images, (p.window_data_param.batch_size,)], len(source.tops)))


@register
class HDF5Data(DataLayer):
    """Arrays of HDF5 files, whose shapes only the files know (Caffe: hdf5_data_layer.cpp)."""

    types = ("HDF5Data",)

    @classmethod
    def read(cls, source: NetLayer) -> HDF5Data:
        return cls(padded([], len(source.tops)))


class UnknownData(DataLayer):
    """A layer of an unknown type without bottoms, whose tops' shapes the caller gives: it can only bring data in."""

    @classmethod
    def read(cls, source: NetLayer) -> UnknownData:
        return cls(padded([], len(source.tops)))


@register
class DummyData(DataLayer):
    """Arrays filled by a rule, of stated shapes (Caffe: dummy_data_layer.cpp); here the caller feeds them."""

    types = ("DummyData",)

    @classmethod
    def read(cls, source: NetLayer) -> DummyData:
        p, tops = source.param.dummy_data_param, len(source.tops)
        stated = [tuple(s.dim) for s in p.shape]
        legacy = [list(sizes) for sizes in (p.num, p.channels, p.height, p.width)]
        if any(legacy):
            if stated or any(len(sizes) not in (1, tops) for sizes in legacy):
                message = "expected shape, or num, channels, height and width, each once or once a top"
                raise fault(source, message, "dummy_data_param")
            stated = list(zip(*(sizes * tops if len(sizes) == 1 else sizes for sizes in legacy), strict=True))
        return cls(tuple(stated * tops) if len(stated) == 1 else padded(stated, tops))


@register
class HDF5Output(Layer):
    """Nothing: Caffe writes its bottoms to a file (Caffe: hdf5_output_layer.cpp). They stay outputs of the net."""

    types: ClassVar[tuple[str, ...]] = ("HDF5Output",)
    bottoms = (2, 2)
    tops = (0, 0)
    role = "loss"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return []


@register
class ParameterLayer(Layer):
    """A learned blob of the stated shape, as a blob of the net (Caffe: parameter_layer.hpp)."""

    types = ("Parameter",)
    gradient_memory = "inside"
    gives_blob = True
    bottoms = (0, 0)
    shape: Shape = ()
    filler: FillerParameter | None = field(default=None, repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> ParameterLayer:
        p = source.param.parameter_param
        shape = tuple(p.shape.dim)
        if any(d < 1 for d in shape):
            raise fault(source, f"dim {min(shape)}; expected at least 1", "parameter_param", "shape", "dim")
        return cls(shape, base.filler(p, "blob_filler") or base.filler(p, "filler"))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        return [self.shape]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[base.Parameter, ...]:
        return (base.Parameter("value", self.shape, self.filler),)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.weight(node.tensors["value"])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("Parameter", PARAMETER)
        return f"{t.module('Parameter', self.shape, state=dict(node.tensors))}()"


PARAMETER = '''
class Parameter(nn.Module):
    """A learned blob that reads nothing (Caffe's Parameter layer)."""

    def __init__(self, shape):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(shape))

    def forward(self):
        return self.value.clone()
'''
