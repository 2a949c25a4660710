"""What the passes rewrite, what they refuse and why, and that the numbers stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.layers.batch_norm import BatchNorm
from converter.layers.convolution import Convolution
from converter.options import Options
from prototxt import parse_net
from tests.golden import assert_close, run_onnx, run_torch
from weights import ArrayWeights

RNG = np.random.default_rng(7)

HEAD = (
    'name: "n" layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 7 dim: 5 } } }'
)
CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
          convolution_param { num_output: 4 kernel_size: 3 bias_term: %s } }"""
NORM = 'layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" }'
SCALE = 'layer { name: "scale" type: "Scale" bottom: "norm" top: "scale" scale_param { bias_term: true } }'


def random_weights(factor: float = 1.0, bias: bool = True) -> ArrayWeights:
    conv = [RNG.normal(size=(4, 3, 3, 3))] + ([RNG.normal(size=4)] if bias else [])
    norm = [RNG.normal(size=4) * factor, RNG.uniform(0.5, 2, 4) * factor, np.array([factor])]
    return ArrayWeights({"conv": conv, "norm": norm, "scale": [RNG.normal(size=4), RNG.normal(size=4)]})


def by_hand(weights: ArrayWeights, x: np.ndarray) -> np.ndarray:
    """conv, BatchNorm, Scale as loops and formulas in float64."""
    kernel, *bias = (b.array().astype(np.float64) for b in weights.get("conv").blobs)  # type: ignore[union-attr]
    mean, variance, factor = (b.array().astype(np.float64) for b in weights.get("norm").blobs)  # type: ignore[union-attr]
    gamma, beta = (b.array().astype(np.float64) for b in weights.get("scale").blobs)  # type: ignore[union-attr]
    out = np.zeros((2, 4, 5, 3))
    for n, c, i, j in np.ndindex(*out.shape):
        out[n, c, i, j] = (x[n, :, i : i + 3, j : j + 3] * kernel[c]).sum() + (bias[0][c] if bias else 0)
    inverse = 1 / factor[0] if factor[0] else 0
    shape = (1, 4, 1, 1)
    normal = (out - (mean * inverse).reshape(shape)) / np.sqrt((variance * inverse).reshape(shape) + 1e-5)
    return normal * gamma.reshape(shape) + beta.reshape(shape)


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
@pytest.mark.parametrize("factor", [1.0, 999.98, 0.0])
@pytest.mark.parametrize("bias", [True, False])
def test_folding_keeps_the_numbers(fold: str, factor: float, bias: bool, tmp_path: Path) -> None:
    weights = random_weights(factor, bias)
    net = parse_net(HEAD + CONV % str(bias).lower() + NORM + SCALE)
    graph = prepare(net, weights, Options(fold=fold)).graph  # type: ignore[arg-type]
    x = RNG.normal(size=(2, 3, 7, 5)).astype(np.float32)
    expected = by_hand(weights, x.astype(np.float64))
    assert_close(run_onnx(graph, {"data": x}, tmp_path)["scale"], expected, f"onnx {fold} {factor}", 1e-6)
    assert_close(run_torch(graph, {"data": x})["scale"], expected, f"torch {fold} {factor}", 1e-6)


def types_after(fold: str, text: str, weights: ArrayWeights | None = None, outputs: list[str] | None = None):  # type: ignore[no-untyped-def]
    net = parse_net(HEAD + text)
    ready = prepare(net, weights or random_weights(), Options(fold=fold, outputs=outputs or []))  # type: ignore[arg-type]
    return [type(node.layer).__name__ for node in ready.graph.nodes], ready.notes, ready.graph


def test_batch_norm_and_scale_become_one_node_that_remembers_both() -> None:
    types, notes, graph = types_after("bn", CONV % "true" + NORM + SCALE)
    assert types == ["Convolution", "BatchNorm"]
    assert notes == []
    assert [o.name for o in graph.nodes[1].origins] == ["norm", "scale"]
    assert graph.nodes[1].outputs[0].producer is graph.nodes[1]


def test_conv_folding_leaves_one_convolution_with_a_bias() -> None:
    types, _, graph = types_after("conv", CONV % "false" + NORM + SCALE, random_weights(bias=False))
    assert types == ["Convolution"]
    layer = graph.nodes[0].layer
    assert isinstance(layer, Convolution)
    assert layer.bias_term
    assert set(graph.nodes[0].tensors) == {"weight", "bias"}


def test_none_keeps_the_pair() -> None:
    types, _, _ = types_after("none", CONV % "true" + NORM + SCALE)
    assert types == ["Convolution", "BatchNorm", "Scale"]


def test_a_top_with_two_readers_is_not_folded_away() -> None:
    text = CONV % "true" + NORM + SCALE + 'layer { name: "also" type: "ReLU" bottom: "norm" top: "also" }'
    types, notes, _ = types_after("bn", text)
    assert types == ["Convolution", "BatchNorm", "Scale", "ReLU"]
    assert notes == ["fold_batch_norm: norm left alone: top 'norm' has 2 users"]


def test_a_blob_asked_for_is_not_folded_away() -> None:
    types, notes, graph = types_after("conv", CONV % "true" + NORM + SCALE, outputs=["norm", "scale"])
    assert types == ["Convolution", "Scale"]  # the BatchNorm went into the convolution, whose top is norm now
    assert graph.output_names == ["norm", "scale"]
    assert notes == ["fold_batch_norm: norm left alone: top 'norm' is an output"]


def test_shared_weights_are_never_rewritten() -> None:
    share = 'param { name: "w" } param { name: "b" }'
    text = (
        CONV.replace("convolution_param", share + " convolution_param") % "true"
        + NORM
        + SCALE
        + CONV.replace('"conv"', '"twin"').replace("convolution_param", share + " convolution_param") % "true"
    )
    weights = random_weights()
    arrays = {name: [b.array() for b in weights.get(name).blobs] for name in ("conv", "norm", "scale")}  # type: ignore[union-attr]
    types, notes, _ = types_after("conv", text, ArrayWeights({**arrays, "twin": arrays["conv"]}))
    assert types == ["Convolution", "BatchNorm", "Convolution"]
    assert notes == ["fold_into_convolution: norm stays behind conv: 'conv.weight' is shared with another layer"]


def test_statistics_of_the_batch_are_not_folded() -> None:
    norm = NORM.replace(" }", " batch_norm_param { use_global_stats: false } }")
    types, notes, graph = types_after("conv", CONV % "true" + norm + SCALE)
    assert types == ["Convolution", "BatchNorm"]
    assert notes == ["fold_into_convolution: norm stays behind conv: norm uses the statistics of the batch"]
    assert isinstance(graph.nodes[1].layer, BatchNorm)


def test_a_scale_of_other_axes_is_not_folded() -> None:
    scale = SCALE.replace("bias_term: true", "axis: 0 num_axes: 2")
    weights = random_weights()
    arrays = {name: [b.array() for b in weights.get(name).blobs] for name in ("conv", "norm")}  # type: ignore[union-attr]
    types, notes, _ = types_after(
        "bn", CONV % "true" + NORM + scale, ArrayWeights({**arrays, "scale": [np.ones((2, 4))]})
    )
    assert types == ["Convolution", "BatchNorm", "Scale"]
    assert notes == ["fold_batch_norm: norm left alone: scale covers other axes than the channels"]


@pytest.mark.parametrize(("type_name", "group"), [("Convolution", 2), ("Deconvolution", 1), ("Deconvolution", 2)])
def test_groups_and_deconvolutions_fold_too(type_name: str, group: int, tmp_path: Path) -> None:
    head = HEAD.replace("dim: 3", "dim: 4")
    conv = f"""layer {{ name: "conv" type: "{type_name}" bottom: "data" top: "conv"
               convolution_param {{ num_output: 6 kernel_h: 3 kernel_w: 2 stride: 2 group: {group} }} }}"""
    shape = (6, 4 // group, 3, 2) if type_name == "Convolution" else (4, 6 // group, 3, 2)
    weights = ArrayWeights(
        {
            "conv": [RNG.normal(size=shape), RNG.normal(size=6)],
            "norm": [RNG.normal(size=6), RNG.uniform(0.5, 2, 6), np.ones(1)],
            "scale": [RNG.normal(size=6), RNG.normal(size=6)],
        }
    )
    x = RNG.normal(size=(2, 4, 7, 5)).astype(np.float32)
    results = []
    for fold in ("none", "conv"):
        graph = prepare(parse_net(head + conv + NORM + SCALE), weights, Options(fold=fold)).graph  # type: ignore[arg-type]
        results.append(run_onnx(graph, {"data": x}, tmp_path)["scale"])
    assert_close(results[1], results[0], "folded against not folded", 1e-6)
    assert len(graph.nodes) == 1


def test_an_inner_product_takes_in_what_follows(tmp_path: Path) -> None:
    text = """layer { name: "conv" type: "InnerProduct" bottom: "data" top: "conv"
              inner_product_param { num_output: 4 bias_term: false transpose: true } }"""
    weights = ArrayWeights(
        {
            "conv": [RNG.normal(size=(105, 4))],
            "norm": [RNG.normal(size=4), RNG.uniform(0.5, 2, 4), np.ones(1)],
            "scale": [RNG.normal(size=4), RNG.normal(size=4)],
        }
    )
    x = RNG.normal(size=(2, 3, 7, 5)).astype(np.float32)
    kept, folded = (
        prepare(parse_net(HEAD + text + NORM + SCALE), weights, Options(fold=fold)).graph  # type: ignore[arg-type]
        for fold in ("none", "conv")
    )
    assert len(folded.nodes) == 1
    assert_close(run_torch(folded, {"data": x})["scale"], run_torch(kept, {"data": x})["scale"], "folded", 1e-6)
