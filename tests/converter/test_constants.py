"""Operators computed as they are recorded: the same as onnxruntime makes of them, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from converter.api import prepare
from converter.constants import ROOM, computed
from converter.emission import OnnxOps
from converter.options import Options
from converter.targets.onnx_model import OnnxModel, emit_onnx
from converter.targets.torch_model import emit_torch
from prototxt import load_net, parse_net
from tests.golden import GoldenCase, golden_cases
from verify import run
from weights import open_weights

Array = npt.NDArray[Any]


def floats(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.asarray(values, np.int64)


X = floats(2, 3, 5)
CASES: list[tuple[str, tuple[Array, ...], dict[str, Any]]] = [
    ("Add", (X, floats(5)), {}),
    ("Sub", (floats(3, 1), X), {}),
    ("Mul", (X, X), {}),
    ("Div", (X, floats(3, 5)), {}),
    ("Div", (X, np.zeros((), np.float32)), {}),
    ("Cast", (ints(3, 0, -2),), {"to": onnx.TensorProto.FLOAT}),
    ("Cast", (X,), {"to": onnx.TensorProto.DOUBLE}),
    ("Concat", (X, floats(2, 1, 5), X), {"axis": 1}),
    ("Concat", (X, X), {"axis": -1}),
    ("Expand", (floats(3, 1), ints(2, 1, 5)), {}),
    ("Gather", (X, ints(2, -1, 0)), {"axis": 1}),
    ("Gather", (X, np.asarray(1, np.int64)), {"axis": 0}),
    ("Abs", (X,), {}),
    ("Floor", (X,), {}),
    ("GreaterOrEqual", (X, floats(3, 5)), {}),
    ("Neg", (X,), {}),
    ("Sign", (X,), {}),
    ("Pad", (X, ints(0, 1, 2, 1, 0, 3), np.asarray(-1, np.float32)), {}),
    ("Pad", (X, ints(0, 1, 2, 1, 0, 3)), {"mode": "constant"}),
    ("Range", (np.asarray(0, np.int64), np.asarray(4, np.int64), np.asarray(1, np.int64)), {}),
    ("Reshape", (X, ints(0, -1)), {}),
    ("Reshape", (X, ints(5, 6)), {}),
    ("Slice", (X, ints(1), ints(3), ints(1)), {}),
    ("Slice", (X, ints(-2), ints(2**31 - 1), ints(-1)), {}),
    ("Slice", (X, ints(-1), ints(-(2**63) + 1), ints(2), ints(-1)), {}),
    ("Slice", (X, ints(0, 1), ints(1, 2), ints(0, 2)), {}),
    ("Squeeze", (floats(2, 1, 3, 1), ints(1, -1)), {}),
    ("Transpose", (X,), {"perm": [2, 0, 1]}),
    ("Unsqueeze", (X, ints(1, 3)), {}),
]


@pytest.mark.parametrize(("kind", "inputs", "attributes"), CASES, ids=[case[0] for case in CASES])
def test_a_result_is_what_onnxruntime_computes(
    kind: str, inputs: tuple[Array, ...], attributes: dict[str, Any]
) -> None:
    helper = onnx.helper
    names = [f"x{i}" for i in range(len(inputs))]
    kinds = [helper.np_dtype_to_tensor_dtype(x.dtype) for x in inputs]
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info(n, k, x.shape) for n, k, x in zip(names, kinds, inputs, strict=True)],
        [onnx.ValueInfoProto(name="y")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(
        None, dict(zip(names, inputs, strict=True))
    )
    found = computed(kind, inputs, attributes)
    assert found is not None
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes"),
    [
        ("Exp", (X,), {}),
        ("Div", (ints(7), ints(-2)), {}),
        ("Pad", (X, ints(0, 0, 1, 0, 0, 1)), {"mode": "reflect"}),
        ("Pad", (X, ints(0, 0, -1, 0, 0, 0)), {}),
        ("Expand", (np.zeros((), np.float32), ints(ROOM // 4 + 1)), {}),
    ],
)
def test_what_a_runtime_may_round_otherwise_or_writes_shorter_is_left_to_it(
    kind: str, inputs: tuple[Array, ...], attributes: dict[str, Any]
) -> None:
    assert computed(kind, inputs, attributes) is None


def test_an_operator_on_constants_is_recorded_as_their_result() -> None:
    g = OnnxOps(13, "it", known={"boxes": floats(1, 2, 8)})
    half = g.op("Mul", g.slice("boxes", 1, 0, 1), g.scalar(0.5))
    assert g.ops == []
    assert np.array_equal(g.constants[half], floats(1, 2, 8)[:, :1] * np.float32(0.5))
    g.op("Mul", half, "x")
    assert [op.type for op in g.ops] == ["Mul"]


def emitted(case: GoldenCase) -> OnnxModel:
    weights = open_weights(case.weights) if case.weights else None
    sizes = {name: feed.shape for name, feed in case.feeds().items()}
    options = Options(input_shapes=sizes, outputs=list(case.expected()))
    return emit_onnx(prepare(load_net(case.net), weights, options).graph)


def left_over(model: OnnxModel, most: Callable[[Array], bool]) -> list[str]:
    """Operators that read nothing but constants, and none that is large."""
    constants = {name: values for name, values in model.initializers if isinstance(values, np.ndarray)}
    return [
        node.name
        for node in model.proto.graph.node
        if node.op_type != "Identity" and all(name in constants and most(constants[name]) for name in node.input)
    ]


VIEWS = {"detection_output_levels"}
"""Where the prior boxes of each level stay blobs that the head reads."""


@pytest.mark.parametrize("case", golden_cases(), ids=str)
def test_no_operator_is_left_whose_result_is_known(case: GoldenCase) -> None:
    model = emitted(case)
    assert case.folder.name in VIEWS or left_over(model, lambda values: values.size < 1000) == []
    read = {name for node in model.proto.graph.node for name in node.input}
    bodies = {n for node in model.proto.graph.node for a in node.attribute for b in a.g.node for n in b.input}
    assert {name for name, _ in model.initializers} <= read | bodies


SSD = """
layer { name: "in" type: "Input" top: "x" top: "loc" top: "conf" input_param {
    shape { dim: 2 dim: 3 dim: 30 dim: 20 } shape { dim: 2 dim: 48 } shape { dim: 2 dim: 36 } } }
layer { name: "pool" type: "Pooling" bottom: "x" top: "map" pooling_param { pool: AVE kernel_size: 10 stride: 10 } }
layer { name: "first" type: "PriorBox" bottom: "map" bottom: "x" top: "p1" prior_box_param { min_size: 8 } }
layer { name: "second" type: "PriorBox" bottom: "map" bottom: "x" top: "p2" prior_box_param { min_size: 14 } }
layer { name: "both" type: "Concat" bottom: "p1" bottom: "p2" top: "priors" concat_param { axis: 2 } }
layer { name: "found" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors" top: "out"
    detection_output_param { num_classes: 3 code_type: CENTER_SIZE confidence_threshold: 0.1 keep_top_k: 5
        nms_param { nms_threshold: 0.45 top_k: 8 } } }
"""


@pytest.mark.parametrize("batch", [1, 2, "N"])
def test_an_ssd_head_of_a_fixed_batch_computes_nothing_that_is_known(batch: int | str) -> None:
    shapes = {"x": (batch, 3, 30, 20), "loc": (batch, 48), "conf": (batch, 36)}
    graph = prepare(parse_net(SSD, "net.prototxt"), None, Options(input_shapes=shapes)).graph
    model = emit_onnx(graph)
    kinds = [node.op_type for node in model.proto.graph.node]
    if batch != "N":
        assert kinds.count("Shape") == 1  # of how many boxes stay
        assert kinds.count("Expand") == 1 + (batch != 1)  # of their marks, and of that which says if any do
    # All that reads the boxes where they are a blob: their variances.
    assert [name.rpartition("_")[0] for name in left_over(model, lambda _: True)] == ["found/Reshape"]
    assert "priors" in {top for _, _, top in _tops(model)}
    assert {"p1", "p2"}.isdisjoint(top for _, _, top in _tops(model))


@pytest.mark.parametrize("asked", [[], ["p1", "out"]])
def test_joined_prior_boxes_are_one_buffer_of_a_module(asked: list[str]) -> None:
    net = parse_net(SSD, "net.prototxt")
    model = emit_torch(prepare(net, None, Options(outputs=asked)).graph)
    assert list(model.state) == (["first.value", "both.value"] if asked else ["both.value"])
    assert "torch.cat([p1" not in model.source
    feeds = {name: floats(*shape) for name, shape in (("x", (2, 3, 30, 20)), ("loc", (2, 48)), ("conf", (2, 36)))}
    boxes = run(net, None, feeds).blobs
    assert np.array_equal(model.state["both.value"], boxes["priors"])
    assert not asked or np.array_equal(model.state["first.value"], boxes["p1"])


def test_prior_boxes_beside_what_is_fed_are_joined_when_it_is_there() -> None:
    text = SSD.replace('bottom: "p2" top: "priors"', 'bottom: "fed" top: "priors"')
    text = text.replace('top: "conf"', 'top: "conf" top: "fed"')
    text = text.replace("shape { dim: 2 dim: 36 }", "shape { dim: 2 dim: 36 } shape { dim: 1 dim: 2 dim: 24 }")
    model = emit_torch(prepare(parse_net(text, "net.prototxt"), None, Options()).graph)
    assert list(model.state) == ["first.value", "second.value"]  # the second's top is an output now
    assert "priors = torch.cat([p1, fed], dim=2)" in model.source


def _tops(model: OnnxModel) -> list[list[str]]:
    metadata = {p.key: p.value for p in model.proto.metadata_props}
    found: list[list[str]] = json.loads(metadata["resnet_convert.tops"])
    return found
