"""The names that `resnet-convert --to safetensors|npz|hdf5|torch` gives a MSRA-named ResNet, for comparisons.

--fold none    conv1.weight, bn_conv1.mean, bn_conv1.variance, scale_conv1.weight, scale_conv1.bias
--fold bn      conv1.weight, bn_conv1.gamma, bn_conv1.beta, bn_conv1.mean, bn_conv1.variance
--to torch     conv1.weight, bn_conv1.weight, bn_conv1.bias, bn_conv1.running_mean, bn_conv1.running_var
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from prototxt.names import utf8
from weights.layouts.arrays import LazyArray
from weights.layouts.base import Layout, norm_names
from weights.layouts.family import Role, Unit
from weights.layouts.msra import divided
from weights.model import Blob, LayerWeights, Weights

_HEAD: Final = ("fc{}.weight", "fc{}.bias")


def _convolution(unit: Unit) -> dict[Role, str]:
    names: dict[Role, str] = {"weight": f"{unit.conv}.weight"}
    return names | ({"bias": f"{unit.conv}.bias"} if unit.bias else {})


def _apart(depth: int, unit: Unit) -> dict[Role, str]:
    names: dict[Role, str] = {
        "mean": f"{unit.norm}.mean",
        "variance": f"{unit.norm}.variance",
        "scale": f"{unit.affine}.weight",
        "shift": f"{unit.affine}.bias",
    }
    return _convolution(unit) | names


def _merged(depth: int, unit: Unit) -> dict[Role, str]:
    return _convolution(unit) | norm_names(f"{unit.norm}.", "gamma", "beta", "mean", "variance")


def _torch(depth: int, unit: Unit) -> dict[Role, str]:
    return _convolution(unit) | norm_names(f"{unit.norm}.", "weight", "bias", "running_mean", "running_var")


LAYOUTS: Final = (
    Layout("caffe", "Caffe", _apart, _HEAD),
    Layout("caffe", "Caffe", _merged, _HEAD),
    Layout("caffe", "Caffe", _torch, _HEAD, ignored=re.compile(r".*\.num_batches_tracked")),
)


def named(weights: Weights) -> dict[str, LazyArray]:
    """The parameters of any Caffe weights as `layer.parameter`; a BatchNorm's are divided by its factor.

    HDF5 knows no types, so there a layer of three blobs, of which the third is one number, is taken for a BatchNorm.
    """
    found: dict[str, LazyArray] = {}
    for layer in weights.layers:
        found |= dict(_parameters(weights.get(layer.name) or layer))
    return found


def _parameters(layer: LayerWeights) -> Iterator[tuple[str, LazyArray]]:
    own = utf8(layer.name)
    blobs = {index: blob for index, blob in enumerate(layer.blobs) if blob.stored}
    if len(blobs) == 3 and layer.type in ("", "BatchNorm") and _is_batch_norm(layer.blobs):
        factor = LazyArray((1,), layer.blobs[2].array)
        for name, blob in zip(("mean", "variance"), layer.blobs, strict=False):
            yield f"{own}.{name}", divided(LazyArray(blob.shape, blob.read), factor)
        return
    names = ("bias",) if layer.type == "Bias" else ("weight", "bias")
    for index, blob in blobs.items():
        name = names[index] if len(layer.blobs) <= len(names) else f"blob{index}"
        yield f"{own}.{name}", LazyArray(blob.shape, blob.read)


def _is_batch_norm(blobs: tuple[Blob, ...]) -> bool:
    mean, variance, factor = (tuple(dim for dim in blob.shape if dim != 1) for blob in blobs)
    return mean == variance and len(mean) <= 1 and factor == ()
