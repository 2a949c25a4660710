"""Preprocessing folded into conv1: exact inside, and at the border off by what `border_effect` says."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from prototxt.errors import RequestError
from tests.weights.layouts.porting_nets import Array, seeded_weights
from weights.layouts import Unit, layout, read, torchvision
from weights.layouts.preprocessing import border_effect, fold_preprocessing

torch = pytest.importorskip("torch")
MEAN = (103.939, 116.779, 123.68)
SCALE = 0.017
SIZE = (37, 30)


def images() -> Array:
    return np.random.default_rng(5).integers(0, 256, (2, 3, *SIZE)).astype(np.float32)


def preprocessed(rgb: Array) -> Array:
    """What Caffe's data layer makes of the pixels, in float64."""
    bgr = rgb[:, ::-1].astype(np.float64)
    return (SCALE * (bgr - np.reshape(MEAN, (3, 1, 1)))).astype(np.float32)


def conv1(depth: int, values: Array, *, folded: bool, padded: bool = False) -> Array:
    """conv1 with BatchNorm and Scale, N×64×H×W, in float64."""
    net = read(seeded_weights(depth))
    if folded:
        net = fold_preprocessing(net, order="rgb", mean=MEAN, scale=SCALE)
    model = torchvision.build(depth).double()
    state = {name: torch.from_numpy(np.array(array)) for name, array in layout("torchvision").to(net).items()}
    model.load_state_dict(state)
    if padded:  # the second time replaces the first
        torchvision.pad_with(torchvision.pad_with(model, [7.0]), MEAN[::-1])
    with torch.inference_mode():
        found: Array = model.bn1(model.conv1(torch.from_numpy(values.astype(np.float64)))).numpy()
    return found


@pytest.mark.parametrize("depth", [18, 50])
def test_folding_is_exact_inside_the_image(depth: int) -> None:
    expected = conv1(depth, preprocessed(images()), folded=False)
    found = conv1(depth, images(), folded=True)
    assert found.shape == (2, 64, 19, 15)
    inside = np.s_[:, :, 2:-2, 2:-1]  # of 30 columns the last window but one lies inside
    assert np.abs(found - expected)[inside].max() < 2e-6 * np.abs(expected).max()
    assert np.abs(found - expected).max() > 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("depth", [18, 50])
def test_the_border_is_off_by_what_is_said(depth: int) -> None:
    net = read(seeded_weights(depth))
    unit: Unit = next(iter(net.units))
    slope = net.units[unit]["scale"].wide() / np.sqrt(net.units[unit]["variance"].wide() + 1e-5)
    effect = border_effect(net, MEAN, SIZE, scale=SCALE) * slope[:, None, None]
    expected = conv1(depth, preprocessed(images()), folded=False)
    found = conv1(depth, images(), folded=True)
    assert np.abs(found - expected - effect).max() < 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize("depth", [18, 50])
def test_padding_with_the_mean_makes_the_border_exact(depth: int) -> None:
    expected = conv1(depth, preprocessed(images()), folded=False)
    found = conv1(depth, images(), folded=True, padded=True)
    assert np.abs(found - expected).max() < 2e-6 * np.abs(expected).max()


def test_the_border_effect_is_the_sum_over_what_lies_outside() -> None:
    """Worked with a loop over every place and every position of the kernel."""
    net = read(seeded_weights(18))
    weight = next(iter(net.units.values()))["weight"].wide()
    expected = np.zeros((64, 5, 4))
    for y, x, i, j in product(range(5), range(4), range(7), range(7)):
        row, column = 2 * y - 3 + i, 2 * x - 3 + j
        if not (0 <= row < 9 and 0 <= column < 8):
            expected[:, y, x] -= SCALE * weight[:, :, i, j] @ np.array(MEAN)
    assert np.allclose(border_effect(net, MEAN, (9, 8), scale=SCALE), expected, rtol=1e-12, atol=1e-12)


def test_three_rows_and_columns_are_the_border_at_224() -> None:
    effect = border_effect(read(seeded_weights(18)), MEAN, (224, 224))
    border = np.abs(effect).max(0) > 0
    assert border.shape == (112, 112)
    assert np.flatnonzero(border[50]).tolist() == np.flatnonzero(border[:, 50]).tolist() == [0, 1, 111]
    assert border.mean() == pytest.approx(1 - (109 / 112) ** 2)


def test_what_changes_nothing_keeps_the_bits() -> None:
    net = read(seeded_weights(18))
    before, after = (layout("torchvision").to(of) for of in (net, fold_preprocessing(net)))
    assert all(after[name].array().tobytes() == array.array().tobytes() for name, array in before.items())


def test_one_mean_value_stands_for_all_and_a_mean_of_one_pixel_for_itself() -> None:
    net = read(seeded_weights(18))

    def mean(of: Any) -> Array:
        folded: Array = layout("torchvision").to(fold_preprocessing(net, mean=of))["bn1.running_mean"].array()
        return folded

    assert np.array_equal(mean([7.0]), mean([7.0, 7.0, 7.0]))
    assert np.array_equal(mean(np.reshape(MEAN, (3, 1, 1))), mean(MEAN))
    assert not np.array_equal(mean([7.0]), mean(MEAN))


def test_what_cannot_be_folded_is_refused() -> None:
    net = read(seeded_weights(18))
    image = np.stack([np.full((4, 5), value) for value in MEAN])
    with pytest.raises(RequestError, match=r"a mean image cannot be folded .* its own are 103.939,116.779,123.68"):
        fold_preprocessing(net, mean=image)
    with pytest.raises(RequestError, match="2 mean values for the 3 channels of conv1"):
        fold_preprocessing(net, mean=[1, 2])
    with pytest.raises(RequestError, match="the mean is not finite"):
        fold_preprocessing(net, mean=[1, 2, float("nan")])
    with pytest.raises(RequestError, match=r"scale 0.0; expected a finite number other than 0"):
        fold_preprocessing(net, scale=0.0)
    with pytest.raises(RequestError, match="input order 'gbr'; expected bgr or rgb"):
        fold_preprocessing(net, order="gbr")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="an image of 0×7 has no border"):
        border_effect(net, MEAN, (0, 7))
