"""Layers that bring values in, fed or from the net, or take them out (Caffe: data layers, Parameter, HDF5Output)."""

from __future__ import annotations

import numpy as np

from prototxt import NetLayer
from verify.layers.registry import Array, Call, register

Shape = tuple[int, ...]

MUST_BE_FED = "must be fed: the net does not hold its values"


def stated_shape(layer: NetLayer, place: int) -> Shape | None:
    """The shape that Input or DummyData states for a top, or for all."""
    stated = layer.param.input_param.shape or layer.param.dummy_data_param.shape
    return tuple(stated[min(place, len(stated) - 1)].dim) if stated else None


def _of_memory(layer: NetLayer, place: int) -> Shape | None:
    p = layer.param.memory_data_param
    if p.dim:  # Greentea's fork
        return tuple(p.dim) if place == 0 else tuple(size if axis == 0 else 1 for axis, size in enumerate(p.dim))
    return (p.batch_size, p.channels, p.height, p.width) if place == 0 else (p.batch_size,)


def _of_database(layer: NetLayer, place: int) -> Shape | None:
    t, batch = layer.param.transform_param, layer.param.data_param.batch_size
    channels = len(t.mean_value) if len(t.mean_value) > 1 else 3 * t.force_color + t.force_gray
    return _cropped(layer, batch, channels) if place == 0 else (batch,) if batch else None


def _of_annotations(layer: NetLayer, place: int) -> Shape | None:
    """How many boxes a batch has is not written."""
    return _of_database(layer, place) if place == 0 else None


def _of_list(layer: NetLayer, place: int) -> Shape | None:
    p = layer.param.image_data_param
    return (
        _cropped(layer, p.batch_size, 3 if p.is_color else 1)
        if place == 0
        else (p.batch_size,)
        if p.batch_size
        else None
    )


def _cropped(layer: NetLayer, batch: int, channels: int) -> Shape | None:
    """Images of a data layer, where batch, channels and crop are all written; else only the files know."""
    shape = (batch, channels, _side(layer, "crop_h", "crop_height"), _side(layer, "crop_w", "crop_width"))
    return shape if all(shape) else None


def _side(layer: NetLayer, overruling: str, preferred: str) -> int:
    """One side of the crop: by its own name in two families of forks, else that of the square."""
    crop = layer.param.transform_param
    if crop.HasField(overruling):
        return int(getattr(crop, overruling))
    return int(getattr(crop, preferred)) or crop.crop_size


@register("MemoryData", bottoms=0, always_fed=True, shape=_of_memory)
@register("Data", bottoms=0, always_fed=True, shape=_of_database)
@register("AnnotatedData", bottoms=0, always_fed=True, shape=_of_annotations)
@register("ImageData", bottoms=0, always_fed=True, shape=_of_list)
@register("Input", "HDF5Data", "WindowData", bottoms=0, always_fed=True)
def fed(call: Call) -> list[Array]:
    """Never computes: its values come from outside."""
    raise call.fail(MUST_BE_FED)


@register("HDF5Output", bottoms=2)
def hdf5_output(call: Call) -> list[Array]:
    """Writes its bottoms, of as many items each, to a file and makes no top (Caffe: hdf5_output_layer.cpp)."""
    counts = [b.shape[:1] for b in call.bottoms]
    call.require(counts[0] == counts[1], "bottoms differ in their number of items")
    return []


@register("Parameter", bottoms=0, never_fed=True, gives_blob=True)
def parameter(call: Call) -> list[Array]:
    """A learned blob of the given shape, copied: the trace may outlive the file."""
    (blob,) = call.parameters.take([tuple(call.param.parameter_param.shape.dim)])
    return [blob.copy()]


@register("DummyData", bottoms=0)
def dummy_data(call: Call) -> list[Array]:
    """Constants; with a random filler its tops must be fed."""
    p = call.param.dummy_data_param
    count = len(call.layer.tops)
    shapes = [tuple(s.dim) for s in p.shape]
    if not shapes:
        sizes = [list(p.num), list(p.channels), list(p.height), list(p.width)]
        fits = all(len(s) in (1, count) for s in sizes)
        call.require(
            fits, f"num, channels, height and width do not each stand once, or {count} times as there are tops"
        )
        shapes = [tuple(s[i % len(s)] for s in sizes) for i in range(count)]
    fillers = [(f.type, f.value) for f in p.data_filler] or [("constant", 0.0)]
    call.require(len(shapes) in (1, count), f"has {len(shapes)} shapes for {count} tops")
    call.require(len(fillers) in (1, count), f"has {len(fillers)} data_filler for {count} tops")
    if any(kind != "constant" for kind, _ in fillers):
        raise call.fail(MUST_BE_FED)
    for shape in shapes:
        call.room(shape)
    shapes, fillers = shapes * (count // len(shapes)), fillers * (count // len(fillers))
    return [np.full(shape, value, np.float32) for shape, (_, value) in zip(shapes, fillers, strict=True)]
