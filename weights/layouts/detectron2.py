"""Detectron's and Detectron2's names of MSRA's ResNets, as in `R-50.pkl`: `res2_0_branch2a_w`, `res2_0_branch2a_bn_s`.

These are Caffe2's names, which Detectron2 translates when it reads them. BatchNorm is an AffineChannel there, `_bn_s`
and `_bn_b`, with the statistics folded in; conv1 has no bias (`conv1_b` is not read), so that is folded in too.

A .pkl or .pth is what `DetectionCheckpointer(model).load(...)` takes (`MODEL.WEIGHTS`): the arrays are its "model", and
the author "Caffe2" with "matching_heuristics" has it translate the names. Those of a safetensors file it takes so:

    from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
    arrays = safetensors.torch.load_file("resnet50.safetensors")
    model.load_state_dict(align_and_update_state_dicts(model.state_dict(), arrays), strict=False)

The model needs `MODEL.RESNETS.STRIDE_IN_1X1 = True` (the default of its R-50 configurations), and FrozenBN, whose
running variance is 1 - eps until a file says otherwise, so that the affine numbers count as they are. Detectron's first
pooling pads by 1 all around, where Caffe's windows begin at the first pixel: for MSRA's numbers to the last digit the
stem's pooling has to be `max_pool2d(x, 3, 2, ceil_mode=True)`, which `build` has.

Source: detectron2/checkpoint/c2_model_loading.py, detection_checkpoint.py, detectron2/modeling/backbone/resnet.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from prototxt.optional import need_torch
from weights.layouts.base import Layout
from weights.layouts.caffe2_names import unit_names
from weights.layouts.family import Stride

if TYPE_CHECKING:
    import torch


LAYOUT: Final = Layout(
    "detectron2",
    "Detectron2",
    unit_names,
    ("fc{}_w", "fc{}_b"),
    affine=True,
    ignored=re.compile(r"conv1_b|.*_momentum"),
    own_stride="1x1",
    advice="build it with STRIDE_IN_1X1 = True and let the stem pool with max_pool2d(x, 3, 2, ceil_mode=True)",
    endings=(".pkl", ".pth"),
    state_key="model",
    beside={"__author__": "Caffe2", "matching_heuristics": True},
)


def build(depth: int, classes: int = 1000, *, stride: Stride = "1x1") -> torch.nn.Module:
    """A plain torch module whose `state_dict` has a file's own names (`res2_0_branch2a_w`); it computes MSRA's numbers.

    Raises:
        RequestError: a depth that the paper does not have.
        MissingDependencyError: torch is not installed.
    """
    need_torch("building a model")
    from weights.layouts.torch_affine import AffineResNet

    return AffineResNet(depth, classes, stride).eval()
