"""What may be asked of weights that go into a PyTorch module of any kind, or come out of one."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from converter.options import File
from resnet_convert.option import option, output_option, python_only
from resnet_convert.requests.folding import FoldingRequest
from resnet_convert.requests.net import FedRequest

if TYPE_CHECKING:
    import torch

    Module = torch.nn.Module
else:
    Module = Any

INTO = "into any module, or from one, matched by structure"


@dataclass(frozen=True, eq=False, repr=False)
class MatchedRequest(FedRequest):
    """A net and a module that are matched by structure and compared by running both."""

    _: KW_ONLY
    force: bool = option(False, "port what can be paired, though something can't", group=INTO)
    verify: bool = option(True, "skip the comparison with Caffe's numbers", "--no-verify", inverse=True, group=INTO)


@dataclass(frozen=True, eq=False, repr=False)
class PortIntoRequest(MatchedRequest, FoldingRequest):
    """A Caffe net's weights in a PyTorch module, matched by structure and compared by running both.

    Attributes:
        into: the module, or what names one: `torchvision:vgg16`, `timm:seresnet50`, `keras:VGG16`, `my_models.py:Net`.
            It is filled, and with `patch` changed. A .py file is executed. A Keras model on Keras' torch backend counts
            as a module.
        output: `.pth` (a state dict) or `.safetensors`, for a Keras model `.weights.h5`; None writes nothing.
        verify: run both and compare every blob that they share.
        fold_preprocessing: after the comparison, which is of what the net takes.
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


@dataclass(frozen=True, eq=False, repr=False)
class PortFromRequest(MatchedRequest):
    """A PyTorch module's weights in a Caffe net's layers, matched by structure and compared by running both.

    Attributes:
        net: the .prototxt, or a .caffemodel whose own net counts; weights in it do not.
        weights: the module's state dict, in any form that `port` reads: .safetensors, .pth, …; None for a module that
            has its weights. A live module is filled with it.
        module: the module, or what names one, as of `PortIntoRequest`.
        output: `.caffemodel` or `.caffemodel.h5`; None writes nothing.
        verify: run both and compare every blob that they share.
    """

    module: str | Module = python_only("")
    _: KW_ONLY
    output: File | None = output_option("OUT.caffemodel or OUT.caffemodel.h5")
