"""Nets whose weights are large: VGG-16 (553 MB), and one of 2.6 GB that ONNX holds in two files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from weights import Blob, LayerWeights, write_caffemodel
from weights.model import FloatArray, Shape

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of VGG-16's blocks."""

CLASSIFIER = (4096, 4096, 1000)
WIDTH, DEPTH = 4096, 39


def vgg16(folder: Path) -> tuple[Path, Path]:
    """Prototxt and seeded weights."""
    text, layers = _input("data", 3, 224, 224), list[LayerWeights]()
    blob, channels = "data", 3
    for block, (made, convolutions) in enumerate(BLOCKS, 1):
        for place in range(1, convolutions + 1):
            name = f"conv{block}_{place}"
            text += _layer(
                "Convolution", name, blob, name, f"convolution_param {{ num_output: {made} pad: 1 kernel_size: 3 }}"
            ) + _layer("ReLU", f"relu{block}_{place}", name, name)
            layers.append(LayerWeights(name, "Convolution", _seeded((made, channels, 3, 3), (made,))))
            blob, channels = name, made
        text += _layer("Pooling", f"pool{block}", blob, f"pool{block}", "pooling_param { kernel_size: 2 stride: 2 }")
        blob = f"pool{block}"
    terms = channels * 7 * 7
    for place, made in enumerate(CLASSIFIER, 6):
        text += _product(f"fc{place}", blob, made)
        layers.append(LayerWeights(f"fc{place}", "InnerProduct", _seeded((made, terms), (made,))))
        blob, terms = f"fc{place}", made
    return _written(folder / "VGG-16", text, layers)


def products(folder: Path) -> tuple[Path, Path]:
    """Prototxt and seeded weights of inner products, one behind the other."""
    text, layers, blob = _input("data", WIDTH), list[LayerWeights](), "data"
    for place in range(DEPTH):
        name = f"product{place}"
        text += _product(name, blob, WIDTH)
        layers.append(LayerWeights(name, "InnerProduct", _seeded((WIDTH, WIDTH), (WIDTH,))))
        blob = name
    return _written(folder / "products", text, layers)


def _written(folder: Path, text: str, layers: Sequence[LayerWeights]) -> tuple[Path, Path]:
    folder.mkdir()
    net, weights = folder / "net.prototxt", folder / "weights.caffemodel"
    net.write_text(text)
    write_caffemodel(weights, folder.name, layers)
    return net, weights


_SEEDS: Iterator[int] = count()


def _seeded(*shapes: Shape) -> tuple[Blob, ...]:
    """Blobs that are drawn when they are written."""
    return tuple(Blob(shape, False, _Drawn(shape, next(_SEEDS))) for shape in shapes)


class _Drawn:
    def __init__(self, shape: Shape, seed: int) -> None:
        self._shape, self._seed = shape, seed

    def __call__(self) -> FloatArray:
        return np.random.default_rng(self._seed).standard_normal(self._shape, np.float32) * np.float32(0.01)


def _input(name: str, *sizes: int) -> str:
    dims = " ".join(f"dim: {size}" for size in (1, *sizes))
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def _product(name: str, bottom: str, made: int) -> str:
    return _layer("InnerProduct", name, bottom, name, f"inner_product_param {{ num_output: {made} }}")


def _layer(kind: str, name: str, bottom: str, top: str, fields: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}" {fields} }}\n'
