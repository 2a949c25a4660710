"""A C3D net as its authors wrote it: layers of 2014, blobs of five axes in the binary form of that fork."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from tests.converter.layers.test_rarer_agreement import layer, refusal
from tests.golden import assert_close, run_onnx, run_torch
from tests.naive.volumes import convolved, pooled
from tests.weights import caffe_bytes as raw
from verify import run
from weights import open_weights

RNG = np.random.default_rng(0)
FILM = RNG.standard_normal((1, 3, 4, 6, 8)).astype(np.float32)
WEIGHT = RNG.standard_normal((2, 3, 3, 2, 2)).astype(np.float32)
BIAS = RNG.standard_normal(2).astype(np.float32)
MATRIX = RNG.standard_normal((5, 2 * 2 * 2 * 3)).astype(np.float32)

C3D = """
layers { name: "data" type: VIDEO_DATA top: "data" top: "label"
  image_data_param { source: "list.txt" use_image: true batch_size: 1 new_length: 4 new_height: 6 new_width: 8 } }
layers { name: "conv1a" type: CONVOLUTION3D bottom: "data" top: "conv1a" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 2 kernel_size: 2 kernel_depth: 3 temporal_pad: 1 } }
layers { name: "relu1a" type: RELU bottom: "conv1a" top: "conv1a" }
layers { name: "pool1" type: POOLING3D bottom: "conv1a" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 kernel_depth: 1 stride: 3 temporal_stride: 3 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "pool1" top: "fc"
  inner_product_param { num_output: 5 bias_term: false } }
"""


def c3d_blob(values: np.ndarray) -> bytes:
    """num, channels, length, height and width, and data in field 6 and diff in 7."""
    dims = (1,) * (5 - values.ndim) + values.shape
    sizes = b"".join(raw.number(field, dim) for field, dim in enumerate(dims, 1))
    return sizes + raw.floats(values.ravel(), 6) + raw.floats(np.ones(values.size), 7)


def c3d_file(folder: Path) -> str:
    layers = [
        raw.v1_layer("conv1a", 30, c3d_blob(WEIGHT), c3d_blob(BIAS)),
        raw.v1_layer("fc", 14, c3d_blob(MATRIX)),
    ]
    return raw.saved(folder, b"".join(layers))


def test_a_c3d_net_and_its_weights_give_what_loops_give(tmp_path: Path) -> None:
    net = parse_net(C3D, "c3d.prototxt")
    features = np.maximum(convolved(FILM, WEIGHT, BIAS, (1, 1, 1), (1, 0, 0)), 0)
    assert features.shape == (1, 2, 4, 5, 7)
    pooled = np.empty((1, 2, 2, 2, 3), np.float32)  # (4 - 1) / 3 + 1, (5 - 2) / 3 + 1 and (7 - 2) / 3 + 1, rounded up
    for place in np.ndindex(pooled.shape):
        f, i, j = (3 * p for p in place[2:])
        pooled[place] = features[place[0], place[1], f, i : i + 2, j : j + 2].max()
    expected = pooled.reshape(1, -1) @ MATRIX.T
    with open_weights(c3d_file(tmp_path)) as weights:
        assert weights.layers[0].blobs[1].shape == (1, 1, 1, 1, 2)
        ready = prepare(net, weights, Options(outputs=["fc"]))
        feeds = {"data": FILM, "label": np.zeros((1, 1, 1, 1, 1), np.float32)}
        assert [value.shape for value in ready.graph.inputs] == [FILM.shape]
        assert_close(run(net, weights, feeds).blobs["fc"], expected, "interpreter")
        assert_close(run_onnx(ready.graph, {"data": FILM}, tmp_path)["fc"], expected, "onnx")
        assert_close(run_torch(ready.graph, {"data": FILM})["fc"], expected, "torch")


def test_a_batch_normalisation_behind_folds_into_a_convolution_of_films(tmp_path: Path) -> None:
    norm = 'layer { name: "s" type: "Scale" bottom: "out" top: "y" scale_param { bias_term: true } }'
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 6 dim: 8 } } }'
    text += layer("Convolution3D", "convolution3d_param { num_output: 2 kernel_size: 2 kernel_depth: 3 }") + norm
    net = parse_net(text, "net.prototxt")
    ready = prepare(net, None, Options(random_weights=3, fold="conv"))
    assert len(ready.graph.nodes) == 1
    expected = run(net, ready.weights, {"x": FILM}).blobs["y"]
    assert_close(run_onnx(ready.graph, {"x": FILM}, tmp_path)["y"], expected, "onnx")
    assert_close(run_torch(ready.graph, {"x": FILM})["y"], expected, "torch")


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_a_pool_whose_only_window_of_an_axis_lies_in_the_padding_before_it_runs(method: str, tmp_path: Path) -> None:
    """One row, two of padding before it, and a stride of 3: the next window would start at row 1, behind the end."""
    film = FILM[:, :, :, :1]
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 1 dim: 8 } } }'
    text += layer("Pooling3D", f"pooling3d_param {{ pool: {method} kernel_size: 1 stride_d: 2 stride_h: 3 stride_w: 1 "
                  "pad_h0: 2 pad_w1: 1 }")  # fmt: skip
    net = parse_net(text, "net.prototxt")
    expected = pooled(film, method, (2, 1, 8), (1, 1, 1), (2, 3, 1), (0, 2, 0), (0, 0, 1))
    ready = prepare(net, None, Options())
    assert_close(run(net, None, {"x": film}).blobs["out"], expected, "interpreter")
    assert_close(run_onnx(ready.graph, {"x": film}, tmp_path)["out"], expected, "onnx")
    assert_close(run_torch(ready.graph, {"x": film})["out"], expected, "torch")


REFUSED = {
    layer("Convolution3D", "convolution_param { num_output: 2 kernel_size: 2 }"): "kernel_depth, kernel_size are 0, 2",
    layer("Convolution3D", "convolution_param { num_output: 2 kernel_size: 2 kernel_size: 2 kernel_depth: 1 }"): (
        "kernel_size is given 2 times; C3D takes one"
    ),
    layer("Convolution3D", "convolution3d_param { num_output: 3 kernel_size: 2 kernel_depth: 1 filter_group: 2 }"): (
        "num_output 3 is no multiple of filter_group 2"
    ),
    layer("Pooling3D", "pooling_param { pool: MAX kernel_size: 2 kernel_depth: 1 pad: 1 }"): "a pad with pool MAX",
    layer("Pooling3D", "pooling_param { pool: STOCHASTIC kernel_size: 2 kernel_depth: 1 }"): "pool STOCHASTIC",
    layer("Convolution3D", "convolution_param { num_output: 2 } convolution3d_param { num_output: 2 }"): (
        "both convolution3d_param and convolution_param, of two versions of C3D"
    ),
    layer("Pooling3D", "pooling3d_param { kernel_d: 2 kernel_h: 2 }"): "the kernel is 2×2×0",
    layer("NdConvolution", "convolution_param { num_output: 2 kernel_size: 3 }"): "no kernel_shape",
    layer("NdConvolution", "convolution_param { num_output: 2 kernel_shape { dim: 2 dim: 2 } }"): "kernel",
    layer("NdPooling", "pooling_param { kernel_shape { dim: 1 dim: 2 dim: 2 } pad_shape { dim: 0 dim: 2 dim: 0 } }"): (
        "pad_shape 0×2×0 is not below kernel_shape 1×2×2"
    ),
    layer("NdPooling", "pooling_param { pool: AVE kernel_shape { dim: 1 dim: 2 dim: 3 } stride_shape { dim: 1 dim: 1 "
          "dim: 2 } }"): "a window hangs over the end",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_its_fork_refuses_or_leaves_open_is_refused(text: str) -> None:
    assert REFUSED[text] in refusal(text, {"x": FILM})
