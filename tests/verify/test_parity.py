"""A right conversion passes; a wrong one fails at the layer that is wrong, whatever engine runs it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from prototxt import load_net, parse_net
from prototxt.errors import MissingDependencyError, RequestError
from tests.verify import handmade
from verify import run
from verify.bounds import estimate
from verify.comparison import compare
from verify.engines.engine import Answers, ModelInput
from verify.inputs import input_shapes, load_image, seeded
from verify.parity import judge, verify_model
from verify.preprocessing import BakedPreprocessing, read_preprocessing
from verify.report.records import Report
from weights import open_weights

Array = npt.NDArray[np.float32]
Writer = Callable[..., Path]


@pytest.fixture(params=["onnx", "torch"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Writer:
    """Writes the handmade net as a model of either kind."""
    if request.param == "onnx":
        return lambda **options: handmade.write_onnx(tmp_path / "m.onnx", **options)
    pytest.importorskip("torch")
    return lambda **options: handmade.write_torch(tmp_path / "m", **options)


def check(model: Path, **options: object) -> Report:
    return verify_model(handmade.net(), handmade.weights(), model, **options)  # type: ignore[arg-type]


def changed(layer: str, place: int, change: Callable[[Array], Array]) -> dict[str, list[Array]]:
    learned = handmade.parameters()
    learned[layer][place] = change(learned[layer][place]).astype(np.float32)
    return learned


# Whole models


def test_a_right_model_is_within_every_bound(write: Writer) -> None:
    report = check(write())
    assert report.ok
    assert report.first_bad is None
    assert [(row.layer, row.top) for row in report.rows] == [
        ("conv", "conv"),
        ("relu", "conv"),
        ("score", "score"),
        ("prob", "prob"),
    ]
    assert [row.output for row in report.rows] == [False, False, False, True]
    assert [row.layer for row in report.shipped] == ["prob"]
    assert report.folded == ()
    assert report.inputs == {"data": (2, 3, 9, 8)}
    assert all(row.share < 0.3 for row in report.rows)


@pytest.mark.parametrize(
    ("layer", "place", "change"),
    [
        ("conv", 0, lambda w: w[:, ::-1]),
        ("conv", 0, lambda w: w * np.float32(1.0001)),
        ("conv", 1, lambda b: b * np.float32(1.001)),
        ("score", 0, lambda w: w + np.float32(1e-5)),
        ("score", 1, np.zeros_like),
    ],
    ids=["swapped channels", "a factor", "a bias off by a thousandth", "an offset", "a missing bias"],
)
def test_a_wrong_weight_is_found_at_its_own_layer(
    write: Writer, layer: str, place: int, change: Callable[[Array], Array]
) -> None:
    report = check(write(learned=changed(layer, place, change)), feeds=handmade.feeds())
    assert not report.ok
    assert report.first_bad is not None
    assert report.first_bad.layer == layer


def test_nan_in_the_model_is_found_and_told(write: Writer) -> None:
    def spoil(bias: Array) -> Array:
        return np.where(np.arange(7) == 4, np.float32("nan"), bias)

    row = check(write(learned=changed("score", 1, spoil))).first_bad
    assert row is not None
    assert row.layer == "score"
    assert re.fullmatch(r"nan where Caffe has \S+, at \[0, 4\] and 1 more", row.fault)


def test_what_a_model_no_longer_has_is_listed_as_folded(write: Writer, request: pytest.FixtureRequest) -> None:
    if "onnx" in request.node.name:
        model = write(tops=[entry for entry in handmade.TOPS if entry[1] != "conv"])
    else:
        model = write(tops=[None, *handmade.TORCH_TOPS[1:]])
    report = check(model)
    assert report.ok
    assert report.folded == (("conv", "conv"),)


def test_a_batch_of_another_size_is_fed_where_the_model_leaves_it_free(write: Writer) -> None:
    report = check(write(), batch=3)
    assert report.ok
    assert report.inputs == {"data": (3, 3, 9, 8)}


def test_given_feeds_and_other_seeds_are_used(write: Writer) -> None:
    model = write()
    given = check(model, feeds=handmade.feeds(9))
    first, second = check(model, seed=1), check(model, seed=2)
    assert given.ok
    assert first.ok
    assert second.ok
    assert len({r.rows[0].peak for r in (given, first, second)}) == 3
    assert check(model, seed=1).rows == first.rows


def test_a_model_from_elsewhere_is_compared_by_its_outputs(tmp_path: Path) -> None:
    report = check(handmade.write_onnx(tmp_path / "m.onnx", tops=None))
    assert report.ok
    assert report.rows == ()
    assert [row.top for row in report.shipped] == ["prob"]


def test_inputs_and_outputs_of_other_names_are_taken_in_order(tmp_path: Path) -> None:
    model = handmade.write_onnx(tmp_path / "m.onnx", tops=None, names=("image", "probabilities"))
    report = check(model)
    assert report.ok
    assert report.shipped[0].top == "prob"
    assert any("probabilities as 'prob'" in note for note in report.notes)


def test_a_model_of_another_net_is_refused(tmp_path: Path) -> None:
    model = handmade.write_onnx(tmp_path / "m.onnx", tops=[*handmade.TOPS, ["s", "other", "elsewhere"]])
    with pytest.raises(RequestError, match="was made from another net: it has blob 'elsewhere'"):
        check(model)


# Preprocessing


def test_baked_in_preprocessing_is_undone_for_the_reference(tmp_path: Path) -> None:
    tops = [["image", "in", "data"], *handmade.TOPS[1:]]
    said = {"input": "data", "input_order": "rgb", "mean": [5.0, 5.0, 5.0], "mean_shape": None, "scale": 1.0}
    metadata = {"resnet_convert.preprocess": json.dumps(said)}
    model = handmade.write_onnx(tmp_path / "m.onnx", tops=tops, mean=5.0, metadata=metadata)
    assert check(model).ok
    wrong = handmade.write_onnx(tmp_path / "w.onnx", tops=tops, mean=5.01, metadata=metadata)
    assert not check(wrong).ok
    swapped = json.dumps({**said, "input_order": "bgr"})
    model = handmade.write_onnx(
        tmp_path / "s.onnx", tops=tops, mean=5.0, metadata={"resnet_convert.preprocess": swapped}
    )
    assert not check(model).ok


def test_preprocessing_is_scale_times_the_reordered_image_less_the_mean() -> None:
    image = np.float32([[[[10.0]], [[20.0]], [[30.0]]]])
    done = BakedPreprocessing("data", np.float32([[[1]], [[2]], [[3]]]), 0.5, rgb=True).apply(image)
    np.testing.assert_array_equal(done.ravel(), [(30 - 1) / 2, (20 - 2) / 2, (10 - 3) / 2])


def test_a_mean_image_is_cut_at_its_centre() -> None:
    mean = np.arange(35, dtype=np.float32).reshape(1, 5, 7)
    done = BakedPreprocessing("data", mean).apply(np.zeros((1, 1, 3, 3), np.float32))
    np.testing.assert_array_equal(-done[0, 0], mean[0, 1:4, 2:5])


@pytest.mark.parametrize(
    ("said", "mean", "error"),
    [
        ("{", None, "makes no sense"),
        ("[]", None, "makes no sense"),
        ('{"input": "data"}', None, "makes no sense"),
        ('{"input": "data", "input_order": "bgr", "scale": 1, "mean_shape": [3, 5, 7]}', None, "give that image too"),
        (
            '{"input": "data", "input_order": "bgr", "scale": 1, "mean_shape": [3, 5, 7]}',
            np.zeros((3, 7, 5)),
            "3×5×7 baked in, but 3×7×5 was given",
        ),
    ],
)
def test_preprocessing_that_makes_no_sense_is_one_clear_error(said: str, mean: object, error: str) -> None:
    with pytest.raises(RequestError, match=error):
        read_preprocessing({"resnet_convert.preprocess": said}, mean, "m.onnx")  # type: ignore[arg-type]


# Values


def compared(reference: Array, got: npt.NDArray[np.generic], bound: float = 1.0) -> Report:
    net = parse_net(
        'layer { name: "in" type: "Input" top: "x" } layer { name: "y" type: "AbsVal" bottom: "x" top: "y" }'
    )
    trace = run(net, None, {"x": reference})
    rows, _, _ = compare(trace, Answers({("y", "y"): got}, {}), {("y", "y"): bound})  # type: ignore[dict-item]
    return Report("n", "m", "e", {}, "", rows)


NAN, INF, LOWEST = float("nan"), float("inf"), float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("reference", "got", "fault"),
    [
        ([1.0, NAN, INF], [1.0, NAN, INF], ""),
        ([1.0, LOWEST], [1.0, INF], ""),
        ([1.0, 2.0], [1.0, NAN], r"nan where Caffe has 2, at \[1\]"),
        ([1.0, NAN], [1.0, 2.0], r"2 where Caffe has nan, at \[1\]"),
        ([1.0, INF], [1.0, -INF], r"-inf where Caffe has inf, at \[1\]"),
        ([NAN, INF, 3.0], [INF, NAN, 3.0], r"inf where Caffe has nan, at \[0\] and 1 more"),
    ],
)
def test_values_that_are_not_finite_agree_only_when_they_are_the_same(
    reference: list[float], got: list[float], fault: str
) -> None:
    (row,) = compared(np.float32(reference), np.float32(got)).rows
    assert row.ok == (fault == "")
    if fault:
        assert re.fullmatch(fault, row.fault)
        assert row.max_abs == INF


def test_errors_are_measured_against_the_blobs_largest_value() -> None:
    (row,) = compared(np.float32([[1, 8, 2]]), np.float32([[1, 8.5, 2.25]]), bound=1.0).rows
    assert (row.max_abs, row.max_rel, row.peak, row.share, row.ok) == (0.5, 0.0625, 8.0, 0.5, True)
    assert row.worst == ((0, 1), 8.5, 8.0)
    assert not compared(np.float32([[1, 8, 2]]), np.float32([[1, 8.5, 2.25]]), bound=0.4).ok


def test_another_shape_is_told_and_never_broadcast() -> None:
    (row,) = compared(np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)).rows
    assert not row.ok
    assert row.fault == "shape 1×3, Caffe's is 2×3"


def test_a_report_is_json_whatever_it_found() -> None:
    report = compared(np.float32([1, NAN]), np.float32([1, 2]), bound=INF)
    made = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (made["ok"], made["first_bad"], made["rows"][0]["bound"]) == (False, ["y", "y"], None)
    assert made["rows"][0]["worst"] == {"index": [1], "model": 2.0, "reference": None}


# What is fed


def test_shapes_come_from_the_caller_then_the_model_then_the_prototxt() -> None:
    net = handmade.net()
    stated = (ModelInput("data", (None, 3, 11, None)),)
    assert input_shapes(net, ["data"]) == {"data": (2, 3, 9, 8)}
    assert input_shapes(net, ["data"], stated) == {"data": (2, 3, 11, 8)}
    assert input_shapes(net, ["data"], stated, {"data": (1, 3, 7, 5)}, 4) == {"data": (1, 3, 7, 5)}
    assert input_shapes(net, ["data"], stated, {}, 4) == {"data": (4, 3, 11, 8)}
    with pytest.raises(RequestError, match="shape of input 'x' is not written"):
        input_shapes(parse_net('layer { name: "a" type: "Data" top: "x" }'), ["x"])


def test_inputs_are_seeded_and_as_large_as_what_they_stand_for() -> None:
    net = handmade.net()
    shapes = {"data": (2, 3, 40, 30)}
    pixels = seeded(net, shapes, 5)["data"]
    assert pixels.dtype == np.float32
    assert 60 < pixels.std() < 68
    np.testing.assert_array_equal(pixels, seeded(net, shapes, 5)["data"])
    assert not np.array_equal(pixels, seeded(net, shapes, 6)["data"])
    raw = seeded(net, shapes, 5, raw=["data"])["data"]
    assert (raw.min(), raw.max()) == (0, 255)
    np.testing.assert_array_equal(raw, np.rint(raw))


def test_labels_indices_and_sequence_marks_are_fed_as_such() -> None:
    net = parse_net(
        'layer { name: "d" type: "Input" top: "x" top: "label" top: "word" top: "cont" }'
        'layer { name: "l" type: "SoftmaxWithLoss" bottom: "x" bottom: "label" top: "loss" }'
        'layer { name: "e" type: "Embed" bottom: "word" top: "v" embed_param { input_dim: 9 num_output: 2 } }'
        'layer { name: "r" type: "LSTM" bottom: "v" bottom: "cont" top: "h" }'
    )
    fed = seeded(net, {"x": (30, 5), "label": (30,), "word": (50, 4), "cont": (6, 4)})
    assert set(fed["label"]) == {0.0, 1.0}
    assert set(fed["word"].ravel()) <= set(map(float, range(9)))
    assert len(set(fed["word"].ravel())) > 5
    assert (fed["cont"][0] == 0).all()
    assert (fed["cont"][1:] == 1).all()


def test_an_image_is_read_in_the_order_asked_for(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    path = tmp_path / "red.png"
    image_module.new("RGB", (6, 4), (250, 20, 10)).save(path)
    bgr = load_image(path, (1, 3, 8, 12))
    assert bgr.shape == (1, 3, 8, 12)
    assert [int(bgr[0, c, 3, 5]) for c in range(3)] == [10, 20, 250]
    assert [int(load_image(path, (1, 3, 8, 12), order="rgb")[0, c, 3, 5]) for c in range(3)] == [250, 20, 10]
    assert load_image(path, (1, 1, 8, 12)).shape == (1, 1, 8, 12)
    with pytest.raises(RequestError, match="takes no image"):
        load_image(path, (1, 7))
    path.write_bytes(b"no image")
    with pytest.raises(RequestError, match="no image that can be read"):
        load_image(path, (1, 3, 8, 12))


# Judges and real nets


def test_opencv_agrees_with_the_interpreter_on_a_published_net(shared: Path) -> None:
    pytest.importorskip("cv2")
    folder = shared / "golden" / "models" / "squeezenet-imagenet"
    net = load_net(folder / "net.prototxt")
    with open_weights(folder / "weights.caffemodel") as stored:
        try:
            report = judge(net, stored, "opencv")
        except MissingDependencyError as error:
            pytest.skip(error.message)
    assert report.ok
    assert len(report.rows) == 65


def test_a_judge_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "caffe", None)
    with pytest.raises(MissingDependencyError, match="needs caffe"):
        judge(handmade.net(), handmade.weights(), "pycaffe")


def caffes_own(golden: Mapping[str, Array], key: tuple[str, str], reference: Array) -> tuple[Array, Array] | None:
    name = f"{key[0]}:{key[1]}"
    if f"out:{name}" in golden:
        return golden[f"out:{name}"].ravel(), reference.ravel()
    if f"val:{name}" not in golden:
        return None
    flat = reference.ravel()
    return golden[f"val:{name}"].ravel(), flat[golden[f"idx:{name}"]] if f"idx:{name}" in golden else flat


@pytest.mark.parametrize("case", ["nsfw-resnet50-thin", "cifar10-resnet20", "retinaface-mnet", "squeezenet-imagenet"])
def test_the_original_caffe_itself_stays_within_a_fifth_of_the_bounds(shared: Path, case: str) -> None:
    folder = shared / "golden" / "models" / case
    net = load_net(folder / "net.prototxt")
    with np.load(folder / "golden.npz") as archive:
        golden = {key: archive[key] for key in archive.files}
    feeds = {key[3:]: array for key, array in golden.items() if key.startswith("in:")}
    with open_weights(folder / "weights.caffemodel") as stored:
        trace = run(net, stored, feeds)
        bounds = estimate(net, stored, trace)
    shares = {}
    for step in trace.steps:
        pair = caffes_own(golden, step.key, step.value) if step.inputs else None
        if pair is not None:
            shares[step.key] = float(np.abs(pair[0].astype(np.float64) - pair[1]).max()) / bounds[step.key]
    assert len(shares) > 20
    assert max(shares.values()) < 0.2, max(shares, key=lambda key: shares[key])
    assert float(np.median(list(shares.values()))) > 0.005  # nor are they so wide that nothing leaves them


def test_behind_a_tie_other_rows_are_allowed_but_no_other_nan() -> None:
    """An infinite bound says that a choice before the blob may have turned; a finite one allows no other shape."""
    one, two = np.float32([[1, 2]]), np.float32([[1, 2], [3, 4]])
    assert compared(one, two, bound=INF).ok
    assert not compared(one, two).ok
    assert not compared(one, np.float32([1, 2]), bound=INF).ok
    assert not compared(one, np.float32([[1, NAN]]), bound=INF).ok
    assert not compared(np.float32([[1, NAN]]), one, bound=INF).ok
