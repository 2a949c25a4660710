"""What a deformable convolution refuses, ONNX's own operator for the second version, and its gradient."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.api import prepare
from converter.options import Options
from converter.targets.onnx_model import emit_onnx
from prototxt import load_net
from tests.converter.layers.test_rarer_agreement import layer, random, refusal
from tests.golden import GoldenCase, assert_parity, golden_cases
from weights import open_weights

FEEDS = {"x": random(1, 2, 4, 5, 6), "o": random(2, 2, 36, 5, 6)}


@pytest.mark.parametrize("case", golden_cases("modulated_deformable", "deformable"), ids=str)
def test_every_opset_gives_the_same(case: GoldenCase, tmp_path: Path) -> None:
    assert_parity(case, tmp_path, 13, 18, 19, 22)


def test_only_the_second_version_is_onnxs_own_operator() -> None:
    for case in golden_cases("modulated_deformable", "deformable"):
        assert case.weights is not None
        with open_weights(case.weights) as weights:
            graph = prepare(load_net(case.net), weights, Options()).graph
            ops = {node.op_type for node in emit_onnx(graph, opset=19).proto.graph.node}
        assert ("DeformConv" in ops) == str(case).startswith("modulated")


def deformed(fields: str) -> str:
    return layer("DeformableConvolution", f"deformable_convolution_param {{ {fields} }}", "x o")


REFUSED = {
    deformed("num_output: 4 kernel_size: 3 pad: 1 deformable_group: 1"): "36 channels; expected deformable_group 1",
    deformed("num_output: 4 kernel_size: 2 pad: 1"): "36 channels; expected",
    deformed("num_output: 4 kernel_size: 3 pad: 2"): "a top of 7×8 has more places than the offsets",
    deformed("num_output: 4 kernel_size: 3 pad: 1 group: 3"): "num_output is 4 and group 3",
    deformed("num_output: 4 kernel_size: 3 pad: 1 axis: 2"): "axis is 2",
    deformed("num_output: 4 kernel_size: 9"): "the kernel 9×9 does not fit the bottom 2×4×5×6",
    deformed("num_output: 4 kernel_size: 3 kernel_h: 3 kernel_w: 3"): "both kernel_size and kernel_h/kernel_w",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_its_fork_refuses_is_refused(text: str) -> None:
    assert REFUSED[text] in refusal(text, FEEDS)
