"""Ristretto's layers in numbers of few bits: by hand on both sides, what later readers see, written again, refused."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.fully_convolutional import fully_convolutional
from converter.layers.shared.few_bits import FixedPoint
from converter.options import Options
from converter.targets.caffe_model import write_caffe
from converter.targets.onnx_model import emit_onnx
from converter.targets.torch_model import Training, emit_torch
from converter.targets.writers import write_onnx
from converter.training.module import training_graph
from prototxt import load_net, parse_net
from prototxt.errors import CaffeModelError, UnsupportedError
from tests.converter.layers.test_rarer_agreement import assert_gives, inputs_of, layer, net_of, refusal, weights_of
from tests.golden import Array, run_onnx, run_torch
from verify import run, verify_model
from weights import ArrayWeights, open_weights

ONE = np.float32([[1]])
WIDE = "bw_layer_in: 32 fl_layer_in: 16"
PLAIN = f"bw_params: 32 fl_params: 16 {WIDE}"


def dense(how: str, more: str = "bias_term: false", bottom: str = "x") -> str:
    params = f"inner_product_param {{ num_output: 1 {more} }} quantization_param {{ {how} }}"
    return layer("FcRistretto", params, bottom)


TOPS = {
    # Halves to the even number, on both sides of 0; saturation at both ends.
    "bw_layer_out: 4 fl_layer_out: 0": (
        [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, 6.5, 7.5, 100, -8.5, -100],
        [0, 2, 2, 0, -2, -2, 0, 6, 7, 7, -8, -8],
    ),
    # Steps of 4 and of 1/4.
    "bw_layer_out: 4 fl_layer_out: -2": ([2, 6, 9, 28, 29, -2, -6, -40], [0, 8, 8, 28, 28, 0, -8, -32]),
    "bw_layer_out: 4 fl_layer_out: 2": ([0.125, 0.375, 1.75, 1.8, -0.125, -3], [0, 0.5, 1.75, 1.75, 0, -2]),
    # One bit has -1 and 0; 32 of them with 16 behind the point go without saying.
    "bw_layer_out: 1 fl_layer_out: 0": ([3, 0.25, -0.75, -4], [0, 0, -1, -1]),
    "": ([2.0**-17, 3 * 2.0**-17, 1.5, 3e4], [0, 2.0**-15, 1.5, 3e4]),
}


@pytest.mark.parametrize("how", TOPS)
def test_fixed_point(how: str, tmp_path: Path) -> None:
    x, expected = (np.float32(values)[:, None] for values in TOPS[how])
    text, weights = dense(f"{PLAIN} {how}"), weights_of(ONE)
    assert_gives(text, {"x": x}, expected, tmp_path, weights)
    assert (run(net_of(text, {"x": x}), weights, {"x": x}).blobs["out"] == expected).all()


FAR = {
    64: ([2.0**-64, 3 * 2.0**-65, 1, -1], [2.0**-64, 2.0**-63, 2.0**-33, -(2.0**-33)]),
    -64: ([1, 2.0**63, 2.0**64, 1e38, -1e38], [0, 0, 2.0**64, 2.0**95, -(2.0**95)]),
}


@pytest.mark.parametrize("fraction", FAR)
def test_fractions_as_far_as_they_go(fraction: int, tmp_path: Path) -> None:
    x, expected = (np.float32(values)[:, None] for values in FAR[fraction])
    text = dense(f"bw_params: 8 fl_params: 0 fl_layer_in: {fraction} fl_layer_out: {fraction}")
    graph = prepare(net_of(text, {"x": x}), weights_of(ONE), Options()).graph
    reference = run(net_of(text, {"x": x}), weights_of(ONE), {"x": x}).blobs
    for got in (run_onnx(graph, {"x": x}, tmp_path), run_torch(graph, {"x": x}), reference):
        assert (got["out"] == expected).all()


def test_32_bits_end_where_float32_has_the_next_number(tmp_path: Path) -> None:
    """2^31 - 1 over 2^16 is no float32; what is above all is 2^15."""
    x, expected = np.float32([[1e9], [-1e9]]), np.float32([[2**15], [-(2**15)]])
    assert_gives(dense(""), {"x": x}, expected, tmp_path, weights_of(ONE))
    assert (run(net_of(dense(""), {"x": x}), weights_of(ONE), {"x": x}).blobs["out"] == expected).all()


SMALL = {
    # Two bits of mantissa: 1, 1.25, 1.5, 1.75, 2, 2.5 … Three of exponent: from 1/8 to 28.
    (2, 3): (
        [1.1, 1.125, 1.375, 1.875, 1.9, 2.25, 2.75, -1.375, 28, 30, 31, 32, -1e9, 0.125, 0.12, -0.12, 0, 1e-40, 1.1],
        [1, 1, 1.5, 2, 2, 2, 3, -1.5, 28, 32, 32, 28, -28, 0.125, 0, 0, 0, 0, 1],
    ),
    # No mantissa: powers of two, of whose halves the lower counts.
    (0, 2): ([1.5, 1.6, 3, 3.1, 0.75, 0.5, 0.4, 6, 9], [1, 2, 2, 4, 0.5, 0.5, 0, 4, 4]),
    (0, 1): ([1, 1.5, 1.75, 2, 3, 4, 0.9], [1, 1, 2, 2, 2, 2, 0]),
    # Half precision without its denormals and infinities: 2^-15 is the least, 131008 the largest.
    (10, 5): ([2049, 2051, 2.0**-15, 2.0**-16, 131008, 1e6], [2048, 2052, 2.0**-15, 0, 131008, 131008]),
    # float32 itself, and more mantissa than that has, as the tool writes for 32 bits.
    (23, 8): ([1 + 2.0**-23, 3e38, 1e-38, 1e-40], [1 + 2.0**-23, 3e38, 0, 0]),
    (27, 4): ([1 + 2.0**-23, 300, 512, 2.0**-7, 2.0**-8], [1 + 2.0**-23, 300, 512, 2.0**-7, 0]),
}


@pytest.mark.parametrize("bits", SMALL)
def test_minifloat(bits: tuple[int, int], tmp_path: Path) -> None:
    """Each value by itself: those behind one that becomes 0 are rounded as well."""
    x, expected = (np.float32(values)[:, None] for values in SMALL[bits])
    text = dense(f"precision: MINIFLOAT mant_bits: {bits[0]} exp_bits: {bits[1]}")
    weights = weights_of(ONE)
    assert_gives(text, {"x": x}, twice(bits, expected), tmp_path, weights)
    assert (run(net_of(text, {"x": x}), weights, {"x": x}).blobs["out"] == twice(bits, expected)).all()


def twice(bits: tuple[int, int], values: Array) -> Array:
    """A bottom that was rounded up past the largest number becomes that when the top is rounded."""
    mantissa, exponent = bits
    end = 2.0 ** (2**exponent - 2 ** (exponent - 1) + 1) if exponent < 8 else math.inf
    largest = (2 - 2.0**-mantissa) * end / 2 if mantissa < 23 else end
    return np.where(np.abs(values) >= end, np.copysign(np.float32(largest), values), values).astype(np.float32)


def test_weights_of_powers_of_two(tmp_path: Path) -> None:
    """0 and -0 are above 0; an exponent is what is nearest to the logarithm. The bias stays; blobs are fixed point."""
    weight = np.float32([[0.0, -0.0, 1, -1.4, 1.45, -0.1, 100, 0.36]])
    used = np.float32([[0.25, 0.25, 1, -1, 2, -0.25, 4, 0.5]])
    how = (
        "precision: INTEGER_POWER_OF_2_WEIGHTS exp_min: -2 exp_max: 2 "
        "bw_layer_in: 8 fl_layer_in: 1 bw_layer_out: 12 fl_layer_out: 2"
    )
    x = np.eye(8, dtype=np.float32) * np.float32(1.75)
    expected = np.round((2 * used.T + np.float32(0.3)) * 4) / 4
    text, weights = dense(how, ""), weights_of(weight, np.float32([0.3]))
    assert_gives(text, {"x": x}, expected, tmp_path, weights)
    assert (run(net_of(text, {"x": x}), weights, {"x": x}).blobs["out"] == expected).all()


def input_of(*sizes: int) -> str:
    dims = " ".join(f"dim: {size}" for size in sizes)
    return f'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}\n'


def fc(name: str, bottom: str, how: str) -> str:
    params = f"inner_product_param {{ num_output: 2 bias_term: false }} quantization_param {{ {how} }}"
    return f'layer {{ name: "{name}" type: "FcRistretto" bottom: "{bottom}" top: "{name}" {params} }}\n'


def copied(name: str, bottom: str) -> str:
    return f'layer {{ name: "{name}" type: "Power" bottom: "{bottom}" top: "{name}" }}\n'


HALVES, DOUBLES = "bw_layer_in: 8 fl_layer_in: 1", "bw_layer_in: 8 fl_layer_in: -1"
X = np.float32([[0.25, 0.75, 3, -5], [1.3, -2.6, 7, 0.1]])
IN_HALVES = np.float32([[0, 1, 3, -5], [1.5, -2.5, 7, 0]])
IN_DOUBLES = np.float32([[0, 0, 4, -4], [2, -2, 8, 0]])
MATRIX = np.float32([[1, 2, -1, 0.5], [0.25, 1, 1, -3]])
TWO_FORMATS = (
    input_of(2, 4) + copied("before", "x") + fc("a", "x", HALVES) + copied("between", "x") + fc("b", "x", DOUBLES)
)
TWO_FORMATS += copied("after", "x")
BOTH = ArrayWeights({"a": [MATRIX], "b": [MATRIX]})


@pytest.mark.parametrize("outputs", [(), ("between",), ("after", "x", "before"), ("b", "between")])
def test_each_reader_of_a_bottom_sees_what_the_layers_before_it_left(outputs: tuple[str, ...], tmp_path: Path) -> None:
    """7 in halves is 7 and in doubles 8; the second layer reads what the first left there."""
    net = parse_net(TWO_FORMATS, "net.prototxt")
    expected = {
        "before": X,
        "a": IN_HALVES @ MATRIX.T,
        "between": IN_HALVES,
        "b": IN_DOUBLES @ MATRIX.T,
        "after": IN_DOUBLES,
        "x": X,  # As an input of the net it is what was fed.
    }
    wanted = outputs or ("before", "a", "between", "b", "after")
    graph = prepare(net, BOTH, Options(outputs=list(outputs))).graph
    made = run_onnx(graph, {"x": X}, tmp_path), run_torch(graph, {"x": X})
    for got in (*made, run(net, BOTH, {"x": X}, blobs=wanted).blobs):
        for name in wanted:
            np.testing.assert_array_equal(got[name], expected[name], name)


@pytest.mark.parametrize("kind", ["Flatten", "Split", "Reshape"])
def test_blobs_in_one_memory_are_written_over_together(kind: str, tmp_path: Path) -> None:
    params = "reshape_param { shape { dim: 0 dim: 2 dim: 2 } }" if kind == "Reshape" else ""
    tops = 'top: "y" top: "z"' if kind == "Split" else 'top: "y"'
    text = f'{input_of(2, 4)}layer {{ name: "s" type: "{kind}" bottom: "x" {tops} {params} }}\n'
    text += fc("a", "y", HALVES) + copied("p", "x")
    net, weights = parse_net(text, "net.prototxt"), ArrayWeights({"a": [MATRIX]})
    graph = prepare(net, weights, Options()).graph
    expected = {"a": IN_HALVES @ MATRIX.T, "p": IN_HALVES} | ({"z": IN_HALVES} if kind == "Split" else {})
    reference = run(net, weights, {"x": X})
    assert set(reference.outputs) == set(expected)
    for got in (run_onnx(graph, {"x": X}, tmp_path), run_torch(graph, {"x": X}), reference.blobs):
        for name, values in expected.items():
            np.testing.assert_array_equal(got[name], values, name)


def test_a_caffe_net_written_again_rounds_once(tmp_path: Path) -> None:
    net = parse_net(TWO_FORMATS, "net.prototxt")
    write_caffe(prepare(net, BOTH, Options()).graph, tmp_path)
    again = load_net(tmp_path / "deploy.prototxt")
    assert [found.type for found in again.layers].count("FcRistretto") == 2
    with open_weights(tmp_path / "model.caffemodel") as weights:
        assert (weights.layers[2].blobs[0].array() == MATRIX).all()
        made = run(again, weights, {"x": X}).blobs
    for name in ("before", "a", "between", "b", "after"):
        np.testing.assert_array_equal(made[name], run(net, BOTH, {"x": X}).blobs[name])


def test_a_caffe_net_with_shared_memory_is_written_again(tmp_path: Path) -> None:
    text = f'{input_of(2, 2, 2)}layer {{ name: "f" type: "Flatten" bottom: "x" top: "f" }}\n'
    text += fc("a", "f", HALVES) + copied("p", "x") + copied("q", "f")
    net, weights, x = parse_net(text, "net.prototxt"), ArrayWeights({"a": [MATRIX]}), X.reshape(2, 2, 2)
    write_caffe(prepare(net, weights, Options()).graph, tmp_path)
    with open_weights(tmp_path / "model.caffemodel") as written:
        made = run(load_net(tmp_path / "deploy.prototxt"), written, {"x": x}).blobs
    assert (made["p"].reshape(2, 4) == IN_HALVES).all()
    assert (made["q"] == IN_HALVES).all()


def test_weights_that_two_layers_share_are_rounded_by_each_for_itself(tmp_path: Path) -> None:
    shared = 'param { name: "w" }'
    fine, coarse = "bw_params: 8 fl_params: 2", "bw_params: 8 fl_params: 0"
    text = input_of(2, 4)
    text += fc("a", "x", f"{WIDE} {fine}").replace("inner", f"{shared} inner")
    text += fc("b", "x", f"{WIDE} {coarse}").replace("inner", f"{shared} inner")
    x, net, weights = X * 0 + np.float32([1, 2, 3, 4]), parse_net(text, "net.prototxt"), ArrayWeights({"a": [MATRIX]})
    graph = prepare(net, weights, Options()).graph
    expected = {"a": x @ MATRIX.T, "b": x @ np.round(MATRIX).T}
    for got in (run_onnx(graph, {"x": x}, tmp_path), run_torch(graph, {"x": x}), run(net, weights, {"x": x}).blobs):
        for name, values in expected.items():
            np.testing.assert_array_equal(got[name], values, name)


CONV = (
    input_of(2, 3, 4, 5)
    + 'layer { name: "c" type: "ConvolutionRistretto" bottom: "x" top: "c" convolution_param { num_output: 6 '
    "kernel_size: 1 } quantization_param { bw_layer_in: 8 fl_layer_in: 2 bw_layer_out: 8 fl_layer_out: 1 bw_params: 6 "
    "fl_params: 3 } }\n"
    'layer { name: "s" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }\n'
    'layer { name: "fc" type: "FcRistretto" bottom: "c" top: "y" inner_product_param { num_output: 7 transpose: true } '
    "quantization_param { bw_layer_in: 8 fl_layer_in: 2 bw_layer_out: 10 fl_layer_out: 1 bw_params: 6 fl_params: 3 } }"
)


def values(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CONV_WEIGHTS = ArrayWeights(
    {
        "c": [values(2, 6, 3, 1, 1), values(3, 6)],
        "s": [values(4, 6), values(5, 6)],
        "fc": [values(6, 120, 7), values(7, 7)],
    }
)
IMAGE = values(1, 2, 3, 4, 5)


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
def test_a_factor_behind_is_not_folded_into_weights_whose_sums_are_rounded(fold: str, tmp_path: Path) -> None:
    net = parse_net(CONV, "net.prototxt")
    graph = prepare(net, CONV_WEIGHTS, Options(fold=fold)).graph
    expected = run(net, CONV_WEIGHTS, {"x": IMAGE}).blobs["y"]
    assert [node.name for node in graph.nodes] == ["c/x", "c", "s", "fc/c", "fc"]
    assert (run_onnx(graph, {"x": IMAGE}, tmp_path)["y"] == expected).all()
    assert (run_torch(graph, {"x": IMAGE})["y"] == expected).all()


def test_a_classifier_made_a_convolution_rounds_all_the_same(tmp_path: Path) -> None:
    options = Options(outputs=["y"], input_shapes={"x": IMAGE.shape})
    dense_net = fully_convolutional(parse_net(CONV, "net.prototxt"), CONV_WEIGHTS, options)
    assert [found.type for found in dense_net.net.layers if found.name == "fc"] == ["ConvolutionRistretto"]
    graph = prepare(dense_net.net, dense_net.weights, Options()).graph
    expected = run(parse_net(CONV, "net.prototxt"), CONV_WEIGHTS, {"x": IMAGE}).blobs["y"]
    assert (run_onnx(graph, {"x": IMAGE}, tmp_path)["y"].reshape(2, 7) == expected).all()


@pytest.mark.parametrize("wrong", [False, True])
def test_the_check_finds_halves_that_went_the_other_way(
    wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums of few bits are exact, so that not one step is granted."""
    if wrong:

        def half_up(self: FixedPoint, g: object, x: str) -> str:
            op, scalar = g.op, g.scalar  # type: ignore[attr-defined]
            up = op("Floor", op("Add", op("Mul", x, scalar(2.0**self.fraction)), scalar(0.5)))
            return str(op("Mul", up, scalar(2.0**-self.fraction)))

        monkeypatch.setattr(FixedPoint, "onnx", half_up)
    net = parse_net(CONV, "net.prototxt")
    write_onnx(emit_onnx(prepare(net, CONV_WEIGHTS, Options()).graph), tmp_path / "m.onnx")
    report = verify_model(net, CONV_WEIGHTS, tmp_path / "m.onnx", feeds={"x": np.round(IMAGE * 8) / 8})
    assert report.ok == (not wrong)
    labels = [(row.layer, row.top) for row in report.rows]
    assert labels == [("c", "x"), ("c", "c"), ("s", "c"), ("fc", "c"), ("fc", "y")]


def test_it_cannot_be_trained() -> None:
    graph = training_graph(net_of(dense(""), {"x": X[:, :1]}), weights_of(ONE), Options(outputs=["out"]), None)
    with pytest.raises(UnsupportedError, match="rounds weights at random in training"):
        emit_torch(graph, training=Training({}))
    net = parse_net(input_of(2, 4) + fc("a", "x", ""), "net.prototxt", phase="TRAIN")
    with pytest.raises(CaffeModelError, match="at random in phase TRAIN"):
        run(net, BOTH, {"x": X}, train=True)


CAUTIONS = {
    "": "rounds halves to even, as its fork does on a GPU; on a CPU it rounds them away from 0",
    "precision: MINIFLOAT": "away from 0, and leaves all values behind the first one that becomes 0 as they are",
    "precision: INTEGER_POWER_OF_2_WEIGHTS": "away from 0, and leaves bottoms and tops as they are (--dialect cpu)",
}


@pytest.mark.parametrize("how", CAUTIONS)
def test_the_user_is_told_where_the_fork_is_two(how: str) -> None:
    graph = prepare(net_of(dense(how), {"x": X[:, :1]}), weights_of(ONE), Options()).graph
    assert CAUTIONS[how] in graph.nodes[-1].layer.caution


def assert_gives_on_cpu(text: str, x: Array, expected: Array, folder: Path, *blobs: Array) -> None:
    net, weights = parse_net(inputs_of({"x": x}) + text, "net.prototxt", dialects={"": "cpu"}), weights_of(*blobs)
    graph = prepare(net, weights, Options()).graph
    assert graph.nodes[-1].layer.caution == ""
    for got in (run_onnx(graph, {"x": x}, folder), run_torch(graph, {"x": x}), run(net, weights, {"x": x}).blobs):
        np.testing.assert_array_equal(got["out"], expected)


@pytest.mark.parametrize("fraction", [0, 2])
def test_on_a_cpu_halves_go_away_from_0(fraction: int, tmp_path: Path) -> None:
    """Also of a number just below a half, to which float32 cannot add another half without rounding up to 1."""
    x = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, -0.49999997, 6.5, 100, -8.5, 0])[:, None]
    y = np.float32([1, 2, 3, -1, -2, -3, 0, 0, 7, 7, -8, 0])[:, None]
    step = np.float32(2.0**-fraction)
    how = f"bw_params: 8 fl_params: 0 bw_layer_in: 32 fl_layer_in: 27 bw_layer_out: 4 fl_layer_out: {fraction}"
    bound = np.clip(x, -15.75, 15.75)  # what 32 bits hold with 27 behind the point is below 16
    assert_gives_on_cpu(dense(how), bound * step, y * step, tmp_path, ONE)
    weight = np.float32([[0.5, 1.5, -2.5, 0.49999997]])
    text = dense(f"bw_params: 8 fl_params: 0 {WIDE}")
    assert_gives_on_cpu(text, np.eye(4, dtype=np.float32), np.float32([[1], [2], [-3], [0]]), tmp_path, weight)


def test_on_a_cpu_weights_of_powers_of_two_leave_the_blobs_alone(tmp_path: Path) -> None:
    text = dense("precision: INTEGER_POWER_OF_2_WEIGHTS exp_min: -2 exp_max: 2 bw_layer_in: 1 fl_layer_out: 3")
    text += '\nlayer { name: "again" type: "Power" bottom: "x" top: "again" }'
    x, weight = np.float32([[0.3, 5], [1.7, -3]]), np.float32([[-1.4, 0]])
    expected = x @ np.float32([[-1], [0.25]])
    assert_gives_on_cpu(text.split("\n")[0], x, expected, tmp_path, weight)
    net = parse_net(inputs_of({"x": x}) + text, "net.prototxt", dialects={"": "cpu"})
    assert (run(net, weights_of(weight), {"x": x}).blobs["again"] == x).all()


def test_on_a_cpu_small_floats_are_refused() -> None:
    net = parse_net(
        inputs_of({"x": X}) + dense("precision: MINIFLOAT"), "net.prototxt", dialects={"FcRistretto": "cpu"}
    )
    with pytest.raises(
        UnsupportedError, match="behind the first one that becomes 0 as they are; expected --dialect gpu"
    ):
        prepare(net, weights_of(MATRIX[:1]), Options())
    with pytest.raises(CaffeModelError, match="leaves values of a small float as they are on a CPU"):
        run(net, weights_of(MATRIX[:1]), {"x": X})


def lrn(how: str, more: str = "precision: MINIFLOAT") -> str:
    return layer("LRNRistretto", f"lrn_param {{ {how} }} quantization_param {{ {more} }}")


def assert_lrn_gives(text: str, x: Array, expected: object, folder: Path) -> None:
    column = x.reshape(1, -1, 1, 1)
    wanted = np.float32(expected).reshape(column.shape)
    assert_gives(text, {"x": column}, wanted, folder)
    assert (run(net_of(text, {"x": column}), None, {"x": column}).blobs["out"] == wanted).all()


def test_a_running_sum_of_squares_keeps_what_rounding_did_to_it(tmp_path: Path) -> None:
    """Of a bit of mantissa sums of three are 2, 6, 4 (6 - 1 is in the middle), 3 and -1; 2, 6, 5, 4 and 0 else."""
    text = lrn("local_size: 3 alpha: 3 beta: -1 k: 0", "precision: MINIFLOAT mant_bits: 1 exp_bits: 4")
    assert_lrn_gives(text, np.float32([1, 1, 2, 0, 0]), [2, 6, 8, 0, 0], tmp_path)


@pytest.mark.parametrize(("beta", "expected"), [(0.5, [0.5, 0.5, 1, 0, 0, 16]), (1, [0.25, 0.25, 0.5, 0, 0, -1])])
def test_a_sum_that_ends_below_0_has_no_root_and_its_factor_is_the_largest_number(
    beta: float, expected: list[float], tmp_path: Path
) -> None:
    """Without a mantissa the sums are 8, 8 (12 in the middle), 4, 0, -2 (1 - 4) and -2; 0.5 - 2 becomes -1."""
    text = lrn(f"local_size: 3 alpha: 3 beta: {beta} k: 0.5", "precision: MINIFLOAT mant_bits: 0 exp_bits: 3")
    assert_lrn_gives(text, np.float32([2, 2, 2, 0, 0, 1]), expected, tmp_path)


SECOND = 'layer { name: "it" type: "ConvolutionRistretto" bottom: "x" bottom: "x" top: "a" top: "b" %s }'
REFUSED = {
    dense("rounding_scheme: STOCHASTIC"): (
        "rounding_scheme: STOCHASTIC, which draws at random; expected NEAREST",
        "rounds at random (rounding_scheme)",
    ),
    dense("bw_layer_in: 0"): ("bw_layer_in is 0; expected 1 to 32", "bw_layer_in 0 is not 1 to 32"),
    dense("bw_params: 33"): ("bw_params is 33; expected 1 to 32", "bw_params 33 is not 1 to 32"),
    dense("fl_layer_out: 65"): ("fl_layer_out is 65; expected -64 to 64", "fl_layer_out 65 is not -64 to 64"),
    dense("fl_params: 1 fl_params: 2"): ("fl_params is given 2 times; expected once", "fl_params has 2 values"),
    dense("scale_in: 2"): ("scale_in, which only Intel's fork has", "has fields of Intel's quantization_param"),
    dense("precision: MINIFLOAT mant_bits: 31"): (
        "mant_bits is 31; expected 0 to 30",
        "mant_bits 31 and exp_bits 8 are",
    ),
    dense("precision: MINIFLOAT mant_bits: 7"): (
        "exp_bits is 8 with mant_bits 7, whose steps float32 cannot hold",
        "mant_bits 7 and exp_bits 8 are no numbers that float32 can stand for",
    ),
    dense("precision: MINIFLOAT exp_bits: 0"): ("exp_bits is 0; expected 1 to 8", "mant_bits 23 and exp_bits 0 are no"),
    dense("precision: INTEGER_POWER_OF_2_WEIGHTS exp_min: -65"): (
        "exp_min is -65; expected -64 to 64",
        "exponent -65 is not -64 to 64",
    ),
    dense("", "normalize: true bias_term: false"): ("inner_product_param.normalize", "has fields of other forks"),
    dense("", "relu: true bias_term: false"): ("inner_product_param.relu", "has fields of other forks"),
    dense("").replace('top: "out"', 'top: "x"'): (
        "it works in place on a bottom that it writes over before",
        "works in place on a bottom that it writes over before",
    ),
    SECOND % "convolution_param { num_output: 1 kernel_size: 1 bias_term: false }": (
        "it writes over one memory twice",
        "writes over one memory twice",
    ),
    SECOND.replace('bottom: "x" top: "a"', 'top: "a"').replace('top: "b"', "")
    % "convolution_param { num_output: 1 kernel_size: 1 bias_term: false relu: true }": (
        "relu: true, which only Intel's Convolution has",
        "has relu: true, which only Convolution looks at",
    ),
}


REFUSED |= {
    lrn("", ""): ("precision is not MINIFLOAT, the only one", "has a precision other than MINIFLOAT"),
    lrn("norm_region: WITHIN_CHANNEL"): (
        "norm_region: WITHIN_CHANNEL, which its fork refuses",
        "works within a channel",
    ),
    lrn("local_size: 4"): ("local_size is 4; expected an odd number", "has an even local_size, 4"),
    lrn("local_size: 5"): ("1 channels; expected 2 to 1024 with local_size 5", "has 1 channels, and writes before"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_by_both(text: str) -> None:
    x = np.zeros((2, 1, 1, 1), np.float32)
    converter, checker = REFUSED[text]
    assert converter in refusal(text, {"x": x})
    net, weights = net_of(text, {"x": x}), weights_of(x[:1] if "Convolution" in text else ONE)
    weights = None if "LRN" in text else weights
    with pytest.raises(CaffeModelError, match=re.escape(checker)):
        run(net, weights, {"x": x})
