"""Nets of MSRA's family with seeded weights, and what the interpreter makes of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pytest

from prototxt import caffe_pb2, format_net, parse_net, resnet
from verify import run
from weights import ArrayWeights, Weights
from weights.layouts import LAYOUTS

Array = npt.NDArray[np.float32]

FACTOR = 999.98236
"""What Caffe's moving average leaves as the scale factor after many iterations of fraction 0.999."""

SIZE = (75, 93)
"""Of the images: not square, and conv1's outputs (38×47) are even one way and odd the other."""

DEPTHS = (18, 34, 50, 101, 152)
SLOW = dict.fromkeys((34, 101, 152), (pytest.mark.slow,))
"""What the depths have more of than ResNet-18 and 50, which have each kind of block, takes its time."""

EACH_DEPTH = [pytest.param(depth, marks=SLOW.get(depth, ())) for depth in DEPTHS]
EACH_LAYOUT = [
    pytest.param(name, depth, marks=SLOW.get(depth, ()))
    for depth in DEPTHS
    for name, found in LAYOUTS.items()
    if depth in found.depths
]
"""Name and depth, a depth at a time: its weights are drawn once for all layouts."""


@dataclass(frozen=True)
class Case:
    """A net's weights, images N×3×H×W, and the scores that the interpreter gives for them."""

    weights: ArrayWeights
    images: Array
    scores: Array


def interpret(net: caffe_pb2.NetParameter, weights: Weights, images: Array) -> dict[str, Array]:
    """Every blob of a net for images of any size: the last pooling takes whatever is there."""
    sized = caffe_pb2.NetParameter()
    sized.CopyFrom(net)
    for layer in sized.layer:
        if layer.name == "pool5":
            layer.pooling_param.Clear()
            layer.pooling_param.pool = caffe_pb2.PoolingParameter.AVE
            layer.pooling_param.global_pooling = True
    del sized.input_dim[:]
    sized.input_shape.add(dim=images.shape)
    return run(parse_net(format_net(sized)), weights, {"data": images}).blobs


def seeded_arrays(depth: int, classes: int = 1000, factor: float = FACTOR) -> dict[str, list[Array]]:
    """He-normal convolutions, statistics like a trained net's times the factor, small last gammas: sums stay finite."""
    rng = np.random.default_rng(depth)
    channels: dict[str, int] = {"data": 3}
    found: dict[str, list[Array]] = {}

    def normal(*shape: int, std: float) -> Array:
        return rng.standard_normal(shape, np.float32) * np.float32(std)

    for layer in resnet(depth, classes).layer:
        size = channels[layer.bottom[0]]
        if layer.type == "Convolution":
            param = layer.convolution_param
            kernel = param.kernel_size[0]
            std = (2 / (size * kernel * kernel)) ** 0.5
            found[layer.name] = [normal(param.num_output, size, kernel, kernel, std=std)]
            size = param.num_output
            if param.bias_term:
                found[layer.name].append(normal(size, std=0.1))
        elif layer.type == "BatchNorm":
            sums = normal(size, std=0.1), rng.uniform(0.5, 1.5, size)
            found[layer.name] = [np.float32(sum_ * factor) for sum_ in sums] + [np.float32([factor])]
        elif layer.type == "Scale":
            small = 0.3 if layer.name.endswith("c" if depth >= 50 else "b") else 1.0
            found[layer.name] = [np.float32(small * rng.uniform(0.8, 1.2, size)), normal(size, std=0.1)]
        elif layer.type == "InnerProduct":
            found[layer.name] = [normal(classes, 2048 if depth >= 50 else 512, std=0.05), normal(classes, std=1)]
        channels[layer.top[0]] = size
    return found


def weights_of(arrays: Mapping[str, list[Array]]) -> ArrayWeights:
    """The arrays as a weight file with layer types."""
    kinds = {"fc": "InnerProduct", "bn": "BatchNorm", "scale": "Scale"}
    types = {
        name: next((kind for start, kind in kinds.items() if name.startswith(start)), "Convolution") for name in arrays
    }
    return ArrayWeights(arrays, "seeded weights", types=types)


@lru_cache(maxsize=2)  # 241 MB for 152
def seeded_weights(depth: int, classes: int = 1000, factor: float = FACTOR) -> ArrayWeights:
    """`seeded_arrays` as a weight file."""
    return weights_of(seeded_arrays(depth, classes, factor))


@lru_cache(maxsize=8)
def _images_and_scores(depth: int) -> tuple[Array, Array]:
    images = np.random.default_rng(1).standard_normal((2, 3, *SIZE)).astype(np.float32) * 60
    return images, interpret(resnet(depth), seeded_weights(depth), images)["fc1000"]


def make_case(depth: int) -> Case:
    """The case of a depth."""
    return Case(seeded_weights(depth), *_images_and_scores(depth))


def worst(found: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """The largest difference, as a share of the largest value."""
    values = np.asarray(expected, np.float64)
    return float(np.abs(np.asarray(found, np.float64) - values).max() / np.abs(values).max())
