"""Statistics after training: by hand, against numpy, torch in training mode, and the interpreter in phase TRAIN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

import converter.recalibration.recalibrate as module
from converter.api import prepare
from converter.options import Options, Preprocessing
from converter.recalibration.moments import Moments
from converter.recalibration.recalibrate import Recalibrated, Shift, recalibrate, shift
from converter.recalibration.stepwise import full_float32
from converter.recalibration.stored import in_levels, stored_statistics
from converter.targets.torch_model import emit_torch, live_module
from prototxt import Net, load_net
from tests.converter.recalibration.recalibration_nets import (
    RESIDUAL,
    RESIDUAL_LEVELS,
    Array,
    as_passes_divide,
    convolution,
    cut,
    input_of,
    layer,
    names,
    parsed,
    random_weights,
    residual_images,
    stored,
    ulps,
    with_one_batch,
)
from tests.golden import run_torch
from verify import run
from weights import ArrayWeights, Weights, load_mean, open_weights

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"

TWO_LAYERS = (
    input_of("x", 3, 2, 1, 4)
    + layer("bn1", "BatchNorm", "x", "y", "batch_norm_param { eps: 1 }")
    + layer("scale1", "Scale", "y", "z", "scale_param { bias_term: true }")
    + layer("bn2", "BatchNorm", "z", "out", "batch_norm_param { eps: 1 }")
)
# Channel 0 holds 1 to 12: mean 13 / 2, variance (12² - 1) / 12. Channel 1 holds 0 and 2 in turn: mean 1, variance 1.
BY_HAND = np.stack([np.arange(1, 13).reshape(3, 1, 4), np.tile([0, 2], 6).reshape(3, 1, 4)], 1).astype(np.float32)
HAND_WEIGHTS = ArrayWeights(
    {
        "bn1": [np.array([50, 70]), np.array([20, 90]), np.array([10])],
        "scale1": [np.array([3, -3]), np.array([-2, 5])],
        "bn2": [np.array([50, 70]), np.array([20, 90]), np.array([10])],
    }
)


def test_two_layers_worked_by_hand() -> None:
    got = with_one_batch(parsed(TWO_LAYERS), HAND_WEIGHTS, BY_HAND)
    mean, variance, factor = stored(got, "bn1")
    assert mean.tolist() == [6.5, 1.0]
    assert variance.tolist() == [np.float32(143 / 11), np.float32(12 / 11)]  # 12 / 11 of what the pass divides by
    assert factor.tolist() == [1.0]
    # bn1 leaves mean 0 and variance v / (v + 1); Scale's factor 3 makes it 9 v / (v + 1), its summand is the mean.
    mean, variance, factor = stored(got, "bn2")
    assert mean == pytest.approx([-2.0, 5.0], abs=1e-6)
    assert variance == pytest.approx([9 * 143 / 155 * 12 / 11, 4.5 * 12 / 11], rel=1e-6)
    assert factor.tolist() == [1.0]
    assert [x.tolist() for x in stored(got, "scale1")] == [[3, -3], [-2, 5]]
    assert (got.images, got.passes, got.notes) == (3, 2, ())


def test_the_shift_is_worked_by_hand() -> None:
    got = with_one_batch(parsed(TWO_LAYERS), HAND_WEIGHTS, BY_HAND)
    # Stored were means 5 and 7, variances 2 and 9: deviations √3 and √10. The new ones are √(154 / 11) and √(23 / 11).
    first = shift(got)[0]
    assert first.layer == "bn1"
    assert first.mean == pytest.approx(6 / 10**0.5)  # 1.5 / √3 is less
    assert first.variance == pytest.approx(23 / 110)  # 4.78 times less; channel 0 has 154 / 33 = 4.67 times more


def test_a_layer_that_never_saw_a_batch_has_moved_from_mean_0() -> None:
    zeros = [np.zeros(2), np.zeros(2), np.zeros(1)]
    weights = ArrayWeights({"bn1": zeros, "scale1": [np.ones(2), np.zeros(2)], "bn2": zeros})
    assert shift(with_one_batch(parsed(TWO_LAYERS), weights, BY_HAND))[0] == Shift("bn1", 6.5, pytest.approx(154 / 11))


@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_pieces_of_any_size_give_the_two_pass_result(size: int) -> None:
    x = np.random.default_rng(0).standard_normal((50, 5, 3, 2)).astype(np.float32) + np.float32(4096)
    moments = Moments()
    for start in range(0, len(x), size):
        moments.add(torch.from_numpy(x[start : start + size]))
    wide = x.astype(np.float64)
    mean = wide.mean((0, 2, 3))
    variance = ((wide - mean[:, None, None]) ** 2).mean((0, 2, 3))
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-14)
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-11)
    assert moments.values == 50 * 3 * 2


def test_vectors_and_deep_blobs_are_measured_by_their_second_axis() -> None:
    for sizes in ((7, 3), (2, 3, 5), (2, 3, 4, 5, 6), (2, 3, 1, 4, 2, 5)):
        x = np.random.default_rng(1).standard_normal(sizes).astype(np.float32)
        net = parsed(input_of("x", *sizes) + layer("bn", "BatchNorm", "x", "out"))
        mean, variance, _ = stored(recalibrate(net, random_weights(_text_of(sizes)), cut(x, 2)), "bn")
        axes = tuple(axis for axis in range(len(sizes)) if axis != 1)
        assert ulps(mean, x.mean(axes, np.float64), 1.0) <= 1
        assert ulps(variance, x.astype(np.float64).var(axes, ddof=1)) <= 1


def _text_of(sizes: tuple[int, ...]) -> str:
    return input_of("x", *sizes) + layer("bn", "BatchNorm", "x", "out")


def test_a_blob_of_one_axis_has_one_channel() -> None:
    net = parsed(input_of("x", 5) + layer("bn", "BatchNorm", "x", "out"))
    weights = ArrayWeights({"bn": [np.zeros(1), np.ones(1), np.ones(1)]})
    mean, variance, _ = stored(recalibrate(net, weights, cut(np.array([0, 1, 2, 3, 4], np.float32), 2)), "bn")
    assert (mean.tolist(), variance.tolist()) == ([2.0], [2.5])


@pytest.mark.parametrize("cache", [0, 2000, 1 << 30])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_the_size_of_a_batch_does_not_matter(size: int, cache: int) -> None:
    net, weights, x = parsed(RESIDUAL), random_weights(), residual_images()
    expected = with_one_batch(net, weights, x)
    got = recalibrate(net, weights, cut(x, size), cache_bytes=cache)
    assert got.images == expected.images == 11
    for name in expected.statistics:
        mean, variance, _ = stored(got, name)
        assert ulps(mean, stored(expected, name)[0]) <= 1, name
        assert ulps(variance, stored(expected, name)[1]) <= 1, name


def test_float32_passes_differ_by_their_rounding_only() -> None:
    net, weights, x = parsed(RESIDUAL), random_weights(), residual_images()
    exact = recalibrate(net, weights, cut(x, 3))
    for size in (1, 11):
        got = recalibrate(net, weights, cut(x, size), precision="float32")
        for name, want in exact.statistics.items():
            largest = np.sqrt(want.mean**2 + want.variance)  # an error of the input is a share of that
            assert np.all(np.abs(got.statistics[name].mean - want.mean) < 1e-6 * largest)
            assert np.all(np.abs(got.statistics[name].variance - want.variance) < 4e-6 * largest * want.variance**0.5)
            assert not np.array_equal(got.statistics[name].mean, want.mean)


@pytest.mark.parametrize(("cache", "readings"), [(0, 4), (2000, 4), (1 << 30, 1)])
def test_what_is_cached_changes_no_bit_and_is_not_read_again(cache: int, readings: int) -> None:
    net, weights, x = parsed(RESIDUAL), random_weights(), residual_images()
    plain, calls = recalibrate(net, weights, cut(x, 3)), 0

    def counted() -> list[Mapping[str, Array]]:
        nonlocal calls
        calls += 1
        return list(cut(x, 3)())

    got = recalibrate(net, weights, counted, cache_bytes=cache)
    assert calls == readings
    for name in plain.statistics:
        assert [a.tobytes() for a in stored(got, name)] == [a.tobytes() for a in stored(plain, name)]


def training_statistics(net: Net, weights: Weights, x: Array) -> dict[str, npt.NDArray[np.float32]]:
    """What torch's own layers store after one training pass, by state_dict key: like Caffe's, divided by m - 1."""
    model = live_module(emit_torch(prepare(net, weights, Options(fold="none")).graph))
    for inner in model.modules():
        if isinstance(inner, torch.nn.modules.batchnorm._BatchNorm):
            inner.train()
            inner.momentum = None
            inner.reset_running_stats()
    with torch.no_grad():
        model(torch.from_numpy(x))
    return {key: value.numpy() for key, value in model.state_dict().items()}


def differences(got: Recalibrated, expected: Mapping[str, npt.NDArray[np.float32]]) -> float:
    """The largest difference to torch's statistics, means in units of the deviation, variances relative."""
    worst = 0.0
    for name, new in got.statistics.items():
        mean, variance = expected[f"{name}.running_mean"], expected[f"{name}.running_var"]
        moved = np.abs(new.mean - mean) / np.sqrt(variance)
        worst = max(worst, moved.max(), np.abs(new.variance / variance - 1).max())
    return worst


def test_torch_in_training_mode_gives_the_same() -> None:
    net, weights, x = parsed(RESIDUAL), random_weights(), residual_images()
    got = recalibrate(net, weights, cut(x, 3))
    assert differences(got, training_statistics(net, weights, x)) < 2e-6


def test_all_levels_at_once_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    net, weights, x = parsed(RESIDUAL), random_weights(), residual_images()
    monkeypatch.setattr(module, "in_levels", lambda graph, found: [list(found)])
    got = recalibrate(net, weights, cut(x, 3))
    assert got.passes == 1
    assert differences(got, training_statistics(net, weights, x)) > 0.1


def test_levels_in_reverse_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    net, weights, x = parsed(RESIDUAL), random_weights(), residual_images()
    monkeypatch.setattr(module, "in_levels", lambda graph, found: in_levels(graph, found)[::-1])
    assert differences(recalibrate(net, weights, cut(x, 3)), training_statistics(net, weights, x)) > 0.1


def test_passes_that_divide_by_the_stored_variance_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    net, weights, x = parsed(RESIDUAL), random_weights(), residual_images()
    biased = Moments.variance.fget
    assert biased is not None
    monkeypatch.setattr(Moments, "variance", property(lambda m: biased(m) * m.values / (m.values - 1)))
    assert differences(recalibrate(net, weights, cut(x, 3)), training_statistics(net, weights, x)) > 1e-3


def test_layers_that_do_not_depend_on_each_other_share_a_pass() -> None:
    graph = prepare(parsed(RESIDUAL), random_weights(), Options(fold="none")).graph
    assert names(in_levels(graph, stored_statistics(graph))) == RESIDUAL_LEVELS
    with open_weights(DIGITS / "digits_resnet.caffemodel") as weights:
        graph = prepare(load_net(DIGITS / "deploy.prototxt"), weights, Options(fold="none")).graph
        levels = names(in_levels(graph, stored_statistics(graph)))
    assert levels[:3] == [["bn_conv1"], ["bn2a_branch1", "bn2a_branch2a"], ["bn2a_branch2b"]]
    assert [len(level) for level in levels] == [1, 2, 1, 1, 1, 2, 1, 2, 1]


def test_the_interpreter_in_phase_train_gives_the_same_blobs() -> None:
    net, weights, x = parsed(RESIDUAL), random_weights(), residual_images()
    got = recalibrate(net, weights, cut(x, 3))
    expected = run(net, weights, {"x": x}, train=True).tops
    found = run(net, as_passes_divide(got.weights, got), {"x": x}).tops
    before = run(net, weights, {"x": x}).tops
    for key, want in expected.items():
        np.testing.assert_allclose(found[key], want, rtol=0, atol=1e-5 * np.abs(want).max(), err_msg=str(key))
    last = "bn_fc", "fc_normalised"
    assert np.abs(before[last] - expected[last]).max() > 0.1


@pytest.mark.parametrize("case", ["dense_block", "dense_block_bottleneck"])
@pytest.mark.parametrize("factor", [0.0, 4.0])
def test_the_layers_inside_a_dense_block(case: str, factor: float) -> None:
    transitions, bottleneck = 3, case.endswith("bottleneck")
    params = f"numTransition: {transitions} growthRate: 2 use_BC: {str(bottleneck).lower()}"
    text = input_of("x", 2, 5, 4, 6) + layer("it", "DenseBlock", "x", "y", f"denseblock_param {{ {params} }}")
    net = parsed(text + layer("bn", "BatchNorm", "y", "out"))
    made = random_weights(text + layer("bn", "BatchNorm", "y", "out"))
    blobs = {one.name: [blob.array() for blob in one.blobs] for one in made.layers}
    blobs["it"][-1] = np.array([factor], np.float32)
    weights = ArrayWeights(blobs)
    x = np.random.default_rng(3).standard_normal((9, 5, 4, 6)).astype(np.float32)
    got = recalibrate(net, weights, cut(x, 2))
    inner = ["inner_norms"] if bottleneck else []
    order = [f"it/{kind}.{i}" for i in range(transitions) for kind in ("norms", *inner)]
    assert list(got.statistics) == [*order, "bn"]
    assert got.passes == len(order) + 1
    expected = training_statistics(net, weights, x)
    inside = 9 * 4 * 6  # values a channel; torch divides by one less, a DenseBlock does not
    expected = {
        key.replace("it.", "it/", 1): value * (inside - 1) / inside if key[:3] == "it." and "var" in key else value
        for key, value in expected.items()
    }
    assert differences(got, expected) < 2e-6
    assert stored(got, "it")[-1].tolist() == [1.0]
    again = prepare(net, got.weights, Options(fold="none", outputs=["out"])).graph
    assert np.abs(run_torch(again, {"x": x})["out"].var((0, 2, 3), ddof=1) - 1).max() < 1e-4


def images() -> Array:
    """The 500 digits, N×1×16×16, 0 to 255."""
    files = [line.split()[0] for line in (DIGITS / "val.txt").read_text().splitlines()]
    pixels = [cv2.imread(str(DIGITS / "val" / name), cv2.IMREAD_GRAYSCALE) for name in files]
    return np.stack(pixels)[:, None].astype(np.float32)


def test_digits_are_told_apart_as_before() -> None:
    net, mean = load_net(DIGITS / "deploy.prototxt"), load_mean(DIGITS / "mean.binaryproto")
    baked = Options(preprocessing=Preprocessing(mean))
    with open_weights(DIGITS / "digits_resnet.caffemodel") as weights:
        got = recalibrate(net, weights, cut({"data": images()}, 64), options=baked)
        before = run_torch(prepare(net, weights, baked).graph, {"data": images()})["prob"].argmax(1)
        after = run_torch(prepare(net, got.weights, baked).graph, {"data": images()})["prob"].argmax(1)
    assert (before == after).mean() >= 0.98
    assert got.passes == 9
    moved = shift(got)
    assert len(moved) == 12
    # These are other images than those that the moving averages saw: near the stored values, yet not equal to them.
    assert max(one.mean for one in moved) < 0.1
    assert all(0.8 < one.variance < 1.25 for one in moved)
    assert min(one.mean for one in moved) > 0


def test_baked_preprocessing_is_part_of_the_net() -> None:
    net, weights, x = parsed(RESIDUAL), random_weights(), residual_images()
    baked = Preprocessing(np.array([-5, 0.5, 100], np.float32), 0.25)
    by_hand = with_one_batch(net, weights, baked.apply(x))
    got = recalibrate(net, weights, cut(x, 4), options=Options(preprocessing=baked))
    for name, want in by_hand.statistics.items():
        np.testing.assert_allclose(got.statistics[name].variance, want.variance, rtol=1e-5)


def test_the_steps_run_what_the_whole_module_runs() -> None:
    """A layer behind the last normalisation is never run, so the input of the last one shows all that went before."""
    net, weights, x = parsed(RESIDUAL), random_weights(), residual_images()
    got = recalibrate(net, weights, cut(x, 11), precision="float32")
    used = as_passes_divide(got.weights, got)
    fc = run_torch(prepare(net, used, Options(fold="none", outputs=["fc"])).graph, {"x": x})["fc"]
    np.testing.assert_allclose(got.statistics["bn_fc"].mean, fc.astype(np.float64).mean(0), rtol=0, atol=2e-6)


def test_random_weights_and_free_sizes() -> None:
    net = parsed(input_of("x", 1, 3, 6, 5) + convolution("conv", "x", "y", 4, 3) + layer("bn", "BatchNorm", "y", "z"))
    options = Options(random_weights=7, input_shapes={"x": ("N", 3, "H", "W")})
    wide, tall = np.ones((2, 3, 4, 9), np.float32), np.ones((5, 3, 7, 2), np.float32)
    got = recalibrate(net, None, lambda: [{"x": wide}, {"x": tall}], options=options)
    assert got.statistics["bn"].values == 2 * 4 * 9 + 5 * 7 * 2
    assert len(stored(got, "conv")) == 1


def test_progress_is_told_after_each_batch() -> None:
    told: list[tuple[int, int, int]] = []
    recalibrate(parsed(TWO_LAYERS), HAND_WEIGHTS, cut(BY_HAND, 2), progress=lambda *numbers: told.append(numbers))
    assert told == [(1, 2, 2), (1, 2, 3), (2, 2, 2), (2, 2, 3)]


def test_tf32_is_off_while_it_runs_and_as_it_was_afterwards() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    assert before[0]
    with full_float32():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
