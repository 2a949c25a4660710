"""The bounds of layers that say themselves what they round: wide enough for float32, too narrow for a mistake."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prototxt import Net, parse_net
from tests.naive.deformable import first_version, second_version
from verify.bounds import estimate
from verify.comparison import compare
from verify.engines.engine import Answers, Array
from verify.interpreter import run
from weights import ArrayWeights

F = np.float32
RNG = np.random.default_rng(21)
X, OFFSET, FACTOR = (RNG.standard_normal((1, n, 7, 6)).astype(F) for n in (5, 12, 6))
WEIGHT, BIAS = RNG.standard_normal((4, 5, 2, 3)).astype(F), RNG.standard_normal(4).astype(F)
VERSIONS = {"DeformableConvolution": first_version, "ModulatedDeformableConvolution": second_version}


def fed(**sizes: tuple[int, ...]) -> str:
    return "".join(
        f"layer {{ name: '{name}' type: 'Input' top: '{name}' input_param {{ shape {{ "
        + " ".join(f"dim: {d}" for d in shape)
        + " } } } "
        for name, shape in sizes.items()
    )


def deformable(kind: str) -> tuple[Net, dict[str, Array]]:
    feeds = {"x": X, "o": OFFSET} | ({"f": FACTOR} if kind.startswith("Modulated") else {})
    section = kind.replace("Deformable", "_deformable_").replace("Convolution", "convolution_param").lower().lstrip("_")
    bottoms = " ".join(f"bottom: '{name}'" for name in feeds)
    text = f"layer {{ name: 'y' type: '{kind}' {bottoms} top: 'y' "
    text += f"{section} {{ num_output: 4 kernel_h: 2 kernel_w: 3 }} }}"
    return parse_net(fed(**{name: feed.shape for name, feed in feeds.items()}) + text), feeds


def plainly(kind: str) -> Array:
    """Term by term in float32, the last first, and a place from its offset on."""
    total = np.zeros((1, 4, 6, 4), F)
    memory, factors = OFFSET.ravel(), FACTOR.ravel()
    for o, row, column in np.ndindex(4, 6, 4):
        for c, r, s in reversed(list(np.ndindex(5, 2, 3))):
            tap = r * 3 + s
            h, w = (memory[((2 * tap + axis) * 6 + row) * 4 + column] + F((r, s)[axis]) for axis in (0, 1))
            value = F(VERSIONS[kind](X[0, c], float(h + F(row)), float(w + F(column))))
            if kind.startswith("Modulated"):
                value *= factors[(tap * 6 + row) * 4 + column]
            total[0, o, row, column] += value * WEIGHT[o, c, r, s]
    return total + BIAS[:, None, None]


@pytest.mark.parametrize("kind", VERSIONS)
def test_a_deformable_convolution_may_be_summed_in_float32_and_uses_some_of_its_bound(kind: str) -> None:
    net, feeds = deformable(kind)
    source = ArrayWeights({"y": [WEIGHT, BIAS]})
    trace = run(net, source, feeds)
    (row,) = compare(trace, Answers({("y", "y"): plainly(kind)}, {}), estimate(net, source, trace))[0]
    assert row.ok
    assert row.max_abs / row.bound > 0.002


@pytest.mark.parametrize("kind", VERSIONS)
@pytest.mark.parametrize("index", [0, 1])
def test_one_value_of_a_deformable_convolution_off_by_a_thousandth_is_found(kind: str, index: int) -> None:
    """Not the largest one, whose mistake would be easier to see."""
    net, feeds = deformable(kind)
    learned = [WEIGHT.copy(), BIAS.copy()]
    place = np.argsort(np.abs(learned[index]), axis=None)[-2]
    right = ArrayWeights({"y": [WEIGHT, BIAS]})
    trace = run(net, right, feeds)
    learned[index].ravel()[place] *= F(1.001)
    wrong = run(net, ArrayWeights({"y": learned}), feeds)
    (row,) = compare(trace, Answers(wrong.tops, {}), estimate(net, right, trace))[0]
    assert not row.ok


@pytest.mark.parametrize("kind", VERSIONS)
def test_places_far_out_do_not_loosen_the_bound_of_a_deformable_convolution(kind: str) -> None:
    """Offsets of a thousand pixels read nothing; no more is rounded for them."""
    net, feeds = deformable(kind)
    source = ArrayWeights({"y": [WEIGHT, BIAS]})
    near = estimate(net, source, run(net, source, feeds))["y", "y"]
    far = {**feeds, "o": feeds["o"].copy()}
    far["o"][:, 3] = 1000
    assert estimate(net, source, run(net, source, far))["y", "y"] <= near


ITEMS = {
    "InstanceNorm": ("type: 'InstanceNorm'", (2, 3, 1, 2), 1e-4),
    "GroupNorm": ("type: 'GroupNorm' group_norm_param { group_num: 2 eps: 1e-5 }", (2, 4, 1, 1), 1e-5),
    "LayerNorm": ("type: 'LayerNorm' layer_norm_param { eps: 1e-5 elementwise_affine: false }", (3, 2), 1e-5),
}


@pytest.mark.parametrize("kind", ITEMS)
def test_two_values_near_each_other_lose_the_digits_of_their_mean_and_are_given_them(kind: str) -> None:
    """They come out as about 1 and -1 wherever they lie, so that the probe sees nothing of it."""
    text, shape, eps = ITEMS[kind]
    x = (F(100) + RNG.uniform(0.5, 1, shape)).astype(F)
    net = parse_net(fed(x=shape) + f"layer {{ name: 'y' {text} bottom: 'x' top: 'y' }}")
    trace = run(net, None, {"x": x})
    lanes = x.reshape(-1, 2)
    centred = lanes - (lanes[:, :1] * F(1 / 3) + lanes[:, 1:] * F(1 / 3)) * F(1.5)
    answer = (centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + F(eps))).reshape(shape)
    bounds = estimate(net, None, trace)
    for values, ok in ((answer, True), (answer * F(1.01), False)):
        (row,) = compare(trace, Answers({("y", "y"): values}, {}), bounds)[0]
        assert row.ok is ok
    assert np.abs(answer - trace.blobs["y"]).max() > 9 * math.sqrt(2) * 2.0**-24 * np.abs(answer).max()


def test_a_channel_of_zeros_does_not_loosen_the_bound_of_an_instance_norms_others() -> None:
    x = RNG.standard_normal((2, 5, 4, 3)).astype(F)
    x[:, 2] = 0
    net = parse_net(fed(x=x.shape) + "layer { name: 'y' type: 'InstanceNorm' bottom: 'x' top: 'y' }")
    trace = run(net, None, {"x": x})
    answer = trace.blobs["y"] * F(1.0001)
    (row,) = compare(trace, Answers({("y", "y"): answer}, {}), estimate(net, None, trace))[0]
    assert not row.ok


@pytest.mark.parametrize(("eps", "bounded"), [(1e-2, True), (1e-12, False)])
def test_a_constant_row_has_a_slope_where_eps_is_large_beside_what_may_move_it(eps: float, bounded: bool) -> None:
    text = "layer { name: 'p' type: 'Power' bottom: 'x' top: 'p' power_param { scale: 1.1 } } "
    text += "layer { name: 'y' type: 'LayerNorm' bottom: 'p' top: 'y' "
    text += f"layer_norm_param {{ eps: {eps} elementwise_affine: false }} }}"
    net = parse_net(fed(x=(2, 3)) + text)
    trace = run(net, None, {"x": np.full((2, 3), 1.7, F)})
    assert (estimate(net, None, trace)["y", "y"] < 1e-3) is bounded


@pytest.mark.parametrize("function", ["hard_tanh", "relu"])
def test_a_quant_without_steps_is_bound_by_what_it_reads(function: str) -> None:
    x = X / 4  # nowhere at an end of hard_tanh's
    text = "layer { name: 't' type: 'TanH' bottom: 'x' top: 't' } layer { name: 'y' type: 'Quant' bottom: 't' top: 'y' "
    net = parse_net(fed(x=x.shape) + text + f"quant_param {{ forward_func: '{function}' negative_slope: 0.25 }} }}")
    trace = run(net, None, {"x": x})
    made = {key: trace.tops[key].copy() for key in (("t", "t"), ("y", "y"))}
    made["t", "t"][0, 0, 0, 0] *= F(1.001)
    made["y", "y"][0, 0, 0, 0] *= F(1.001)
    rows = compare(trace, Answers(made, {}), estimate(net, None, trace))[0]
    assert [row.ok for row in rows if row.top != "x"] == [False, False]
