"""Layers with parameters unlike the golden ones: onnxruntime, torch and the independent interpreter must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import CaffeModelError
from tests.golden import assert_close, run_onnx, run_torch
from verify import run

SHAPES = {
    "x": (2, 6, 7, 5),
    "z": (2, 6, 7, 5),
    "small": (2, 6, 4, 3),
    "c": (6,),
    "nc": (2, 6),
    "flat": (4, 9),
    "seq": (3, 2, 8),
    "vol": (2, 4, 5, 6, 3),
    "label": (4,),
    "spatial": (2, 1, 7, 5),
    "pair": (4, 9),
    "one": (5,),
}


def layer(kind: str, params: str = "", bottoms: str = "x", tops: str = "y") -> str:
    reads = " ".join(f'bottom: "{b}"' for b in bottoms.split())
    writes = " ".join(f'top: "{t}"' for t in tops.split())
    return f'layer {{ name: "it" type: "{kind}" {reads} {writes} {params} }}'


CASES = {
    "conv asymmetric kernel": layer(
        "Convolution",
        "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 1 pad_h: 2 pad_w: 0 stride_h: 2 stride_w: 3 }",
    ),
    "conv three groups dilated": layer(
        "Convolution", "convolution_param { num_output: 9 kernel_size: 2 group: 3 dilation: 2 pad: 3 bias_term: false }"
    ),
    "conv two kernel sizes": layer(
        "Convolution", "convolution_param { num_output: 2 kernel_size: 2 kernel_size: 4 dilation: 3 dilation: 1 }"
    ),
    "conv 1d": layer("Convolution", "convolution_param { num_output: 3 kernel_size: 3 }", "seq"),
    "conv 3d mixed": layer(
        "Convolution",
        "convolution_param { num_output: 6 group: 2 kernel_size: 1 kernel_size: 3 kernel_size: 2 stride: 2 pad: 1 }",
        "vol",
    ),
    "conv axis 2": layer("Convolution", "convolution_param { num_output: 3 kernel_size: 2 axis: 2 }", "vol"),
    "conv negative axis": layer("Convolution", "convolution_param { num_output: 3 kernel_size: 2 axis: -3 }"),
    "conv depthwise": layer("Convolution", "convolution_param { num_output: 12 group: 6 kernel_size: 3 stride: 2 }"),
    "deconv stride pad": layer(
        "Deconvolution", "convolution_param { num_output: 4 kernel_size: 4 stride: 3 pad: 2 group: 2 }"
    ),
    "deconv dilated": layer("Deconvolution", "convolution_param { num_output: 2 kernel_size: 2 dilation: 3 }"),
    "ip axis 2": layer("InnerProduct", "inner_product_param { num_output: 4 axis: 2 }"),
    "ip axis -1 transpose": layer("InnerProduct", "inner_product_param { num_output: 4 axis: -1 transpose: true }"),
    "ip axis 0": layer("InnerProduct", "inner_product_param { num_output: 3 axis: 0 bias_term: false }", "c"),
    "ip two axes kept": layer("InnerProduct", "inner_product_param { num_output: 5 axis: 2 }", "seq"),
    "pool rect": layer(
        "Pooling", "pooling_param { kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 1 pool: AVE }"
    ),
    "pool pad above half": layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 2 pool: MAX }"),
    "pool ave pad above half": layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 2 pool: AVE }"),
    "pool one pad axis": layer("Pooling", "pooling_param { kernel_h: 2 kernel_w: 2 stride: 3 pad_h: 0 pad_w: 1 }"),
    "pool window hangs over": layer("Pooling", "pooling_param { kernel_size: 5 stride: 4 pool: AVE }"),
    "pool floor ave": layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 pad: 1 round_mode: FLOOR pool: AVE }"),
    "pool fork ceil_mode off": layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 ceil_mode: false }"),
    "pool global max": layer("Pooling", "pooling_param { global_pooling: true pool: MAX }"),
    "bn eps": layer("BatchNorm", "batch_norm_param { eps: 0.1 }"),
    "bn rank 2": layer("BatchNorm", "", "flat"),
    "bn rank 3": layer("BatchNorm", "", "seq"),
    "bn rank 5": layer("BatchNorm", "", "vol"),
    "bn rank 1": layer("BatchNorm", "", "one"),
    "bn of the batch": layer("BatchNorm", "batch_norm_param { use_global_stats: false }"),
    "scale axis 0 all": layer("Scale", "scale_param { axis: 0 num_axes: -1 bias_term: true }"),
    "scale last axis": layer("Scale", "scale_param { axis: -1 bias_term: true }"),
    "scale scalar": layer("Scale", "scale_param { num_axes: 0 bias_term: true }"),
    "scale middle by bottom": layer("Scale", "scale_param { axis: 1 bias_term: true }", "x c"),
    "scale leading by bottom": layer("Scale", "scale_param { axis: 0 }", "x nc"),
    "bias two axes": layer("Bias", "bias_param { axis: 1 num_axes: 2 }"),
    "bias by bottom": layer("Bias", "bias_param { axis: 0 }", "x nc"),
    "relu leaky negative": layer("ReLU", "relu_param { negative_slope: -0.3 }"),
    "prelu shared": layer("PReLU", "prelu_param { channel_shared: true }"),
    "prelu rank 2": layer("PReLU", "", "flat"),
    "prelu rank 5": layer("PReLU", "", "vol"),
    "elu": layer("ELU", "elu_param { alpha: 0.3 }"),
    "power square": layer("Power", "power_param { power: 2 scale: -0.5 shift: 3 }"),
    "power cube": layer("Power", "power_param { power: 3 }"),
    "power zero": layer("Power", "power_param { power: 0 }"),
    "power of nothing": layer("Power", "power_param { scale: 0 shift: 2 power: 3 }"),
    "power scale only": layer("Power", "power_param { scale: 0.00390625 }"),
    "exp base 2": layer("Exp", "exp_param { base: 2 scale: 0.5 shift: -1 }"),
    "log base 10": layer("Log", "log_param { base: 10 scale: 0.01 shift: 40 }"),
    "softmax last": layer("Softmax", "softmax_param { axis: -1 }"),
    "softmax axis 0": layer("Softmax", "softmax_param { axis: 0 }"),
    "softmax rank 1": layer("Softmax", "softmax_param { axis: 0 }", "c"),
    "eltwise coefficients": layer("Eltwise", "eltwise_param { coeff: 0.5 coeff: -2 }", "x z"),
    "eltwise three with coefficients": layer("Eltwise", "eltwise_param { coeff: 1 coeff: -1 coeff: 0.1 }", "x z x"),
    "eltwise product of three": layer("Eltwise", "eltwise_param { operation: PROD }", "x z x"),
    "eltwise max of three": layer("Eltwise", "eltwise_param { operation: MAX }", "x z x"),
    "concat axis 2": layer("Concat", "concat_param { axis: 2 }", "x z x"),
    "concat old field": layer("Concat", "concat_param { concat_dim: 0 }", "x z"),
    "concat last": layer("Concat", "concat_param { axis: -1 }", "x z"),
    "concat one": layer("Concat", "", "x"),
    "slice three": layer("Slice", "slice_param { axis: 2 slice_point: 1 slice_point: 4 }", "x", "a b d"),
    "slice even old field": layer("Slice", "slice_param { slice_dim: 1 }", "x", "a b d"),
    "slice last axis": layer("Slice", "slice_param { axis: -1 slice_point: 2 }", "x", "a b"),
    "flatten middle": layer("Flatten", "flatten_param { axis: 1 end_axis: 2 }"),
    "flatten all": layer("Flatten", "flatten_param { axis: 0 }"),
    "flatten negative": layer("Flatten", "flatten_param { axis: -3 end_axis: -2 }", "vol"),
    "reshape copy infer": layer("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 5 } }"),
    "reshape to one": layer("Reshape", "reshape_param { shape { dim: -1 } }"),
    "reshape insert": layer("Reshape", "reshape_param { shape { dim: 1 dim: 2 } axis: 1 num_axes: 0 }", "seq").replace(
        "dim: 1 dim: 2", "dim: 1 dim: 1"
    ),
    "reshape tail": layer("Reshape", "reshape_param { shape { dim: 5 dim: 7 } axis: 2 }"),
    "reshape negative axis": layer("Reshape", "reshape_param { shape { dim: 35 } axis: -3 }"),
    "crop all offsets": layer("Crop", "crop_param { axis: 2 offset: 2 offset: 1 }", "x small"),
    "crop one axis": layer("Crop", "crop_param { axis: 3 offset: 1 }", "x small"),
    "lrn across": layer("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }"),
    "lrn across wider than channels": layer("LRN", "lrn_param { local_size: 9 alpha: 0.1 }"),
    "lrn within": layer("LRN", "lrn_param { local_size: 5 alpha: 0.5 beta: 0.3 norm_region: WITHIN_CHANNEL k: 7 }"),
    "split three": layer("Split", "", "x", "a b d"),
    "tile": layer("Tile", "tile_param { axis: -1 tiles: 3 }"),
    "threshold": layer("Threshold", "threshold_param { threshold: 0.3 }"),
    "clip": layer("Clip", "clip_param { min: -0.2 max: 0.7 }"),
    "swish": layer("Swish", "swish_param { beta: 1.7 }"),
    "permute": layer("Permute", "permute_param { order: 2 order: 0 }"),
    "accuracy top 3 per class": layer("Accuracy", "accuracy_param { top_k: 3 }", "flat label", "y per"),
    "accuracy ignoring": layer("Accuracy", "accuracy_param { ignore_label: 2 }", "flat label", "y per"),
    "accuracy spatial": layer("Accuracy", "accuracy_param { top_k: 2 }", "x spatial"),
    "softmax loss spatial": layer("SoftmaxWithLoss", "loss_param { ignore_label: 2 }", "x spatial"),
    "softmax loss full": layer("SoftmaxWithLoss", "loss_param { normalization: FULL ignore_label: 1 }", "x spatial"),
    "softmax loss batch": layer("SoftmaxWithLoss", "loss_param { normalization: BATCH_SIZE }", "x spatial"),
    "softmax loss none": layer("SoftmaxWithLoss", "loss_param { normalization: NONE }", "flat label"),
    "softmax loss old flag": layer("SoftmaxWithLoss", "loss_param { normalize: false }", "x spatial"),
    "euclidean": layer("EuclideanLoss", "", "flat pair"),
    "hinge squared": layer("HingeLoss", "hinge_loss_param { norm: L2 }", "flat label"),
    "contrastive legacy": layer(
        "ContrastiveLoss", "contrastive_loss_param { margin: 20 legacy_version: true }", "flat pair label"
    ),
    "contrastive wide": layer("ContrastiveLoss", "contrastive_loss_param { margin: 5 }", "flat pair label"),
    "sigmoid loss full": layer("SigmoidCrossEntropyLoss", "loss_param { normalization: FULL }", "flat pair"),
    "sigmoid loss valid ignoring": layer(
        "SigmoidCrossEntropyLoss", "loss_param { normalization: VALID ignore_label: 0 }", "flat pair"
    ),
}


def feeds_of(text: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(sum(map(ord, text)))
    feeds = {}
    for name, shape in SHAPES.items():
        if f'bottom: "{name}"' not in text:
            continue
        labels = name in ("label", "spatial")
        values = rng.integers(0, 6, shape) if labels else rng.standard_normal(shape)
        feeds[name] = values.astype(np.float32)
    if "x" in feeds:
        feeds["x"].flat[3] = 0.0  # where rectifiers bend
    return feeds


def net_text(text: str, feeds: dict[str, np.ndarray]) -> str:
    inputs = ""
    for name, feed in feeds.items():
        dims = " ".join(f"dim: {d}" for d in feed.shape)
        inputs += f'layer {{ name: "in_{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'
    return inputs + text


@pytest.mark.parametrize("name", CASES)
def test_three_ways_to_compute_a_layer_agree(name: str, tmp_path: Path) -> None:
    feeds = feeds_of(CASES[name])
    net = parse_net(net_text(CASES[name], feeds))
    tops = list(net.layers[-1].tops)
    ready = prepare(net, None, Options(random_weights=5, outputs=tops))
    expected = run(net, ready.weights, feeds).blobs
    onnx, torch = run_onnx(ready.graph, feeds, tmp_path), run_torch(ready.graph, feeds)
    for top in tops:
        assert_close(onnx[top], expected[top], f"{name}: {top} in onnx", 2e-6)
        assert_close(torch[top], expected[top], f"{name}: {top} in torch", 2e-6)


FIXED_BATCH: tuple[str, ...] = ()


# Weights that cover the batch axis fix its size.
FIXED_BATCH = ("scale axis 0 all",)


@pytest.mark.parametrize("name", [n for n in CASES if 'bottom: "x"' in CASES[n]])
def test_a_free_batch_gives_the_same_numbers_at_another_size(name: str, tmp_path: Path) -> None:
    feeds = feeds_of(CASES[name])
    other = {blob: np.repeat(feed, 2, 0) if feed.shape[0] == 2 else feed for blob, feed in feeds.items()}
    net = parse_net(net_text(CASES[name], other))
    tops = list(net.layers[-1].tops)
    free = {blob: ("N", *map(int, feed.shape[1:])) for blob, feed in feeds.items() if feed.shape[0] == 2}

    def results() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
        ready = prepare(net, None, Options(random_weights=5, outputs=tops, input_shapes=free))
        expected = run(net, ready.weights, feeds).blobs
        return expected, run_onnx(ready.graph, feeds, tmp_path), run_torch(ready.graph, feeds)

    if any(word in name for word in FIXED_BATCH):
        with pytest.raises(CaffeModelError, match="free"):
            results()
        return
    expected, onnx, torch = results()
    for top in tops:
        assert_close(onnx[top], expected[top], f"{name}: {top} in onnx", 2e-6)
        assert_close(torch[top], expected[top], f"{name}: {top} in torch", 2e-6)
