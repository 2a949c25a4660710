"""timm's ResNets (`timm.create_model("resnet50")`): the names and shapes of torchvision's, and the same two traps.

model = patch(timm.create_model("resnet50"))
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from weights.layouts import torchvision
from weights.layouts.torchvision import build, patch

LAYOUT: Final = replace(
    torchvision.LAYOUT,
    name="timm",
    title="timm",
    advice='fill weights.layouts.timm.patch(timm.create_model("resnet{depth}"))',
)

__all__ = ["LAYOUT", "build", "patch"]
