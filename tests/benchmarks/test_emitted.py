"""Which nets of a family the judge is shown, and what it takes for a fault; onnxsim itself is not needed."""

from __future__ import annotations

from collections import Counter, defaultdict

import onnx
import pytest
from onnx import ModelProto

from benchmarks.corpus_work import Entry
from benchmarks.emitted import Verdict, best_in_turns, report, shortest_and_longest
from benchmarks.needless import NEEDLESS, Surroundings, gone, reason, with_needless
from converter.api import prepare
from converter.options import Options
from converter.targets.onnx_model import emit_onnx
from converter.targets.writers import write_onnx
from prototxt import parse_net


def test_the_shortest_and_the_longest_come_first() -> None:
    entries = [Entry(f"prototxt/o+r/{size}", "v2", True, "x" * size) for size in (30, 10, 50, 20, 40)]
    assert [len(entry.text) for entry in shortest_and_longest(entries)] == [10, 50, 20, 40, 30]


def verdict(*unexplained: str, **removed: int) -> Verdict:
    why = {"for a reason": Counter(removed)} if removed else {}
    kinds = Counter(removed)
    return Verdict("net", "SSD", 10, 10 - kinds.total(), kinds, Counter(), why, unexplained)


def test_what_goes_without_a_reason_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([verdict(), verdict(Pad=2)]) == 0
    assert "Pad 2, in 1 nets: for a reason" in capsys.readouterr().out
    assert report([verdict(), verdict("conv1/Pad_3", Pad=2)]) == 1
    assert "**no reason** in net: conv1/Pad_3" in capsys.readouterr().out


NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 6 } } }
layer { name: "begins" type: "Input" top: "begins" input_param { shape { dim: 2 dim: 1 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a" param { name: "w" } param { name: "b" }
  convolution_param { num_output: 3 kernel_size: 1 pad: 1 weight_filler { type: "msra" } } }
layer { name: "a_bn" type: "BatchNorm" bottom: "a" top: "a" }
layer { name: "a_scale" type: "Scale" bottom: "a" top: "a" scale_param { filler { value: 2 } bias_term: true } }
layer { name: "far" type: "AbsVal" bottom: "x" top: "far" }
layer { name: "c" type: "Convolution" bottom: "far" top: "c" param { name: "w" } param { name: "b" }
  convolution_param { num_output: 3 kernel_size: 1 pad: 1 weight_filler { type: "msra" } } }
layer { name: "norm" type: "Normalize" bottom: "a" top: "norm"
  norm_param { across_spatial: false scale_filler { type: "constant" value: 20 } } }
layer { name: "loc" type: "Convolution" bottom: "norm" top: "loc"
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat" }
layer { name: "conf" type: "Convolution" bottom: "c" top: "conf"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "conf_perm" type: "Permute" bottom: "conf" top: "conf_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_rows" type: "Reshape" bottom: "conf_perm" top: "conf_rows"
  reshape_param { shape { dim: 0 dim: -1 dim: 2 } } }
layer { name: "conf_soft" type: "Softmax" bottom: "conf_rows" top: "conf_soft" softmax_param { axis: 2 } }
layer { name: "conf_flat" type: "Flatten" bottom: "conf_soft" top: "conf_flat" }
layer { name: "priors" type: "PriorBox" bottom: "loc" bottom: "x" top: "priors" prior_box_param { min_size: 3 } }
layer { name: "found" type: "DetectionOutput" bottom: "loc_flat" bottom: "conf_flat" bottom: "priors" top: "found"
  detection_output_param { num_classes: 2 code_type: CENTER_SIZE keep_top_k: 5 confidence_threshold: 0.1
    nms_param { nms_threshold: 0.4 top_k: 9 } } }
layer { name: "seen" type: "Convolution" bottom: "c" top: "seen"
  convolution_param { num_output: 4 kernel_h: 10 kernel_w: 8 weight_filler { type: "msra" } } }
layer { name: "rows" type: "Reshape" bottom: "seen" top: "rows" reshape_param { shape { dim: 2 dim: 1 dim: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "rows" top: "fc"
  inner_product_param { num_output: 5 axis: 2 weight_filler { type: "msra" } bias_filler { value: 1 } } }
layer { name: "maps" type: "Convolution" bottom: "c" top: "maps"
  convolution_param { num_output: 4 kernel_h: 10 kernel_w: 7 weight_filler { type: "msra" } } }
layer { name: "steps" type: "Permute" bottom: "maps" top: "steps"
  permute_param { order: 3 order: 0 order: 1 order: 2 } }
layer { name: "lstm" type: "LSTM" bottom: "steps" top: "lstm" bottom: "begins"
  recurrent_param { num_output: 3 weight_filler { type: "msra" } bias_filler { value: 1 } } }
layer { name: "best" type: "ArgMax" bottom: "fc" top: "best" argmax_param { axis: 2 } }
"""
"""A net that has operators for nearly all of the reasons."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelProto:
    graph = prepare(parse_net(NET, "net.prototxt"), None, Options(fold="conv", random_weights=0)).graph
    path = tmp_path_factory.mktemp("emitted") / "model.onnx"
    write_onnx(emit_onnx(graph), path)
    return onnx.load(path)


def test_operators_have_the_reasons_that_are_theirs(model: ModelProto) -> None:
    surroundings = Surroundings(model)
    groups = defaultdict(list)
    for node in surroundings.nodes:
        if why := reason(surroundings, node):
            groups[why.why].append(f"{node.op_type} of {node.name.partition('/')[0]}")
    assert list(groups.values()) == [
        ["Pad of a", "Pad of c"],
        ["BatchNormalization of a_bn"],
        ["Mul of norm"],
        [
            "Flatten of loc_flat",
            "Reshape of conf_rows",
            "Flatten of conf_flat",
            *["Reshape of found"] * 2,
            "Reshape of rows",
        ],
        ["Reshape of found", "Slice of found"],
        ["MatMul of fc", "Add of fc", *(f"{kind} of lstm" for kind in ("Reshape", "MatMul", "Add", "MatMul"))],
        ["ArgMax of best"],
    ]


@pytest.mark.parametrize("kind", NEEDLESS)
def test_no_reason_excuses_an_operator_that_changes_nothing(kind: str, model: ModelProto) -> None:
    places = Surroundings(model)
    shapes = {name: places.shape(name) for name in [*places.makers, "x"] if places.readers[name]}
    known = {name: shape for name, shape in shapes.items() if shape is not None and all(type(n) is int for n in shape)}
    assert len(known) > 20
    for value, shape in known.items():
        planted = with_needless(model, value, shape, kind)  # type: ignore[arg-type]
        (added,) = gone(planted, model)
        assert added.name == "needless"
        assert reason(Surroundings(planted), added) is None, value


def test_the_first_round_is_not_counted_and_the_best_is() -> None:
    ticks = iter([0, 1, 1, 3, 10, 14, 20, 23])
    best = best_in_turns({"a": lambda: None}, 3, lambda: next(ticks))
    assert best == {"a": 2}
