"""MS-CNN's and Cascade R-CNN's layers: opsets, close calls, what comes of no box, tables, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.graph import format_shape
from converter.layers.detection.field_overlaps import quick
from converter.options import Options
from converter.targets.onnx_model import newest_opset
from prototxt import parse_net
from prototxt.errors import NetError
from tests.converter.layers.test_rarer_agreement import Array, Feeds, answers, layer, net_of, random, refusal
from tests.golden import assert_close
from tests.naive.base import cases
from verify import run
from verify.inputs import seeded

NAIVE = ("box_output", "box_output_of_nothing", "box_output_of_equal_scores", "box_group_output", "decode_bbox")
HEADS = ("frcnn_output", "frcnn_output_by_class", "frcnn_output_of_nothing")
NEWEST = newest_opset()


def heads(params: str, tops: str = "rois") -> str:
    return layer("BoxOutput", f"box_output_param {{ {params} }}", "head", tops)


def pairs(params: str, tops: str = "rois scored") -> str:
    return layer("BoxGroupOutput", f"box_group_output_param {{ {params} }}", "prob box", tops)


def route(params: str, bottoms: str = "regions", tops: str = "out") -> str:
    return layer("ScaleRoute", f"scale_route_param {{ {params} }}", bottoms, tops)


def head(params: str, moves: str = "cls_aware: false") -> str:
    text = f"frcnn_output_param {{ {params} }} bbox_reg_param {{ {moves} }}"
    return layer("FrcnnOutput", text, "prob moves regions size", "found")


def scored(corners: list[list[float]], prob: list[list[float]], size: tuple[float, float] = (60, 80)) -> Feeds:
    """Regions that no offset moves, with probabilities, in an image of that height and width."""
    return {
        "prob": np.asarray(prob, np.float32),
        "moves": np.zeros((len(corners), 8), np.float32),
        "regions": np.asarray([[0, *each] for each in corners], np.float32),
        "size": np.asarray([size], np.float32),
    }


def all_three(text: str, feeds: Feeds, folder: Path, opset: int = 13) -> list[Feeds]:
    """What the interpreter, onnxruntime and torch make of it."""
    tops = parse_net(text).layers[-1].tops
    blobs = run(net_of(text, feeds), None, feeds).blobs
    return [{top: blobs[top] for top in tops}, *answers(text, feeds, folder, opset=opset)]


@pytest.mark.parametrize("opset", [18, 22, NEWEST])
@pytest.mark.parametrize("name", [*NAIVE, *HEADS, "scale_route", "scale_route_to_the_closest", "scale_route_of_all"])
def test_every_opset_gives_what_the_loops_give(name: str, opset: int, tmp_path: Path) -> None:
    made = cases()[name]()
    for got in answers(made.text, dict(made.feeds), tmp_path, opset=opset):
        for (_, top), wanted in made.answers.items():
            assert got[top].shape == wanted.shape
            assert_close(got[top], np.asarray(wanted, np.float32), top, 1e-5)


def stacked(gap: float) -> Feeds:
    """Two fields of 8×8 pixels, the second `gap` pixels below the first one's last row."""
    prob = np.asarray([0.1, 0.2], np.float32).reshape(2, 1, 1, 1)
    box = np.zeros((2, 4, 1, 1), np.float32)
    box[1, 1] = (7 + gap) / 8
    return {"prob": prob, "box": box}


@pytest.mark.parametrize(("gap", "rows"), [(-0.5, 1), (0.0, 2), (0.5, 2)])
def test_boxes_of_one_row_of_pixels_in_common_share_nothing(gap: float, rows: int, tmp_path: Path) -> None:
    """The first box is of rows 4 to 11 in an image of 64; half a row more in common is 1.5 · 8 of 128 - 12: 0.103."""
    field = "box_group_param { field_w: 8 field_w: 8 field_h: 8 field_h: 8 stride: 16 }"
    text = pairs(f"{field} iou_thr: 0.05 min_size: 2 field_xyr: 1")
    for got in all_three(text, stacked(gap), tmp_path):
        assert got["rois"].shape == (rows, 5, 1, 1)
        np.testing.assert_allclose(got["rois"][0].ravel(), [0, 4, 4, 11, 11])
        np.testing.assert_allclose(got["scored"][0, 5].ravel(), [0.9], rtol=1e-6)


def test_an_image_without_boxes_has_no_rows_beside_one_that_has_some(tmp_path: Path) -> None:
    head = random(5, 3, 6, 3, 4)
    head[[0, 2], 1] = head[[0, 2], 0] - 1
    for got in all_three(heads("field_w: 20 field_h: 16 downsample_rate: 16", "rois scored"), {"head": head}, tmp_path):
        assert set(got["rois"][:, 0].ravel()) == {1}
        np.testing.assert_array_equal(got["scored"][:, :5], got["rois"])


def test_which_boxes_come_out_of_iofu_hangs_on_the_better_one(tmp_path: Path) -> None:
    """A box of 8×8 within one of 16×16: its whole area, but a quarter of the other's."""
    head = np.zeros((1, 6, 2, 1), np.float32)
    small = np.log(0.5)
    for better in (0, 1):
        head[0, 1, :, 0] = [2 - better, 1 + better]
        head[0, 2:, 0, 0] = [0, 0.5, 0, 0]
        head[0, 2:, 1, 0] = [0, -0.5, small, small]
        text = heads("field_w: 16 field_h: 16 downsample_rate: 16 iou_thr: 0.5 min_size: 4 nms_type: 'IOFU'")
        for got in all_three(text, {"head": head}, tmp_path):
            assert len(got["rois"]) == (1 if better else 2), better


@pytest.mark.parametrize(
    ("mode", "limit", "least", "pixels", "wanted"),
    [
        ("IOU", 0.5, 15, True, True),
        ("IOU", 0.05, 15, True, False),
        ("IOU", 0.05, 15, False, True),
        ("IOU", 0.5, 0, False, False),
        ("IOU", 1.5, 15, False, False),
        ("IOMU", 0.5, 15, False, False),
    ],
)
def test_where_the_operator_does_it(mode: str, limit: float, least: float, pixels: bool, wanted: bool) -> None:
    assert quick(mode, limit, least, pixels=pixels) == wanted


@pytest.mark.parametrize(("gap", "found"), [(-0.5, 1), (0.0, 2), (0.5, 2)])
def test_flat_boxes_are_found_twice_where_they_share_one_row_alone(gap: float, found: int, tmp_path: Path) -> None:
    """Of rows 10 to 12, and from half a row above 12 on: 1.5 · 8 of 2 · 24 - 12 pixels is a third."""
    feeds = scored([[0, 10, 7, 12], [0, 12 + gap, 7, 14 + gap]], [[0, 0.9], [0, 0.8]])
    for got in all_three(head("iou_thr: 0.1"), feeds, tmp_path):
        assert got["found"].shape == (1 + found, 7, 1, 1)


def test_a_box_clipped_upside_down_drops_none_and_is_not_dropped(tmp_path: Path) -> None:
    feeds = scored(
        [[90, 5, 95, 9], [90, 5, 95, 9], [70, 5, 95, 9], [78, 5, 95, 9]], [[0, 0.9 - i / 10] for i in range(4)]
    )
    wanted = [[90, 5, 80, 9], [90, 5, 80, 9], [70, 5, 80, 9]]
    for got in all_three(head("iou_thr: 0.2"), feeds, tmp_path):
        np.testing.assert_array_equal(got["found"][1:, 1:5, 0, 0], wanted)


def test_the_best_of_all_classes_keep_their_order_and_of_equal_scores_the_first_counts(tmp_path: Path) -> None:
    corners: list[list[float]] = [[10.0 * i, 0, 10.0 * i + 5, 5] for i in range(4)]
    prob = [[0, 0.5, 0.5], [0, 0.75, 0.25], [0, 0.125, 0.5], [0, 0.5, 0.875]]
    for got in all_three(head("max_det_num: 4 conf_thr: 0.125"), scored(corners, prob), tmp_path):
        rows = got["found"][:, :, 0, 0]
        np.testing.assert_array_equal(rows[0], [0, -1, -1, -1, -1, -1, -1])
        np.testing.assert_array_equal(rows[1:, 5:], [[1, 0.75], [1, 0.5], [1, 0.5], [2, 0.875]])
        np.testing.assert_array_equal(rows[1:, 1], [10, 0, 30, 30])


def test_a_score_at_the_threshold_counts(tmp_path: Path) -> None:
    feeds = scored([[0, 0, 5, 5], [20, 0, 25, 5]], [[0, 0.3], [0, np.nextafter(np.float32(0.3), np.float32(0))]])
    for got in all_three(head("conf_thr: 0.3"), feeds, tmp_path):
        assert len(got["found"]) == 2


def test_the_check_stops_at_a_region_of_another_image() -> None:
    feeds = {**scored([[0, 0, 5, 5]], [[0, 1]]), "regions": np.asarray([[1, 0, 0, 5, 5]], np.float32)}
    with pytest.raises(NetError, match="a region names another image than 0"):
        run(net_of(head(""), feeds), None, feeds)


def test_a_region_with_a_corner_on_the_wrong_side_is_decoded_like_others(tmp_path: Path) -> None:
    """Caffe stops there. From 20 to 10 a size of -9, moved by a ninth of that: 19 to 9."""
    feeds = scored([[20, 5, 10, 9]], [[0, 1]])
    feeds["moves"][0, 4] = 1 / 9
    for got in all_three(head(""), feeds, tmp_path):
        np.testing.assert_allclose(got["found"][1, 1:5, 0, 0], [19, 5, 9, 9], rtol=1e-6)


def test_a_run_makes_regions_and_a_size_that_fit_the_image() -> None:
    feeds = {**scored([[0, 0, 5, 5]] * 9, [[0, 1, 2]] * 9), "image": random(1, 1, 3, 40, 50)}
    read = """layer { name: "reader" type: "Power" bottom: "image" top: "read" }"""
    made = seeded(net_of(read + head(""), feeds), {name: value.shape for name, value in feeds.items()})
    assert made["size"].ravel().tolist() == [40, 50]
    regions = made["regions"]
    assert not regions[:, 0].any()
    assert (regions[:, 1:3] <= regions[:, 3:]).all()
    assert (regions[:, 3:] <= [49, 39]).all()


def test_the_number_of_regions_is_free_and_pooling_them_needs_no_table() -> None:
    text = heads("field_w: 60 field_h: 60 downsample_rate: 8 max_nms_num: 2000") + layer(
        "ROIPooling", "roi_pooling_param { pooled_h: 7 pooled_w: 7 spatial_scale: 0.25 }", "features rois"
    ).replace('"it"', '"pool"')
    shapes = {"head": (1, 9, 72, 240), "features": (1, 512, 144, 480)}
    inputs = "".join(
        f'input: "{name}" input_shape {{ {" ".join(f"dim: {d}" for d in dims)} }} ' for name, dims in shapes.items()
    )
    graph = prepare(parse_net(inputs + text), None, Options()).graph
    assert [format_shape(value.shape) for value in graph.outputs] == ["regions_of_it×512×7×7"]


def test_routes_have_an_axis_of_their_own() -> None:
    feeds: Feeds = {"regions": random(1, 12, 5), "beside": random(2, 12, 3, 4)}
    graph = prepare(net_of(route("low_scale: 9", "regions beside", "a b"), feeds), None, Options()).graph
    assert [format_shape(v.shape) for v in graph.outputs] == ["routed_by_it×5×1×1", "routed_by_it×3×4×1"]


def test_how_many_are_found_in_regions_is_free() -> None:
    feeds = scored([[0, 0, 5, 5]] * 6, [[0, 1, 2]] * 6)
    for params, most in (("", 13), ("max_det_num: 7", 8), ("max_det_num: 40", 13)):
        (found,) = prepare(net_of(head(params), feeds), None, Options()).graph.outputs
        assert (format_shape(found.shape), int(found.shape[0])) == ("detections_of_it×7×1×1", most)


HEAD = {"head": random(3, 1, 6, 3, 4)}
FIELD = "field_w: 20 field_h: 16 downsample_rate: 16"
GROUP: Feeds = {"prob": random(3, 2, 2, 3, 4), "box": random(4, 2, 4, 3, 4)}
FIELDS = "box_group_param { field_w: 20 field_w: 8 field_h: 16 field_h: 8 stride: 16 }"
FOUR: Array = random(6, 4, 5)
ONE = scored([[0, 0, 5, 5]], [[0, 1]])


@pytest.mark.parametrize(
    ("text", "feeds", "why"),
    [
        (heads("field_w: 20 field_h: 16"), HEAD, "0 downsample_rate for 1 bottoms; expected one for each"),
        (heads(f"{FIELD} field_xyr: 0"), HEAD, "field_xyr is 0; expected a number above 0"),
        (heads(f"{FIELD} field_whr: -1"), HEAD, "field_whr is -1; expected a number above 0"),
        (heads(FIELD), {"head": random(3, 1, 5, 3, 4)}, "2 classes or more and 4 offsets"),
        (heads(FIELD)[:-2] + " bbox_reg_param { bbox_mean: 0 bbox_std: 1 } }", HEAD, "1 bbox_mean; expected 4"),
        (pairs(f"{FIELDS} {FIELDS}"), GROUP, "2 box_group_param for 2 bottoms; expected one for each two"),
        (pairs("box_group_param { field_w: 20 stride: 16 }"), GROUP, "1 field_w and 0 field_h; expected as many"),
        (pairs(FIELDS), {**GROUP, "prob": random(3, 2, 2, 4, 3)}, "expected M×classes×H×W and M×4×H×W"),
        (pairs(FIELDS), {n: v[:1] for n, v in GROUP.items()}, "for 2 fields; expected as many for each image"),
        (layer("DecodeBBox", "", "a b"), {"a": random(1, 4, 4), "b": FOUR}, "expected rows of 8"),
        (layer("DecodeBBox", "", "a b"), {"a": random(1, 3, 8), "b": FOUR}, "3 rows of offsets for 4 regions"),
        (layer("DecodeBBox", "", "a b b"), {"a": random(1, 4, 8), "b": FOUR}, "in phase TRAIN alone"),
        (route("low_scale: 9 high_scale: 3"), {"regions": FOUR}, "high_scale 3 is below low_scale 9"),
        (route("low_scale: 0"), {"regions": FOUR}, "low_scale is 0; expected a number above 0"),
        (route("low_scale: 9", "regions regions", "out"), {"regions": FOUR}, "2 bottoms and 1 tops; expected as many"),
        (route("low_scale: 9"), {"regions": random(1, 4, 6)}, "expected rows of 5"),
        (head(""), {**ONE, "prob": random(1, 1, 2, 2)}, "the first bottom is 1×2×2; expected rows"),
        (head(""), {**ONE, "prob": random(1, 1, 1)}, "the first bottom is 1×1; expected scores of 2 classes or more"),
        (head("", ""), {**ONE, "prob": random(1, 1, 3)}, "the second bottom is 1×8; expected rows of 12"),
        (head(""), {**ONE, "moves": random(1, 1, 12)}, "the second bottom is 1×12; expected rows of 8"),
        (head(""), {**ONE, "moves": random(1, 2, 8)}, "2 offsets for 1 rows of scores"),
        (head(""), {**ONE, "regions": random(1, 1, 4)}, "the third bottom is 1×4; expected rows of 5 or 6"),
        (head(""), {**ONE, "regions": random(1, 3, 5)}, "3 regions for 1 rows of scores"),
        (head(""), {**ONE, "size": random(1, 2, 2)}, "the fourth bottom is 2×2; expected the height and width"),
        (head("", "bbox_mean: 0 bbox_std: 1"), ONE, "1 bbox_mean; expected 4"),
        (head("", f"{'bbox_mean: 0 ' * 4} {'bbox_std: 0 ' * 4}"), ONE, "bbox_std is 0; expected numbers above 0"),
    ],
)
def test_what_is_refused(text: str, feeds: Feeds, why: str) -> None:
    assert why in refusal(text, feeds)


def test_features_of_a_free_size_are_refused() -> None:
    said = refusal(heads(FIELD), HEAD, input_shapes={"head": (1, 6, "H", "W")})
    assert "can't be left free: the fields follow them" in said
