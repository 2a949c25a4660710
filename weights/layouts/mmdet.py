"""mmpretrain's and mmdetection's ResNets: `backbone.conv1.weight`, …, `head.fc.weight`, as an ImageClassifier has them.

mmpretrain's `ResNet(depth=50, style="caffe")` has the stride in the first 1×1. mmdetection takes the backbone out of
the same file with `init_cfg=dict(type="Pretrained", prefix="backbone.", checkpoint=...)`. Both pad their first pooling
by 1 all around; `patch(model.backbone)` gives it Caffe's windows. Images are BGR minus the mean, with a deviation of 1
(`mean=[103.939, 116.779, 123.68], std=[1, 1, 1], to_rgb=False`).

mmengine reads torch's own checkpoints only: write a .pth, which has the arrays as its "state_dict" beside "meta". It
holds nothing that `torch.load(weights_only=True)` refuses.

Source: mmpretrain/models/backbones/resnet.py, heads/linear_head.py; mmengine/runner/checkpoint.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from prototxt.version import VERSION
from weights.layouts.base import Layout
from weights.layouts.family import Role, Stride, Unit
from weights.layouts.torchvision import patch
from weights.layouts.torchvision import unit_names as torch_names

if TYPE_CHECKING:
    import torch


def unit_names(depth: int, unit: Unit) -> dict[Role, str]:
    """torchvision's names behind `backbone.`."""
    return {role: f"backbone.{name}" for role, name in torch_names(depth, unit).items()}


LAYOUT: Final = Layout(
    "mmdet",
    "mmpretrain",
    unit_names,
    ("head.fc.weight", "head.fc.bias"),
    ignored=re.compile(r".*\.num_batches_tracked"),
    own_stride="1x1",
    advice='build it with style="caffe" and call weights.layouts.mmdet.patch(model.backbone)',
    endings=(".pth",),
    state_key="state_dict",
    beside={"meta": {"resnet_convert": VERSION}},
)


def build(depth: int, classes: int = 1000, *, stride: Stride = "1x1") -> torch.nn.Module:
    """A torch module with mmpretrain's names that computes what MSRA's net computes, in eval mode, not yet filled.

    Raises:
        RequestError: a depth that the paper does not have.
        MissingDependencyError: torch is not installed.
    """
    from weights.layouts import torchvision

    features = torchvision.build(depth, classes, stride=stride)
    from weights.layouts.torch_resnet import Classifier

    return Classifier(features).eval()


__all__ = ["LAYOUT", "build", "patch"]
