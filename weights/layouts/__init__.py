"""Weights of MSRA's ResNets under the names and in the layouts of other frameworks, and back.

    with open_weights("ResNet-50-model.caffemodel") as caffe:
        arrays = layout("torchvision").to(caffe)                   # {"conv1.weight": LazyArray, ...}
        write_safetensors("resnet50.safetensors", arrays)
    model = torchvision.build(50)                                  # strides and pooling where these weights expect them

`port.port` does it from file to file, `compare.compare` compares two files. Each framework has a file of its own: what
it calls things, what differs in its model, and `build` for a model that gives Caffe's numbers. Frameworks are imported
only there.
"""

from __future__ import annotations

from typing import Final

from prototxt.errors import RequestError
from weights.layouts import detectron2, flax, keras, mmdet, timm, torchvision
from weights.layouts.arrays import Arrays, LazyArray, held
from weights.layouts.base import Layout
from weights.layouts.family import DEPTHS, Head, ResNet, Stride, Unit, Variant, units
from weights.layouts.files import open_arrays, read_state, write_safetensors
from weights.layouts.msra import caffe_net, is_msra, read, records
from weights.layouts.preprocessing import border_effect, fold_preprocessing

LAYOUTS: Final[dict[str, Layout]] = {
    module.LAYOUT.name: module.LAYOUT for module in (torchvision, timm, keras, detectron2, mmdet, flax)
}
"""By name."""


def layout(name: str) -> Layout:
    """The layout of a framework.

    Raises:
        RequestError: no such framework here.
    """
    found = LAYOUTS.get(name)
    if found is None:
        raise RequestError(f"no layout {name!r}; expected {', '.join(LAYOUTS)}")
    return found


__all__ = [
    "DEPTHS",
    "LAYOUTS",
    "Arrays",
    "Head",
    "Layout",
    "LazyArray",
    "ResNet",
    "Stride",
    "Unit",
    "Variant",
    "border_effect",
    "caffe_net",
    "fold_preprocessing",
    "held",
    "is_msra",
    "layout",
    "open_arrays",
    "read",
    "read_state",
    "records",
    "units",
    "write_safetensors",
]
