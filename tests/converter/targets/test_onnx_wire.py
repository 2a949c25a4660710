"""ONNX's messages as we write them, against onnx's own serialisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from converter.targets import onnx_wire as wire
from weights.wire import prefixed

VALUES = {
    "a whole number": 3,
    "nothing": 0,
    "a negative number": -7,
    "the least": -(1 << 63),
    "numpy's": np.int64(1 << 40),
    "a truth value": True,
    "a float": 0.1,
    "numpy's float": np.float32(1.5),
    "beyond float32": 1e39,
    "no number": float("nan"),
    "a string": "linear",
    "an empty string": "",
    "beyond ASCII": "größe",
    "numbers": [0, -1, 300],
    "floats": [0.5, 1e-9],
    "mixed": [1, 0.5],
    "strings": ["a", "b"],
    "many": list(range(200)),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.filterwarnings("ignore:overflow")
def test_an_attribute_is_what_onnx_writes(value: Any) -> None:
    assert wire.attribute("name", value) == helper.make_attribute("name", value).SerializeToString()


def test_an_empty_list_has_no_type() -> None:
    with pytest.raises(ValueError, match="'axes' is an empty list"):
        wire.attribute("axes", [])


def test_a_node_has_its_fields_in_onnx_order() -> None:
    ours = wire.node("Conv", ["x", "", "b"], ["y"], "n/Conv_0", {"pads": [0, 1], "group": 2}, "conv (Convolution)")
    theirs = helper.make_node("Conv", ["x", "", "b"], ["y"], "n/Conv_0", "conv (Convolution)", pads=[0, 1], group=2)
    assert ours == theirs.SerializeToString()


@pytest.mark.parametrize("shape", [None, [], [2, 0, 1 << 40], ["N", 3, "H/2"]], ids=str)
@pytest.mark.parametrize("doc", ["", "input"])
def test_a_value_is_what_onnx_writes(shape: Any, doc: str) -> None:
    theirs = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape, doc)
    assert wire.value_info("x", wire.FLOAT, shape, doc) == theirs.SerializeToString()


def test_a_graph_within_an_attribute_is_what_onnx_writes() -> None:
    node = helper.make_node("Identity", ["a"], ["b"], "i")
    values = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in "ab"]
    theirs = helper.make_attribute("body", helper.make_graph([node], "body", values[:1], values[1:]))
    ends = [[wire.value_info(name, wire.BOOL, [])] for name in "ab"]
    body = wire.nodes_and_name([wire.node("Identity", ["a"], ["b"], "i", {}, "")], "body") + wire.values(*ends)
    assert wire.attribute("body", wire.Subgraph(body)) == theirs.SerializeToString()


@pytest.mark.parametrize("kind", wire.KINDS)
def test_a_tensor_is_what_onnx_writes(kind: str) -> None:
    array = np.arange(6).reshape(1, 2, 3).astype(kind)
    head = wire.tensor_head("w", wire.KINDS[kind], array.shape)
    assert head + prefixed(9, array.tobytes()) == onnx.numpy_helper.from_array(array, "w").SerializeToString()


def test_a_tensor_in_another_file_says_where() -> None:
    theirs = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "m.onnx.data", "offset": "4096", "length": "8"}.items():
        theirs.external_data.add(key=key, value=value)
    ours = wire.tensor_head("w", wire.FLOAT, [2]) + wire.elsewhere("m.onnx.data", 4096, 8)
    assert ours == theirs.SerializeToString()


def test_a_model_is_what_onnx_writes() -> None:
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"], "i")], "g", [], [])
    theirs = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    theirs.producer_name, theirs.producer_version = "us", "1"
    helper.set_model_props(theirs, {"k": "v", "l": ""})
    inner = wire.nodes_and_name([wire.node("Identity", ["a"], ["b"], "i", {}, "")], "g") + wire.values([], [])
    ours = wire.model_opening(7, "us", "1") + prefixed(wire.GRAPH, inner) + wire.model_closing(13, {"k": "v", "l": ""})
    assert ours == theirs.SerializeToString()
