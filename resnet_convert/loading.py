"""A Caffe net as a live PyTorch module."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from converter.api import load as load_module
from converter.options import File, Options
from resnet_convert.requests import ConversionRequest

if TYPE_CHECKING:
    import torch


def load(
    net: File, weights: File | None = None, *, options: Options | None = None, train: bool = False
) -> torch.nn.Module:
    """A Caffe net as a live PyTorch module: the one that `convert(..., to="torch")` writes, in eval mode.

    Its `forward` takes the net's inputs in order (float32 tensors of the shapes in the prototxt, the batch axis free)
    and gives one tensor, or a dict from blob name to tensor when the net has several outputs.

    Args:
        net: the .prototxt, a .caffemodel whose own net then counts, or a folder as model zoos have them.
        weights: the .caffemodel or .caffemodel.h5.
        options: everything else.
        train: load the net in phase TRAIN: the module, in training mode, trains as Caffe's net did. `forward` gives a
            dict with all losses and the outputs asked for, `module.objective(outputs)` what the losses add up to.
            Layers that the weights lack start from the net's fillers. A deploy net has no loss: ask for its scores.

    Raises:
        CaffeModelError: see `prototxt.errors` for the tree.
        MissingDependencyError: torch is not installed.

    Example:
        >>> import torch
        >>> module = resnet_convert.load("examples/digits/deploy.prototxt", "examples/digits/digits_resnet.caffemodel")
        >>> module(torch.zeros(3, 1, 16, 16)).shape
        torch.Size([3, 10])
    """
    options = options or Options()
    request = ConversionRequest(net, weights, to="torch", random_weights=0 if train else options.random_weights)
    found = request.settled()
    options = replace(options, metadata={**found.metadata, **options.metadata})
    return load_module(found.net, found.weights, options=options, train=train)
