"""Blobs of few axes, kernels beyond the image: what Caffe's code makes of corners, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import NetError
from tests.drawn.base import Drawn, layer, net_text
from tests.golden import run_onnx, run_torch
from verify import run
from weights import ArrayWeights

Given = dict[str, np.ndarray]


def three_ways(text: str, feeds: Given, folder: Path, blobs: dict[str, list[np.ndarray]] | None = None) -> Given:
    """The top `out` of the interpreter, onnxruntime and torch."""
    net = parse_net(net_text(Drawn(text, feeds)), "net.prototxt")
    weights = ArrayWeights(blobs) if blobs else None
    graph = prepare(net, weights, Options(outputs=["out"])).graph
    return {
        "interpreter": run(net, weights, feeds).blobs["out"],
        "onnx": run_onnx(graph, feeds, folder)["out"],
        "torch": run_torch(graph, feeds)["out"],
    }


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_a_kernel_beyond_the_image_by_less_than_a_stride_has_one_place(tmp_path: Path) -> None:
    x = floats(1, 2, 3).reshape(1, 1, 3)
    text = layer("Convolution", "convolution_param { num_output: 1 kernel_size: 5 stride: 3 bias_term: false }")
    weight = floats(1, 10, 100, 1000, 10000).reshape(1, 1, 5)
    for top in three_ways(text, {"x": x}, tmp_path, {"it": [weight]}).values():
        assert top.tolist() == [[[321.0]]]


def test_dilation_counts_when_a_kernel_is_beyond_the_image(tmp_path: Path) -> None:
    x = floats(1, 2, 3, 4).reshape(1, 1, 4)
    text = layer("Convolution", "convolution_param { num_output: 1 kernel_size: 3 dilation: 2 stride: 2 }")
    blobs = {"it": [floats(1, 10, 100).reshape(1, 1, 3), floats(0.5)]}
    for top in three_ways(text, {"x": x}, tmp_path, blobs).values():
        assert top.tolist() == [[[31.5]]]


@pytest.mark.parametrize("kind", ["Convolution", "Im2col"])
def test_a_kernel_beyond_the_image_by_a_stride_is_refused(kind: str) -> None:
    text = layer(kind, "convolution_param { num_output: 1 kernel_size: 6 stride: 3 }")
    net = parse_net(net_text(Drawn(text, {"x": np.zeros((1, 1, 3), np.float32)})))
    with pytest.raises(NetError, match="kernel 6 does not fit the bottom 1×1×3"):
        prepare(net, None, Options(random_weights=0))
    with pytest.raises(NetError, match="is larger than 3"):
        run(net, ArrayWeights({"it": [np.zeros((1, 1, 6), np.float32), floats(0)]}), {"x": np.zeros((1, 1, 3))})


def test_a_convolution_without_spatial_axes_is_a_product_with_a_matrix(tmp_path: Path) -> None:
    x = floats(1, 2, 3, 4, 5, 6).reshape(2, 3)
    weight, bias = floats(1, 0, 2, 0, 1, -1).reshape(2, 3), floats(10, 20)
    text = layer("Convolution", "convolution_param { num_output: 2 kernel_size: 7 }")
    for top in three_ways(text, {"x": x}, tmp_path, {"it": [weight, bias]}).values():
        assert top.tolist() == [[17, 19], [26, 19]]


def test_a_deconvolution_without_spatial_axes_has_its_matrix_transposed(tmp_path: Path) -> None:
    x = floats(1, 2, 3, 4, 5, 6).reshape(2, 3)
    weight, bias = floats(1, 0, 0, 1, 2, -1).reshape(3, 2), floats(10, 20)
    text = layer("Deconvolution", "convolution_param { num_output: 2 axis: -1 }")
    for top in three_ways(text, {"x": x}, tmp_path, {"it": [weight, bias]}).values():
        assert top.tolist() == [[17, 19], [26, 19]]


def test_im2col_needs_a_spatial_axis() -> None:
    net = parse_net(net_text(Drawn(layer("Im2col", "convolution_param { kernel_size: 1 }"), {"x": np.zeros((2, 3))})))
    with pytest.raises(NetError, match="2×3 has no spatial axes behind the channels"):
        prepare(net, None, Options())
    with pytest.raises(NetError, match="2×3 has no axes behind the channels"):
        run(net, None, {"x": np.zeros((2, 3))})


def test_im2col_of_a_row_has_a_column_for_each_place(tmp_path: Path) -> None:
    text = layer("Im2col", "convolution_param { kernel_size: 2 stride: 2 pad: 1 }")
    for top in three_ways(text, {"x": floats(1, 2, 3, 4).reshape(1, 1, 4)}, tmp_path).values():
        assert top.tolist() == [[[0, 2, 4], [1, 3, 0]]]


def test_im2col_takes_more_axes_than_any_runtime_convolves_over(tmp_path: Path) -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 2, 2, 2, 2)
    text = layer("Im2col", "convolution_param { kernel_size: 2 }")
    for top in three_ways(text, {"x": x}, tmp_path).values():
        assert top.shape == (1, 16, 1, 1, 1, 1)
        assert top.ravel().tolist() == list(range(16))


@pytest.mark.parametrize("shape", [(), (2,), (2, 1), (2, 3, 1), (2, 3, 1, 1)])
def test_mvn_gives_four_axes_and_the_mean_of_one_value_is_that_value(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    for top in three_ways(layer("MVN"), {"x": x}, tmp_path).values():
        assert top.shape == (*shape, 1, 1, 1, 1)[:4]
        assert not top.any()


def test_mvn_refuses_five_axes() -> None:
    net = parse_net(net_text(Drawn(layer("MVN"), {"x": np.zeros((1, 2, 3, 1, 1))})))
    with pytest.raises(NetError, match="expected at most 4 axes"):
        prepare(net, None, Options())
    with pytest.raises(NetError, match="needs a bottom of at most 4 axes"):
        run(net, None, {"x": np.zeros((1, 2, 3, 1, 1))})


def test_scores_of_one_axis_are_of_one_class(tmp_path: Path) -> None:
    feeds = {"x": floats(0.5, -2, 0.25), "l": np.zeros(3, np.float32)}
    for top in three_ways(layer("HingeLoss", "", "x l"), feeds, tmp_path).values():
        assert top == pytest.approx((0.5 + 3 + 0.75) / 3)
    feeds["x"] = floats(0.5, 0.25, 1)
    for top in three_ways(layer("MultinomialLogisticLoss", "", "x l"), feeds, tmp_path).values():
        assert top == pytest.approx(np.log(2))


def test_of_more_labels_than_items_the_first_count(tmp_path: Path) -> None:
    feeds = {"x": floats(0.5, -2, 1, 4).reshape(2, 2), "l": floats(1, 0, 5, 6).reshape(2, 2)}
    for top in three_ways(layer("HingeLoss", "", "x l"), feeds, tmp_path).values():
        assert top == pytest.approx((1.5 + 3 + 0 + 5) / 2)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pair_of_numbers_is_contrasted_whatever_ones_stand_behind(legacy: bool, tmp_path: Path) -> None:
    feeds = {"x": floats(0, 0), "y": floats(0.5, 0.5).reshape(2, 1, 1), "l": floats(1, 0)}
    text = layer("ContrastiveLoss", f"contrastive_loss_param {{ legacy_version: {str(legacy).lower()} }}", "x y l")
    for top in three_ways(text, feeds, tmp_path).values():
        assert top == pytest.approx((0.25 + (0.75 if legacy else 0.25)) / 4)


@pytest.mark.parametrize(
    ("params", "kind", "expected"),
    [
        ("", "ReLU", 2.0),
        ("power_param { power: 2 shift: 1 }", "Power", 9.0),
        ("reshape_param { shape { } }", "Reshape", 2.0),
        ("reshape_param { shape { dim: 1 dim: -1 } }", "Reshape", [[2.0]]),
        ("", "MVN", [[[[0.0]]]]),
    ],
)
def test_a_blob_without_axes_passes(params: str, kind: str, expected: object, tmp_path: Path) -> None:
    for top in three_ways(layer(kind, params), {"x": np.array(2, np.float32)}, tmp_path).values():
        assert top.tolist() == expected
