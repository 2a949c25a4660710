"""Regions of interest: free sizes, no region at all, bins that hang on float32, second opinions, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.graph import format_shape
from converter.options import Options
from converter.targets.onnx_model import newest_opset
from prototxt.errors import NetError
from tests.converter.layers.test_rarer_agreement import (
    Array,
    Feeds,
    answers,
    assert_gives,
    layer,
    net_of,
    random,
    refusal,
)
from tests.drawn.roi import python
from tests.golden import assert_close, run_onnx, run_torch
from tests.naive.roi import ROIS, pooled_regions
from verify import run
from verify.inputs import exact_inputs, seeded

OPSETS = (13, 18, 21, 22, newest_opset())  # from 22 on by a Loop
ROI = "roi_pooling_param {{ pooled_h: 4 pooled_w: 3 spatial_scale: {} }}".format
PSROI = "psroi_pooling_param {{ spatial_scale: {} output_dim: 2 group_size: 3 }}".format
POOLED = layer("ROIPooling", ROI(0.0625), "x rois")
MEANS = layer("PSROIPooling", PSROI(0.0625), "x rois")


def sized_otherwise(
    text: str, feeds: Feeds, folder: Path, opset: int = 13, **free: tuple[int | str, ...]
) -> tuple[str, list[Array]]:
    """The shape of the top of a net whose inputs are left free, and what it makes of feeds of other sizes."""
    stated = {name: np.zeros([d if isinstance(d, int) else 6 for d in dims], np.float32) for name, dims in free.items()}
    graph = prepare(net_of(text, stated), None, Options(input_shapes=free)).graph
    got = [run_onnx(graph, feeds, folder, opset)["out"], run_torch(graph, feeds)["out"]]
    return format_shape(graph.outputs[0].shape), got


@pytest.mark.parametrize("opset", OPSETS)
def test_number_of_regions_and_sizes_may_be_free(opset: int, tmp_path: Path) -> None:
    x = random(1, 2, 18, 5, 7)
    for text, top in ((POOLED, "R×18×4×3"), (MEANS, "R×2×3×3")):
        expected = run(net_of(text, {"x": x, "rois": ROIS}), None, {"x": x, "rois": ROIS}).blobs["out"]
        for dims in (("N", 18, "H", "W"), (2, 18, 5, "W"), ("N", 18, 5, 7)):
            shape, got = sized_otherwise(text, {"x": x, "rois": ROIS}, tmp_path, opset, x=dims, rois=("R", 5))
            assert shape == top
            for values in got:
                assert_close(values, expected, f"{text} {dims}", 1e-6)


def test_regions_of_one_an_image_may_be_free(tmp_path: Path) -> None:
    feeds = {"x": random(2, 6, 3, 5, 7), "rois": ROIS[:, 1:].copy()}
    numbered = np.concatenate([np.arange(6, dtype=np.float32)[:, None], feeds["rois"]], axis=1)
    shape, got = sized_otherwise(POOLED, feeds, tmp_path, x=("N", 3, "H", "W"), rois=("N", 4))
    assert shape == "N×3×4×3"
    for values in got:
        np.testing.assert_array_equal(values, pooled_regions(feeds["x"], numbered, (4, 3), 0.0625))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("images", [1, 2])
def test_no_region_gives_no_row(images: int, opset: int, tmp_path: Path) -> None:
    feeds = {"x": random(3, images, 18, 5, 7), "rois": np.zeros((0, 5), np.float32)}
    for text, size in ((POOLED, (0, 18, 4, 3)), (MEANS, (0, 2, 3, 3))):
        for dims in ((images, 18, 5, 7), ("N", 18, "H", "W")):
            got = sized_otherwise(text, feeds, tmp_path, opset, x=dims, rois=("R", 5))[1]
            assert [values.shape for values in got] == [size, size]


def test_a_bin_ends_where_float32_says(tmp_path: Path) -> None:
    """57 rows in 7 bins: 7 · 8.142858 is above 57 in float32, so the last bin has row 57 as well, the 58th."""
    x = np.zeros((1, 1, 60, 2), np.float32)
    x[0, 0, 57] = 1
    rois = np.array([[0, 0, 0, 1, 56]], np.float32)
    params = "roi_pooling_param { pooled_h: 7 pooled_w: 1 }"
    feeds = {"x": x, "rois": rois}
    assert_gives(layer("ROIPooling", params, "x rois"), feeds, [[[[0], [0], [0], [0], [0], [0], [1]]]], tmp_path)


def test_halves_are_rounded_away_from_zero(tmp_path: Path) -> None:
    """At scale 1/2, corners 1, 1, 5, 5 are 0.5 and 2.5: features 1 to 3, where rounding to even would say 0 to 2."""
    x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    feeds = {"x": x, "rois": np.array([[0, 1, 1, 5, 5]], np.float32)}
    text = layer("ROIPooling", "roi_pooling_param { pooled_h: 1 pooled_w: 1 spatial_scale: 0.5 }", "x rois")
    assert_gives(text, feeds, [[[[18]]]], tmp_path)


def test_a_mean_rounds_pixels_before_it_scales_them(tmp_path: Path) -> None:
    """Corners 0.5, 0.5, 2.5, 2.5 are pixels 1 to 3 and end at 4: at scale 1/2 features 0.5 to 2, so 0 and 1."""
    x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    feeds = {"x": x, "rois": np.array([[0, 0.5, 0.5, 2.5, 2.5]], np.float32)}
    text = layer("PSROIPooling", "psroi_pooling_param { spatial_scale: 0.5 output_dim: 1 group_size: 1 }", "x rois")
    assert_gives(text, feeds, [[[[3]]]], tmp_path)


def test_opencv_agrees_where_it_follows_caffe(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", minversion="4", exc_type=ImportError)
    if cv2.__version__ >= "5":
        pytest.skip("OpenCV 5 reads no Caffe files")
    x, rois = random(4, 1, 3, 15, 17), ROIS.copy()
    rois[:, 0] = 0
    inside = rois[[0, 1]]
    net = f"""
        input: "x" input_shape {{ dim: 1 dim: 3 dim: 15 dim: 17 }}
        input: "rois" input_shape {{ dim: 2 dim: 5 dim: 1 dim: 1 }} {POOLED}"""
    (tmp_path / "net.prototxt").write_text(net)
    reader = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"))
    reader.setInput(x, "x")
    reader.setInput(inside.reshape(2, 5, 1, 1), "rois")
    np.testing.assert_array_equal(reader.forward(), pooled_regions(x, inside, (4, 3), 0.0625))


def test_regions_that_are_fed_lie_in_the_image() -> None:
    x, rois = random(5, 3, 18, 5, 7), np.zeros((40, 5), np.float32)
    for text in (POOLED, MEANS):
        net = net_of(text, {"x": x, "rois": rois})
        assert "rois" in exact_inputs(net)
        made = seeded(net, {"x": x.shape, "rois": rois.shape})["rois"]
        assert set(made[:, 0]) == {0, 1, 2}
        assert (made[:, 1:3] <= made[:, 3:]).all()
        assert (made[:, 1:] >= 0).all()
        assert 60 < made[:, 3].max() <= 7 * 16 - 1
        assert 40 < made[:, 4].max() <= 5 * 16 - 1


def test_box_cut_from_free_sizes(tmp_path: Path) -> None:
    x = abs(random(6, 3, 1, 6, 8))
    text = python("layer", "CutROILayer", "x", "out")
    expected = run(net_of(text, {"x": x}), None, {"x": x}).blobs["out"]
    shape, got = sized_otherwise(text, {"x": x}, tmp_path, x=("N", 1, "H", "W"))
    assert shape == "N×4"
    for values in got:
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_does(opset: int, tmp_path: Path) -> None:
    feeds = {"x": random(7, 2, 18, 5, 7), "rois": ROIS}
    for text in (POOLED, MEANS):
        expected = run(net_of(text, feeds), None, feeds).blobs["out"]
        for got in answers(text, feeds, tmp_path, opset=opset):
            assert_close(got["out"], expected, text, 1e-6)


REFUSED = {
    "pooled_h is 0; expected at least 1": layer("ROIPooling", "roi_pooling_param { pooled_w: 3 }", "x rois"),
    "pooled_w is 0; expected at least 1": layer("ROIPooling", "roi_pooling_param { pooled_h: 3 }", "x rois"),
    "spatial_scale is 0; expected a number above 0": layer("ROIPooling", ROI(0), "x rois"),
    "spatial_scale is -2; expected a number above 0": layer("PSROIPooling", PSROI(-2), "x rois"),
    "output_dim is 0; expected at least 1": layer(
        "PSROIPooling", "psroi_pooling_param { spatial_scale: 1 group_size: 3 }", "x rois"
    ),
    "group_size is -1; expected at least 1": layer(
        "PSROIPooling", "psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: -1 }", "x rois"
    ),
    "20 channels; expected 18, output_dim 2 · group_size 3²": layer("PSROIPooling", PSROI(1), "wide rois"),
    "the first bottom is 6×5; expected 4 axes (N×C×H×W)": layer("ROIPooling", ROI(1), "rois rois"),
    "the second bottom is 2×20×5×7; expected rows of 5: image, x0, y0, x1 and y1 of each region": layer(
        "PSROIPooling", PSROI(1), "wide wide"
    ),
    "6 regions of 4 values for 2 images; expected one for each": layer("ROIPooling", ROI(1), "wide boxes"),
    "the second bottom is 6×4; expected rows of 5: image, x0, y0, x1 and y1 of each region": layer(
        "PSROIPooling", PSROI(1), "x boxes"
    ),
    "1 bottoms; expected 2": layer("ROIPooling", ROI(1), "x"),
    "the bottom is 6×5; expected 4 axes (N×C×H×W)": python("layer", "CutROILayer", "rois", "out"),
    "the second bottom is 6×5; expected N×4": python(
        "bbox_transform_inv_layer", "BBoxTransformInvLayer", "boxes rois", "out"
    ),
    "bottoms differ in their number of boxes: boxes is 6×4, few is 2×4": python(
        "bbox_transform_inv_layer", "BBoxTransformInvLayer", "boxes few", "out"
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_a_layer_cannot_be_is_said(message: str) -> None:
    feeds = {
        "x": random(0, 2, 18, 5, 7),
        "wide": random(0, 2, 20, 5, 7),
        "rois": ROIS,
        "boxes": ROIS[:, 1:].copy(),
        "few": ROIS[:2, 1:].copy(),
    }
    said = refusal(REFUSED[message], feeds)
    assert message in said
    assert said.startswith("net.prototxt:6:")
    assert "layer 'it'" in said


@pytest.mark.parametrize("image", [2, -1, np.nan])
def test_a_region_of_an_image_that_is_not_there(image: float) -> None:
    rois = ROIS.copy()
    rois[3, 0] = image
    feeds = {"x": random(8, 2, 3, 5, 7), "rois": rois}
    with pytest.raises(NetError, match=f"region 3 names image {image:g}; there are 2, counted from 0"):
        run(net_of(POOLED, feeds), None, feeds)
