"""Shared statistics, channels without variance, and what recalibration refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from converter.layers import base
from converter.layers.base import TorchOps
from converter.node import Layer, Node
from converter.options import Options
from converter.recalibration.recalibrate import Recalibrated, recalibrate
from prototxt import Position
from prototxt.errors import CaffeModelError, RequestError
from tests.converter.recalibration.recalibration_nets import (
    RESIDUAL,
    Array,
    convolution,
    cut,
    input_of,
    layer,
    parsed,
    random_weights,
    residual_images,
    stored,
    with_one_batch,
)
from weights import ArrayWeights, Weights

SHARED = 'param { name: "m" } param { name: "v" } param { name: "f" }'
FRESH = [np.zeros(3), np.ones(3), np.ones(1)]
X = np.random.default_rng(5).standard_normal((7, 3, 2, 4)).astype(np.float32)


def one(params: str = "", kind: str = "BatchNorm") -> str:
    """A net of one normalisation."""
    return input_of("x", 7, 3, 2, 4) + layer("it", kind, "x", "out", params)


def refused(text: str, weights: Weights, images: Mapping[str, Array] | Array = X, **dialects: str) -> str:
    with pytest.raises(CaffeModelError) as caught:
        recalibrate(parsed(text, **dialects), weights, cut(images, 3))
    return str(caught.value)


# Sharing


def twins() -> Recalibrated:
    text = input_of("x", 7, 3, 2, 4) + input_of("y", 5, 3, 1, 6)
    text += layer("left", "BatchNorm", "x", "a", SHARED) + layer("right", "BatchNorm", "y", "b", SHARED)
    y = np.random.default_rng(6).standard_normal((7, 3, 1, 6)).astype(np.float32) * 5 + 30
    return recalibrate(parsed(text), ArrayWeights({"left": FRESH, "right": FRESH}), cut({"x": X, "y": y}, 3))


def test_twins_that_share_their_blobs_get_the_statistics_of_both_inputs_together() -> None:
    got = twins()
    y = np.random.default_rng(6).standard_normal((7, 3, 1, 6)).astype(np.float32) * 5 + 30
    both = np.concatenate([a.astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1) for a in (X, y)], axis=1)
    for name in ("left", "right"):
        mean, variance, _ = stored(got, name)
        assert mean.tolist() == both.mean(1).astype(np.float32).tolist()
        np.testing.assert_allclose(variance, both.var(1, ddof=1), rtol=1e-7)
    assert got.statistics["left"].layers == got.statistics["right"].layers == ("left", "right")
    assert got.statistics["left"].values == 7 * 8 + 7 * 6
    assert got.notes == ("layers 'left', 'right' share their statistics: of all their inputs",)


def test_a_shared_layer_waits_for_its_last_place() -> None:
    """`early` reads the image, `late` what bn made of it: both are measured in the second pass."""
    text = input_of("x", 7, 3, 2, 4) + layer("early", "BatchNorm", "x", "a", SHARED)
    text += layer("bn", "BatchNorm", "x", "b") + layer("relu", "ReLU", "b", "c")
    text += layer("late", "BatchNorm", "c", "d", SHARED)
    got = recalibrate(parsed(text), ArrayWeights({"early": FRESH, "bn": FRESH, "late": FRESH}), cut(X, 3))
    assert got.passes == 2
    wide = X.astype(np.float64)
    mean, variance = wide.mean((0, 2, 3), keepdims=True), wide.var((0, 2, 3), keepdims=True)
    rectified = np.maximum((wide - mean) / np.sqrt(variance + 1e-5), 0)
    both = np.concatenate([wide, rectified])
    np.testing.assert_allclose(got.statistics["late"].mean, both.mean((0, 2, 3)), atol=1e-7)
    np.testing.assert_allclose(got.statistics["early"].variance, both.var((0, 2, 3), ddof=1), rtol=1e-6)
    cached = recalibrate(
        parsed(text), ArrayWeights({"early": FRESH, "bn": FRESH, "late": FRESH}), cut(X, 3), cache_bytes=1 << 20
    )
    assert cached.statistics["late"].mean.tolist() == got.statistics["late"].mean.tolist()


def test_a_layer_that_normalises_its_own_output_again_is_refused() -> None:
    text = input_of("x", 7, 3, 2, 4) + layer("first", "BatchNorm", "x", "a", SHARED)
    text += layer("again", "BatchNorm", "a", "b", SHARED) + layer("behind", "BatchNorm", "b", "c")
    message = refused(text, ArrayWeights({"first": FRESH, "again": FRESH, "behind": FRESH}))
    column = text.index('layer { name: "first"') + 1
    start = f"net.prototxt:1:{column}: error: layer 'first' (BatchNorm): it shares its statistics with 'again', and"
    assert message.startswith(start)
    assert message.endswith("no pass over the images can measure them")


def test_two_that_wait_for_each_other_are_refused() -> None:
    other = SHARED.replace('"m"', '"m2"').replace('"v"', '"v2"')
    text = input_of("x", 7, 3, 2, 4)
    text += layer("a1", "BatchNorm", "x", "p", SHARED) + layer("b1", "BatchNorm", "p", "q", other)
    text += layer("b2", "BatchNorm", "x", "r", other) + layer("a2", "BatchNorm", "r", "s", SHARED)
    message = refused(text, ArrayWeights(dict.fromkeys(("a1", "b1", "b2", "a2"), FRESH)))
    assert "layer 'a1' (BatchNorm): it shares its statistics with 'a2'" in message


def test_sharing_the_mean_alone_is_refused() -> None:
    text = input_of("x", 7, 3, 2, 4) + layer("left", "BatchNorm", "x", "a", 'param { name: "m" }')
    text += layer("right", "BatchNorm", "x", "b", 'param { name: "m" }')
    message = refused(text, ArrayWeights({"left": FRESH, "right": FRESH}))
    assert "layer 'right' (BatchNorm): it shares some of its statistics with layer 'left'" in message


def test_sharing_a_mean_with_a_layer_of_another_kind_is_refused() -> None:
    text = input_of("x", 7, 3, 2, 4) + layer("bn", "BatchNorm", "x", "a", 'param { name: "m" }')
    text += layer("bias", "Bias", "a", "b", 'param { name: "m" } bias_param { axis: 1 }')
    message = refused(text, ArrayWeights({"bn": FRESH, "bias": [np.zeros(3)]}))
    assert "layer 'bn' (BatchNorm): it shares some of its statistics with layer 'bias'" in message


# Channels without variance


def test_a_constant_channel_has_variance_0_exactly_and_is_noted() -> None:
    x = X.copy()
    x[:, 1] = 0.1  # a sum of float32 tenths is no multiple of one, whatever it is summed in
    got = with_one_batch(parsed(one()), ArrayWeights({"it": FRESH}), x)
    mean, variance, _ = stored(got, "it")
    assert (mean[1], variance[1]) == (np.float32(0.1), 0)
    assert variance[0] > 0.1
    assert got.notes == ("layer 'it': 1 of 3 channels have variance 0 (the same value in all images)",)


def test_one_value_a_channel_is_noted() -> None:
    net = parsed(input_of("x", 1, 3) + layer("it", "BatchNorm", "x", "out"))
    got = recalibrate(net, ArrayWeights({"it": FRESH}), lambda: [{"x": np.ones((1, 3), np.float32)}])
    assert got.notes == ("layer 'it': 3 of 3 channels have variance 0 (there is one value a channel)",)


def test_a_constant_channel_with_eps_0_is_refused() -> None:
    x = X.copy()
    x[:, 2] = 4
    message = refused(one("batch_norm_param { eps: 0 }"), ArrayWeights({"it": FRESH}), x)
    assert "layer 'it' (BatchNorm): channel 2 of its input never varies, and eps is 0: it would divide by 0" in message


# Nets that cannot be recalibrated


def test_a_net_without_such_a_layer() -> None:
    text = input_of("x", 7, 3, 2, 4) + convolution("conv", "x", "out", 5)
    message = refused(text, ArrayWeights({"conv": [np.ones((5, 3, 1, 1))]}))
    assert message.startswith("net.prototxt: error: the net has no layer with stored statistics (BatchNorm, BN)")


def test_statistics_of_the_batch_are_refused_at_their_line() -> None:
    text = one("\nbatch_norm_param {\n use_global_stats: false }")
    message = refused(text, ArrayWeights({"it": FRESH}))
    assert message.startswith(
        "net.prototxt:3:2: error: layer 'it' (BatchNorm): use_global_stats: false has it normalise"
    )


def test_a_fork_that_keeps_no_moving_average_is_refused() -> None:
    blobs = [np.ones((1, 3, 1, 1))] * 4
    message = refused(one("\nbn_param { moving_average: false }", "BN"), ArrayWeights({"it": blobs}))
    assert message.startswith("net.prototxt:2:12: error: layer 'it' (BN): moving_average: false has it normalise")


def test_segnets_two_blobs_are_refused() -> None:
    message = refused(one("bn_param { bn_mode: LEARN }", "BN"), ArrayWeights({"it": [np.ones((1, 3, 1, 1))] * 2}))
    assert "layer 'it' (BN): its two blobs hold no statistics" in message


def test_folded_statistics_are_none() -> None:
    text = one("bn_param { bn_mode: INFERENCE }", "BN")
    message = refused(text, ArrayWeights({"it": [np.ones((1, 3, 1, 1))] * 2}), BN="segnet")
    assert "has no layer with stored statistics" in message


def test_a_plugins_own_statistics_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Owned(Layer):
        def torch(self, t: TorchOps, node: Node, *x: str) -> str:
            return f"{t.module('nn.BatchNorm2d', 3, state=_state())}({x[0]})"

    monkeypatch.setitem(base._REGISTRY, "Owned", Owned)  # and out of it again: other tests list what is there
    text = one() + layer("own", "Owned", "out", "owned")
    message = refused(text, ArrayWeights({"it": FRESH}))
    assert "layer 'own' (Owned): it keeps statistics in a form that only its plugin knows" in message


def test_an_input_without_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Nothing(Layer):
        def torch(self, t: TorchOps, node: Node, *x: str) -> str:
            return f"{x[0]}[:0]"

    monkeypatch.setitem(base._REGISTRY, "Nothing", Nothing)
    text = input_of("x", 7, 3, 2, 4) + layer("none", "Nothing", "x", "y")
    message = refused(text + layer("it", "BatchNorm", "y", "out"), ArrayWeights({"it": FRESH}))
    assert "layer 'it' (BatchNorm): its input is empty for all images: there is nothing to measure" in message


def _state() -> dict[str, Array]:
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    counted = {"num_batches_tracked": np.zeros((), np.int64)}
    return {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones, **counted}


# Images


def ask(batches: Iterable[Mapping[str, Array]], text: str = RESIDUAL) -> str:
    with pytest.raises(RequestError) as caught:
        recalibrate(parsed(text), random_weights(text), lambda: batches)
    return str(caught.value)


@pytest.mark.parametrize("batches", [[], [{"x": residual_images(0)}]])
def test_no_images(batches: list[Mapping[str, Array]]) -> None:
    assert ask(batches) == "error: there are no images; statistics need at least one"


def test_images_that_can_be_read_once_only() -> None:
    message = ask(iter([{"x": residual_images()}]))
    assert message == "error: pass 2 over the images gave 0, the first 11; each has to give the same"


@pytest.mark.parametrize("cache", [0, 1 << 30])
def test_other_batches_in_a_later_pass(cache: int) -> None:
    sizes = iter([3, 4, 3, 3])
    batches = lambda: cut(residual_images(), next(sizes))()  # noqa: E731
    if cache:  # the images are read once, so what later passes would give is not asked for
        assert recalibrate(parsed(RESIDUAL), random_weights(), batches, cache_bytes=cache).images == 11
        return
    with pytest.raises(RequestError, match="batch 1 of the images has 4 now, another number than before"):
        recalibrate(parsed(RESIDUAL), random_weights(), batches)


def test_images_of_other_inputs_and_shapes() -> None:
    x = residual_images()
    assert ask([{"data": x}]) == "error: the images are for data; the net's inputs are x"
    assert ask([{}]) == "error: the images are for none; the net's inputs are x"
    message = "error: images of 11×3×5×6 for input 'x', which is 2×3×6×5"
    assert ask([{"x": x.transpose(0, 1, 3, 2)}]) == message
    assert ask([{"x": x[0]}]) == "error: images of 3×6×5 for input 'x', which is 2×3×6×5"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_images_with_values_that_are_none(value: float) -> None:
    x = residual_images()
    x[7, 2, 3, 4] = value
    assert ask([{"x": x}]) == "error: images for input 'x' have values that are NaN or infinite"


def test_a_net_that_makes_nan_names_the_layer_that_reads_it() -> None:
    text = input_of("x", 7, 3, 2, 4) + layer("root", "Power", "x", "y", "power_param { power: 0.5 }")
    text += layer("it", "BatchNorm", "y", "out")
    x = np.abs(X)
    x[5, 0, 1, 2] = -4
    message = refused(text, ArrayWeights({"it": FRESH}), x)
    assert "layer 'it' (BatchNorm): its input has values that are NaN or infinite in batch 2 (images 4 to 6)" in message


def test_numbers_beyond_float32() -> None:
    x = X.copy()
    x[0, 0] = 3e38
    assert "layer 'it' (BatchNorm): its input's variance is" in refused(one(), ArrayWeights({"it": FRESH}), x)


def test_an_image_too_small_for_a_layer_names_it() -> None:
    text = input_of("x", 1, 3, 6, 5)
    text += layer("conv", "Convolution", "x", "y", "convolution_param { num_output: 2 kernel_size: 4 }")
    text += layer("it", "BatchNorm", "y", "out")
    options = Options(input_shapes={"x": ("N", 3, "H", "W")}, random_weights=1)
    recalibrate(parsed(text), None, lambda: [{"x": np.ones((2, 3, 4, 7), np.float32)}], options=options)
    with pytest.raises(RequestError, match=r"layer 'conv' \(Convolution\): PyTorch cannot run it on 2×3×3×7: "):
        recalibrate(parsed(text), None, lambda: [{"x": np.ones((2, 3, 3, 7), np.float32)}], options=options)
    with pytest.raises(RequestError, match="images of 2×3×0×7 for input 'x', which is N×3×H×W"):
        recalibrate(parsed(text), None, lambda: [{"x": np.ones((2, 3, 0, 7), np.float32)}], options=options)


# The rest of the request


def test_devices_and_precisions_that_are_not_there() -> None:
    for device in ("nonsense", "cuda:99", "meta device"):
        with pytest.raises(RequestError, match="cannot be used"):
            recalibrate(parsed(RESIDUAL), random_weights(), cut(residual_images(), 3), device=device)
    with pytest.raises(RequestError, match="precision 'float16'; expected float32 or float64"):
        recalibrate(parsed(RESIDUAL), random_weights(), cut(X, 3), precision="float16")  # type: ignore[arg-type]


def test_layers_that_the_outputs_do_not_need_are_left_and_noted() -> None:
    text = one() + layer("other", "BatchNorm", "x", "side")
    weights = ArrayWeights({"it": FRESH, "other": [np.full(3, 8), np.full(3, 9), np.ones(1)]})
    got = recalibrate(parsed(text), weights, cut(X, 3), options=Options(outputs=["out"]))
    assert list(got.statistics) == ["it"]
    assert got.notes == ("layer 'other' keeps its statistics: the net's outputs do not need it",)
    assert stored(got, "other")[0].tolist() == [8, 8, 8]


def test_what_is_shared_with_a_layer_that_is_not_needed_changes_there_too() -> None:
    text = one(SHARED) + layer("other", "BatchNorm", "x", "side", SHARED)
    weights = ArrayWeights({"it": FRESH, "other": FRESH})
    got = recalibrate(parsed(text), weights, cut(X, 3), options=Options(outputs=["out"]))
    assert [a.tolist() for a in stored(got, "other")] == [a.tolist() for a in stored(got, "it")]
    assert stored(got, "it")[0].tolist() == X.astype(np.float64).mean((0, 2, 3)).astype(np.float32).tolist()


def test_an_error_has_the_layers_place() -> None:
    text = one("batch_norm_param { eps: 0 }")
    with pytest.raises(RequestError) as caught:
        recalibrate(parsed(text), ArrayWeights({"it": FRESH}), cut(X * 0, 3))
    assert caught.value.position == Position("net.prototxt", 1, text.index('layer { name: "it"') + 1)
    assert (caught.value.layer, caught.value.layer_type) == ("it", "BatchNorm")
