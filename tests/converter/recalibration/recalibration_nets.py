"""Small nets with normalisation layers, and images for them, for the tests of recalibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from converter.options import Options
from converter.recalibration.measuring import Batches
from converter.recalibration.recalibrate import Recalibrated, recalibrate
from prototxt import Net, parse_net
from weights import ArrayWeights, Weights

Array = npt.NDArray[np.float32]


def input_of(name: str, *sizes: int) -> str:
    """The text of an Input."""
    dims = " ".join(f"dim: {size}" for size in sizes)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }} '


def layer(name: str, kind: str, bottoms: str, tops: str, params: str = "") -> str:
    """The text of a layer; bottoms and tops separated by blanks."""
    reads = " ".join(f'bottom: "{b}"' for b in bottoms.split())
    writes = " ".join(f'top: "{t}"' for t in tops.split())
    return f'layer {{ name: "{name}" type: "{kind}" {reads} {writes} {params} }} '


def parsed(text: str, **dialects: str) -> Net:
    """A net from its text."""
    return parse_net(text, "net.prototxt", dialects=dialects)


def cut(images: Mapping[str, Array] | Array, size: int) -> Batches:
    """Batches of a size; an array alone is for the input `x`."""
    given = images if isinstance(images, Mapping) else {"x": images}
    count = len(next(iter(given.values())))

    def batches() -> Iterator[Mapping[str, Array]]:
        for start in range(0, count, size):
            yield {name: array[start : start + size] for name, array in given.items()}

    return batches


def stored(recalibrated: Recalibrated, name: str) -> list[Array]:
    """The blobs of a layer."""
    found = recalibrated.weights.get(name)
    assert found is not None
    return [blob.array() for blob in found.blobs]


def as_passes_divide(weights: Weights, found: Recalibrated) -> Weights:
    """The weights with BatchNorm's variance as a training pass divides by it: over m, where it is stored over m - 1."""
    blobs = {one.name: [blob.array() for blob in one.blobs] for one in weights.layers}
    for name, new in found.statistics.items():
        blobs[name][1] = blobs[name][1] * np.float64((new.values - 1) / new.values)
    return ArrayWeights(blobs)


def with_one_batch(net: Net, weights: Weights | None, images: Mapping[str, Array] | Array) -> Recalibrated:
    """All images at once."""
    return recalibrate(net, weights, cut(images, 1_000_000))


def convolution(name: str, bottom: str, top: str, outputs: int, kernel: int = 1) -> str:
    """The text of a Convolution that keeps the image's size."""
    params = f"num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} bias_term: false"
    return layer(name, "Convolution", bottom, top, f"convolution_param {{ {params} }}")


def normalised(name: str, blob: str) -> str:
    """The text of a BatchNorm and its Scale, in place."""
    scale = layer(f"scale_{name}", "Scale", blob, blob, "scale_param { bias_term: true }")
    return layer(f"bn_{name}", "BatchNorm", blob, blob) + scale


RESIDUAL = (
    'name: "residual" '
    + input_of("x", 2, 3, 6, 5)
    + (convolution("conv1", "x", "conv1", 4, 3) + normalised("1", "conv1") + layer("relu1", "ReLU", "conv1", "conv1"))
    + (convolution("branch1", "conv1", "branch1", 7) + normalised("2a_branch1", "branch1"))
    + (convolution("branch2a", "conv1", "a", 5) + normalised("2a_branch2a", "a") + layer("relu2", "ReLU", "a", "a"))
    + (convolution("branch2b", "a", "b", 7, 3) + normalised("2a_branch2b", "b"))
    + layer("sum", "Eltwise", "branch1 b", "sum")
    + layer("relu3", "ReLU", "sum", "sum")
    + layer("pool", "Pooling", "sum", "pool", "pooling_param { pool: AVE global_pooling: true }")
    + layer("fc", "InnerProduct", "pool", "fc", "inner_product_param { num_output: 8 }")
    + layer("bn_fc", "BatchNorm", "fc", "fc_normalised")
)
"""A residual block: 3 levels of 2-D normalisation and one of vectors; branch1 and branch2a share a level."""

RESIDUAL_LEVELS = [["bn_1"], ["bn_2a_branch1", "bn_2a_branch2a"], ["bn_2a_branch2b"], ["bn_fc"]]


def residual_images(count: int = 11) -> Array:
    """Images N×3×6×5 with another mean and spread in each channel."""
    x = np.random.default_rng(4).standard_normal((count, 3, 6, 5))
    return (x * [[[1.0]], [[3.0]], [[20.0]]] + [[[-5.0]], [[0.5]], [[100.0]]]).astype(np.float32)


def random_weights(text: str = RESIDUAL, **options: object) -> ArrayWeights:
    """Weights as `--random-weights 7` makes them."""
    from converter.api import prepare

    made = prepare(parsed(text), None, Options(random_weights=7, **options)).weights  # type: ignore[arg-type]
    assert isinstance(made, ArrayWeights)
    return made


def ulps(got: npt.ArrayLike, expected: npt.ArrayLike, scale: npt.ArrayLike = 0.0) -> float:
    """The largest distance in units of the last place of float32, at the larger of `expected` and `scale`."""
    want = np.asarray(expected, np.float64)
    unit = np.spacing(np.maximum(np.abs(want), scale).astype(np.float32)).astype(np.float64)
    return float(np.max(np.abs(np.asarray(got, np.float64) - want) / unit))


def names(levels: Sequence[Sequence[object]]) -> list[list[str]]:
    """The layers of each level."""
    return [[str(one.name) for one in level] for level in levels]  # type: ignore[attr-defined]
