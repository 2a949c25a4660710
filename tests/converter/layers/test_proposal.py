"""Region proposals: sizes left free, ties, nothing found, known anchors, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from converter.api import convert, prepare
from converter.layers.detection.proposal import Proposal, ProposalLayer
from converter.options import Options
from converter.targets.onnx_model import emit_onnx
from prototxt import parse_net
from tests.converter.layers.test_rarer_agreement import Array, Feeds, answers, layer, net_of, refusal
from tests.golden import run_onnx, run_torch
from verify import run, verify_model


def python(param_str: str, tops: str = "rois probs") -> str:
    params = f'python_param {{ module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "{param_str}" }}'
    return layer("Python", params, "scores offsets info", tops)


def ported(params: str, tops: str = "rois probs") -> str:
    return layer("Proposal", f"proposal_param {{ {params} }}", "scores offsets info", tops)


def feeds_of(anchors: int = 9, rows: int = 7, columns: int = 10, numbers: int = 3, seed: int = 0) -> Feeds:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(2 * anchors * rows * columns).reshape(1, 2 * anchors, rows, columns) / 1000
    offsets = rng.standard_normal((1, 4 * anchors, rows, columns)) * 0.3
    info = [[rows * 20.0, columns * 15.0, 1.1, 0.9, 1.0][:numbers]]
    return {name: np.asarray(v, np.float32) for name, v in (("scores", scores), ("offsets", offsets), ("info", info))}


def assert_same(got: Feeds, expected: Feeds, what: str) -> None:
    for top in ("rois", "probs"):
        assert got[top].shape == expected[top].shape, f"{top} of {what}"
        np.testing.assert_allclose(got[top], expected[top], rtol=1e-5, atol=1e-4, err_msg=f"{top} of {what}")


SIMPLE = python("'feat_stride': 16")
FREE = {
    "python": (SIMPLE, 9),
    "python, anchors that float32 cannot hold": (python("{'feat_stride': 10, 'scales': [3.3, 0.7]}"), 6),
    "python, without limits": (python("{'feat_stride': 16, 'pre_nms_topN': 0, 'post_nms_topN': 0}"), 9),
    "ported": (ported("ratio: 0.667 ratio: 1.3 scale: 1 scale: 2.7 pre_nms_topn: 90 post_nms_topn: 40"), 4),
}


@pytest.mark.parametrize("name", FREE)
def test_features_of_a_free_size(name: str, tmp_path: Path) -> None:
    text, anchors = FREE[name]
    free = {"scores": (1, 2 * anchors, "H", "W"), "offsets": (1, 4 * anchors, "H", "W")}
    options = Options(outputs=["rois", "probs"], input_shapes=free)
    graph = prepare(net_of(text, feeds_of(anchors)), None, options).graph
    for rows, columns in ((7, 10), (3, 2), (1, 13)):
        feeds = feeds_of(anchors, rows, columns, seed=rows)
        expected = run(net_of(text, feeds), None, feeds).blobs
        assert len(expected["rois"])
        assert_same(run_onnx(graph, feeds, tmp_path), expected, "onnx")
        assert_same(run_torch(graph, feeds), expected, "torch")


@pytest.mark.parametrize("text", [SIMPLE, ported("ratio: 0.5 ratio: 1 ratio: 2 scale: 8 scale: 16 scale: 32")])
@pytest.mark.parametrize("opset", [13, onnx.defs.onnx_opset_version()])
def test_equal_scores_keep_rows_columns_anchors(text: str, opset: int, tmp_path: Path) -> None:
    feeds = feeds_of()
    feeds["scores"] = np.floor(feeds["scores"] * 5) / 5
    expected = run(net_of(text, feeds), None, feeds).blobs
    assert len(np.unique(expected["probs"])) < len(expected["probs"])
    for target, got in zip(("onnx", "torch"), answers(text, feeds, tmp_path, opset=opset), strict=True):
        assert_same(got, expected, target)


def test_nothing_large_enough_leaves_no_rows_in_python(tmp_path: Path) -> None:
    feeds = feeds_of()
    feeds["info"][0, 2] = 100
    for got in answers(SIMPLE, feeds, tmp_path):
        assert got["rois"].shape == (0, 5)
        assert got["probs"].shape == (0, 1)


def test_boxes_too_small_come_out_of_the_ported_layer_with_score_0(tmp_path: Path) -> None:
    feeds = feeds_of()
    feeds["info"][0, 2] = 100
    text = ported("ratio: 0.5 ratio: 1 ratio: 2 scale: 8 scale: 16 scale: 32")
    expected = run(net_of(text, feeds), None, feeds).blobs
    assert expected["rois"].shape[0] > 1
    assert not expected["probs"].any()
    for target, got in zip(("onnx", "torch"), answers(text, feeds, tmp_path), strict=True):
        assert_same(got, expected, target)


def test_the_fourth_number_of_the_image_scales_the_least_width_of_the_ported_layer(tmp_path: Path) -> None:
    three, five = feeds_of(numbers=3), feeds_of(numbers=5)
    three["info"][0, 2] = five["info"][0, 2] = 4
    text = ported("ratio: 0.5 ratio: 1 ratio: 2 scale: 8 scale: 16 scale: 32")
    results = []
    for feeds in (three, five):
        expected = run(net_of(text, feeds), None, feeds).blobs
        results.append(int((expected["probs"] > 0).sum()))
        for target, got in zip(("onnx", "torch"), answers(text, feeds, tmp_path), strict=True):
            assert_same(got, expected, target)
    assert results[0] < results[1]


def test_anchors_are_those_that_faster_rcnn_prints() -> None:
    """Its generate_anchors.py shows them, counted from pixel 1."""
    shown = [
        (-83, -39, 100, 56),
        (-175, -87, 192, 104),
        (-359, -183, 376, 200),
        (-55, -55, 72, 72),
        (-119, -119, 136, 136),
        (-247, -247, 264, 264),
        (-35, -79, 52, 96),
        (-79, -167, 96, 184),
        (-167, -343, 184, 360),
    ]
    for kind in (ProposalLayer, Proposal):
        np.testing.assert_array_equal(kind().anchors() + 1, shown)


def test_halves_are_rounded_to_even_in_python_and_up_in_the_port() -> None:
    """A base of 5 at ratio 0.5: 7 wide, so 3.5 high. At 2.5 of base 16: 10 wide, 25 high, in both."""
    size = [k(ratios=(0.5,), scales=(1,), base_size=5).anchors()[0, 3::-2] for k in (ProposalLayer, Proposal)]
    np.testing.assert_array_equal([float(s[0] - s[1] + 1) for s in size], [4, 4])
    size = [k(ratios=(0.5,), scales=(1,), base_size=6.4).anchors()[0, 3::-2] for k in (ProposalLayer, Proposal)]
    np.testing.assert_array_equal([float(s[0] - s[1] + 1) for s in size], [4, 5])


def test_the_scores_top_has_the_forks_own_shape() -> None:
    for text, axes in ((SIMPLE, 2), (ported("ratio: 1 scale: 1 scale: 2 scale: 4 " + "scale: 8 " * 6), 1)):
        graph = prepare(net_of(text, feeds_of()), None, Options(outputs=["rois", "probs"])).graph
        rois, probs = (value.shape for value in graph.outputs)
        assert (len(rois), len(probs)) == (2, axes)
        assert str(rois[0]) == str(probs[0]) == "regions_of_it"


PORTED = "ratio: 0.5 ratio: 1 ratio: 2 scale: 8 scale: 16 scale: 32"
REFUSED = [
    (python("16"), "param_str '16' is not understood from '16' on; expected names with numbers"),
    (python("'feat_stride' 16"), "is not understood"),
    (python("{'feat_stride': 16, 'scales': [8, x]}"), "is not understood from \"'scales': [8, x]\" on"),
    (python("{'feat_stride': 16 'scales': 8}"), "is not understood"),
    (python(""), "param_str has no 'feat_stride'"),
    (python("'scales': [8]"), "param_str has no 'feat_stride'"),
    (python("'feat_stride': 0"), "param_str says feat_stride 0; expected a number above 0"),
    (python("'feat_stride': [16]"), "param_str says feat_stride [16]; expected a number above 0"),
    (python("{'feat_stride': 16, 'scales': []}"), "param_str says scales []; expected numbers above 0"),
    (python("{'feat_stride': 16, 'ratios': [1, -2]}"), "param_str says ratios [1, -2]; expected numbers above 0"),
    (python("{'feat_stride': 16, 'nms_thresh': 1.5}"), "nms_thresh 1.5; expected a share from 0 to 1"),
    (python("{'feat_stride': 16, 'pre_nms_topN': 2.5}"), "pre_nms_topN 2.5; expected a whole number"),
    (python("{'feat_stride': 16, 'shifts': 3}"), "param_str has 'shifts'; known are scales, ratios, feat_stride"),
    (ported("scale: 8"), "ratio is []; expected numbers above 0"),
    (ported("ratio: 1"), "scale is []; expected numbers above 0"),
    (ported("ratio: 1 ratio: 0 scale: 8"), "ratio is [1, 0]; expected numbers above 0"),
    (ported(PORTED + " feat_stride: 0"), "feat_stride is 0; expected at least 1"),
    (ported(PORTED + " pre_nms_topn: 0"), "pre_nms_topn is 0; expected at least 1"),
    (ported(PORTED + " post_nms_topn: 0"), "post_nms_topn is 0; expected at least 1"),
    (ported(PORTED + " nms_thresh: -0.1"), "nms_thresh is -0.1; expected a share from 0 to 1"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_parameters_that_cannot_be_are_refused(text: str, message: str) -> None:
    said = refusal(text, feeds_of())
    assert message in said
    assert said.startswith("net.prototxt:4:")
    assert "layer 'it' (" in said


def reshaped(**shapes: tuple[int, ...]) -> Feeds:
    return {**feeds_of(), **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()}}


MISFITS = [
    (reshaped(scores=(1, 9, 7, 10)), "the first bottom is 1×9×7×10; expected 1×18×H×W for 9 anchors"),
    (reshaped(offsets=(1, 18, 7, 10)), "the second bottom is 1×18×7×10; expected 1×36×H×W for 9 anchors"),
    (reshaped(scores=(2, 18, 7, 10)), "the first bottom is 2×18×7×10; regions are proposed for one image at a time"),
    (reshaped(offsets=(1, 36, 7, 9)), "the first bottom is 1×18×7×10, the second 1×36×7×9; expected the same H and W"),
    (reshaped(info=(1, 2)), "the third bottom is 1×2; expected 1×3 or more: height, width, scale"),
    (reshaped(info=(3,)), "the third bottom is 3; expected 1×3 or more: height, width, scale"),
]


@pytest.mark.parametrize(("feeds", "message"), MISFITS, ids=[message for _, message in MISFITS])
def test_bottoms_that_do_not_fit_are_refused(feeds: dict[str, Array], message: str) -> None:
    assert message in refusal(SIMPLE, feeds)


def test_a_batch_left_free_is_refused() -> None:
    assert "one image at a time" in refusal(SIMPLE, feeds_of(), input_shapes={"scores": ("N", 18, 7, 10)})


def test_names_of_layers_do_not_reach_the_axis_as_they_are() -> None:
    net = parse_net(net_text_of(SIMPLE.replace('"it"', '"a/b c"'), feeds_of()), "net.prototxt")
    graph = prepare(net, None, Options(outputs=["rois"])).graph
    assert str(graph.outputs[0].shape[0]) == "regions_of_a_b_c"


def net_text_of(text: str, feeds: Feeds) -> str:
    inputs = []
    for name, feed in feeds.items():
        dims = " ".join(f"dim: {d}" for d in feed.shape)
        inputs.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
    return "\n".join([*inputs, text])


def test_anchors_that_float32_cannot_hold_come_back_from_the_files(tmp_path: Path) -> None:
    feeds = feeds_of(6)
    text = net_text_of(FREE["python, anchors that float32 cannot hold"][0], feeds)
    (tmp_path / "net.prototxt").write_text(text)
    expected = run(parse_net(text, "net.prototxt"), None, feeds).blobs
    for target, output in (("onnx", "model.onnx"), ("torch", "model")):
        convert(tmp_path / "net.prototxt", to=target, output=tmp_path / output)  # type: ignore[arg-type]
        report = verify_model(parse_net(text, "net.prototxt"), None, tmp_path / output, feeds=feeds)
        assert report.ok
        assert [row.shape for row in report.rows] == [expected["rois"].shape, expected["probs"].shape]


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("tops", ["rois", "rois probs"])
@pytest.mark.parametrize("sizes", [(7, 10), ("H", "W")])
def test_every_operator_and_constant_is_read(name: str, tops: str, sizes: tuple[int | str, ...]) -> None:
    text, anchors = FREE[name]
    text = text if tops == "rois probs" else text.replace('top: "probs"', "")
    free = {"scores": (1, 2 * anchors, *sizes), "offsets": (1, 4 * anchors, *sizes)}
    options = Options(outputs=tops.split(), input_shapes=free)
    model = emit_onnx(prepare(net_of(text, feeds_of(anchors)), None, options).graph)
    read = {value for node in model.proto.graph.node for value in node.input}
    read |= {value.name for value in model.proto.graph.output}
    assert {constant for constant, _ in model.initializers} <= read
    assert all(read & set(node.output) for node in model.proto.graph.node)
