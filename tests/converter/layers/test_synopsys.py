"""Synopsys' layers: what is refused, and sizes left free."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from tests.converter.layers.test_rarer_agreement import net_of, refusal
from tests.drawn.base import layer
from tests.drawn.synopsys import python
from tests.golden import Array, run_onnx, run_torch
from tests.naive.base import random
from verify import run

X = random(1, 2, 12, 4, 6)
LIST = np.asarray([4, 6, 2, -1], np.float32)

REFUSED = [
    (
        layer("ResizeNearestNeighbor", "resize_nearest_neighbor_param { scale_height: nan scale_width: 1.5 }"),
        "scale_height is nan; expected a number above 0",
    ),
    (layer("ResizeBilinear", "resize_bilinear_param { scale_width: inf }"), "scale_width is inf; expected a number"),
    (
        layer("ResizeNearestNeighbor", "resize_nearest_neighbor_param { data_format: 'NCHWD' }"),
        "data_format NCHWD; expected NHWC or NCHW",
    ),
    (
        layer("ResizeBilinear", "resize_bilinear_param { align_corners: true half_pixel_centers: true }"),
        "both align_corners and half_pixel_centers; expected one of them at most",
    ),
    (
        layer("ResizeBilinear", "resize_bilinear_param { scale_height: -1 }"),
        "scale_height is -1; expected a number above 0",
    ),
    (
        layer("ResizeBilinear", "resize_bilinear_param { scale_width: 0.1 data_format: 'NCHW' }"),
        "scales of (1.0, 0.1",
    ),
    (layer("Reshape", "reshape_param { pixelshuffler: 0 }"), "pixelshuffler is 0; expected at least 1"),
    (layer("Reshape", "reshape_param { pixelshuffler: 5 }"), "12 channels are no multiple of upscale_factor 5 squared"),
    (
        layer("DepthToSpace", "depth_to_space_param { block_size: 0 }"),
        "block_size is 0; expected at least 1",
    ),
    (
        layer("DepthToSpace", "depth_to_space_param { block_size: 2 data_format: 'CDR' }"),
        "data_format CDR; expected NHWC, NCHW, DCR or CRD",
    ),
    (layer("DepthToSpace", "depth_to_space_param { block_size: 2 }"), "a depth of 6 is no multiple of block_size 2"),
    (layer("SpaceToBatchND"), "block_shape is []; expected sizes of 1 and more"),
    (
        layer("SpaceToBatchND", "space_to_batch_nd_param { block_shape: 2 paddings: 1 }"),
        "paddings are [1]; expected 2 of 0 and more, two an axis",
    ),
    (
        layer("SpaceToBatchND", "space_to_batch_nd_param { block_shape: 5 paddings: 1 paddings: 1 }"),
        "axis 1 has 14 values with its paddings; expected a multiple of its block",
    ),
    (
        layer("BatchToSpaceND", "batch_to_space_nd_param { block_shape: 3 crops: 0 crops: 0 }"),
        "2 images; expected a multiple of the 3 pixels of a block",
    ),
    (
        layer("BatchToSpaceND", "batch_to_space_nd_param { block_shape: 2 crops: 20 crops: 4 }"),
        "crops of 20 and 4 leave nothing of axis 1",
    ),
    (layer("Pooling", "pooling_param { kernel_size: 2 pad_type: 2 }"), "pad_type is 2; expected 0 or 1"),
    (
        layer("Pooling", "pooling_param { kernel_size: 2 pad_type: 1 pad: 1 }"),
        "both pad_type and another pad are given; expected one of them",
    ),
    (
        layer("Pooling", "pooling_param { kernel_size: 2 pad_type: 1 pool: STOCHASTIC }"),
        "pad_type with global_pooling or pool STOCHASTIC; expected none",
    ),
    (layer("Add", bottoms="x sizes"), "bottoms do not go together: sizes differ and neither is 1"),
    (layer("Eltwise", "eltwise_param { axis: 1 }", "x sizes"), "bottoms differ in shape"),
    (layer("Eltwise", "eltwise_param { operation: DIV }", "x x x"), "operation DIV of 3 bottoms; expected two"),
    (
        layer("Eltwise", "eltwise_param { operation: MIN coeff: 1 coeff: 1 }", "x x"),
        "coeff with operation MIN; expected SUM",
    ),
    (python("eltwise", "Eltwise", "{'operation': 5}", "x x"), "operation is 5; expected 0 to 4"),
    (python("eltwise", "Eltwise", "{'operation': 1}", "x x"), "coeff is None; expected two numbers for a sum"),
    (python("eltwise", "Eltwise", "operation = 1", "x x"), "param_str 'operation = 1' is no dict of Python"),
    (python("eltwise", "Eltwise", "{'operation': __import__('os')}", "x x"), "is no dict of Python"),
    (python("pad", "PadTensor", "{'pad_t': 1}"), "pad_b is None; expected a number of 0 or more"),
    (
        python("pad", "PadTensor", "{'pad_t': 1, 'pad_b': 0, 'pad_l': 0, 'pad_r': 0, 'pad_mode': 'wrap'}"),
        "pad_mode is 'wrap'; expected constant, edge, reflect",
    ),
    (
        python("pad", "PadTensor", "{'pad_t': 4, 'pad_b': 0, 'pad_l': 0, 'pad_r': 0, 'pad_mode': 'reflect'}"),
        "an image of 4×6 is too small to mirror (4, 0) and (0, 0)",
    ),
    (python("reshape", "Reshape", bottoms="x x"), "the second bottom is 2×12×4×6; expected a list of sizes"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_is_refused_with_its_values(text: str, message: str) -> None:
    feeds = {"x": X, "sizes": LIST} if "sizes" in text else {"x": X}
    said = refusal(text, feeds)
    assert message in said
    assert "layer 'it'" in said
    assert "net.prototxt:" in said


def test_a_python_eltwise_that_would_outgrow_both_bottoms_is_refused() -> None:
    feeds = {"x": random(2, 4, 1), "y": random(3, 1, 5)}
    said = refusal(python("eltwise", "Eltwise", "{'operation': 0}", "x y"), feeds)
    assert "the top would be as one of the bottoms, and both together are larger" in said


FREE = [
    ("N,12,4,6", layer("ResizeBilinear", "resize_bilinear_param { output_height: 7 data_format: 'NCHW' }")),
    (
        "N,H,W,6",
        layer("ResizeBilinear", "resize_bilinear_param { output_height: 7 output_width: 9 align_corners: true }"),
    ),
    ("N,H,W,6", layer("ResizeNearestNeighbor", "resize_nearest_neighbor_param { scale_height: 2 scale_width: 3 }")),
    ("N,12,H,W", layer("Reshape", "reshape_param { pixelshuffler: 2 }")),
    ("N,12,H,W", layer("DepthToSpace", "depth_to_space_param { block_size: 2 data_format: 'NCHW' }")),
    ("N,12,4,6", layer("SpaceToBatchND", "space_to_batch_nd_param { block_shape: 2 paddings: 1 paddings: 1 }")),
    ("N,12,4,6", layer("BatchToSpaceND", "batch_to_space_nd_param { block_shape: 2 crops: 1 crops: 0 }")),
    ("N,12,H,W", layer("Add", bottoms="x x")),
    ("N,12,H,W", python("shape", "TensorShape")),
    ("N,12,H,W", python("pad", "PadTensor", str({"pad_t": 1, "pad_b": 0, "pad_l": 2, "pad_r": 3, "pad_mode": "edge"}))),
]


@pytest.mark.parametrize(
    ("shape", "text"), FREE, ids=[text.split('"')[3] + f" {i}" for i, (_, text) in enumerate(FREE)]
)
def test_free_axes_take_any_size(shape: str, text: str, tmp_path: Path) -> None:
    net = net_of(text, {"x": X})
    asked = tuple(size if size.isalpha() else int(size) for size in shape.split(","))
    options = Options(random_weights=0, outputs=["out"], input_shapes={"x": asked})
    graph = prepare(net, None, options).graph
    sizes = [{"N": 4, "H": 5, "W": 8}.get(size) or int(size) for size in shape.split(",")]
    feeds: dict[str, Array] = {"x": random(4, *sizes)}
    expected = run(net, None, feeds).blobs["out"]
    for got in (run_onnx(graph, feeds, tmp_path)["out"], run_torch(graph, feeds)["out"]):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            layer("ResizeNearestNeighbor", "resize_nearest_neighbor_param { output_height: 8 data_format: 'NCHW' }"),
            "the image's size is left free, and the layer makes it",
        ),
        (
            layer("ResizeBilinear", "resize_bilinear_param { scale_height: 2 data_format: 'NCHW' }"),
            "can't be left free",
        ),
        (layer("Pooling", "pooling_param { kernel_size: 2 pad_type: 1 }"), "pad_type 1 follows the image's size"),
    ],
)
def test_free_axes_that_decide_are_refused(text: str, message: str) -> None:
    assert message in refusal(text, {"x": X}, input_shapes={"x": ("N", 12, "H", "W")})
