"""Fields of Intel's Caffe: a ReLU inside of another layer, the pads of an average, and what only one engine reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.fully_convolutional import fully_convolutional
from converter.options import Options
from converter.targets.caffe_model import write_caffe
from prototxt import Net, load_net, parse_net
from prototxt.errors import CaffeModelError
from tests.drawn.base import Drawn, layer, net_text
from tests.golden import assert_close, run_onnx, run_torch
from tests.naive.base import Array, random
from verify import run
from weights import ArrayWeights, open_weights

X = random(1, 2, 3, 4, 5)
KERNEL, BIAS = random(2, 4, 3, 1, 1), random(3, 4)
CONVOLVED = np.einsum("oc,nchw->nohw", KERNEL[:, :, 0, 0], X) + BIAS.reshape(1, -1, 1, 1)
CONV = "num_output: 4 kernel_size: 1 relu: true negative_slope: 0.25"


def net_of(*layers: str) -> Net:
    return parse_net(net_text(Drawn("\n".join(layers), {"x": X})), "net.prototxt")


def named(name: str, kind: str, params: str, bottom: str, top: str) -> str:
    return layer(kind, params, bottom, top).replace('"it"', f'"{name}"')


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.25 * x)


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
def test_what_stands_behind_a_relu_inside_is_not_folded_in_front_of_it(fold: str, tmp_path: Path) -> None:
    net = net_of(
        named("conv", "Convolution", f"convolution_param {{ {CONV} }}", "x", "conv"),
        named("bn", "BatchNorm", "batch_norm_param { eps: 0.5 relu: true }", "conv", "bn"),
        named("scale", "Scale", "", "bn", "out"),
    )
    mean, variance, factor = random(4, 4), np.abs(random(5, 4)), random(6, 4)
    weights = ArrayWeights({"conv": [KERNEL, BIAS], "bn": [mean, variance, np.ones(1)], "scale": [factor]})
    normal = (leaky(CONVOLVED) - mean.reshape(1, -1, 1, 1)) / np.sqrt(variance.reshape(1, -1, 1, 1) + 0.5)
    expected = np.maximum(normal, 0) * factor.reshape(1, -1, 1, 1)
    graph = prepare(net, weights, Options(fold=fold)).graph  # type: ignore[arg-type]
    assert_close(run_onnx(graph, {"x": X}, tmp_path)["out"], expected, "onnx")
    assert_close(run_torch(graph, {"x": X})["out"], expected, "torch")
    assert_close(run(net, weights, {"x": X}).blobs["out"], expected, "interpreter")


def test_as_caffe_the_relu_is_a_layer_of_its_own(tmp_path: Path) -> None:
    net = net_of(named("conv", "Convolution", f"convolution_param {{ {CONV} }}", "x", "out"))
    write_caffe(prepare(net, ArrayWeights({"conv": [KERNEL, BIAS]}), Options()).graph, tmp_path / "caffe")
    made = load_net(tmp_path / "caffe" / "deploy.prototxt")
    assert [found.type for found in made.layers] == ["Input", "Convolution", "ReLU"]
    assert not made.layers[1].param.convolution_param.HasField("relu")
    with open_weights(tmp_path / "caffe" / "model.caffemodel") as weights:
        assert_close(run(made, weights, {"x": X}).blobs["out"], leaky(CONVOLVED), "as Caffe")


def test_every_bottom_of_a_convolution_is_rectified() -> None:
    text = layer("Convolution", f"convolution_param {{ {CONV} }}", "x y", "a b")
    net = parse_net(net_text(Drawn(text, {"x": X, "y": 2 * X})), "net.prototxt")
    weights = ArrayWeights({"it": [KERNEL, BIAS]})
    graph = prepare(net, weights, Options()).graph
    got = run_torch(graph, {"x": X, "y": 2 * X})
    twice = 2 * (CONVOLVED - BIAS.reshape(1, -1, 1, 1)) + BIAS.reshape(1, -1, 1, 1)
    assert_close(got["a"], leaky(CONVOLVED), "a")
    assert_close(got["b"], leaky(twice), "b")


def test_a_net_in_fully_convolutional_form_keeps_it() -> None:
    matrix = random(7, 4, 60)
    params = "inner_product_param { num_output: 4 bias_term: false relu: true negative_slope: 0.25 }"
    net = net_of(named("fc", "InnerProduct", params, "x", "out"))
    dense = fully_convolutional(net, ArrayWeights({"fc": [matrix]}), Options(outputs=["out"]))
    got = run(dense.net, dense.weights, {"x": X}).blobs["out"]
    assert_close(got[:, :, 0, 0], leaky(X.reshape(2, -1) @ matrix.T), "dense")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (layer("Convolution", "convolution_param { num_output: 4 kernel_size: 1 relu: true engine: CAFFE }"), "relu"),
        (layer("Deconvolution", "convolution_param { num_output: 4 kernel_size: 1 relu: true }"), "relu"),
        (layer("Convolution", "convolution_param { num_output: 4 kernel_size: 1 fusion_type: SUM_FUSION }"), "fusion"),
        (layer("InnerProduct", "inner_product_param { num_output: 4 relu: true engine: CAFFE }"), "relu"),
        (layer("BatchNorm", "batch_norm_param { relu: true engine: MKL2017 }"), "relu"),
        (layer("BatchNorm", "batch_norm_param { stats_batch_size: 1 use_global_stats: false }"), "stats_batch_size"),
        (layer("Pooling", "pooling_param { kernel_size: 2 axis: 2 }"), "axis"),
        (layer("SoftmaxWithLoss", "loss_param { label_smoothing: 0.1 }", "x y"), "label_smoothing"),
        (
            layer("Pooling", "pooling_param { kernel_size: 2 pool: AVE engine: CAFFE avg_include_pad: false }"),
            "avg_incl",
        ),
    ],
)
def test_what_no_engine_of_intels_does_is_refused_by_both(text: str, field: str) -> None:
    feeds = {"x": X} | ({"y": np.zeros((2, 1, 4, 5), np.float32)} if '"y"' in text else {})
    net = parse_net(net_text(Drawn(text, feeds)), "net.prototxt")
    with pytest.raises(CaffeModelError, match=field):
        prepare(net, None, Options(random_weights=1, outputs=list(net.layers[-1].tops)))
    blobs = {"Deconvolution": [random(8, 3, 4, 1, 1), BIAS], "InnerProduct": [random(8, 4, 60), BIAS]}
    blobs["BatchNorm"] = [np.zeros(3), np.ones(3), np.ones(1)]
    weights = ArrayWeights({"it": blobs.get(net.layers[-1].type, [KERNEL, BIAS])})
    with pytest.raises(CaffeModelError, match=field):
        run(net, weights, feeds)


def test_fields_without_effect_are_passed_over_and_numbers_of_eight_bits_are_told() -> None:
    head = "convolution_param { num_output: 4 kernel_size: 1 negative_slope: 0.5 coeff: 2 conv_algorithm: 'winograd' }"
    weights = ArrayWeights({"it": [KERNEL, BIAS]})
    fast = "engine: 'MKLDNN:CPU' forward_type: FLOAT16 forward_math: FLOAT16"
    eight = "quantization_param { bw_layer_in: 8 scale_in: 0.5 }"
    for more, told in (("", []), (eight, ["with it Intel's Caffe computes in 8-bit numbers, and here all are floats"])):
        net = net_of(layer("Convolution", f"{head} {fast} {more}"))
        warnings = prepare(net, weights, Options()).graph.warnings
        assert [warning.rpartition("not read, ")[2] for warning in warnings] == told
        assert_close(run(net, weights, {"x": X}).blobs["out"], CONVOLVED, "interpreter")
