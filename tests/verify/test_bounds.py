"""The bounds let every right answer pass, however it was rounded, and stop the mistakes that conversions make."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from prototxt import Net, parse_net
from verify.bounds import LAMBDA, PROBE, UNIT_ROUNDOFF, estimate, motion_of, perturbed
from verify.comparison import compare
from verify.engines.engine import Answers, Array
from verify.interpreter import run
from verify.interpreter.steps import Trace
from verify.report.records import Row
from weights import ArrayWeights

INPUT = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 2 dim: 3 dim: 14 dim: 13 } } } "
CONV = (
    "layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv' "
    "convolution_param { num_output: 8 kernel_size: 3 pad: 1 } } "
)
BATCH_NORM = "layer { name: 'bn' type: 'BatchNorm' bottom: 'conv' top: 'bn' batch_norm_param { eps: %s } } "
SCALE = "layer { name: 'scale' type: 'Scale' bottom: 'bn' top: 'scale' scale_param { bias_term: true } } "
POOL = (
    "layer { name: 'pool' type: 'Pooling' bottom: 'scale' top: 'pool' "
    "pooling_param { pool: %s kernel_size: 3 stride: 2 %s } } "
)
END = (
    "layer { name: 'ip' type: 'InnerProduct' bottom: 'pool' top: 'ip' inner_product_param { num_output: 11 } } "
    "layer { name: 'prob' type: 'Softmax' bottom: 'ip' top: 'prob' }"
)


def small_net(eps: str = "1e-5", pool: str = "AVE", more: str = "pad: 1") -> Net:
    return parse_net(INPUT + CONV + BATCH_NORM % eps + SCALE + POOL % (pool, more) + END)


def learned(rows: int = 8, columns: int = 7) -> dict[str, list[Array]]:
    rng = np.random.default_rng(5)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    return {
        "conv": [normal(8, 3, 3, 3), normal(8)],
        "bn": [100 * normal(8), 100 * (np.abs(normal(8)) + np.float32(0.5)), np.float32([100.0])],
        "scale": [normal(8) + np.float32(1), normal(8)],
        "ip": [normal(11, 8 * rows * columns) / np.float32(20), normal(11)],
    }


def feeds() -> dict[str, Array]:
    return {"data": np.random.default_rng(6).standard_normal((2, 3, 14, 13)).astype(np.float32)}


def bounded(net: Net, weights: Mapping[str, list[Array]], fed: Mapping[str, Array]) -> tuple[Trace, dict[str, Row]]:
    """The reference, and the rows that it makes beside itself."""
    source = ArrayWeights(weights)
    trace = run(net, source, fed)
    rows, _, _ = compare(trace, Answers(trace.tops, {}), estimate(net, source, trace))
    return trace, {row.layer: row for row in rows}


def mistaken(right: Net, wrong: Net, weights: Mapping[str, list[Array]], other: Mapping[str, list[Array]]) -> list[str]:
    """Layers out of bounds when a model computes `wrong` with `other` weights."""
    source = ArrayWeights(weights)
    trace = run(right, source, feeds())
    answers = run(wrong, ArrayWeights(other), feeds())
    rows, _, _ = compare(trace, Answers(answers.tops, {}), estimate(right, source, trace))
    return [row.layer for row in rows if not row.ok]


def float32_answers(net: Net, weights: Mapping[str, list[Array]], fed: Mapping[str, Array]) -> dict[str, Array]:
    """The small net term by term in float32, the least careful way to compute it."""
    w, b = weights["conv"]
    x = np.pad(fed["data"], ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((2, 8, 14, 13), np.float32)
    for channel in range(3):
        for i in range(3):
            for j in range(3):
                y += w[None, :, channel, i, j, None, None] * x[:, channel : channel + 1, i : i + 14, j : j + 13]
    y += b[None, :, None, None]
    mean, variance, factor = weights["bn"]
    gamma, beta = weights["scale"]
    slope = gamma / np.sqrt(variance / factor + np.float32(1e-5))
    scaled = y * slope[None, :, None, None] + (beta - mean / factor * slope)[None, :, None, None]
    return {"conv": y, "scale": scaled}


def test_float32_sums_in_the_plainest_order_stay_within_the_bound_and_use_some_of_it() -> None:
    net, weights = small_net(), learned()
    trace, rows = bounded(net, weights, feeds())
    for layer, got in float32_answers(net, weights, feeds()).items():
        error = float(np.abs(got.astype(np.float64) - trace.tops[layer, layer]).max())
        assert 0.005 < error / rows[layer].bound < 0.5, layer


def test_a_sum_of_n_terms_is_bounded_by_lambda_root_n_roundings_of_the_terms_scale() -> None:
    net = parse_net(
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 400 } } } "
        "layer { name: 'y' type: 'InnerProduct' bottom: 'x' top: 'y' "
        "inner_product_param { num_output: 300 bias_term: false } }"
    )
    weights = {"y": [np.ones((300, 400), np.float32)]}
    trace, rows = bounded(net, weights, {"x": np.ones((1, 400), np.float32)})
    assert trace.tops["y", "y"].max() == 400
    assert rows["y"].bound == pytest.approx(LAMBDA * 20 * UNIT_ROUNDOFF * 400)


def test_the_bound_of_a_deep_chain_grows_like_a_root_and_not_like_a_power() -> None:
    """60 layers, each of whose largest gain is about 2: their product is 1e18, and no error grows like that."""
    rng = np.random.default_rng(7)
    text = "layer { name: 'l0' type: 'Input' top: 'l0' input_param { shape { dim: 1 dim: 300 } } } "
    weights = {}
    for i in range(1, 61):
        text += f"layer {{ name: 'l{i}' type: 'InnerProduct' bottom: 'l{i - 1}' top: 'l{i}' "
        text += "inner_product_param { num_output: 300 bias_term: false } } "
        weights[f"l{i}"] = [(rng.standard_normal((300, 300)) / math.sqrt(300)).astype(np.float32)]
    _, rows = bounded(parse_net(text), weights, {"l0": rng.standard_normal((1, 300)).astype(np.float32)})
    first, last = rows["l1"], rows["l60"]
    assert last.bound / last.peak < 20 * first.bound / first.peak


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        pytest.param(small_net(eps="1e-3"), "bn", id="eps 1e-3 for 1e-5"),
        pytest.param(small_net(more="pad: 1 round_mode: FLOOR"), "pool", id="sizes rounded down"),
        pytest.param(small_net(pool="MAX"), "pool", id="maximum for average"),
        pytest.param(small_net(more="pad: 0"), "pool", id="no padding"),
    ],
)
def test_a_setting_read_wrongly_is_found_at_its_own_layer(wrong: Net, first: str) -> None:
    right = small_net()
    other = learned()
    rows, columns = run(wrong, ArrayWeights(other), feeds(), blobs=["pool"]).blobs["pool"].shape[2:]
    other["ip"] = learned(rows, columns)["ip"]
    assert run(right, ArrayWeights(learned()), feeds(), blobs=["pool"]).blobs["pool"].shape[2:] == (8, 7)
    assert mistaken(right, wrong, learned(), other)[0] == first


def test_a_divisor_that_leaves_out_the_padding_is_found() -> None:
    net, weights = small_net(), learned()
    source = ArrayWeights(weights)
    trace = run(net, source, feeds())
    wrong = dict(trace.tops)
    wrong["pool", "pool"] = trace.tops["pool", "pool"].copy()
    wrong["pool", "pool"][:, :, 0, 0] *= np.float32(9 / 4)  # the corner's window: 9 with its padding, 4 without
    rows, _, _ = compare(trace, Answers(wrong, {}), estimate(net, source, trace))
    assert [row.layer for row in rows if not row.ok] == ["pool"]


def _without_factor(weights: dict[str, list[Array]]) -> None:
    weights["bn"][2] = np.float32([1.0])


def _swapped(weights: dict[str, list[Array]]) -> None:
    weights["conv"][0] = weights["conv"][0][:, ::-1].copy()


def _nudged(weights: dict[str, list[Array]]) -> None:
    weights["conv"][1] *= np.float32(1.001)


def _transposed(weights: dict[str, list[Array]]) -> None:
    weights["conv"][0] = weights["conv"][0].swapaxes(2, 3).copy()


@pytest.mark.parametrize(
    ("change", "first"), [(_without_factor, "bn"), (_swapped, "conv"), (_nudged, "conv"), (_transposed, "conv")]
)
def test_weights_read_wrongly_are_found_at_their_own_layer(change: object, first: str) -> None:
    other = learned()
    assert callable(change)
    change(other)
    assert mistaken(small_net(), small_net(), learned(), other)[0] == first


def test_a_dead_channel_of_a_batch_norm_does_not_loosen_the_bound_of_the_others() -> None:
    weights = learned()
    tight = bounded(small_net(), weights, feeds())[1]["scale"]
    weights["conv"][0][3], weights["conv"][1][3] = 0, 0
    weights["bn"][0][3], weights["bn"][1][3] = 0, 1e-30
    _, rows = bounded(small_net(), weights, feeds())
    assert rows["scale"].bound < 3 * tight.bound


def test_a_mean_that_is_large_beside_the_spread_widens_the_bound_as_it_loses_digits() -> None:
    weights = learned()
    plain = bounded(small_net(), weights, feeds())[1]["bn"]
    weights["conv"][1] += 1000
    weights["bn"][0] += 100 * 1000
    _, rows = bounded(small_net(), weights, feeds())
    assert rows["bn"].bound > 30 * plain.bound


ARGMAX = (
    "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 4 dim: 1 dim: 3 } } } "
    "layer { name: 'y' type: 'ArgMax' bottom: 'x' top: 'y' argmax_param { axis: 1 } }"
    "layer { name: 'z' type: 'Power' bottom: 'y' top: 'z' power_param { scale: 2 } }"
)


def test_an_index_far_from_a_tie_must_agree_exactly() -> None:
    x = np.float32([[1, 5, 2], [4, 1, 9], [2, 3, 3], [0, 2, 1]]).reshape(1, 4, 1, 3)
    trace, rows = bounded(parse_net(ARGMAX), {}, {"x": x})
    assert trace.tops["y", "y"].ravel().tolist() == [1, 0, 1]
    assert 0 < rows["y"].bound < 1e-4
    assert 0 < rows["z"].bound < 1e-4


def test_an_index_near_a_tie_has_no_bound_and_neither_has_what_it_leads_to() -> None:
    """The index of a computed blob: were it a fed one, both sides would see the very same tie."""
    net = parse_net(
        ARGMAX.replace("bottom: 'x'", "bottom: 'w'").replace(
            "layer { name: 'y'", "layer { name: 'w' type: 'TanH' bottom: 'x' top: 'w' } layer { name: 'y'"
        )
    )
    x = np.random.default_rng(3).standard_normal((1, 4, 1, 3)).astype(np.float32)
    x[0, 0], x[0, 1] = 1.5, 1.5 * (1 + 2.0**-20)
    _, rows = bounded(net, {}, {"x": x})
    assert rows["w"].bound < 1e-5
    assert rows["y"].bound == rows["z"].bound == math.inf


def test_labels_are_not_touched_by_the_probe() -> None:
    fed = {"data": np.ones((2, 5), np.float32), "label": np.float32([3, 1])}
    changed = perturbed(fed, {"label"}, seed=1)
    assert changed["label"].tolist() == [3, 1]
    moved = np.abs(changed["data"] - 1)
    assert 0 < moved.max() < 5 * PROBE


def test_a_blob_of_zeros_still_has_room_for_the_rounding_of_its_terms() -> None:
    net = parse_net(
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 5 } } } "
        "layer { name: 'y' type: 'Eltwise' bottom: 'x' bottom: 'x' top: 'y' eltwise_param { coeff: 0.1 coeff: -0.1 } }"
    )
    _, rows = bounded(net, {}, {"x": np.float32([[1, 2, 3, 4, 5]])})
    assert rows["y"].peak == 0
    assert 1e-8 < rows["y"].bound < 1e-5


@pytest.mark.parametrize("kind", ["ELU", "SeLu"])
def test_an_exponential_less_one_may_round_as_caffe_does_it(kind: str) -> None:
    """Near 0 nearly all of exp(x) is taken off, and what float32 lost of it is larger than the top's own rounding."""
    net = parse_net(INPUT + f"layer {{ name: 'y' type: '{kind}' bottom: 'data' top: 'y' }}")
    x = -np.abs(feeds()["data"]) * np.float32(1e-4)
    trace = run(net, None, {"data": x})
    p = net.layers[1].param.selu_param
    factor = np.float32(getattr(p, "lambda") * p.alpha if kind == "SeLu" else 1)
    for answer, ok in (
        (factor * (np.exp(x) - np.float32(1)), True),
        (factor * (np.exp(x) - np.float32(1.000001)), False),
    ):
        assert not np.array_equal(answer, trace.blobs["y"])
        (row,) = compare(trace, Answers({("y", "y"): answer}, {}), estimate(net, None, trace))[0]
        assert row.ok is ok


def test_a_softmax_that_saturates_may_turn_over_with_its_input() -> None:
    """The probe leaves a Softmax of far logits as it is; an error of theirs that is larger does not."""
    net = parse_net(
        "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 300 } } }"
        "layer { name: 'prob' type: 'Softmax' bottom: 'data' top: 'prob' }"
    )
    fed = {"data": (1e3 * np.random.default_rng(7).standard_normal((1, 300))).astype(np.float32)}
    trace = run(net, None, fed)
    assert run(net, None, perturbed(fed)).blobs["prob"].tolist() == trace.blobs["prob"].tolist()
    assert estimate(net, None, trace)["prob", "prob"] < 0.1
    assert estimate(net, None, trace, feed_errors={"data": np.full(300, 100.0)})["prob", "prob"] > 1


NORMALISED = {
    "MVN": "type: 'MVN'",
    "BatchNorm": "type: 'BatchNorm' batch_norm_param { use_global_stats: false }",
}


def normalised(kind: str, x: Array) -> tuple[Net, ArrayWeights, Trace]:
    """Each channel less its mean over its deviation."""
    dims = " ".join(f"dim: {d}" for d in x.shape)
    net = parse_net(
        f"layer {{ name: 'x' type: 'Input' top: 'x' input_param {{ shape {{ {dims} }} }} }} "
        f"layer {{ name: 'y' {NORMALISED[kind]} bottom: 'x' top: 'y' }}"
    )
    stored = [np.zeros(x.shape[1], np.float32)] * 2 + [np.ones(1, np.float32)]
    weights = ArrayWeights({"y": stored} if kind == "BatchNorm" else {})
    return net, weights, run(net, weights, {"x": x})


@pytest.mark.parametrize("kind", NORMALISED)
def test_of_few_values_near_each_other_the_mean_rounds_away_digits_that_the_bound_gives(kind: str) -> None:
    x = (1000 + np.random.default_rng(8).standard_normal((1, 4, 1, 3)) / 10).astype(np.float32)
    net, weights, trace = normalised(kind, x)
    # Term by term in float32, with the mean of the values in their own order and in the opposite one.
    for order in (slice(None), slice(None, None, -1)):
        total = np.zeros((1, 4, 1, 1), np.float32)
        for place in range(3)[order]:
            total += x[..., place : place + 1] * np.float32(1 / 3)
        centred = x - total
        eps = np.float32(1e-9 if kind == "MVN" else 0)
        root = np.sqrt((centred**2).mean(axis=3, keepdims=True) + np.float32(0 if kind == "MVN" else 1e-5)) + eps
        answer = centred / root
        assert np.abs(answer - trace.blobs["y"]).max() > 1e-4
        (row,) = compare(trace, Answers({("y", "y"): answer}, {}), estimate(net, weights, trace))[0]
        assert row.ok


@pytest.mark.parametrize("kind", NORMALISED)
def test_a_channel_of_zeros_does_not_loosen_the_bound_of_the_others(kind: str) -> None:
    x = np.random.default_rng(9).standard_normal((2, 5, 4, 3)).astype(np.float32)
    x[:, 2] = 0
    net, weights, trace = normalised(kind, x)
    answer = trace.blobs["y"] * np.float32(1.0001)
    (row,) = compare(trace, Answers({("y", "y"): answer}, {}), estimate(net, weights, trace))[0]
    assert not row.ok


def test_a_constant_channel_may_come_out_as_anything_a_normalised_row_can_hold() -> None:
    """Its mean is off by a rounding, which is all that is left, and eps is far below that."""
    x = np.full((1, 2, 1, 3), 1.7, np.float32)
    net, weights, trace = normalised("MVN", x)
    for answer, ok in ((np.ones((1, 2, 1, 3), np.float32), True), (np.full((1, 2, 1, 3), 3, np.float32), False)):
        (row,) = compare(trace, Answers({("y", "y"): answer}, {}), estimate(net, weights, trace))[0]
        assert row.ok is ok


def test_a_share_of_a_large_exponent_is_a_large_share_of_the_power() -> None:
    net = parse_net(
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 } } } "
        "layer { name: 'y' type: 'Exp' bottom: 'x' top: 'y' exp_param { base: 2 scale: 30 } }"
    )
    trace = run(net, None, {"x": np.float32([[4.0, -3.0]])})
    for share, ok in ((2.0**-19, True), (2.0**-12, False)):
        answer = trace.blobs["y"] * np.float32(1 + share)
        (row,) = compare(trace, Answers({("y", "y"): answer}, {}), estimate(net, None, trace))[0]
        assert row.ok is ok


def test_a_weighted_pool_whose_sum_cancels_rounds_as_the_sum_does() -> None:
    net = parse_net(
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 } } } "
        "layer { name: 'y' type: 'Pooling' bottom: 'x' top: 'y' pooling_param { pool: STOCHASTIC kernel_size: 2 } }"
    )
    near, far = (
        estimate(net, None, run(net, None, {"x": np.float32([[[[3, -3 + gap], [2, -2]]]])}))["y", "y"]
        for gap in (1e-3, 1.0)
    )
    assert 1e4 * far < near < math.inf


def test_a_blob_without_axes_moves_like_any_other() -> None:
    moved = motion_of(np.asarray(np.float32(3)), [np.asarray(np.float32(5)), np.asarray(np.float32(-1))])
    assert (moved.peak, moved.largest, moved.tame) == (3.0, 4.0, True)
