"""The interpreter against the original Caffe's own numbers, and its rules for wiring, weights and errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from prototxt import parse_net
from prototxt.errors import CaffeModelError, ErrorGroup, NetError, RequestError, UnsupportedError, WeightsError
from tests.verify.caffe_answers import Answer, answers, cases, run_case, run_text
from verify import run
from weights import ArrayWeights

INPUT = 'layer { name: "x" type: "Input" top: "x" }'
CAFFES_OWN_ROUNDING = {"mvn_few_values": 4e-6}
"""Two values that differ by little: what their mean rounds is much beside the rest; Caffe's ±1 are off by 1.8e-6."""
RANDOM_IN_TRAIN = {"dropout_train"}


@pytest.mark.parametrize("case", [*cases("layers"), *cases("forks")])
def test_every_layer_gives_caffes_numbers_to_one_in_a_million(case: Path) -> None:
    trace, arrays = run_case(case)
    errors = {a.key: a.error(trace.tops[a.key]) for a in answers(arrays)}
    assert errors
    assert max(errors.values()) < CAFFES_OWN_ROUNDING.get(case.name, 1e-6), errors


@pytest.mark.parametrize("case", cases("models"))
def test_every_published_model_gives_caffes_numbers_at_each_layer(case: Path) -> None:
    trace, arrays = run_case(case)
    errors = {a.key: a.error(trace.tops[a.key]) for a in answers(arrays)}
    assert len(errors) > 5
    assert max(errors.values()) < 2e-5, sorted(errors.items(), key=lambda e: -e[1])[
        :3
    ]  # retinaface: 1.3e-5, others 5e-6
    for name in map(str, arrays["outputs"]):
        whole = arrays[f"full:{name}"]
        assert Answer(("", name), whole.shape, None, whole.ravel()).error(trace.blobs[name]) < 1e-5


@pytest.mark.parametrize("case", cases("train/grad"))
def test_the_training_phase_gives_caffes_numbers_too(case: Path) -> None:
    if case.name in RANDOM_IN_TRAIN:
        with pytest.raises(NetError, match="at random in phase TRAIN"):
            run_case(case, phase="TRAIN")
        return
    trace, arrays = run_case(case, phase="TRAIN")
    errors = {a.key: a.error(trace.tops[a.key]) for a in answers(arrays)}
    assert max(errors.values()) < 1e-6, errors


# Wiring


def power(name: str, bottom: str, top: str, shift: float) -> str:
    return (
        f'layer {{ name: "{name}" type: "Power" bottom: "{bottom}" top: "{top}" power_param {{ shift: {shift} }} }}\n'
    )


def test_each_in_place_step_is_kept_and_later_layers_read_the_last() -> None:
    trace = run_text(power("a", "x", "y", 1) + power("b", "y", "y", 10) + power("c", "y", "z", 100), {"x": [5.0]})
    assert trace.tops["a", "y"] == 6
    assert trace.tops["b", "y"] == trace.blobs["y"] == 16
    assert trace.blobs["z"] == 116
    assert trace.outputs == ("z",)


def test_an_in_place_layer_may_work_on_the_nets_own_input() -> None:
    trace = run_text(power("a", "x", "x", 1), {"x": [5.0]})
    assert trace.tops["x", "x"] == 5
    assert trace.tops["a", "x"] == 6


READ_BEFORE = power("other", "x", "z", 2) + power("own", "x", "x", 1)
READ_TWICE = 'layer { name: "own" type: "Eltwise" bottom: "x" bottom: "x" top: "x" }'


@pytest.mark.parametrize("text", [READ_BEFORE, READ_TWICE], ids=["read before", "read twice by itself"])
def test_in_place_on_a_blob_that_is_read_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(NetError, match=r"'own' .*top 'x' is produced by multiple sources: .* another layer reads"):
        run_text(text, {"x": [5.0]})


def test_a_reader_behind_the_in_place_layer_does_not_disturb_it() -> None:
    trace = run_text(power("own", "x", "x", 1) + power("p", "x", "p", 2) + power("q", "x", "q", 3), {"x": [5.0]})
    assert (trace.blobs["p"], trace.blobs["q"]) == (8, 9)


def test_a_loss_weight_counts_as_a_reader() -> None:
    first = power("first", "x", "y", 1).replace("power_param", "loss_weight: 1 power_param")
    with pytest.raises(NetError, match=r"'second'.*multiple sources"):
        run_text(first + power("second", "y", "y", 1), {"x": [5.0]})


def test_two_layers_that_make_one_blob_are_refused_with_both_named() -> None:
    with pytest.raises(
        NetError, match=r"net.prototxt:3:1: .*'b' .*'y' is produced by multiple.*'a' \(net.prototxt:2:1\)"
    ):
        run_text(power("a", "x", "y", 1) + power("b", "x", "y", 1), {"x": [5.0]})


def test_a_bottom_that_nothing_makes_is_named_with_the_nearest_that_exists() -> None:
    with pytest.raises(
        NetError, match=r"net.prototxt:3:1: error: layer 'b' \(Power\): .*'conv_1'; did you mean 'conv1'"
    ):
        run_text(power("a", "x", "conv1", 1) + power("b", "conv_1", "y", 1), {"x": [5.0]})


def test_a_blob_read_before_it_is_made_is_refused() -> None:
    with pytest.raises(NetError, match="no earlier layer makes bottom 'z'"):
        run_text(power("a", "z", "y", 1) + power("b", "y", "z", 1), {"x": [5.0]})


def test_so_is_one_whose_memory_another_blob_would_have() -> None:
    with pytest.raises(NetError, match="no earlier layer makes bottom 'z'"):
        run_text('layer { name: "f" type: "Flatten" bottom: "z" top: "y" }' + power("b", "y", "w", 1), {"x": [5.0]})


def test_only_the_layers_that_a_blob_depends_on_run() -> None:
    text = (
        power("a", "x", "y", 1)
        + 'layer { name: "label" type: "Data" top: "t" }'
        + 'layer { name: "loss" type: "NoSuchLoss" bottom: "y" bottom: "t" top: "l" }'
    )
    trace = run_text(text, {"x": [5.0]}, blobs=["y"])
    assert list(trace.tops) == [("x", "x"), ("a", "y")]
    with pytest.raises(RequestError, match="no layer makes blob 'yy'; did you mean 'y'"):
        run_text(text, {"x": [5.0]}, blobs=["yy"])


# Feeds, types, weights

PRODUCT = 'layer { name: "%s" type: "InnerProduct" bottom: "x" top: "%s" %s inner_product_param { num_output: 2 } }\n'


def test_everything_missing_is_reported_at_once() -> None:
    net = parse_net(
        'layer { name: "d" type: "Data" top: "x" top: "t" }\n'
        'layer { name: "a" type: "Alien" bottom: "x" top: "y" }\n'
        'layer { name: "e" type: "Crop" bottom: "y" top: "z" }\n'
    )
    with pytest.raises(ErrorGroup) as caught:
        run(net, None, {"x": [1.0]})
    assert [type(e) for e in caught.value.errors] == [RequestError, UnsupportedError, NetError]
    assert "'t' must be fed" in str(caught.value)
    assert "layer 'a' (Alien)" in str(caught.value)
    assert "has 1 bottom, expected 2" in str(caught.value)


def test_a_feed_that_is_no_input_is_refused_with_the_inputs_named() -> None:
    net = parse_net('layer { name: "d" type: "Input" top: "data" }')
    with pytest.raises(RequestError, match=r"'dtaa' is fed but is no input; the net's inputs are data"):
        run(net, None, {"dtaa": [1.0]})


def test_a_data_layer_of_an_unknown_type_can_be_fed() -> None:
    trace = run(parse_net('layer { name: "d" type: "AlienData" top: "x" }'), None, {"x": np.arange(3)})
    assert trace.blobs["x"].dtype == np.float32


def test_a_scalar_keeps_its_shape() -> None:
    assert run_text(power("a", "x", "y", 1), {"x": 5.0}).blobs["y"].shape == ()


def test_weights_that_are_absent_or_of_another_shape_are_errors_with_both_places() -> None:
    x = {"x": np.zeros((3, 4), np.float32)}
    text = PRODUCT % ("f", "y", "")
    with pytest.raises(WeightsError, match=r"learned blobs \(2×4, 2\) and no weights were given"):
        run(parse_net(INPUT + text), None, x)
    with pytest.raises(WeightsError, match="has no blobs in this file, expected 2"):
        run_text(text, x, {"other": [[1.0]]})
    with pytest.raises(WeightsError, match="has 1 blob, expected 2"):
        run_text(text, x, {"f": [np.zeros((2, 4))]})
    with pytest.raises(WeightsError) as caught:
        run_text(text, x, {"f": [np.zeros((2, 5)), np.zeros(2)]})
    assert str(caught.value) == (
        "random weights: error: layer 'f' (InnerProduct): "
        "blob 0 is 2×5, but the prototxt (net.prototxt:2:1) makes it 2×4"
    )


def test_shared_parameters_are_one_memory_and_the_last_in_the_file_wins() -> None:
    name = 'param { name: "w" } param { name: "b" }'
    text = PRODUCT % ("f", "y", name) + PRODUCT % ("g", "z", name)
    x = {"x": np.ones((1, 3), np.float32)}
    one, two = [np.full((2, 3), 1), np.zeros(2)], [np.full((2, 3), 2), np.ones(2)]
    trace = run_text(text, x, {"f": one, "g": two})
    assert np.array_equal(trace.blobs["y"], [[7, 7]])
    assert np.array_equal(trace.blobs["z"], [[7, 7]])
    only_the_owner = run_text(text, x, {"f": one})
    assert np.array_equal(only_the_owner.blobs["z"], [[3, 3]])


def test_a_shape_that_no_rule_thought_of_is_still_the_nets_fault() -> None:
    with pytest.raises(CaffeModelError, match="layer 's'"):
        run_text('layer { name: "s" type: "ShuffleChannel" bottom: "x" top: "y" }', {"x": 1.0})


# What the trace says about rounding

PAIR = """
layer { name: "c" type: "Convolution" bottom: "x" bottom: "z" top: "cx" top: "cz"
        convolution_param { num_output: 2 kernel_size: 2 } }
layer { name: "s" type: "Scale" bottom: "cx" top: "cx" }
layer { name: "m" type: "ArgMax" bottom: "cz" top: "best" }
"""


def test_the_trace_knows_what_each_top_read_and_how_many_terms_it_sums() -> None:
    weight = np.zeros((2, 3, 2, 2))
    weight[0, :, 0, 0], weight[1, 0, 0, 0] = (1, 2, 2), 4  # norms 3 and 4
    image = np.arange(36).reshape(1, 3, 4, 3)
    trace = run_text(PAIR, {"x": image, "z": image}, {"c": [weight, [5, 5]], "s": [[-7, 6]]})
    assert trace.inputs["c", "cx"] == (("x", "x"), ("z", "z"))
    assert trace.inputs["s", "cx"] == (("c", "cx"),)
    assert trace.fan_in["c", "cx"] == 3 * 2 * 2 + 1
    steps = {step.key: step for step in trace.steps}
    assert steps["c", "cx"].gains == (4.0, 0.0)
    assert steps["c", "cz"].gains == (0.0, 4.0)
    assert steps["s", "cx"].gains == (7.0,)
    assert steps["m", "best"].gains == (math.inf,)
    peak_in, peak_out = np.abs(trace.tops["c", "cx"]).max(), np.abs(trace.tops["s", "cx"]).max()
    assert trace.amplification(steps["s", "cx"]) == pytest.approx((7 * peak_in / peak_out,))


@pytest.mark.parametrize("case", [*cases("layers"), *cases("forks")])
def test_a_disturbed_value_moves_no_top_by_more_than_the_gains_say(case: Path) -> None:
    trace, arrays = run_case(case)
    feeds = {name[3:]: value for name, value in arrays.items() if name.startswith("in:")}
    rng = np.random.default_rng(11)
    for name, value in feeds.items():
        source = next(i for i, step in enumerate(trace.steps) if step.top == name)
        gains = [g for s in trace.steps for g, read in zip(s.gains, s.inputs, strict=True) if read == source]
        if any(map(math.isinf, gains)):
            continue  # a label or an index: moved by a little it is none any more
        other = value.copy()
        other.flat[rng.integers(value.size)] += 1e-3 * np.abs(value).max()
        disturbed, _ = run_case(case, feeds={**feeds, name: other})
        moved = [largest_gap(a.value, b.value) for a, b in zip(trace.steps, disturbed.steps, strict=True)]
        for step, gap in zip(trace.steps, moved, strict=True):
            if step.inputs:
                allowed = sum(g * moved[i] for g, i in zip(step.gains, step.inputs, strict=True) if moved[i])
                assert gap <= 1.01 * allowed + 1e-6 * np.abs(step.value).max(initial=0), step.key


def largest_gap(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    return float(np.abs(one.astype(np.float64) - other).max(initial=0))


def test_layers_of_one_name_and_top_are_both_in_the_steps() -> None:
    trace = run_text(power("a", "x", "y", 1) + power("a", "y", "y", 10), {"x": [5.0]})
    assert [float(s.value[0]) for s in trace.steps] == [5, 6, 16]
    assert trace.tops["a", "y"] == 16


def test_a_weight_file_given_twice_by_name_counts_with_the_entry_that_has_blobs() -> None:
    stored = ArrayWeights({"a": [[3.0]]})
    stored.layers = (*stored.layers, type(stored.layers[0])("a", "ReLU", ()))
    net = parse_net(INPUT + 'layer { name: "a" type: "Scale" bottom: "x" top: "y" }')
    assert run(net, stored, {"x": np.full((2, 1), 5)}).blobs["y"].tolist() == [[15], [15]]


def test_a_bottom_of_numbers_that_are_none_is_named_where_its_layer_ends() -> None:
    net = parse_net(
        'layer { name: "x" type: "Input" top: "x" } layer { name: "order" type: "Input" top: "order" }'
        'layer { name: "it" type: "BatchReindex" bottom: "x" bottom: "order" top: "out" }'
    )
    feeds = {"x": np.ones((2, 3), np.float32), "order": np.array([1, np.nan, 0, np.inf], np.float32)}
    message = r"cannot work on bottoms of 2×3, 4: .*; 2 of 4 values of 'order' are not finite, nan at \(1,\)"
    with pytest.raises(NetError, match=message):
        run(net, None, feeds)
