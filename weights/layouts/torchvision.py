"""torchvision's ResNets: `conv1.weight`, `bn1.running_mean`, `layer1.0.downsample.0.weight`, …, `fc.bias`.

Two things differ from MSRA's nets where the shapes do not, so that weights load and the numbers are wrong:

    stride     MSRA's bottleneck has it in its first 1×1 convolution, torchvision (since "v1.5") in its 3×3
    pool1      Caffe's windows begin at the first pixel and the last one overhangs; torchvision pads by 1 all around

`build` gives a module that has both where the weights expect them, `patch` changes a model of torchvision or timm. A
plain BatchNorm2d has Caffe's eps. `num_batches_tracked` is not written: Caffe counts no batches, and a strict
`load_state_dict` does not miss it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from prototxt.optional import need_torch
from weights.layouts.base import Layout, norm_names
from weights.layouts.family import Role, Stride, Unit

if TYPE_CHECKING:
    import torch


def unit_names(depth: int, unit: Unit) -> dict[Role, str]:
    """The names of one unit, as torchvision's modules make them."""
    conv, norm = _modules(unit)
    names: dict[Role, str] = {"weight": f"{conv}.weight"}
    return names | norm_names(f"{norm}.", "weight", "bias", "running_mean", "running_var")


def _modules(unit: Unit) -> tuple[str, str]:
    if unit.stage == 1:
        return "conv1", "bn1"
    block = f"layer{unit.stage - 1}.{unit.block}"
    if unit.branch == "1":
        return f"{block}.downsample.0", f"{block}.downsample.1"
    number = "abc".index(unit.branch[1]) + 1
    return f"{block}.conv{number}", f"{block}.bn{number}"


LAYOUT: Final = Layout(
    "torchvision",
    "torchvision",
    unit_names,
    ("fc.weight", "fc.bias"),
    ignored=re.compile(r".*\.num_batches_tracked"),
    advice="fill the model of weights.layouts.torchvision.build({depth}), or one of yours after patch(model)",
    endings=(".pth", ".pt"),
)


def build(depth: int, classes: int = 1000, *, stride: Stride = "1x1") -> torch.nn.Module:
    """A model with torchvision's names that computes what MSRA's net computes, in eval mode, not yet filled.

    It is torchvision's own class, patched, where torchvision is installed, else one of the same structure.

    Args:
        depth: 18, 34, 50, 101 or 152.
        classes: width of the last layer.
        stride: which convolution of a bottleneck has its stride; "3x3" for Caffe nets that were made that way.

    Raises:
        RequestError: a depth that the paper does not have.
        MissingDependencyError: torch is not installed.
    """
    need_torch("building a model")
    from weights.layouts.torch_resnet import make_resnet

    return patch(make_resnet(depth, classes), stride=stride).eval()


def patch(model: torch.nn.Module, *, stride: Stride = "1x1") -> torch.nn.Module:
    """Put stride and first pooling of a torchvision or timm ResNet where MSRA's weights expect them, in place.

    Args:
        model: one of `torchvision.models.resnet18` to `resnet152`, or timm's of the same names.
        stride: which convolution of a bottleneck gets it.

    Returns:
        The model.

    Raises:
        RequestError: a model that is not built like these.
    """
    from weights.layouts.torch_resnet import patch_resnet

    return patch_resnet(model, stride)


def pad_with(model: torch.nn.Module, values: Sequence[float]) -> torch.nn.Module:
    """Let conv1 of a torch ResNet pad with a value a channel instead of 0, in place.

    With the mean (in the model's own order of channels) this makes folded preprocessing exact at the border too.

    Args:
        model: what `build` or `patch` gave.
        values: one a channel, or one for all.

    Returns:
        The model.

    Raises:
        RequestError: no model with a `conv1`, or another number of values.
    """
    from weights.layouts.torch_resnet import pad_conv1

    return pad_conv1(model, values)
