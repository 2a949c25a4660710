"""Normalised features and weights, as nets for faces have them: whose Normalize it is, folding, training, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from converter.api import prepare
from converter.fully_convolutional import fully_convolutional
from converter.options import Options
from converter.targets.caffe_model import write_caffe
from converter.targets.torch_model import Training, emit_torch, live_module
from converter.training.module import training_graph
from prototxt import load_net, parse_net
from prototxt.errors import CaffeModelError
from tests.converter.layers.test_rarer_agreement import layer, net_of, random, refusal
from tests.golden import assert_close, run_onnx, run_torch
from verify import run
from weights import ArrayWeights, open_weights

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }'
X = random(1, 2, 3, 4, 5)
UNIT = X / np.sqrt(np.square(X).sum(1, keepdims=True) + 1e-6)
ITEMS = X / np.sqrt(np.square(X).sum((1, 2, 3), keepdims=True))
SSD = X / np.sqrt(np.square(X).sum((1, 2, 3), keepdims=True) + 1e-10)


@pytest.mark.parametrize(
    ("params", "dialect", "blobs", "expected"),
    [
        ("normalize_param { normalize_type: 'L2' }", "", [], UNIT),
        ("normalize_param { }", "", [], UNIT),
        ("", "", [], UNIT),
        ("", "", [np.float32(3)], SSD * 3),
        ("", "happynear", [], UNIT),
        ("norm_param { }", "happynear", [], UNIT),
        ("", "tsn", [], ITEMS),
        ("normalize_param { }", "ssd", [np.float32(3)], SSD * 3),
        ("norm_param { across_spatial: true }", "", [np.float32(3)], SSD * 3),
    ],
)
def test_fields_blobs_or_the_user_tell_whose_normalize_it_is(
    params: str, dialect: str, blobs: list[np.ndarray], expected: np.ndarray, tmp_path: Path
) -> None:
    net = parse_net(
        INPUT + layer("Normalize", params),
        "net.prototxt",
        dialects={"Normalize": dialect} if dialect else {},
    )
    weights = ArrayWeights({"it": blobs} if blobs else {"another": [np.float32(1)]})
    graph = prepare(net, weights, Options()).graph
    assert_close(run(net, weights, {"x": X}).blobs["out"], expected, "interpreter")
    assert_close(run_onnx(graph, {"x": X}, tmp_path)["out"], expected, "onnx")
    assert_close(run_torch(graph, {"x": X})["out"], expected, "torch")


def test_a_normalize_of_ssd_without_its_blob_is_refused() -> None:
    net = net_of(layer("Normalize", "norm_param { across_spatial: false }"), {"x": X})
    with pytest.raises(CaffeModelError, match="it"):
        prepare(net, ArrayWeights({"another": [np.float32(1)]}), Options())


def test_a_normalize_that_says_nothing_is_warned_of() -> None:
    (said,) = prepare(net_of(layer("Normalize"), {"x": X}), None, Options()).warnings
    assert "--dialect Normalize=tsn for the whole item without eps" in said
    assert "Normalize=ssd" in said
    (said,) = prepare(net_of(layer("Normalize"), {"x": X[:, :, 0, 0]}), None, Options()).warnings
    assert "--dialect Normalize=ssd" in said
    assert "tsn" not in said


def test_a_normalize_of_whole_items_by_hand(tmp_path: Path) -> None:
    """An item of 1, 2, 2 and 4 has the norm 5, one of 0, 6, 8 and 0 the norm 10; three axes become four."""
    x = np.float32([[1, 2, 2, 4], [0, 6, 8, 0]]).reshape(2, 2, 2)
    shape = "shape { dim: 2 dim: 2 dim: 2 }"
    text = f'layer {{ name: "x" type: "Input" top: "x" input_param {{ {shape} }} }}'
    net = parse_net(text + layer("Normalize"), "net.prototxt", dialects={"": "tsn"})
    graph = prepare(net, None, Options()).graph
    for got in (run(net, None, {"x": x}).blobs, run_onnx(graph, {"x": x}, tmp_path), run_torch(graph, {"x": x})):
        assert got["out"].shape == (2, 2, 2, 1)
        np.testing.assert_allclose(got["out"].ravel(), [0.2, 0.4, 0.4, 0.8, 0, 0.6, 0.8, 0], rtol=1e-6)


def test_a_layer_that_only_its_fork_has_tells_a_normalize_of_whole_items() -> None:
    beside = 'layer { name: "m" type: "LabeledMatching" bottom: "x" top: "m" }'
    for params, tops, expected in (
        ("", "out", "tsn"),
        ("norm_param { }", "out", "ssd"),
        ("normalize_param { }", "out", "happynear"),
        ("", "out norms", "happynear"),
    ):
        net = parse_net(INPUT + beside + layer("Normalize", params, tops=tops), "net.prototxt")
        assert net.layers[-1].dialect == expected
    assert parse_net(INPUT + layer("Normalize")).layers[-1].dialect == "ssd"


def test_a_second_top_is_none_of_whole_items() -> None:
    text = INPUT + layer("Normalize", tops="out norms")
    with pytest.raises(CaffeModelError, match="2 tops; expected 1 of yjxiong's Normalize"):
        prepare(parse_net(text, dialects={"Normalize": "tsn"}), None, Options())
    with pytest.raises(CaffeModelError, match="makes 1 top, not 2"):
        run(parse_net(text, dialects={"Normalize": "tsn"}), None, {"x": X})


def test_grn_divides_each_pixel_by_the_root_of_its_squares_and_the_bias(tmp_path: Path) -> None:
    """Pixels (3, 4) and (1, 2) with a bias of 11 and of 0: over 6 and 4, then over 5 and the root of 5."""
    x = np.float32([[3, 1], [4, 2]]).reshape(1, 2, 1, 2)
    for bias, roots in ((11, [6, 4]), (0, [5, 5**0.5])):
        net = net_of(layer("GRN", f"grn_param {{ bias: {bias} }}"), {"x": x})
        graph = prepare(net, None, Options()).graph
        made = run(net, None, {"x": x}).blobs, run_onnx(graph, {"x": x}, tmp_path), run_torch(graph, {"x": x})
        for got in made:
            np.testing.assert_allclose(got["out"], x / np.float32(roots), rtol=1e-6)


def test_norms_pass_a_gradient_on_only_with_bp_norm() -> None:
    for through in (False, True):
        params = f"normalize_param {{ bp_norm: {str(through).lower()} }}"
        net = parse_net(net_text_of(params), "net.prototxt", phase="TRAIN")
        graph = training_graph(net, None, Options(outputs=["out", "norms"]), None)
        module = live_module(emit_torch(graph, training=Training({}))).train()
        x = torch.from_numpy(X.copy()).requires_grad_()
        made = module(x)
        (gradient,) = torch.autograd.grad(made["norms"].sum() if through else made["out"].sum(), x)
        if through:  # d norm / d x is the unit vector.
            assert_close(gradient.numpy(), UNIT, "gradient of the norms")
        else:  # (1 - y · sum of y) / norm, as normalize_layer.cpp has it.
            norm = np.sqrt(np.square(X).sum(1, keepdims=True) + 1e-6)
            assert_close(gradient.numpy(), (1 - UNIT * UNIT.sum(1, keepdims=True)) / norm, "gradient")
            assert not made["norms"].requires_grad


def net_text_of(params: str) -> str:
    return INPUT + layer("Normalize", params, tops="out norms")


SCALED = (
    'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }\n'
    'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" '
    "inner_product_param { num_output: 6 normalize: true bias_term: false } }\n"
    'layer { name: "s" type: "Scale" bottom: "fc" top: "y" scale_param { bias_term: true } }'
)
WEIGHTS = ArrayWeights({"fc": [3 * random(2, 6, 60)], "s": [random(3, 6), random(4, 6)]})


def scaled() -> np.ndarray:
    matrix, factor, summand = (blob.array() for entry in WEIGHTS.layers for blob in entry.blobs)
    unit = matrix / np.sqrt(np.square(matrix).sum(1, keepdims=True) + 1e-6)
    return X.reshape(2, 60) @ unit.T * factor + summand


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
def test_rows_are_made_unit_vectors_before_a_factor_folds_into_them(fold: str, tmp_path: Path) -> None:
    graph = prepare(parse_net(SCALED, "net.prototxt"), WEIGHTS, Options(fold=fold)).graph
    assert_close(run_onnx(graph, {"x": X}, tmp_path)["y"], scaled(), "onnx")
    assert_close(run_torch(graph, {"x": X})["y"], scaled(), "torch")


@pytest.mark.parametrize("fold", ["none", "conv"])
def test_a_caffe_net_written_again_normalises_once(fold: str, tmp_path: Path) -> None:
    ready = prepare(parse_net(SCALED, "net.prototxt"), WEIGHTS, Options(fold=fold))
    write_caffe(ready.graph, tmp_path)
    net = load_net(tmp_path / "deploy.prototxt")
    assert any(found.param.inner_product_param.normalize for found in net.layers) == (fold == "none")
    with open_weights(tmp_path / "model.caffemodel") as weights:
        assert_close(run(net, weights, {"x": X}).blobs["y"], scaled(), "interpreter")


def test_a_classifier_made_a_convolution_has_unit_vectors(tmp_path: Path) -> None:
    options = Options(outputs=["y"], input_shapes={"x": X.shape})
    dense = fully_convolutional(parse_net(SCALED, "net.prototxt"), WEIGHTS, options)
    graph = prepare(dense.net, dense.weights, Options()).graph
    assert_close(run_onnx(graph, {"x": X}, tmp_path)["y"].reshape(2, 6), scaled(), "onnx")


def test_training_moves_weights_that_were_made_unit_vectors() -> None:
    text = SCALED.splitlines()[0] + SCALED.splitlines()[1]
    net = parse_net(text, "net.prototxt", phase="TRAIN")
    graph = training_graph(net, WEIGHTS, Options(outputs=["fc"]), None)
    module = live_module(emit_torch(graph, training=Training({}))).train()
    module(torch.from_numpy(X))["fc"].sum().backward()
    (weight,) = (p for name, p in module.named_parameters() if name.endswith("weight"))
    matrix = WEIGHTS.layers[0].blobs[0].array()
    assert_close(weight.detach().numpy(), matrix / np.sqrt(np.square(matrix).sum(1, keepdims=True) + 1e-6), "weight")
    expected = np.broadcast_to(X.reshape(2, 60).sum(0), (6, 60))  # Not through the norm: Caffe's backward knows none.
    assert_close(weight.grad.numpy(), expected, "gradient")


REFUSED = {
    layer("DReLU"): "unknown layer type 'DReLU': no public source defines it for a net alone: nets bear it, ",
    layer("Null"): "unknown layer type 'Null': no public source defines it",
    layer("Normalize", "normalize_param { normalize_type: 'L3' }"): "normalize_type is 'L3'; expected L1 or L2",
    layer("Normalize", "norm_param { }", tops="a b"): "2 tops; expected 1 of a layer with norm_param",
    layer("GRN", "grn_param { bias: -0.5 }"): "bias is -0.5; expected 0 or more",
    layer("L2Normalize", "", tops="x"): "it works in place; its fork refuses that",
    layer("GroupNorm", "group_norm_param { group_num: 2 }"): "3 channels are no multiple of the 2 groups",
    layer("GroupNorm", "group_norm_param { group_num: 3 group: 3 }"): "both group_num and group, of two forks",
    layer("BilinearInterpolate", "bilinear_interpolate_param { }"): "expected scale_factor, or dst_h and dst_w",
    layer("BilinearInterpolate", "bilinear_interpolate_param { dst_h: 1 dst_w: 2 }"): "divides 0 by 0",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_its_fork_refuses_is_refused(text: str) -> None:
    assert REFUSED[text] in refusal(text, {"x": X})
