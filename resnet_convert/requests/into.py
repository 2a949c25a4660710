"""What may be asked of weights that go into a PyTorch module of any kind."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from converter.options import File
from resnet_convert.option import option, output_option
from resnet_convert.requests.net import FedRequest

if TYPE_CHECKING:
    import torch

    Module = torch.nn.Module
else:
    Module = Any

INTO = "into any module, matched by structure"


@dataclass(frozen=True, eq=False, repr=False)
class PortIntoRequest(FedRequest):
    """A Caffe net's weights in a PyTorch module, matched by structure and compared by running both.

    Attributes:
        into: the module, or what names one: `torchvision:vgg16`, `timm:seresnet50`, `keras:VGG16`, `my_models.py:Net`.
            It is filled, and with `patch` changed. A .py file is executed. A Keras model on Keras' torch backend counts
            as a module.
        output: `.pth` (a state dict) or `.safetensors`, for a Keras model `.weights.h5`; None writes nothing.
        verify: run both and compare every blob that they share.
    """

    into: str | Module = option(
        "",
        "the module that gets the weights: torchvision:NAME, timm:NAME, keras:NAME, or FILE.py:NAME, a file that is "
        "executed; takes NET WEIGHTS",
        "--into",
        metavar="MODULE",
        parse=str,
        group=INTO,
    )
    _: KW_ONLY
    output: File | None = output_option("OUT.safetensors or OUT.pth, for Keras OUT.weights.h5")
    patch: bool = option(
        False, "set the module's attributes (stride, padding, ceil_mode …) to what Caffe's layers do", group=INTO
    )
    force: bool = option(False, "port what can be paired, though something can't", group=INTO)
    verify: bool = option(True, "skip the comparison with Caffe's numbers", "--no-verify", inverse=True, group=INTO)
