"""A ResNet in torch whose parameters have Caffe2's names: convolutions and AffineChannels, nothing else.

Imported only by those who have torch.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prototxt.resnets import IMAGENET_BLOCKS
from weights.layouts.family import Stride, Unit, features, units


class AffineResNet(nn.Module):
    """MSRA's net after Detectron's fashion: `res2_0_branch2a_w` with `res2_0_branch2a_bn_s` and `_bn_b`."""

    def __init__(self, depth: int, classes: int, stride: Stride) -> None:
        super().__init__()
        self.units = {(unit.stage, unit.block, unit.branch): unit for unit in units(depth)}
        self.blocks = IMAGENET_BLOCKS[depth]
        self.classes = classes
        self.stride_in_3x3 = stride == "3x3" and depth >= 50
        for unit in self.units.values():
            for name, shape in zip(_names(unit), (unit.shape, (unit.outputs,), (unit.outputs,)), strict=True):
                self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        for name, shape in ((f"fc{classes}_w", (classes, features(depth))), (f"fc{classes}_b", (classes,))):
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def forward(self, x: Tensor) -> Tensor:
        """Scores N×classes, before any softmax, for images N×3×H×W."""
        x = F.max_pool2d(F.relu(self._unit(x, 1, 0, "")), 3, 2, ceil_mode=True)
        for stage, count in enumerate(self.blocks, 2):
            for block in range(count):
                x = self._block(x, stage, block)
        weight, bias = (getattr(self, f"fc{self.classes}_{kind}") for kind in "wb")
        return F.linear(x.mean((2, 3)), weight, bias)

    def _block(self, x: Tensor, stage: int, block: int) -> Tensor:
        shortcut = self._unit(x, stage, block, "1") if (stage, block, "1") in self.units else x
        branches = [branch for at, of, branch in self.units if (at, of) == (stage, block) and branch != "1"]
        for branch in branches:
            x = self._unit(x, stage, block, branch)
            x = F.relu(x) if branch != branches[-1] else x
        return F.relu(x + shortcut)

    def _unit(self, x: Tensor, stage: int, block: int, branch: str) -> Tensor:
        unit = self.units[stage, block, branch]
        weight, scale, shift = (cast(Tensor, getattr(self, name)) for name in _names(unit))
        y = F.conv2d(x, weight, stride=self._stride(unit), padding=unit.shape[-1] // 2)
        return y * scale[:, None, None] + shift[:, None, None]

    def _stride(self, unit: Unit) -> int:
        if self.stride_in_3x3 and unit.stage > 2 and unit.block == 0 and unit.branch in ("2a", "2b"):
            return 2 if unit.branch == "2b" else 1
        return unit.stride


def _names(unit: Unit) -> tuple[str, str, str]:
    from weights.layouts.caffe2_names import unit_names

    names = unit_names(0, unit)
    return names["weight"], names["scale"], names["shift"]
