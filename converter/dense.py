"""A net in fully convolutional form: it takes images of any size and gives a map of scores.

    InnerProduct N×(C·h·w) on a C×h×w bottom  ->  Convolution N×C×h×w; one on a vector  ->  Convolution N×C×1×1

On an image of the net's own size the map is one place with the net's own numbers. Source: section 3.2 of "Very Deep
Convolutional Networks" (VGG), which the ResNet paper follows for its best results.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from converter.api import Options, prepare
from converter.graph import format_shape
from prototxt import Net, NetLayer, format_net, load_net
from prototxt.caffe_pb2 import LayerParameter, NetParameter
from prototxt.errors import UnsupportedError
from weights import Blob, LayerRecord, LayerWeights, open_weights, write_caffemodel


def fully_convolutional(net: Net, weights: str | None, options: Options, folder: Path) -> tuple[Net, str | None]:
    """Write the net in that form into a folder and read it back.

    Args:
        net: the net.
        weights: path of its weight file.
        options: with the input shape at which the net was trained.
        folder: for `dense.prototxt` and `dense.caffemodel`.

    Raises:
        UnsupportedError: an InnerProduct that is no convolution (transposed, or of another axis than 1), or layers
            that need a fixed size.
        CaffeModelError: the net cannot be read.
    """
    with ExitStack() as stack:
        source = None if weights is None else stack.enter_context(open_weights(weights))
        graph = prepare(net, source, Options(**{**vars(options), "fold": "none"})).graph
        windows = {
            origin.name: tuple(int(size) for size in node.inputs[0].shape[1:])
            for node in graph.nodes
            for origin in node.origins
            if origin.type == "InnerProduct"
        }
        message = NetParameter()
        message.CopyFrom(net.message)
        for layer, param in zip(net.layers, message.layer, strict=True):
            if layer.name in windows:
                _convolve(layer, param, windows[layer.name])
        path = folder / "dense.prototxt"
        path.write_text(format_net(message), encoding="utf-8", errors="surrogateescape")
        if source is None:
            return load_net(path, dialects=options.dialects), None
        target = folder / "dense.caffemodel"
        write_caffemodel(target, net.name, [_reshaped(layer, windows) for layer in source.layers])
    return load_net(path, dialects=options.dialects), str(target)


def _convolve(layer: NetLayer, param: LayerParameter, window: tuple[int, ...]) -> None:
    inner = layer.param.inner_product_param
    if inner.transpose or inner.axis not in (1, -3) or len(window) not in (1, 3):
        what = f"an InnerProduct on {format_shape(window)} with axis {inner.axis} is no convolution"
        raise UnsupportedError(what, position=layer.position, layer=layer.name, layer_type=layer.type)
    param.type = "Convolution"
    convolution = param.convolution_param
    convolution.num_output, convolution.bias_term = inner.num_output, inner.bias_term
    height, width = window[1:] if len(window) == 3 else (1, 1)
    convolution.kernel_h, convolution.kernel_w = height, width
    param.ClearField("inner_product_param")


def _reshaped(layer: LayerWeights, windows: dict[str, tuple[int, ...]]) -> LayerWeights:
    window = windows.get(layer.name)
    if window is None or not layer.blobs:
        return layer
    weight = layer.blobs[0]
    outputs = weight.shape[-2]
    shape = (outputs, *(window if len(window) == 3 else (window[0], 1, 1)))
    blobs = (Blob(shape, False, lambda: weight.array().reshape(shape)), *layer.blobs[1:])
    return LayerRecord(layer.name, "Convolution", blobs, b"")
