"""Correlations by hand on both sides, how large their tops are, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from tests.converter.layers.test_rarer_agreement import answers, assert_both_refuse, layer, net_of, random
from tests.golden import GoldenCase, assert_parity, golden_cases
from verify import run

X, Y = (np.float32(values).reshape(1, 1, 1, 3) for values in ([1, 2, 3], [10, 20, 40]))


def correlated(params: str, kind: str = "Correlation1D", bottoms: str = "x y") -> str:
    return layer(kind, f"correlation_param {{ {params} }}", bottoms)


ROWS = {
    # y shifted by -1, 0 and 1
    "pad: 1 kernel_size: 1 max_displacement: 1": [[0, 20, 60], [10, 40, 120], [20, 80, 0]],
    "pad: 1 kernel_size: 1 max_displacement: 1 single_direction: 1": [[10, 40, 120], [20, 80, 0]],
    # by -2, beyond the padding of 1, and -1
    "pad: 1 kernel_size: 1 max_displacement: 1 single_direction: -1": [[0, 0, 30], [0, 20, 60]],
    "pad: 1 kernel_size: 1 max_displacement: 1 correlation_type: SUBTRACT": [[1, 8, 17], [9, 18, 37], [19, 38, 3]],
    "kernel_size: 1 max_displacement: 1": [[20], [40], [80]],
    "pad: 2 kernel_size: 1 max_displacement: 2 stride_1: 2 stride_2: 2": [[0, 30], [10, 120], [40, 0]],
    "pad: 1 kernel_size: 1 max_displacement: 1 stride_2: 2 do_abs: true": [[10, 40, 120]],
}


@pytest.mark.parametrize("params", ROWS)
def test_a_row_beside_another(params: str, tmp_path: Path) -> None:
    text, feeds = correlated(params), {"x": X, "y": Y}
    by_onnx, by_torch = answers(text, feeds, tmp_path)
    for got in (by_onnx, by_torch, run(net_of(text, feeds), None, feeds).blobs):
        assert got["out"][0, :, 0].tolist() == ROWS[params]


def test_channels_go_through_columns_before_rows(tmp_path: Path) -> None:
    """FlowNet's: channel 5 of 9 is one column to the right, channel 7 one row down; means over two channels."""
    x, y = np.zeros((2, 1, 2, 4, 5), np.float32)
    x[0, :, 1, 2], y[0, :, 1, 3], y[0, 0, 2, 2] = [3, 1], [2, 4], 8
    text = correlated("pad: 1 kernel_size: 1 max_displacement: 1", "Correlation")
    feeds = {"x": x, "y": y}
    expected = np.zeros((1, 9, 4, 5), np.float32)
    expected[0, 5, 1, 2], expected[0, 7, 1, 2] = 5, 12
    by_onnx, by_torch = answers(text, feeds, tmp_path)
    for got in (by_onnx, by_torch, run(net_of(text, feeds), None, feeds).blobs):
        np.testing.assert_array_equal(got["out"], expected)


SIZES = {
    # FlowNetC's, at an eighth of 384×512
    "pad: 20 kernel_size: 1 max_displacement: 20 stride_1: 1 stride_2: 2": (441, 48, 64),
    "kernel_size: 3 max_displacement: 3 stride_1: 3": (49, 14, 19),
    "pad: 4 kernel_size: 5 max_displacement: 4 stride_1: 2 stride_2: 3": (9, 22, 30),
}


@pytest.mark.parametrize("params", SIZES)
def test_how_large_the_top_is(params: str) -> None:
    feeds = {"x": random(1, 1, 2, 48, 64), "y": random(2, 1, 2, 48, 64)}
    net = net_of(correlated(params, "Correlation"), feeds)
    shape = (1, *SIZES[params])
    assert prepare(net, None, Options()).graph.outputs[0].shape == shape
    assert run(net, None, feeds).blobs["out"].shape == shape


@pytest.mark.parametrize("case", golden_cases("correlation"), ids=str)
def test_every_opset_gives_the_same(case: GoldenCase, tmp_path: Path) -> None:
    assert_parity(case, tmp_path, 13, 18, 22)


REFUSED = {
    correlated("kernel_size: 2 max_displacement: 1"): ("kernel_size is 2; expected an odd one", "not odd"),
    correlated("max_displacement: 1"): ("kernel_size is 0; expected an odd one", "not odd"),
    correlated("kernel_size: 1"): ("max_displacement is missing", "no max_displacement"),
    correlated("kernel_size: 1 max_displacement: 1 stride_2: 0"): ("stride_2 is 0; expected at least 1", "stride of 0"),
    correlated("kernel_size: 1 max_displacement: 2"): ("displacements and kernel don't fit", "do not fit"),
    correlated("kernel_size: 1 max_displacement: 1 single_direction: 2"): ("expected -1, 0 or 1", "single_direction"),
    correlated("kernel_size: 1 max_displacement: 1 single_direction: -1"): (
        "pad 0 with displacements to -2, which read the row before",
        "reads beyond the padding",
    ),
    correlated("kernel_size: 1 max_displacement: 0", bottoms="x z"): ("bottoms differ in shape", "differ in shape"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    feeds = {"x": X, "z": random(1, 1, 1, 2, 3)} if '"z"' in text else {"x": X, "y": Y}
    assert_both_refuse(text, feeds, REFUSED[text])
