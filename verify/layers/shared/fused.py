"""The ReLU that Intel's Caffe runs inside another layer (its mkldnn_ layers append it as a post-operation)."""

from __future__ import annotations

import numpy as np

from prototxt.caffe_pb2 import ConvolutionParameter
from verify.layers.registry import Array, Call


def rectified(call: Call, top: Array, section: str, *, slope: bool = True) -> Array:
    """The top after the layer's own `relu`, if its section asks for one; `slope`: it may state a `negative_slope`."""
    p = getattr(call.param, section)
    if not p.relu:
        call.ignores("there is no ReLU inside", f"{section}.negative_slope")
        return top
    with_it = p.engine in (ConvolutionParameter.DEFAULT, ConvolutionParameter.MKLDNN)
    call.require(with_it, "has relu: true, which only the engine MKLDNN looks at")
    return np.where(top > 0, top, top * np.float32(p.negative_slope if slope else 0))
