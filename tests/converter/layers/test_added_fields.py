"""What forks added to Caffe's own layers: bounds of a rectifier, eps beside the root, dropout that scales in test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.api import write as write_target
from converter.options import Options
from prototxt import load_net
from tests.converter.layers.test_rarer_agreement import answers, assert_gives, layer, net_of, random, refusal
from tests.golden import assert_close, run_onnx, run_torch
from weights import ArrayWeights, open_weights

X = random(1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("params", "low", "high"),
    [
        ("relu6: true", 0, 6),
        ("maximum: 2", 0, 2),
        ("relu6: true maximum: 8", 0, 6),
        ("maximum: -1", 0, np.inf),
        ("minimum: 0.5", 0.5, np.inf),
        ("maximum: 1 minimum: 1.5", 1.5, 1.5),
    ],
)
def test_a_rectifier_keeps_within_its_bounds(params: str, low: float, high: float, tmp_path: Path) -> None:
    x = X * 10
    assert_gives(layer("ReLU", f"relu_param {{ {params} }}"), {"x": x}, np.clip(x, low, high), tmp_path)


def test_a_power_that_is_no_number_stays_none(tmp_path: Path) -> None:
    for shift, power, expected in ((-4, 0.5, np.nan), (0, -1, np.inf)):
        text = layer("Power", f"power_param {{ scale: 0 shift: {shift} power: {power} }}")
        for got in answers(text, {"x": X}, tmp_path):
            assert np.array_equal(got["out"], np.full_like(X, expected), equal_nan=True)


def test_an_axis_of_1_is_put_where_flattening_ends_before_it_starts(tmp_path: Path) -> None:
    text = layer("Flatten", "flatten_param { axis: 2 end_axis: 1 }")
    assert_gives(text, {"x": X}, X[:, :, None], tmp_path)


CHAIN = """
layer { name: "conv" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 2 kernel_size: 2 } }
layer { name: "norm" type: "BatchNorm" bottom: "y" top: "y" batch_norm_param { eps: 0.5 add_eps_before_sqrt: false } }
layer { name: "scale" type: "Scale" bottom: "y" top: "y" scale_param { bias_term: true } }
"""


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
def test_eps_behind_the_root_survives_folding(fold: str, tmp_path: Path) -> None:
    weight, bias = random(2, 2, 3, 2, 2), random(3, 2)
    mean, variance, gamma, beta = random(4, 2), abs(random(5, 2)), random(6, 2), random(7, 2)
    blobs = {"conv": [weight, bias], "norm": [2 * mean, 2 * variance, np.float32([2])], "scale": [gamma, beta]}
    windows = np.lib.stride_tricks.sliding_window_view(X, (2, 2), (2, 3))
    y = np.einsum("nchwrs,ocrs->nohw", windows, weight) + bias[:, None, None]
    spread = np.sqrt(variance) + 0.5
    expected = (y - mean[:, None, None]) / spread[:, None, None] * gamma[:, None, None] + beta[:, None, None]
    weights = ArrayWeights(blobs, path="w.caffemodel")
    ready = prepare(net_of(CHAIN, {"x": X}), weights, Options(fold=fold))  # type: ignore[arg-type]
    assert_close(run_onnx(ready.graph, {"x": X}, tmp_path)["y"], expected.astype(np.float32), "onnx")
    assert_close(run_torch(ready.graph, {"x": X})["y"], expected.astype(np.float32), "torch")
    written = write_target(ready, "caffe", tmp_path / "caffe", None)
    with open_weights(written[1]) as stored:
        again = prepare(load_net(written[0]), stored, Options()).graph
        assert_close(run_torch(again, {"x": X})["y"], expected.astype(np.float32), "caffe")


REFUSED = {
    layer("BatchNorm", "\nbatch_norm_param { use_global_stats: false add_eps_before_sqrt: false }"): (
        "2:44: error: layer 'it' (BatchNorm): add_eps_before_sqrt: false with the statistics of the batch; expected "
        "use_global_stats: true"
    ),
    layer("DummyData", "\ndummy_data_param { num: 1 num: 2 channels: 1 height: 1 width: 1 }", "", "a b c"): (
        "2:1: error: layer 'it' (DummyData): expected shape, or num, channels, height and width, each once or once a "
        "top"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_can_not_be_is_refused(text: str) -> None:
    line, _, rest = REFUSED[text].partition(":")
    feeds = {} if "DummyData" in text else {"x": X}
    assert refusal(text, feeds) == f"net.prototxt:{int(line) + len(feeds)}:{rest}"


def test_the_old_sizes_of_dummy_data_stand_once_or_once_a_top() -> None:
    params = "dummy_data_param { num: 2 channels: 3 channels: 6 height: 4 width: 5 width: 7 }"
    graph = prepare(
        net_of(layer("DummyData", params, "", "a b") + layer("Silence", "", "a b", ""), {}),
        None,
        Options(outputs=["a", "b"]),
    ).graph
    assert [tuple(v.shape) for v in graph.inputs] == [(2, 3, 4, 5), (2, 6, 4, 7)]


def test_a_dropout_that_draws_at_test_time_is_its_mean_with_a_warning(tmp_path: Path) -> None:
    x = random(3, 2, 5)
    text = layer("Dropout", "dropout_param { dropout_ratio: 0.3 sample_weights_test: true scale_train: false }")
    assert_gives(text, {"x": x}, x * np.float32(0.7), tmp_path)
    (warning,) = prepare(net_of(text, {"x": x}), None, Options()).warnings
    assert warning == (
        "net.prototxt:2:1: layer it (Dropout): draws at random at test time (sample_weights_test); here it is the mean "
        "of all draws"
    )
