"""What a `.caffemodel` says of its ResNet beside the weights: each BatchNorm's eps, and where the stride is."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from prototxt.caffe_pb2 import LayerParameter, NetParameter, V1LayerParameter
from weights.layouts.family import Stride
from weights.sniff import sniff_weights
from weights.strings import read_message
from weights.strip import net_without_blobs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredSettings:
    """What the layers say.

    Attributes:
        eps: by BatchNorm layer, where the file has its settings.
        strides: by Convolution layer, likewise.
    """

    eps: Mapping[str, float] = field(default_factory=dict)
    strides: Mapping[str, int] = field(default_factory=dict)

    def stride(self, first: str, second: str) -> Stride | None:
        """Which of a block's convolutions has its stride: the 1×1 named `first`, the 3×3 named `second`, or unknown."""
        found = self.strides.get(first), self.strides.get(second)
        if found == (2, 1):
            return "1x1"
        return "3x3" if found == (1, 2) else None


def read_settings(path: str) -> StoredSettings:
    """The settings of the file at `path`; nothing of weights that are in no file, of HDF5, or of a file without any.

    Raises:
        WeightsError: the file is damaged.
    """
    if not os.path.isfile(path) or sniff_weights(path):
        return StoredSettings()
    try:
        net = read_message(NetParameter, net_without_blobs(path))
    except DecodeError:
        log.warning("%s: warning: its layers' settings cannot be read; they are taken to be MSRA's", path)
        return StoredSettings()
    layers: list[LayerParameter | V1LayerParameter] = [*net.layer, *net.layers]
    return StoredSettings(
        {layer.name: layer.batch_norm_param.eps for layer in net.layer if layer.HasField("batch_norm_param")},
        {layer.name: _stride(layer) for layer in layers if layer.HasField("convolution_param")},
    )


def _stride(layer: LayerParameter | V1LayerParameter) -> int:
    param = layer.convolution_param
    return param.stride_h or (param.stride[0] if param.stride else 1)
