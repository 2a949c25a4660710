"""`port --from MODULE`: what the net cannot hold is refused, or left out of the file when that is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest
from torch import nn

import resnet_convert
from prototxt.errors import ErrorGroup, NetError
from tests.resnet_convert.modules.nets import BARE, C3, NO_BIAS, conv, convolved, drawn, layer, net
from weights import open_weights

pytestmark = pytest.mark.usefixtures("in_a_folder")

REFUSED: dict[str, tuple[list[str], Callable[[], nn.Module], str]] = {
    "a bias": ([NO_BIAS], convolved, "Caffe's layer has no bias, the module's has"),
    "an eps above the variance where there is no Scale": (
        [conv("c", "data"), layer("n", "BatchNorm", "c", of="batch_norm_param", phrase="eps: 50")],
        lambda: convolved(nn.BatchNorm2d(4, affine=False)),
        "Caffe's n has no factor",
    ),
    "a factor of either sign": (
        [layer("n", "BatchNorm", "data"), conv("c", "n")],
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, **C3)),
        "Caffe's n has no factor",
    ),
    "another width": (
        [conv("c", "data", "num_output: 5 kernel_size: 3 pad: 1")],
        convolved,
        r"3 -> 5, 3×3; 0 \(Conv2d\) of Sequential in its place: 3 -> 4, 3×3",
    ),
    "a layer that the module lacks": (
        [conv("c", "data"), conv("d", "c", "num_output: 2 kernel_size: 1")],
        convolved,
        r"layer 'd' \(Convolution\): Sequential has nothing in its place",
    ),
    "a module that the net lacks": (
        BARE,
        lambda: convolved(nn.LayerNorm(9)),
        r"the Caffe net has nothing in its place \(1\.weight, 1\.bias\)",
    ),
    "weights that two layers share": (
        [
            layer("c", "Convolution", "data", phrase="num_output: 3 kernel_size: 1").replace(
                "top", 'param { name: "w" } param { name: "b" } top'
            ),
            layer("r", "ReLU", "c"),
            layer("d", "Convolution", "r", phrase="num_output: 3 kernel_size: 1").replace(
                "top", 'param { name: "w" } param { name: "b" } top'
            ),
        ],
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1)),
        r"Caffe has one c\.\w+ for this layer and for 0 \(Conv2d\); the module has two",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_net_cannot_hold_is_refused_and_nothing_written(what: str) -> None:
    layers, module, said = REFUSED[what]
    with pytest.raises((NetError, ErrorGroup), match=said):
        resnet_convert.port_from(net(*layers), None, drawn(module()), output="o.caffemodel")
    assert os.listdir() == ["net.prototxt"]


def test_with_force_what_cannot_be_ported_is_left_out_of_the_file() -> None:
    file = net(conv("c", "data"), conv("d", "c", "num_output: 5 kernel_size: 3"), conv("e", "d"))
    module = drawn(convolved(nn.Conv2d(4, 5, 1), nn.Conv2d(5, 4, **C3)))
    done = resnet_convert.port_from(file, None, module, output="o.caffemodel", force=True)
    assert re.fullmatch(
        r"net\.prototxt:3: error: layer 'd' \(Convolution\): 4 -> 5, 3×3; 1 .*: 4 -> 5, 1×1", *done.left
    )
    with open_weights("o.caffemodel") as weights:  # Caffe keeps what the net's fillers give
        assert [stored.name for stored in weights.layers] == ["data", "c", "e"]
    assert done.report is not None
    assert not done.report.ok
    assert done.report.first_bad is not None
    assert done.report.first_bad.layer == "d"
