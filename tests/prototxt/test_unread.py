"""What a net states and nobody reads is refused or named, by each side for itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.building.build import build
from converter.layers import base
from converter.node import Layer
from converter.options import Options
from prototxt import Net, NetLayer, parse_net
from prototxt.errors import UnreadError
from prototxt.recording import Record
from prototxt.sections import declare_section
from prototxt.unread import unread
from resnet_convert.cli.main import main
from verify import run
from weights import ArrayWeights

DATA = 'layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'


def net_of(fields: str, kind: str = "ReLU", *, lenient: bool = False) -> Net:
    text = f'{DATA}layer {{ name: "it" type: "{kind}" bottom: "x" top: "out"\n{fields} }}'
    return parse_net(text, "net.prototxt", allow_unknown=lenient)


def paths_left(net: Net, *read: str) -> list[str]:
    """What is left of the last layer when somebody has read these fields of its relu_param."""
    record = Record()
    layer = net.layers[-1].read_by(record)
    for name in read:
        getattr(layer.param.relu_param, name)
    return [field.path for field in unread(net.layers[-1], record)]


def test_a_field_that_is_asked_for_is_used_and_the_others_are_left() -> None:
    net = net_of("relu_param { negative_slope: 0.5 maximum: 2 }")
    assert paths_left(net) == ["relu_param.negative_slope", "relu_param.maximum"]
    assert paths_left(net, "negative_slope") == ["relu_param.maximum"]
    assert paths_left(net, "negative_slope", "maximum") == []


def test_asking_whether_a_field_is_stated_is_using_it() -> None:
    net, record = net_of("relu_param { negative_slope: 0.5 }"), Record()
    assert net.layers[-1].read_by(record).param.relu_param.HasField("negative_slope")
    assert unread(net.layers[-1], record) == []


def test_what_is_stated_at_its_default_changes_nothing() -> None:
    assert paths_left(net_of("relu_param { negative_slope: 0 }")) == []


def test_a_reader_may_say_that_a_field_has_no_effect_here() -> None:
    net, record = net_of("relu_param { maximum: 2 }"), Record()
    net.layers[-1].read_by(record).without_effect("a test", "relu_param.maximum")
    assert unread(net.layers[-1], record) == []


def test_asking_for_the_dialect_uses_no_field() -> None:
    net, record = net_of("interp_param { zoom_factor: 2 }", "Interp"), Record()
    assert net.layers[-1].read_by(record).dialect == "deeplab"
    assert record.read == set()


REFUSED = [
    ("relu_param { saturate: Signed }", "3:1", "relu_param.saturate: it computes in whole numbers, not in floats"),
    ("blobs { data: 1 }", "3:9", "blobs.data: not read"),
]


@pytest.mark.parametrize(("fields", "place", "message"), REFUSED)
def test_a_setting_that_may_count_stops_the_converter(fields: str, place: str, message: str) -> None:
    with pytest.raises(UnreadError) as caught:
        prepare(net_of(fields), None, Options())
    assert f"net.prototxt:{place}" in str(caught.value)
    assert message in str(caught.value)


def test_each_side_answers_for_itself() -> None:
    feeds = {"x": np.ones((2, 3), np.float32)}
    with pytest.raises(UnreadError, match="not read by the interpreter, and the numbers may hang on it"):
        run(net_of("blobs { data: 1 }"), None, feeds)


def test_with_allow_unknown_both_go_on_and_say_so() -> None:
    net = net_of("blobs { data: 1 }", lenient=True)
    assert any(
        "blobs.data: not read, and what it changes is left out" in w for w in prepare(net, None, Options()).warnings
    )
    trace = run(net, None, {"x": np.ones((2, 3), np.float32)})
    assert [field.path for field in trace.unread] == ["blobs.data"]


def test_another_types_section_is_named_once_for_all_layers_that_have_it() -> None:
    second = '\nlayer { name: "b" type: "ReLU" bottom: "out" top: "b" lrn_param { alpha: 2 beta: 3 } }'
    net = parse_net(
        f'{DATA}layer {{ name: "a" type: "ReLU" bottom: "x" top: "out" lrn_param {{ alpha: 2 }} }}{second}',
        "net.prototxt",
    )
    (warning,) = prepare(net, None, Options()).warnings
    where, left = "net.prototxt:2:67: layer 'a' (ReLU) and 1 more", "lrn_param.alpha, lrn_param.beta"
    assert warning == f"{where}: {left}: not read, which a ReLU does not have"


def test_a_name_in_a_python_layers_parameters_that_nobody_knows_is_refused() -> None:
    param = "python_param { module: 'spatial_dropout' layer: 'SpatialDropoutLayer' param_str: \"{'p': 0.1, 'q': 2}\" }"
    with pytest.raises(UnreadError, match=r"python_param\.param_str\.q"):
        prepare(net_of(param, "Python"), None, Options())


def test_what_a_python_layer_reads_where_the_caller_feeds_it_is_not_worth_a_word() -> None:
    text = 'layer { name: "d" type: "Python" top: "x" python_param { module: "m" layer: "D" param_str: "{\'p\': 1}" } }'
    net = parse_net(text + ' layer { name: "a" type: "ReLU" bottom: "x" top: "y" }')
    assert prepare(net, None, Options(input_shapes={"x": (1, 2)})).warnings == []


@dataclass(frozen=True)
class OfAPlugin(Layer):
    """Reads one of two fields of a section of its own."""

    used: float = 1.0

    @classmethod
    def read(cls, source: NetLayer) -> OfAPlugin:
        return cls(source.section("unread_test_param").used)


def test_a_plugins_section_is_held_to_the_same_law(monkeypatch: pytest.MonkeyPatch) -> None:
    declare_section("unread_test_param", {"used": 1.0, "forgotten": 1.0})
    monkeypatch.setitem(base._REGISTRY, "UnreadTestLayer", OfAPlugin)
    prepare(net_of("unread_test_param { used: 2 }", "UnreadTestLayer"), None, Options())
    with pytest.raises(UnreadError, match=r"unread_test_param\.forgotten: not read"):
        prepare(net_of("unread_test_param { used: 2 forgotten: 3 }", "UnreadTestLayer"), None, Options())


def test_what_an_old_form_states_and_caffe_drops_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    text = (
        'input: "x" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4\n'
        + 'layers { layer { name: "r" type: "relu" k: 3 } bottom: "x" top: "r" }'
    )
    with caplog.at_level(logging.WARNING):
        parse_net(text, "old.prototxt")
    assert "old.prototxt: warning: layer 'r' (relu): k dropped, as Caffe does" in caplog.text


def test_the_command_line_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(DATA + 'layer { name: "it" type: "ReLU" bottom: "x" top: "out" blobs { data: 1 } }')
    target = tmp_path / "net.onnx"
    assert main([str(net), "-o", str(target)]) == 1
    assert "(--allow-unknown leaves it out)" in capsys.readouterr().err
    assert not target.exists()
    assert main([str(net), "-o", str(target), "--allow-unknown"]) == 0
    assert "warning:" in capsys.readouterr().err


LABELS = 'layer { name: "labels" type: "Input" top: "t" input_param { shape { dim: 2 } } }\n'
OF_FORKS = {
    'type: "SoftmaxWithLoss" bottom: "t" softmax_param { normalize_type: "L2" }': "counts other losses, or weighs",
    'type: "SoftmaxWithLoss" bottom: "t" softmax_param { hard_ratio: 0.5 hard_mining_label: 1 }': "counts other losses",
    'type: "Accuracy" bottom: "t" accuracy_param { min_is_better: true }': "the lowest scores are the best ones",
    'type: "Scale" scale_param { min_value: 0.5 }': "holds the stored factors to a range",
    'type: "Softmax" softmax_param { normalize_type: "L2" cutting_point: 0.5 class_weight: 2 }': "",
    'type: "Softmax" softmax_param { normalize_type: "Softmax" label_smooth_factor: 0.5 hard_ratio: 0.5 }': "",
    'type: "SoftmaxWithLoss" bottom: "t" softmax_param { normalize_type: "Softmax" }': "",
}


@pytest.mark.parametrize("layer", OF_FORKS)
def test_what_forks_added_is_refused_with_the_reason_where_numbers_hang_on_it(layer: str) -> None:
    net = parse_net(f'{DATA}{LABELS}layer {{ name: "it" bottom: "x" top: "out" {layer} }}', "net.prototxt")
    feeds = {"x": np.ones((2, 3), np.float32), "t": np.zeros(2, np.float32)}
    weights = ArrayWeights({"it": [np.ones(3, np.float32)]}) if "Scale" in layer else None
    for side in (lambda: prepare(net, weights, Options(outputs=["out"])), lambda: run(net, weights, feeds)):
        if OF_FORKS[layer]:
            with pytest.raises(UnreadError, match=OF_FORKS[layer]):
                side()
        else:
            side()


def test_what_a_fork_says_of_its_memory_and_processes_moves_no_number() -> None:
    text = "mem_param { optimize_train: true optimize_test: true exclude_blob: 'x' } richness: 200\n"
    text += "auto_insert_gathers: false print_net_info: false debug_info: true force_backward: true\n" + DATA
    text += 'layer { name: "it" type: "TanH" bottom: "x" top: "out" }'
    net = parse_net(text, "net.prototxt")
    assert net.message.mem_param.exclude_blob == ["x"]
    graph = prepare(net, None, Options()).graph
    assert not graph.warnings
    feeds = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
    np.testing.assert_allclose(run(net, None, feeds).blobs["out"], np.tanh(feeds["x"]), rtol=1e-6)


OF_TRAINING = (
    "connectivity_mode: DISCONNECTED_ELTWISE",
    'param { regularization_type: "L1" }',
    "param { force_mult: 0.5 }",
)


@pytest.mark.parametrize("said", OF_TRAINING)
def test_what_a_fork_does_in_training_is_refused_there_and_nothing_else(said: str) -> None:
    weights = ArrayWeights({"it": [np.ones((4, 3), np.float32)]})
    text = f'{DATA}layer {{ name: "it" type: "InnerProduct" bottom: "x" top: "out" {said}\n'
    net = parse_net(f"{text} inner_product_param {{ num_output: 4 bias_term: false gemm_mode: SPMDM }} }}")
    assert not prepare(net, weights, Options()).graph.warnings
    assert run(net, weights, {"x": np.ones((2, 3), np.float32)}).unread == ()
    with pytest.raises(UnreadError, match=r"it (changes how a fork trains the blob|keeps weights of 0 at 0)"):
        build(net, weights, outputs=["out"], training=True)
