"""The ReLU that Intel's engine MKLDNN takes into the layer before it: `relu` and `negative_slope` of that layer."""

from __future__ import annotations

from converter.layers.base import unsupported
from prototxt import NetLayer
from prototxt.caffe_pb2 import ConvolutionParameter, LayerParameter

_OTHERS = (ConvolutionParameter.CAFFE, ConvolutionParameter.CUDNN, ConvolutionParameter.MKL2017)


def fused_relu(source: NetLayer, section: str) -> LayerParameter | None:
    """The ReLU behind a layer as a layer of its own, None where it has none.

    Raises:
        UnsupportedError: the engine asked for leaves it out.
    """
    p = getattr(source.param, section)
    if not p.relu:
        source.without_effect("there is no ReLU inside", f"{section}.negative_slope")
        return None
    if p.engine in _OTHERS:
        name = ConvolutionParameter.Engine.Name(p.engine)
        message = f"relu: true with engine {name}, which leaves it out; expected MKLDNN"
        raise unsupported(source, message, section, "relu")
    made = LayerParameter(type="ReLU")
    if "negative_slope" in p.DESCRIPTOR.fields_by_name:
        made.relu_param.negative_slope = p.negative_slope
    return made


def without_relu(layer: LayerParameter) -> None:
    """Take `relu` and `negative_slope` out of a layer's message: its ReLU stands behind it by itself."""
    for section in ("convolution_param", "inner_product_param", "batch_norm_param"):
        if layer.HasField(section):
            for name in ("relu", "negative_slope"):
                if name in getattr(layer, section).DESCRIPTOR.fields_by_name:
                    getattr(layer, section).ClearField(name)
