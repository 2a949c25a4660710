"""A graph in parts gives what it gives as a whole, to the bit, or is left whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verify.engines import parts
from verify.engines.engine import TOPS
from verify.engines.onnx import OnnxRuntime
from verify.engines.parts import cut_up

X = np.random.default_rng(9).standard_normal((2, 3)).astype(np.float32)


def model_of(nodes: Sequence[Any], outputs: Sequence[str], tops: Sequence[str] = ()) -> Any:
    """A graph of x (2×3) and the initializers w (3×4), b (4), yes and two."""
    stored = {
        "w": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
        "b": np.float32([1, -2, 3, -4]),
        "yes": np.array(True),
        "two": np.int64([2]),
    }
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(made, {TOPS: json.dumps([[name, name, name] for name in tops])})
    return made


def branch(result: str, name: str) -> Any:
    """What an If does: negates a value from around it."""
    node = helper.make_node("Neg", [name], [result])
    return helper.make_graph([node], result, [], [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)])


NODES = [
    helper.make_node("MatMul", ["x", "w"], ["m"]),
    helper.make_node("Relu", ["m"], ["r"]),
    helper.make_node("Clip", ["r", "", "top"], ["c"]),
    helper.make_node("If", ["yes"], ["n"], then_branch=branch("then", "m"), else_branch=branch("else", "r")),
    helper.make_node("TopK", ["n", "two"], ["values", "places"]),
    helper.make_node("Cast", ["places"], ["p"], to=TensorProto.FLOAT),
    helper.make_node("Add", ["c", "b"], ["y"]),
    helper.make_node("Sigmoid", ["y"], ["s"]),
]
NODES.insert(1, helper.make_node("Constant", [], ["top"], value=numpy_helper.from_array(np.float32(0.5))))
TOPS_MADE = ["m", "r", "c", "n", "values", "p", "y", "s"]
OUTPUTS = ["s", "p", "b", "r"]


def answers_of(path: Path) -> tuple[OnnxRuntime, dict[str, Any]]:
    engine = OnnxRuntime(path)
    answers = engine.run({"x": X})
    assert not answers.notes
    return engine, {**{top: array for (_, top), array in answers.tops.items()}, **answers.outputs}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_parts_give_what_the_whole_gives(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model_of(NODES, OUTPUTS, TOPS_MADE), path)
    whole, expected = answers_of(path)
    monkeypatch.setattr(parts, "NODES", size)
    cut = cut_up(path.read_bytes())
    assert cut is not None
    assert len(cut.parts) == -(-len(NODES) // size)
    engine, found = answers_of(path)
    assert (engine.inputs, engine.outputs, engine.metadata) == (whole.inputs, whole.outputs, whole.metadata)
    assert found.keys() == expected.keys() == {*TOPS_MADE, *OUTPUTS}
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)
        assert found[name].dtype == array.dtype
    np.testing.assert_allclose(found["n"], -(X @ np.arange(12, dtype=np.float32).reshape(3, 4) / 7), rtol=1e-5)


def test_a_small_graph_with_many_blobs_gives_them_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model_of(NODES, OUTPUTS, TOPS_MADE), path)
    _, expected = answers_of(path)
    loaded: list[object] = []
    monkeypatch.setattr("verify.engines.onnx.MANY", 3)
    monkeypatch.setattr(parts.Cut, "model", lambda *words, made=parts.Cut.model: loaded.append(1) or made(*words))
    _, found = answers_of(path)
    assert len(loaded) == 5
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)


def test_a_part_has_the_weights_that_its_nodes_read_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "NODES", 1)
    cut = cut_up(model_of(NODES, ["s"]).SerializeToString())
    assert cut is not None
    models = [onnx.ModelProto.FromString(cut.model(part, dict.fromkeys(part.reads, b"\n\0"), [])) for part in cut.parts]
    assert [[entry.name for entry in model.graph.initializer] for model in models] == [
        ["w"],
        [],
        [],
        [],
        ["yes"],
        ["two"],
        [],
        ["b"],
        [],
    ]


def test_what_is_no_tensor_is_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["sequence"], axis=0),
        helper.make_node("ConcatFromSequence", ["sequence"], ["y"], axis=1),
    ]
    path = tmp_path / "m.onnx"
    onnx.save(model_of(nodes, ["y"], ["y"]), path)
    monkeypatch.setattr(parts, "NODES", 1)
    assert cut_up(path.read_bytes()) is not None
    _, found = answers_of(path)
    np.testing.assert_array_equal(found["y"], X.reshape(1, 6))


@pytest.mark.parametrize(
    ("nodes", "output"),
    [
        pytest.param(NODES, "lost", id="an output that nothing makes"),
        pytest.param([NODES[2], NODES[0]], "r", id="a node before what it reads"),
        pytest.param([NODES[0], NODES[0]], "m", id="a value made twice"),
        pytest.param([NODES[0], helper.make_node("Relu", ["m"], ["b"])], "b", id="an initializer made again"),
    ],
)
def test_an_odd_graph_stays_whole(nodes: Sequence[Any], output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "NODES", 1)
    assert cut_up(model_of(nodes, [output]).SerializeToString()) is None


def test_small_graphs_and_what_is_no_model_stay_whole() -> None:
    assert cut_up(model_of(NODES, ["s"]).SerializeToString()) is None
    assert cut_up(b"no model at all") is None


def test_blobs_that_a_graph_lost_are_told_in_parts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model_of(NODES, ["s"], ["lost"]), path)
    monkeypatch.setattr(parts, "NODES", 2)
    assert "lost blobs" in OnnxRuntime(path).run({"x": X}).notes[0]


def test_blobs_that_are_fed_are_told_first(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model_of(NODES, ["s"], ["x", *TOPS_MADE]), path)
    told = [(keys, array) for keys, array in OnnxRuntime(path).stream({"x": X}).tops]
    assert told[0][0] == [("x", "x")]
    np.testing.assert_array_equal(told[0][1], X)
    assert [key for keys, _ in told[1:] for key in keys] == [(top, top) for top in TOPS_MADE]
