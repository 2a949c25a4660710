"""What ICNetSubgraph and AUMaskBasedLand refuse, and the batch left free."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from tests.converter.layers.test_rarer_agreement import layer, net_of, random, refusal
from tests.golden import assert_close, run_onnx, run_torch
from tests.naive.base import Naive, cases

X = random(11, 2, 6, 5, 7)
MAPS = " ".join(f"t{i}" for i in range(13))
AU = "img_size: 9 spatial_ratio: 0.1 spatial_scale"

REFUSED = {
    layer("ICNetSubgraph"): (
        "1:1: error: layer 'it' (ICNetSubgraph): windows of 33 in steps of 33 don't fill 5; expected an image of 33×65"
    ),
    layer("AUMaskBasedLand", "\nau_mask_based_land_param { img_size: 0 }", tops=MAPS): (
        "2:28: error: layer 'it' (AUMaskBasedLand): img_size is 0; expected a number above 0"
    ),
    layer("AUMaskBasedLand", f"\nau_mask_based_land_param {{ {AU}: 0.01 }}", tops=MAPS): (
        "2:59: error: layer 'it' (AUMaskBasedLand): a map would be 0×0; expected 1×1 to 16383×16383"
    ),
    layer("AUMaskBasedLand", f"au_mask_based_land_param {{ {AU}: 1 }}", tops="a b"): (
        "1:1: error: layer 'it' (AUMaskBasedLand): 2 tops; expected 13"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_can_not_be_is_refused(text: str) -> None:
    line, _, rest = REFUSED[text].partition(":")
    assert refusal(text, {"x": X}) == f"net.prototxt:{int(line) + 1}:{rest}"


def test_landmarks_that_are_too_few_are_refused() -> None:
    text = layer("AUMaskBasedLand", f"au_mask_based_land_param {{ {AU}: 1 }}", tops=MAPS)
    message = refusal(text, {"x": np.zeros((2, 90), np.float32)})
    assert message.endswith("90 values an item; expected x and y of 46 landmarks or more")


@pytest.mark.parametrize("name", ["icnet_subgraph", "au_mask_based_land"])
def test_a_batch_of_any_size(name: str, tmp_path: Path) -> None:
    made: Naive = cases()[name]()
    shape = made.feeds["x"].shape
    net = net_of(made.text, dict(made.feeds))
    graph = prepare(net, None, Options(input_shapes={"x": ("N", *shape[1:])}, outputs=list(net.layers[-1].tops))).graph
    for results in (run_onnx(graph, made.feeds, tmp_path), run_torch(graph, made.feeds)):
        for (_, top), expected in made.answers.items():
            assert_close(results[top], np.asarray(expected, np.float32), top, 1e-4)
