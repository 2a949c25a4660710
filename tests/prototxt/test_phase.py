"""Include and exclude rules against a state; the expected answers are worked out from Caffe's rules by hand."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from prototxt import caffe_pb2
from prototxt.errors import ErrorGroup, NetError, Position, RequestError
from prototxt.phase import filter_net, layer_phase, net_state, takes_part


def net(text: str) -> caffe_pb2.NetParameter:
    return text_format.Parse(text, caffe_pb2.NetParameter())


def state(text: str) -> caffe_pb2.NetState:
    return text_format.Parse(text, caffe_pb2.NetState())


def kept(rules: str, in_state: str) -> bool:
    layer = text_format.Parse(f'name: "a" type: "ReLU" {rules}', caffe_pb2.LayerParameter())
    return takes_part(layer, state(in_state))


@pytest.mark.parametrize(
    ("rules", "in_state", "expected"),
    [
        ("", "phase: TRAIN", True),
        ("include { phase: TRAIN }", "phase: TRAIN", True),
        ("include { phase: TRAIN }", "phase: TEST", False),
        ("include { phase: TRAIN }", "", False),  # a state that says nothing is TEST
        ("include { phase: TEST }", "", True),
        ("include { }", "phase: TRAIN level: 7", True),
        ("exclude { }", "phase: TRAIN level: 7", False),
        ("exclude { phase: TEST }", "phase: TEST", False),
        ("exclude { phase: TEST }", "phase: TRAIN", True),
        # One of several is enough.
        ("include { phase: TRAIN } include { stage: 'deploy' }", "phase: TEST stage: 'deploy'", True),
        ("exclude { phase: TRAIN } exclude { stage: 'deploy' }", "phase: TEST stage: 'deploy'", False),
        # Within a rule everything must hold.
        ("include { phase: TRAIN stage: 'deploy' }", "phase: TEST stage: 'deploy'", False),
        ("exclude { phase: TEST stage: 'x' }", "phase: TEST", True),
    ],
)
def test_rules_decide_by_phase(rules: str, in_state: str, expected: bool) -> None:
    assert kept(rules, in_state) is expected


@pytest.mark.parametrize("level", [-3, 1, 2, 4, 5, 6])
def test_levels_are_bounds_that_belong_to_the_range(level: int) -> None:
    assert kept("include { min_level: 2 max_level: 5 }", f"level: {level}") is (2 <= level <= 5)
    assert kept("include { min_level: 2 }", f"level: {level}") is (level >= 2)
    assert kept("include { max_level: 5 }", f"level: {level}") is (level <= 5)


@pytest.mark.parametrize(
    ("rule", "stages", "expected"),
    [
        ("stage: 'a'", ["a", "b"], True),
        ("stage: 'a' stage: 'b'", ["b", "a"], True),
        ("stage: 'a' stage: 'b'", ["a"], False),
        ("stage: 'a'", [], False),
        ("not_stage: 'a'", [], True),
        ("not_stage: 'a'", ["b"], True),
        ("not_stage: 'a' not_stage: 'b'", ["b"], False),
        ("stage: 'a' not_stage: 'b'", ["a", "b"], False),
        ("stage: 'a' not_stage: 'b'", ["a", "c"], True),
    ],
)
def test_every_stage_must_be_there_and_no_forbidden_one(rule: str, stages: list[str], expected: bool) -> None:
    assert kept(f"include {{ {rule} }}", " ".join(f"stage: '{stage}'" for stage in stages)) is expected
    assert kept(f"exclude {{ {rule} }}", " ".join(f"stage: '{stage}'" for stage in stages)) is not expected


TRAIN_VAL = """
layer { name: "train" type: "Data" top: "data" include { phase: TRAIN } }
layer { name: "val" type: "Data" top: "data" include { phase: TEST } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" }
layer { name: "acc" type: "Accuracy" bottom: "ip" exclude { phase: TRAIN } }
layer { name: "own" type: "Dropout" bottom: "ip" top: "ip" phase: TRAIN }
"""


def test_a_net_without_a_state_is_filtered_for_testing() -> None:
    assert filter_net(net(TRAIN_VAL)) == [1, 2, 3, 4]


def test_a_nets_own_state_counts_when_none_is_given() -> None:
    assert filter_net(net(TRAIN_VAL + "state { phase: TRAIN }")) == [0, 2, 4]


def test_a_given_state_overrules_the_nets_own() -> None:
    assert filter_net(net(TRAIN_VAL + "state { phase: TRAIN }"), state("phase: TEST")) == [1, 2, 3, 4]


def test_filtering_leaves_the_message_as_it_is() -> None:
    message = net(TRAIN_VAL)
    filter_net(message, state("phase: TRAIN"))
    assert message == net(TRAIN_VAL)


def test_a_layers_own_phase_does_not_filter_but_is_what_it_runs_in() -> None:
    message = net(TRAIN_VAL)
    assert layer_phase(message.layer[4], state("phase: TEST")) == "TRAIN"
    assert layer_phase(message.layer[2], state("phase: TEST")) == "TEST"
    assert layer_phase(message.layer[2], state("phase: TRAIN")) == "TRAIN"


def test_the_stages_of_file_and_caller_are_joined_but_phase_and_level_are_the_callers() -> None:
    message = net('state { phase: TRAIN level: 3 stage: "of file" }')
    assert net_state(message, phase="TEST", level=1, stages=["asked"]) == state(
        'phase: TEST level: 1 stage: "of file" stage: "asked"'
    )


def test_a_phase_that_caffe_lacks_is_refused() -> None:
    with pytest.raises(RequestError, match="unknown phase 'VAL'; expected TRAIN or TEST"):
        net_state(net(""), phase="VAL")


def test_include_and_exclude_in_one_layer_are_refused_with_its_place() -> None:
    message = net('layer { name: "a" } layer { name: "b" type: "ReLU" include { } include { } exclude { } }')
    with pytest.raises(NetError) as caught:
        filter_net(message, where=lambda field, index: Position("n.prototxt", 10 + index, 3))
    assert str(caught.value) == (
        "n.prototxt:11:3: error: layer 'b' (ReLU): has 2 include and 1 exclude rules; expected one kind only"
    )


def test_all_layers_with_both_kinds_of_rules_are_named() -> None:
    both = 'layer { name: "%s" include { } exclude { } }'
    with pytest.raises(ErrorGroup) as caught:
        filter_net(net(both % "a" + both % "b"))
    assert [error.layer for error in caught.value.errors] == ["a", "b"]
