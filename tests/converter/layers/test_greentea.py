"""Nets of Greentea's fork: lists where other Caffes have one number, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from converter.api import convert, prepare
from converter.options import Options
from prototxt import format_net, load_net, parse_net
from prototxt.errors import CaffeModelError
from resnet_convert import upgrade
from tests.converter.layers.test_rarer_agreement import layer, net_of, random, refusal
from verify import run

FILM = random(1, 2, 3, 5, 7, 6)
IMAGE = random(2, 2, 3, 6, 7)


def pooling(text: str) -> str:
    return layer("Pooling", f"\npooling_param {{ {text} }}")


SPELLINGS = [
    "kernel_size: 2 kernel_size: 1 kernel_size: 3 stride: 1 stride: 2 stride: 1 dilation: 2",
    "kernel_size: [2, 1, 3] stride: [1, 2, 1] dilation: [2, 2, 2]",
    "kernel_size: 2, dilation: 2 # rows\n kernel_size: 1 stride: 1; stride: 2\n kernel_size: 3 stride: 1",
    "kernel_shape { dim: 2 dim: 1 dim: 3 } stride_shape { dim: 1 dim: 2 dim: 1 } dilation: 2 pad: 0",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_lists_are_read_in_every_spelling(text: str) -> None:
    net = net_of(pooling(text), {"x": FILM})
    y = run(net, None, {"x": FILM}).blobs["out"]
    expected = np.maximum(FILM[:, :, :-2, ::2], FILM[:, :, 2:, ::2])
    expected = np.maximum(np.maximum(expected[..., :-4], expected[..., 2:-2]), expected[..., 4:])
    assert (y == expected).all()
    assert prepare(net, None, Options()).graph.outputs[0].shape == y.shape


@pytest.mark.parametrize("text", [*SPELLINGS, "kernel_size: [2, 1, 3] stride: [1, 2, 1]"])
def test_lists_are_written_as_lists_which_the_fork_reads(text: str, tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text("input: 'x' input_shape { dim: [2, 3, 5, 7, 6] }" + pooling(text))
    written = [tmp_path / "upgraded.prototxt", tmp_path / "converted" / "deploy.prototxt"]
    upgrade(net, written[0])
    convert(net, None, to="caffe", output=tmp_path / "converted")
    expected = run(load_net(net), None, {"x": FILM}).blobs["out"]
    for file in written:
        section = file.read_text().split("pooling_param {")[1]
        numbers = re.findall(r"(\w+): (\d+)", section)
        assert [int(number) for name, number in numbers if name == "kernel_size"] == [2, 1, 3]
        assert {name for name, _ in numbers} <= {"kernel_size", "stride", "pad", "dilation"}
        assert (run(load_net(file), None, {"x": FILM}).blobs["out"] == expected).all()


def test_windows_of_volumes_stay_the_shapes_that_their_forks_read() -> None:
    text = layer("NdPooling", "pooling_param { kernel_shape { dim: 1 dim: 2 dim: 2 } }")
    assert "kernel_shape" in format_net(parse_net(text).message)


def test_the_old_form_of_layers_has_lists_too() -> None:
    text = (
        'layers { name: "it" type: POOLING bottom: "x" top: "out" pooling_param { kernel_size: [1, 2] dilation: 3 } }'
    )
    param = parse_net(text).layers[0].param.pooling_param
    assert list(param.kernel_shape.dim) == [1, 2]
    assert list(param.dilation) == [3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kernel_size: 2 kernel_size: 3", r":1:84: error: pooling_param.kernel_size is given twice, first on line 1"),
        ("stride: 2 kernel_size: 2 stride: 2", "pooling_param.stride is given twice, first on line 1"),
        ("kernel_size: [2, 3]", "pooling_param.kernel_size is a list; expected one value"),
        ("kernel_size: 2 kernel_size: a dilation: 1", "pooling_param.kernel_size is 'a'; expected a whole number"),
        ("stride_h: 2 stride_h: 3 dilation: 1", "pooling_param.stride_h is given twice"),
    ],
)
def test_without_dilation_or_with_other_than_numbers_it_stays_a_slip(text: str, message: str) -> None:
    one_line = pooling(text).replace("\n", " ")
    with pytest.raises(CaffeModelError, match=message.replace(":1:84: ", r":1:\d+: ")):
        parse_net(one_line, "net.prototxt")


REFUSED = {
    pooling("kernel_size: 2 kernel_size: 2 kernel_size: 2 dilation: 1"): "kernel has 3 numbers for 2 axes; expected 1",
    pooling("kernel_size: 2 dilation: 1 dilation: 1 dilation: 1"): "dilation has 3 numbers for 2 axes; expected 1 or 2",
    pooling("kernel_size: 2 dilation: 0"): "dilation is 0; expected at least 1",
    pooling("kernel_size: 2 stride_h: 2 dilation: 1"): "stride is 2×0; expected at least 1",
    pooling("kernel_h: 2 dilation: 1"): "kernel_size is 2×0; expected at least 1",
    pooling("dilation: 1"): "kernel_size is 0; expected at least 1",
    pooling("kernel_size: 2 kernel_h: 2 kernel_w: 2 dilation: 1"): "both kernel_size and kernel_h are given",
    pooling("kernel_size: 2 kernel_shape { dim: 2 } dilation: 1"): "both kernel_size and kernel_shape are given",
    pooling("kernel_size: 2 pad: 1 pad_w: 1 dilation: 1"): "both pad and pad_w are given",
    pooling("global_pooling: true kernel_size: 2 dilation: 1"): "both global_pooling and a kernel size are given",
    pooling("pool: STOCHASTIC kernel_size: 2 dilation: 2"): "pool STOCHASTIC over any axes; expected MAX or AVE",
    pooling("kernel_size: 2 axis: 2 dilation: 2"): "axis is 2; expected 1, the channels",
    pooling("kernel_size: 4 dilation: 3"): "a window of 10 does not fit the bottom 2×3×6×7",
    pooling("kernel_size: 1 pad: 3 dilation: 1"): "with pad 3 two windows would start behind 6 values",
    layer(
        "Pooling", "pooling_param { pool: AVE kernel_size: 2 dilation: 2 }", tops="out mask"
    ): "a second top with pool",
    layer(
        "MergeCrop", "mergecrop_param { forward: [true, true, true] }", "x x"
    ): "3 forward for 2 bottoms; expected one",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_the_fork_or_this_can_not_is_refused(text: str) -> None:
    assert REFUSED[text] in refusal(text, {"x": IMAGE})


def test_an_average_over_volumes_is_refused_as_the_fork_has_no_code_for_it() -> None:
    assert "pool AVE over 3 axes" in refusal(pooling("pool: AVE kernel_size: 2 dilation: 1"), {"x": FILM})


@pytest.mark.parametrize(
    ("other", "operation", "message"),
    [
        ((2, 3, 6, 6), "STACK", "axis 3 of the second bottom is 6; expected 7 or more"),
        ((2, 3, 6), "STACK", "bottoms differ in their number of axes"),
        ((1, 3, 6, 7), "STACK", "bottoms differ in batch"),
        ((2, 4, 6, 7), "ADD", "bottoms differ in batch or channels"),
    ],
)
def test_bottoms_that_do_not_go_together(other: tuple[int, ...], operation: str, message: str) -> None:
    text = layer("MergeCrop", f"mergecrop_param {{ operation: {operation} }}", "x b")
    assert message in refusal(text, {"x": IMAGE, "b": random(3, *other)})


def test_unlike_channels_want_the_batch() -> None:
    feeds = {"x": IMAGE, "b": random(3, 2, 4, 6, 7)}
    free = {"x": ("N", 3, 6, 7), "b": ("N", 4, 6, 7)}
    with pytest.raises(CaffeModelError, match=re.escape("with unlike channels their order follows the batch")):
        prepare(net_of(layer("MergeCrop", bottoms="x b"), feeds), None, Options(input_shapes=free))
    free["b"] = ("N", 3, 6, 7)
    feeds["b"] = random(3, 2, 3, 6, 7)
    graph = prepare(net_of(layer("MergeCrop", bottoms="x b"), feeds), None, Options(input_shapes=free)).graph
    assert tuple(map(str, graph.outputs[0].shape)) == ("N", "6", "6", "7")


def test_one_who_is_not_shown_gives_zeros() -> None:
    text = layer("MergeCrop", "mergecrop_param { forward: true forward: false }", "x b")
    feeds = {"x": IMAGE, "b": random(3, 2, 3, 8, 9)}
    y = run(net_of(text, feeds), None, feeds).blobs["out"]
    assert (y[:, :3] == IMAGE).all()
    assert not y[:, 3:].any()


def test_a_dim_of_none_is_refused() -> None:
    text = layer("MemoryData", "memory_data_param { dim: 1 dim: 0 }", "", "data")
    with pytest.raises(CaffeModelError, match="dim is 0; expected at least 1"):
        prepare(parse_net(text, "net.prototxt"), None, Options())
