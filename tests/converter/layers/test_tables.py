"""Layers whose models hold tables are limited by what the tables grow with, not by the blobs that pass by."""

from __future__ import annotations

import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import NetError


def fed(name: str, *shape: int) -> str:
    dims = " ".join(f"dim: {size}" for size in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def layer(kind: str, *bottoms: str, words: str) -> str:
    read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "y" type: "{kind}" {read} top: "y" {words} }}'


OF_IMAGES = "prior_box_param { min_size: 16 step: 4 }"
OF_REGIONS = "pooled_w: 7 pooled_h: 7 spatial_scale: 0.0625"
WIDE = {
    "regions": fed("x", 1, 2048, 14, 14)
    + fed("r", 300, 5)
    + layer("ROIPooling", "x", "r", words=f"roi_pooling_param {{ {OF_REGIONS} }}"),
    "aligned regions": fed("x", 1, 2048, 14, 14)
    + fed("r", 300, 5)
    + layer("ROIAlign", "x", "r", words=f"roi_align_param {{ {OF_REGIONS} sampling_ratio: 2 }}"),
    "planes of bins": fed("x", 1, 490, 200, 200)
    + fed("r", 300, 5)
    + layer(
        "PSROIPooling", "x", "r", words="psroi_pooling_param { output_dim: 10 group_size: 7 spatial_scale: 0.0625 }"
    ),
    "boxes on many features": fed("x", 1, 256, 270, 480)
    + fed("i", 1, 3, 1080, 1920)
    + layer("PriorBox", "x", "i", words=OF_IMAGES),
    "boxes of many images": fed("x", 64, 8, 75, 75)
    + fed("i", 64, 3, 300, 300)
    + layer("PriorBox", "x", "i", words=OF_IMAGES),
    "moved places": fed("x", 1, 256, 300, 300)
    + fed("o", 1, 18, 300, 300)
    + fed("m", 1, 9, 300, 300)
    + layer(
        "ModulatedDeformableConvolution",
        *"xom",
        words="modulated_deformable_convolution_param { num_output: 2 kernel_size: 3 pad: 1 deformable_group: 1 }",
    ),
}


@pytest.mark.parametrize("name", WIDE)
def test_large_blobs_pass_by_small_tables(name: str) -> None:
    ready = prepare(parse_net(WIDE[name]), None, Options(random_weights=1))
    assert ready.graph.nodes


@pytest.mark.parametrize(
    "text",
    [
        fed("x", 1, 1, 5000, 5000)
        + fed("i", 1, 3, 5000, 5000)
        + layer("PriorBox", "x", "i", words="prior_box_param { min_size: 16 }"),
        fed("x", 1, 1 << 26, 1, 1)
        + fed("r", 1, 5)
        + layer(
            "PSROIPooling", "x", "r", words="psroi_pooling_param { output_dim: 1 group_size: 8192 spatial_scale: 1 }"
        ),
    ],
    ids=["boxes", "bins"],
)
def test_large_tables_are_refused(text: str) -> None:
    with pytest.raises(NetError, match="its numbers stand in the model, which takes at most 16777216"):
        prepare(parse_net(text), None, Options())
