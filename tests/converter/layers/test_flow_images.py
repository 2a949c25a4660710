"""FlowNet's lengths, means and crops by hand on both sides, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prototxt.errors import CaffeModelError, NetError
from tests.converter.layers.test_rarer_agreement import (
    answers,
    assert_both_refuse,
    layer,
    net_of,
    random,
    weights_of,
)
from tests.golden import GoldenCase, assert_parity, golden_cases
from verify import run

X = np.float32([[3, 0], [4, -2]]).reshape(1, 2, 1, 2)
COLUMNS = np.tile(np.float32([0, 100, 200, 300]), (1, 1, 4, 1))


def augmented(params: str, bottoms: str = "x") -> str:
    return layer("DataAugmentation", f"augmentation_param {{ {params} }}", bottoms)


def test_the_length_of_a_places_channels(tmp_path: Path) -> None:
    by_onnx, by_torch = answers(layer("ChannelNorm"), {"x": X}, tmp_path)
    for got in (by_onnx, by_torch, run(net_of(layer("ChannelNorm"), {"x": X}), None, {"x": X}).blobs):
        assert got["out"].shape == (1, 1, 1, 2)
        assert got["out"].ravel().tolist() == [5, 2]


MEANS = {
    "operation: ADD value: 1": [4, 1, 5, -1],
    "operation: SUBTRACT value: 1 value: 2": [2, -1, 2, -4],
    "operation: SUBTRACT value: 1 mean_scale: 4 input_scale: 2 output_scale: 0.5": [1, -2, 2, -4],
}


@pytest.mark.parametrize("params", MEANS)
def test_a_mean_between_its_scales(params: str, tmp_path: Path) -> None:
    text = layer("Mean", f"mean_param {{ {params} }}")
    by_onnx, by_torch = answers(text, {"x": X}, tmp_path)
    for got in (by_onnx, by_torch, run(net_of(text, {"x": X}), None, {"x": X}).blobs):
        assert got["out"].ravel().tolist() == MEANS[params]


def test_a_crop_of_the_whole_image_changes_its_end(tmp_path: Path) -> None:
    """The last place is 4 - 1.05 = 2.95, a crop of 3 begins half a pixel in, and 2 of 4 pixels are the middle ones."""
    for width, expected in ((4, [0, 100, 200, 295]), (3, [50, 150, 250]), (2, [100, 200])):
        text = augmented(f"crop_height: 4 crop_width: {width}")
        by_onnx, by_torch = answers(text, {"x": COLUMNS}, tmp_path)
        for got in (by_onnx, by_torch, run(net_of(text, {"x": COLUMNS}), None, {"x": COLUMNS}).blobs):
            np.testing.assert_allclose(got["out"][0, 0, 1], expected, rtol=1e-6)


def test_a_mean_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    text = augmented("recompute_mean: 10 mean_per_pixel: false")
    image, channel = random(1, 1, 2, 3, 3), np.float32([1, 2]).reshape(1, 2, 1, 1)
    for count in (9.0, 10.0):
        weights = weights_of(np.full((1, 1, 1, 1), count, np.float32), image, channel)
        if count < 10:
            with pytest.raises(CaffeModelError, match="its mean is of 9 iterations of recompute_mean 10"):
                answers(text, {"x": X}, tmp_path, weights)
            with pytest.raises(NetError, match="a mean that is not finished"):
                run(net_of(text, {"x": X}), weights, {"x": X})
            continue
        by_onnx, by_torch = answers(text, {"x": X}, tmp_path, weights)
        for got in (by_onnx, by_torch, run(net_of(text, {"x": X}), weights, {"x": X}).blobs):
            assert got["out"].ravel().tolist() == [2, -1, 2, -4]


def test_blobs_of_a_net_without_a_mean_are_not_looked_at(tmp_path: Path) -> None:
    weights = weights_of(np.zeros((1, 1, 1, 1), np.float32), random(1, 1, 2, 3, 3), random(2, 1, 2, 1, 1))
    by_onnx, by_torch = answers(augmented(""), {"x": X}, tmp_path, weights)
    for got in (by_onnx, by_torch, run(net_of(augmented(""), {"x": X}), weights, {"x": X}).blobs):
        assert (got["out"] == X).all()


@pytest.mark.parametrize(
    "case", golden_cases("channel_norm", "mean_of_two", "mean_added", "data_augmentation"), ids=str
)
def test_every_opset_gives_the_same(case: GoldenCase, tmp_path: Path) -> None:
    assert_parity(case, tmp_path, 13, 18, 22)


REFUSED = {
    layer("ChannelNorm", "", "flat"): ("a bottom is 2×3; expected 4 axes", "a bottom of 4 axes"),
    layer("Mean", "mean_param { operation: ADD file: 'mean.binaryproto' }"): ("the mean of a file", "from a file"),
    layer("Mean", "mean_param { value: 1 }"): ("no operation or no value", "no operation"),
    layer("Mean", "mean_param { operation: ADD value: 1 value: 2 value: 3 }"): ("no multiple of 3 values", "3 values"),
    augmented("crop_height: 3 crop_width: 2"): ("a crop of 3×2 does not fit the image, 1×2", "crops 3 of 1"),
    augmented("crop_height: 1 crop_width: 2 augment_during_test: true mirror { } zoom { }"): (
        "augment_during_test with mirror, zoom: images are changed at random",
        "changes images at random",
    ),
    augmented("mean: 1 mean_per_pixel: false"): (
        "1 mean, which the fork leaves out; expected 3 or none",
        "has 1 means",
    ),
    augmented("mean: 1 mean: 2 mean: 3 mean_per_pixel: false"): ("2 channels and 3 means", "2 channels and 3 means"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    feeds = {"flat": random(1, 2, 3)} if "flat" in text else {"x": X}
    assert_both_refuse(text, feeds, REFUSED[text])
