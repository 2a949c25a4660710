"""Where AutoCrop cuts, worked out by hand for both sides, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.api import prepare
from converter.layers.cropping import AutoCrop
from converter.options import Options
from prototxt.errors import NetError
from tests.converter.layers.test_rarer_agreement import net_of, random, refusal
from tests.golden import assert_close, run_onnx, run_torch
from verify import run

FILLED = "weight_filler { type: 'xavier' }"
X = random(1, 2, 3, 12, 17)


def _layer(kind: str, bottoms: str, top: str, params: str = "") -> str:
    reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{top}" type: "{kind}" {reads} top: "{top}" {params} }}\n'


def _convolution(bottom: str, top: str, params: str, kind: str = "Convolution") -> str:
    return _layer(kind, bottom, top, f"convolution_param {{ {params} num_output: 2 {FILLED} }}")


def _pooling(bottom: str, top: str, params: str = "kernel_size: 2 stride: 2") -> str:
    return _layer("Pooling", bottom, top, f"pooling_param {{ {params} }}")


def _up(bottom: str, params: str = "kernel_size: 4 stride: 2") -> str:
    return _convolution(bottom, "up", params, "Deconvolution")


def _in_place(kind: str, blob: str) -> str:
    return f'layer {{ name: "{kind}" type: "{kind}" bottom: "{blob}" top: "{blob}" }}\n'


IT = _layer("AutoCrop", "up x", "out")
CUTS = {
    "0.5 - 1.5, as in HED": (_pooling("x", "a") + _up("a") + IT, (1, 1)),
    "0.5 + 2 0.5 - 3.5": (_pooling("x", "a") + _pooling("a", "b") + _up("b", "kernel_size: 8 stride: 4") + IT, (2, 2)),
    "(1 - 10) + 0.5 - 1.5, as in FCN": (
        _convolution("x", "a", "kernel_size: 3 pad: 10") + _pooling("a", "b") + _up("b") + IT, (10, 10)
    ),
    "0.5 - (1.5 - 1)": (_pooling("x", "a") + _up("a", "kernel_size: 4 stride: 2 pad: 1") + IT, (0, 0)),
    "rows 0.5 - 2.5, columns 0.5 - 1.5": (
        _pooling("x", "a") + _up("a", "kernel_h: 6 kernel_w: 4 stride: 2") + IT, (2, 1)
    ),
    "rows 0.5 - 3.5, columns (1 - 1) - 2": (
        _pooling("x", "a", "kernel_h: 2 kernel_w: 3 stride: 2 pad_h: 0 pad_w: 1")
        + _up("a", "kernel_size: 8 kernel_size: 5 stride: 2") + IT, (3, 2)
    ),
    "(2 - 0) - 1.5 - 1.5, dilated": (
        _convolution("x", "a", "kernel_size: 2 dilation: 3 stride: 2")
        + _up("a", "kernel_size: 8 stride: 2") + IT, (2, 2)
    ),
    "(2 - 0) - 1.5 - 1.5, with holes": (
        _convolution("x", "a", "kernel_size: 2 hole: 3 stride: 2")
        + _up("a", "kernel_size: 8 stride: 2") + IT, (2, 2)
    ),
    "rows (1 - 0) - 3, columns (2 - 0) - 3, with holes": (
        _convolution("x", "a", "kernel_size: 3 hole_h: 1 hole_w: 2 stride: 2")
        + _up("a", "kernel_size: 7 stride: 2") + IT, (2, 1)
    ),
    "strides of 2 and 3": (
        _pooling("x", "a", "kernel_size: 2 stride_h: 2 stride_w: 3")
        + _up("a", "kernel_size: 6 stride_h: 2 stride_w: 3") + IT, (2, 2)
    ),
    "0.5 - 1.5 - 1 of what a convolution left": (
        _pooling("x", "a") + _up("a") + _convolution("x", "like", "kernel_size: 3")
        + _layer("AutoCrop", "up like", "out"), (2, 2)
    ),
    "-1 + 1 - 1 through another": (
        _pooling("x", "a") + _up("a") + _layer("AutoCrop", "up x", "cut") + _convolution("x", "like", "kernel_size: 3")
        + _layer("AutoCrop", "cut like", "out"), (1, 1)
    ),
    "what works in place is passed over": (
        _convolution("x", "a", "kernel_size: 3 pad: 1") + _in_place("BatchNorm", "a") + _in_place("ReLU", "a")
        + _layer("Sigmoid", "a", "b") + _pooling("b", "c") + _layer("Eltwise", "c c", "d") + _up("d")
        + _layer("AutoCrop", "up a", "out"), (1, 1)
    ),
    "from the blob where the ways part": (
        _convolution("x", "a", "kernel_size: 2 stride: 2") + _pooling("a", "b") + _up("b")
        + _layer("AutoCrop", "up a", "out"), (1, 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CUTS)
def test_it_cuts_where_the_second_bottom_begins(case: str, tmp_path: Path) -> None:
    text, (row, column) = CUTS[case]
    net = net_of(text, {"x": X})
    prepared = prepare(net, None, Options(random_weights=3, outputs=["out", net.layers[-1].bottoms[0]]))
    (cut,) = (node.layer for node in prepared.graph.nodes if node.name == "out")
    assert cut == AutoCrop(2, (row, column))
    for answers in (run_onnx(prepared.graph, {"x": X}, tmp_path), run_torch(prepared.graph, {"x": X})):
        rows, columns = answers["out"].shape[2:]
        whole = answers[net.layers[-1].bottoms[0]]
        assert_close(answers["out"], whole[:, :, row : row + rows, column : column + columns], case)
    blobs = run(net, prepared.weights, {"x": X}).blobs
    whole, like = (blobs[name] for name in net.layers[-1].bottoms)
    rows, columns = like.shape[2:]
    assert (blobs["out"] == whole[:, :, row : row + rows, column : column + columns]).all()


REFUSED = {
    _convolution("y", "up", "kernel_size: 1") + IT: (
        "'up' and 'x' come from no common blob", "no blob in common"
    ),
    _pooling("x", "up") + IT: ("rows of 'up' are 2 times as far apart as those of 'x'", "differ in distance"),
    _pooling("x", "a") + _up("a", "kernel_size: 5 stride: 2") + IT: ("3/2 rows would be cut off", "3/2 pixels"),
    _convolution("x", "up", "kernel_size: 3") + IT: ("-1 rows would be cut off", "-1 pixels"),
    _pooling("x", "up", "global_pooling: true") + IT: ("layer 'up' (Pooling) between its bottoms", "pools all"),
    _layer("Scale", "x", "up", "scale_param { }") + IT: ("layer 'up' (Scale) between its bottoms", "does not say"),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_lies_not_pixel_by_pixel_on_the_other_is_refused(text: str) -> None:
    ours, theirs = REFUSED[text]
    feeds = {name: X for name in ("x", "y") if f'bottom: "{name}"' in text}
    assert ours in refusal(text, feeds)
    weights = prepare(net_of(text.removesuffix(IT), feeds), None, Options(random_weights=3)).weights
    with pytest.raises(NetError, match=theirs):
        run(net_of(text, feeds), weights, feeds)
