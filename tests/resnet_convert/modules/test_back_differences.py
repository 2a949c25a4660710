"""`port --from MODULE`: what makes net and module give other numbers is named, with what mends it in the prototxt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

import resnet_convert
from converter.matching.caffe_advice import in_prototxt
from tests.resnet_convert.modules.nets import BARE, assert_same_numbers_back, conv, convolved, drawn, layer, net

pytestmark = pytest.mark.usefixtures("in_a_folder")


def pooled(phrase: str) -> list[str]:
    return [*BARE, layer("p", "Pooling", "c", phrase=phrase)]


def neighbours(phrase: str) -> list[str]:
    return [*BARE, layer("l", "LRN", "c", of="lrn_param", phrase=phrase)]


DIFFER: dict[str, tuple[list[str], Callable[[], nn.Module], str, list[str]]] = {
    "stride, padding, dilation": (
        [conv("c", "data", "num_output: 4 kernel_size: 3")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, (1, 2), 2)),
        "stride: 2 pad_h: 1 pad_w: 2 dilation: 2",
        [conv("c", "data", "num_output: 4 kernel_size: 3 stride: 2 pad_h: 1 pad_w: 2 dilation: 2")],
    ),
    "padding and rounding of a pooling": (
        pooled("kernel_size: 3 stride: 2"),
        lambda: convolved(nn.MaxPool2d(3, 2, 1)),
        "pad: 1",
        pooled("kernel_size: 3 stride: 2 pad: 1"),
    ),
    "method and rounding of a pooling": (
        pooled("kernel_size: 2 stride: 2"),
        lambda: convolved(nn.AvgPool2d(2)),
        "pool: AVE round_mode: FLOOR",
        pooled("pool: AVE kernel_size: 2 stride: 2 round_mode: FLOOR"),
    ),
    "rounding of a pooling that rounds down": (
        pooled("kernel_size: 2 stride: 2 round_mode: FLOOR"),
        lambda: convolved(nn.MaxPool2d(2, ceil_mode=True)),
        "round_mode: CEIL",
        pooled("kernel_size: 2 stride: 2"),
    ),
    "window of a pooling": (
        pooled("kernel_size: 3 stride: 1"),
        lambda: convolved(nn.MaxPool2d((3, 2), 1)),
        "kernel_h: 3 kernel_w: 2",
        pooled("kernel_h: 3 kernel_w: 2 stride: 1"),
    ),
    "a pooling of the whole map": (
        pooled("kernel_size: 7 stride: 1"),
        lambda: convolved(nn.AdaptiveAvgPool2d(1)),
        "pool: AVE global_pooling: true, without kernel_size",
        pooled("pool: AVE global_pooling: true"),
    ),
    "a bound": (
        [conv("c", "data"), layer("r", "ReLU", "c")],
        lambda: convolved(nn.ReLU6()),
        'type: "ReLU6"',
        [conv("c", "data"), layer("r", "ReLU6", "c")],
    ),
    "a slope": (
        [conv("c", "data"), layer("r", "ReLU", "c")],
        lambda: convolved(nn.LeakyReLU(0.1)),
        "negative_slope: 0.1",
        [conv("c", "data"), layer("r", "ReLU", "c", of="relu_param", phrase="negative_slope: 0.1")],
    ),
    "normalisation by neighbours": (
        neighbours("local_size: 5 alpha: 0.5"),
        lambda: convolved(nn.LocalResponseNorm(3, 0.25, k=2.0)),
        "local_size: 3 alpha: 0.25 k: 2",
        neighbours("local_size: 3 alpha: 0.25 k: 2"),
    ),
    "a bound that Caffe has no layer for": (
        [conv("c", "data"), layer("r", "ReLU", "c")],
        lambda: convolved(nn.Hardtanh(0, 3)),
        "",
        [],
    ),
    "padding that counts not": (
        pooled("pool: AVE kernel_size: 3 stride: 2 pad: 1"),
        lambda: convolved(nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
        "",
        [],
    ),
    "a layer at the end that only the module has": (
        BARE,
        lambda: convolved(nn.ReLU()),
        "",
        [],
    ),
    "a layer at the end that only the net has": (
        [conv("c", "data"), layer("r", "ReLU", "c")],
        convolved,
        "",
        [],
    ),
    "a softmax that only the module has": (
        BARE,
        lambda: convolved(nn.Softmax(1)),
        "",
        [],
    ),
}


@pytest.mark.parametrize("what", DIFFER)
def test_a_difference_of_settings_is_named_with_what_makes_it_none(what: str) -> None:
    layers, module, fields, mended = DIFFER[what]
    done = resnet_convert.port_from(net(*layers), None, drawn(module()))
    assert done.report is not None
    assert not done.report.ok
    (mismatch,) = done.mismatches
    assert in_prototxt(mismatch) == fields
    assert done.cause is not None
    assert done.cause.why is mismatch
    if mended:
        again = resnet_convert.port_from(net(*mended), None, done.module, output="o.caffemodel")
        assert again.mismatches == []
        assert again.report is not None
        assert again.report.ok, again.report.first_bad
        assert_same_numbers_back("o.caffemodel", again)
