"""Layers of forks that bring values in, always fed, or take them out."""

from __future__ import annotations

from prototxt import NetLayer
from verify.layers.data import MUST_BE_FED, Shape
from verify.layers.registry import Array, Call, register


def _of_evaluation(layer: NetLayer, place: int) -> Shape | None:
    """Images resized to whole 32 pixels, and behind their boxes height and width of each (Cascade R-CNN: EvalData)."""
    p = layer.param.eval_data_param
    height, width = (32 * int(size / 32 + 0.5) for size in (p.resize_height, p.resize_width))
    shapes = {0: (p.batch_size, 3, height, width), 2: (p.batch_size, 2, 1, 1)}
    shape = shapes.get(place, (0,))
    return shape if all(shape) else None


@register("EvalData", bottoms=0, always_fed=True, shape=_of_evaluation)
@register("VideoData", "BboxData", "DenseImageData", "ImageSegData", "LaneData", bottoms=0, always_fed=True)
@register("SelectSegBinary", "WindowSegData", bottoms=0, always_fed=True)
def fed(call: Call) -> list[Array]:
    """Never computes: its values come from outside."""
    raise call.fail(MUST_BE_FED)


@register("FLOWriter", "FloatWriter", "ImgWriter", "PFMWriter")
def writer(call: Call) -> list[Array]:
    """Writes its bottom to a file and makes no top (FlowNet2: flowriter_layer.cpp and its kin)."""
    return []
