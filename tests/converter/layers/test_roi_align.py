"""ROIAlign: whose layer it is, what is refused, regions where forks part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import CaffeModelError
from tests.drawn.base import Array, Drawn, layer, net_text
from tests.golden import run_onnx, run_torch
from verify import run

BINS = "pooled_h: 2 pooled_w: 3"
FEATURES = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)
ALL = np.array([[0, 0, 0, 4, 3]], np.float32)


def tops(section: str, params: str, rois: Array, folder: Path, dialect: str = "") -> list[Array]:
    """The top from the interpreter, onnxruntime and torch."""
    feeds = {"x": FEATURES, "rois": rois}
    text = net_text(Drawn(layer("ROIAlign", f"{section} {{ {params} }}", "x rois"), feeds))
    net = parse_net(text, "net.prototxt", dialects={"ROIAlign": dialect} if dialect else {})
    ready = prepare(net, None, Options(outputs=["out"]))
    found = [run(net, None, feeds).blobs, run_onnx(ready.graph, feeds, folder), run_torch(ready.graph, feeds)]
    return [blobs["out"] for blobs in found]


def refusal(section: str, params: str, folder: Path, dialect: str = "") -> str:
    with pytest.raises(CaffeModelError) as caught:
        tops(section, params, ALL, folder, dialect)
    return str(caught.value)


@pytest.mark.parametrize("section", ["roi_align_param", "roi_pooling_param"])
def test_without_evidence_it_is_refused_and_the_forks_are_named(section: str, tmp_path: Path) -> None:
    message = refusal(section, BINS, tmp_path)
    assert "layer 'it' (ROIAlign): ROIAlign is another layer in each fork, and nothing here shows whose" in message
    for fork in ("detectron (roi_align_param", "zuokai (roi_pooling_param", "cascade_rcnn (roi_pooling_param"):
        assert fork in message


def test_the_interpreter_does_not_guess_either() -> None:
    text = net_text(Drawn(layer("ROIAlign", f"roi_align_param {{ {BINS} }}", "x rois"), {"x": FEATURES, "rois": ALL}))
    with pytest.raises(CaffeModelError, match="nothing here shows whose"):
        run(parse_net(text), None, {"x": FEATURES, "rois": ALL})


@pytest.mark.parametrize(
    ("section", "params", "dialect", "message"),
    [
        (
            "roi_align_param",
            f"{BINS} sampling_ratio: 2 roi_end_mode: 1",
            "",
            "roi_end_mode is 1; no public source says",
        ),
        ("roi_pooling_param", f"{BINS} bi_type: 2", "", "bi_type is 2; expected 0 (bilinear) or 1 (bicubic)"),
        ("roi_align_param", "pooled_h: 2 sampling_ratio: 2", "", "pooled_w is 0; expected at least 1"),
        ("roi_align_param", BINS, "zuokai", "pooled_h is 0; expected at least 1"),
    ],
)
def test_what_no_fork_reads_is_refused(section: str, params: str, dialect: str, message: str, tmp_path: Path) -> None:
    assert message in refusal(section, params, tmp_path, dialect)


FORKS = {"detectron": "roi_align_param", "zuokai": "roi_pooling_param", "cascade_rcnn": "roi_pooling_param"}


@pytest.mark.parametrize("dialect", FORKS)
def test_a_region_that_is_nowhere_is_named(dialect: str) -> None:
    """Offsets that random weights make large carry regions away, at last where float32 ends."""
    rois = np.array([[0, 0, 0, 4, 3], [0, 1, np.inf, np.nan, 2]], np.float32)
    text = layer("ROIAlign", f"{FORKS[dialect]} {{ {BINS} }}", "x rois")
    net = parse_net(net_text(Drawn(text, {"x": FEATURES, "rois": rois})), "n.prototxt", dialects={"ROIAlign": dialect})
    with pytest.raises(
        CaffeModelError, match=r"layer 'it' \(ROIAlign\): region 1 has the corners 1, inf, nan and 2; C\+\+ leaves"
    ):
        run(net, None, {"x": FEATURES, "rois": rois})


def test_a_region_of_more_samples_than_can_be_taken_is_refused() -> None:
    rois = np.array([[0, 0, 0, 1e20, 3]], np.float32)
    text = net_text(Drawn(layer("ROIAlign", f"roi_align_param {{ {BINS} }}", "x rois"), {"x": FEATURES, "rois": rois}))
    with pytest.raises(CaffeModelError, match=r"a bin of 3.33333e\+19 features would have as many samples, expected"):
        run(parse_net(text, dialects={"ROIAlign": "detectron"}), None, {"x": FEATURES, "rois": rois})


def test_detectron_takes_the_mean_of_samples(tmp_path: Path) -> None:
    """Of a plane that grows by 1 a column and 5 a row the mean is the value in the middle of the bin."""
    for top in tops("roi_align_param", f"{BINS} sampling_ratio: 2", ALL, tmp_path):
        rows, columns = np.array([0.75, 2.25]), np.array([2, 6, 10]) / 3
        np.testing.assert_allclose(top[0, 0], 5 * rows[:, None] + columns, rtol=1e-5)


def test_the_dialect_may_be_asked_for(tmp_path: Path) -> None:
    for top in tops("roi_align_param", BINS, ALL, tmp_path, "detectron"):
        assert top.shape == (1, 1, 2, 3)
    for top in tops("roi_pooling_param", BINS, ALL, tmp_path, "cascade_rcnn"):
        assert top.shape == (1, 1, 3, 4)


def test_cascade_rcnn_samples_corners_half_a_feature_before(tmp_path: Path) -> None:
    """The first corner lies at -0.5, which is moved to 0; the last at (2.5, 3.5)."""
    for top in tops("roi_pooling_param", BINS, ALL, tmp_path, "cascade_rcnn"):
        rows, columns = np.array([0, 1, 2.5]), np.array([0, 4 / 3 - 0.5, 8 / 3 - 0.5, 3.5])
        np.testing.assert_allclose(top[0, 0], 5 * rows[:, None] + columns, rtol=1e-5)


def test_cascade_rcnn_gives_nothing_for_a_region_upside_down(tmp_path: Path) -> None:
    rois = np.array([[0, 3, 2, 1, 3], [0, 1, 3, 3, 2]], np.float32)
    for top in tops("roi_pooling_param", BINS, rois, tmp_path, "cascade_rcnn"):
        assert not top.any()


def test_zuokais_sample_on_the_last_row_is_nothing(tmp_path: Path) -> None:
    """Rows from 3 on, of which the last is 3: both weights of a sample there are 0."""
    rois = np.array([[0, 0, 3, 4, 3], [0, 0, 0, 2, 1]], np.float32)
    params = "pooled_h: 1 pooled_w: 1 is_multi_interpolate: false"
    for top in tops("roi_pooling_param", params, rois, tmp_path):
        np.testing.assert_allclose(top[:, 0, 0, 0], [0, 5 * 1 + 1.5], rtol=1e-6)


def test_zuokai_takes_the_largest_of_four(tmp_path: Path) -> None:
    """A region 2 features high and 3 broad: quarters' middles lie at 0.5 and 1.5, at 0.75 and 2.25."""
    rois = np.array([[0, 0, 0, 2, 1]], np.float32)
    for top in tops("roi_pooling_param", "pooled_h: 1 pooled_w: 1 bi_type: 0", rois, tmp_path):
        np.testing.assert_allclose(top[0, 0], [[5 * 1.5 + 2.25]], rtol=1e-6)
