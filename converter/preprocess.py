"""Baking Caffe's preprocessing into the graph, so that the model takes images as they are decoded.

y = scale * (x[order] - mean)        order: RGB to BGR; mean: one value a channel, or an image of the input's size
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from converter.emission import OnnxOps, TorchOps
from converter.graph import Graph, Shape, format_shape, is_free
from converter.layers.base import register
from converter.node import Layer, Node, Origin, Value
from converter.options import Preprocessing
from converter.tensor import constant
from prototxt import Position
from prototxt.errors import RequestError
from weights.mean import read_mean


@register
class Preprocess(Layer):
    """Not Caffe's own layer: what its data layers do before the net."""

    types = ()
    rgb: bool = False
    scale: float = 1.0

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        y = x[0]
        if self.rgb:
            y = g.op("Gather", y, g.ints(range(int(node.shape[1]) - 1, -1, -1), "bgr"), axis=1)
        if "mean" in node.tensors:
            y = g.op("Sub", y, g.weight(node.tensors["mean"]))
        return g.op("Mul", y, g.scalar(self.scale, "scale")) if self.scale != 1 else y

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        y = f"{x[0]}.flip(1)" if self.rgb else x[0]
        if "mean" in node.tensors:
            t.helper("Mean", MEAN)
            shape = tuple(map(int, node.tensors["mean"].shape))
            y = f"{t.module('Mean', shape, state={'mean': node.tensors['mean']})}({y})"
        return f"{y} * {self.scale!r}" if self.scale != 1 else y


MEAN = '''
class Mean(nn.Module):
    """Subtracts the mean of the training images."""

    def __init__(self, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))

    def forward(self, x):
        return x - self.mean
'''


def bake(graph: Graph, preprocessing: Preprocessing) -> str:
    """Put the preprocessing between the graph's image input and the net; returns it as JSON for the model's metadata.

    Raises:
        RequestError: the graph has no image input, or the mean does not fit it.
    """
    image = _image_input(graph)
    made = Value(f"{image.name}/preprocessed", image.shape, image.blob, image.tops)
    tensors = {}
    if preprocessing.mean is not None:
        tensors["mean"] = constant("preprocess.mean", _fitted_mean(preprocessing.mean, image.shape, image.name))
    if preprocessing.rgb and image.shape[1] != 3:
        raise RequestError(f"--input-order rgb, but input {image.name!r} is {format_shape(image.shape)}")
    origin = Origin("preprocess", "Preprocess", Position(graph.source))
    node = Node(Preprocess(preprocessing.rgb, preprocessing.scale), [image], [made], tensors, (origin,))
    made.producer = node
    image.tops = []
    for other in graph.nodes:
        other.inputs = [made if v is image else v for v in other.inputs]
    graph.nodes.insert(0, node)
    mean = preprocessing.mean
    return json.dumps(
        {
            "input": image.name,
            "input_order": "rgb" if preprocessing.rgb else "bgr",
            "mean": [float(v) for v in mean] if mean is not None and mean.ndim == 1 else None,
            "mean_shape": list(mean.shape) if mean is not None and mean.ndim == 3 else None,
            "scale": preprocessing.scale,
        },
        sort_keys=True,
    )


def _image_input(graph: Graph) -> Value:
    images = [v for v in graph.inputs if len(v.shape) == 4]
    if len(images) != 1:
        names = ", ".join(f"{v.name} ({format_shape(v.shape)})" for v in graph.inputs)
        raise RequestError(f"preprocessing needs one input of 4 axes; the net's inputs are {names}")
    return images[0]


def _fitted_mean(mean: npt.NDArray[np.float32], shape: Shape, name: str) -> npt.NDArray[np.float32]:
    """The mean as 1×C×1×1 or 1×C×H×W; an image larger than the input is cut at its centre, as Caffe cuts it."""
    channels = int(shape[1])
    if mean.ndim == 1:
        if mean.size not in (1, channels):
            raise RequestError(f"{mean.size} mean values for the {channels} channels of input {name!r}")
        return np.broadcast_to(mean, (channels,)).reshape(1, channels, 1, 1)
    height, width = shape[2:]
    if is_free(height) or is_free(width):
        raise RequestError(f"a mean image needs a fixed input size, but {name!r} is {format_shape(shape)}")
    if mean.shape[0] != channels or mean.shape[1] < height or mean.shape[2] < width:
        raise RequestError(f"the mean image is {format_shape(mean.shape)}, but input {name!r} is {format_shape(shape)}")
    top, left = (mean.shape[1] - height) // 2, (mean.shape[2] - width) // 2
    return mean[None, :, top : top + height, left : left + width]


__all__: Sequence[str] = ["Preprocess", "Preprocessing", "bake", "read_mean"]
