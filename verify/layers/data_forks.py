"""Layers of forks that bring values in, always fed, or take them out."""

from __future__ import annotations

from verify.layers.data import MUST_BE_FED
from verify.layers.registry import Array, Call, register


@register("VideoData", "BboxData", "DenseImageData", "ImageSegData", "LaneData", bottoms=0, always_fed=True)
@register("SelectSegBinary", "WindowSegData", bottoms=0, always_fed=True)
def fed(call: Call) -> list[Array]:
    """Never computes: its values come from outside."""
    raise call.fail(MUST_BE_FED)


@register("FLOWriter", "FloatWriter", "ImgWriter", "PFMWriter")
def writer(call: Call) -> list[Array]:
    """Writes its bottom to a file and makes no top (FlowNet2: flowriter_layer.cpp and its kin)."""
    return []
