"""Layers of forks that bring values in, always fed."""

from __future__ import annotations

from verify.layers.data import MUST_BE_FED
from verify.layers.registry import Array, Call, register


@register("VideoData", "BboxData", "DenseImageData", "ImageSegData", "LaneData", bottoms=0, always_fed=True)
@register("SelectSegBinary", "WindowSegData", bottoms=0, always_fed=True)
def fed(call: Call) -> list[Array]:
    """Never computes: its values come from outside."""
    raise call.fail(MUST_BE_FED)
