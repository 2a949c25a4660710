"""HWGQ's layers by the signs of their weights: by hand on both sides, folded, written again, refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.fully_convolutional import fully_convolutional
from converter.options import Options
from converter.targets.caffe_model import write_caffe
from converter.targets.torch_model import Training, emit_torch
from converter.training.module import training_graph
from prototxt import load_net, parse_net
from prototxt.errors import UnsupportedError
from tests.converter.layers.test_rarer_agreement import assert_gives, layer, net_of, refusal, weights_of
from tests.golden import Array, assert_close, run_onnx, run_torch
from verify import run
from weights import ArrayWeights, open_weights

X = np.float32([[1, 2, 3], [-1, 0.5, 4]])
MATRIX, BIAS = np.float32([[0.5, -1, 0], [-3, -0.25, -1.25]]), np.float32([10, 20])

BY_HAND = {
    # Signs + - + and - - -, times nothing or times 0.5 and 1.5.
    "": [[12, 14], [12.5, 16.5]],
    "use_alpha: true": [[11, 11], [11.25, 14.75]],
    "use_binarization: false": [[8.5, 12.75], [9, 17.875]],
    "use_binarization: false use_alpha: true": [[8.5, 12.75], [9, 17.875]],
}


def dense(how: str, more: str = "") -> str:
    return layer("BinaryInnerProduct", f"inner_product_param {{ num_output: 2 {more} }} {section(how)}")


def section(how: str, name: str = "binary_inner_product_param") -> str:
    return f"{name} {{ {how} }}" if how else ""


@pytest.mark.parametrize("more", ["", "transpose: true"])
@pytest.mark.parametrize("how", BY_HAND)
def test_a_matrix_of_two_rows(how: str, more: str, tmp_path: Path) -> None:
    text, weights, expected = dense(how, more), weights_of(MATRIX, BIAS), np.float32(BY_HAND[how])
    assert_gives(text, {"x": X}, expected, tmp_path, weights)
    assert (run(net_of(text, {"x": X}), weights, {"x": X}).blobs["out"] == expected).all()


@pytest.mark.parametrize("how", BY_HAND)
def test_a_convolution_whose_kernel_is_a_row(how: str, tmp_path: Path) -> None:
    image, kernel = X.reshape(2, 1, 1, 3), MATRIX.reshape(2, 1, 1, 3)
    text = layer(
        "BinaryConvolution",
        f"convolution_param {{ num_output: 2 kernel_h: 1 kernel_w: 3 }} {section(how, 'binary_convolution_param')}",
    )
    weights, expected = weights_of(kernel, BIAS), np.float32(BY_HAND[how]).reshape(2, 2, 1, 1)
    assert_gives(text, {"x": image}, expected, tmp_path, weights)
    assert (run(net_of(text, {"x": image}), weights, {"x": image}).blobs["out"] == expected).all()


def test_no_number_counts_as_below_0_and_minus_0_as_above() -> None:
    weights = weights_of(np.float32([[np.nan, -0.0, 0.0], [1, 1, 1]]), np.float32([0, 0]))
    net = net_of(dense(""), {"x": X})
    expected = np.float32([[4, 6], [5.5, 3.5]])
    assert (run(net, weights, {"x": X}).blobs["out"] == expected).all()
    assert (run_torch(prepare(net, weights, Options()).graph, {"x": X})["out"] == expected).all()


IMAGE = np.random.default_rng(1).standard_normal((2, 3, 4, 5)).astype(np.float32)
SCALED = (
    'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }\n'
    'layer { name: "c" type: "BinaryConvolution" bottom: "x" top: "c" '
    "convolution_param { num_output: 6 kernel_size: 1 bias_term: false } "
    "binary_convolution_param { use_alpha: true } }\n"
    'layer { name: "s" type: "Scale" bottom: "c" top: "s" scale_param { bias_term: true } }\n'
    'layer { name: "fc" type: "BinaryInnerProduct" bottom: "s" top: "fc" inner_product_param { num_output: 7 '
    "transpose: true } binary_inner_product_param { use_alpha: true } }\n"
    'layer { name: "t" type: "Scale" bottom: "fc" top: "y" scale_param { bias_term: true } }'
)


def values(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


BLOBS = {
    "c": [values(2, 6, 3, 1, 1)],
    "s": [values(3, 6), values(4, 6)],
    "fc": [values(5, 7, 120), values(6, 7)],
    "t": [values(7, 7), values(8, 7)],
}
WEIGHTS = ArrayWeights(BLOBS)


def by_signs(weight: Array) -> Array:
    rows = weight.reshape(len(weight), -1)
    return np.float32(np.where(rows >= 0, 1, -1) * np.abs(rows).mean(axis=1, keepdims=True))


def scaled() -> Array:
    conv = np.einsum("oc,nchw->nohw", by_signs(BLOBS["c"][0]), IMAGE)
    conv = conv * BLOBS["s"][0][:, None, None] + BLOBS["s"][1][:, None, None]
    scores = conv.reshape(2, 120) @ by_signs(BLOBS["fc"][0]).T + BLOBS["fc"][1]
    return np.float32(scores * BLOBS["t"][0] + BLOBS["t"][1])


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
def test_weights_are_made_binary_before_a_factor_folds_into_them(fold: str, tmp_path: Path) -> None:
    graph = prepare(parse_net(SCALED, "net.prototxt"), WEIGHTS, Options(fold=fold)).graph
    assert len(graph.nodes) == (2 if fold == "conv" else 4)
    assert_close(run_onnx(graph, {"x": IMAGE}, tmp_path)["y"], scaled(), "onnx")
    assert_close(run_torch(graph, {"x": IMAGE})["y"], scaled(), "torch")


@pytest.mark.parametrize("fold", ["none", "conv"])
def test_a_caffe_net_written_again_has_binary_weights_once(fold: str, tmp_path: Path) -> None:
    write_caffe(prepare(parse_net(SCALED, "net.prototxt"), WEIGHTS, Options(fold=fold)).graph, tmp_path)
    net = load_net(tmp_path / "deploy.prototxt")
    assert any(found.type.startswith("Binary") for found in net.layers) == (fold == "none")
    with open_weights(tmp_path / "model.caffemodel") as weights:
        assert_close(run(net, weights, {"x": IMAGE}).blobs["y"], scaled(), "interpreter")
        stored = next(entry for entry in weights.layers if entry.name == "c").blobs[0].array()
    assert (stored == BLOBS["c"][0]).all() == (fold == "none")


def test_without_binarization_it_is_written_again_as_bvlcs_layer(tmp_path: Path) -> None:
    text = dense("use_binarization: false", "transpose: true")
    weights = weights_of(MATRIX, BIAS)
    write_caffe(prepare(net_of(text, {"x": X}), weights, Options()).graph, tmp_path)
    net = load_net(tmp_path / "deploy.prototxt")
    assert net.layers[-1].type == "InnerProduct"
    with open_weights(tmp_path / "model.caffemodel") as written:
        assert run(net, written, {"x": X}).blobs["out"].tolist() == BY_HAND["use_binarization: false"]


def test_a_classifier_made_a_convolution_keeps_its_signs(tmp_path: Path) -> None:
    options = Options(outputs=["y"], input_shapes={"x": IMAGE.shape})
    dense_net = fully_convolutional(parse_net(SCALED, "net.prototxt"), WEIGHTS, options)
    assert [found.type for found in dense_net.net.layers if found.name == "fc"] == ["Convolution"]
    graph = prepare(dense_net.net, dense_net.weights, Options()).graph
    assert_close(run_onnx(graph, {"x": IMAGE}, tmp_path)["y"].reshape(2, 7), scaled(), "onnx")


@pytest.mark.parametrize("stored", [False, True])
def test_only_weights_used_as_stored_can_be_trained(stored: bool) -> None:
    text = dense("use_binarization: false" if stored else "")
    graph = training_graph(net_of(text, {"x": X}), weights_of(MATRIX, BIAS), Options(outputs=["out"]), None)
    if stored:
        assert "nn.Linear(3, 2)" in emit_torch(graph, training=Training({})).source
        return
    with pytest.raises(UnsupportedError, match="gradient is that of the binary weights, not of the learned ones"):
        emit_torch(graph, training=Training({}))


REFUSED = {
    layer("BinaryInnerProduct", "inner_product_param { }"): "num_output is 0; expected at least 1",
    dense("", "normalize: true"): "inner_product_param.normalize",
    dense("", "relu: true"): "inner_product_param.relu",
    layer("BinaryConvolution", "convolution_param { num_output: 2 kernel_size: 1 relu: true }"): "relu: true, which",
    layer("BinaryConvolution", "convolution_param { num_output: 3 group: 2 kernel_size: 1 }"): "no multiple of group 2",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_the_fork_does_not_have_is_refused(text: str) -> None:
    assert REFUSED[text] in refusal(text, {"x": X})
