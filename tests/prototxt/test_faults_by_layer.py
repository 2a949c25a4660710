"""Unknown fields and values within layers: who is stopped by them, and how they are told."""

from __future__ import annotations

import pickle

import pytest

from prototxt import Net, parse_net
from prototxt.errors import CaffeModelError, PrototxtError

DATA = 'layer { name: "d" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
TRAINING = 'layer { name: "own" type: "ReLU" bottom: "x" top: "y" own_param { a: 1 } include { phase: TRAIN } }\n'
TWICE = 'layer { name: "r" type: "ReLU" bottom: "x" top: "z" relu_param { slop: 1 negative_slop: 2 } own_param { } }\n'


def error_of(text: str, *, phase: str = "TEST") -> list[str]:
    with pytest.raises(CaffeModelError) as caught:
        parse_net(text, "n.prototxt", phase=phase)
    return str(caught.value).splitlines()


def faults_of(net: Net) -> list[list[str]]:
    return [[] if layer.fault is None else [str(each) for each in layer.fault.each] for layer in net.layers]


def test_a_layer_of_the_other_phase_may_say_what_nobody_knows() -> None:
    assert [layer.name for layer in parse_net(DATA + TRAINING).layers] == ["d"]
    wanted = "n.prototxt:2:55: error: unknown field 'own_param' in a layer (--allow-unknown leaves such fields out)"
    assert error_of(DATA + TRAINING, phase="TRAIN") == [wanted]


def test_a_layer_answers_for_all_of_its_faults_and_says_once_what_can_be_done() -> None:
    line = TWICE.index
    told = [
        f"n.prototxt:2:{line('slop:') + 1}: error: unknown field 'slop' in relu_param "
        "(--allow-unknown leaves such fields out)",
        f"n.prototxt:2:{line('negative_slop') + 1}: error: unknown field 'negative_slop' in relu_param; "
        "did you mean 'negative_slope'?",
        f"n.prototxt:2:{line('own_param') + 1}: error: unknown field 'own_param' in a layer",
    ]
    assert error_of(DATA + TWICE) == told
    assert faults_of(parse_net(DATA + TWICE, "n.prototxt", by_layer=True)) == [[], told]


def test_each_layer_says_what_can_be_done_since_it_may_be_the_only_one_to_be_heard() -> None:
    net = parse_net(DATA + TWICE + TWICE.replace('"r"', '"s"').replace('"z"', '"w"'), "n.prototxt", by_layer=True)
    firsts = [found[0] for found in faults_of(net) if found]
    assert [first.endswith("(--allow-unknown leaves such fields out)") for first in firsts] == [True, True]


def test_a_fault_outside_of_the_sections_is_told_together_with_those_within_in_the_order_of_the_text() -> None:
    text = DATA + TWICE.replace("bottom:", "botom:") + "quux: 1"
    for by_layer in (False, True):
        with pytest.raises(CaffeModelError) as caught:
            parse_net(text, "n.prototxt", by_layer=by_layer)
        places = [each.position for each in caught.value.each]
        assert len(places) == 5
        assert places == sorted(places)


def test_where_no_net_is_left_the_faults_are_told_that_may_be_why() -> None:
    (told,) = error_of('layer { name: "r" type: "ReLU" bottom: "x" top: "y" own_param { } include { phase: TRAIN } }')
    assert "unknown field 'own_param'" in told


def test_another_process_is_told_of_the_faults_too() -> None:
    net = parse_net(DATA + TWICE, "n.prototxt", by_layer=True)
    copy = pickle.loads(pickle.dumps(net))
    assert faults_of(copy) == faults_of(net) != [[], []]
    assert isinstance(copy.layers[1].fault.each[0], PrototxtError)
