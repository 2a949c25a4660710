"""Upgrades against the original Caffe's own answers (golden/upgrade), and its rules one by one on small nets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from prototxt import caffe_pb2
from prototxt.errors import CaffeModelError, ErrorGroup, NetError, Position, PrototxtError, UnsupportedError
from prototxt.upgrade import (
    SOLVER_TYPES,
    Upgraded,
    needs_data_upgrade,
    needs_solver_upgrade,
    needs_upgrade,
    needs_v0_upgrade,
    needs_v1_upgrade,
    upgrade_data,
    upgrade_net,
    upgrade_solver,
    upgrade_v0,
)
from prototxt.upgrade_v1 import TYPES

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "upgrade"


def golden(*, answered: bool) -> list[Any]:
    """The cases for which Caffe wrote an answer, or those that it refused."""
    index = GOLDEN / "index.json"
    if not index.is_file():
        return [pytest.param(None, marks=pytest.mark.skip("../shared/golden/upgrade is not here"))]
    cases = [case for case in json.loads(index.read_text()) if case["after"] is answered]
    return [pytest.param(case, id=f"{case['n']:03d}-{case['kind']}-{case['format']}") for case in cases]


def load(case: dict[str, Any], stem: str) -> Any:
    message = caffe_pb2.SolverParameter() if case["kind"] == "solver" else caffe_pb2.NetParameter()
    folder = GOLDEN / f"{case['n']:03d}"
    if case["kind"] == "binary":
        message.ParseFromString((folder / f"{stem}.caffemodel").read_bytes())
        return message
    return text_format.Parse((folder / f"{stem}.prototxt").read_text(), message)


def upgrade(message: Any) -> None:
    if isinstance(message, caffe_pb2.SolverParameter):
        upgrade_solver(message)
    else:
        upgrade_net(message)


def net(text: str) -> caffe_pb2.NetParameter:
    return text_format.Parse(text, caffe_pb2.NetParameter())


def upgraded(text: str, **options: bool) -> Upgraded:
    return upgrade_net(net(text), lines, **options)


def lines(field: str, index: int) -> Position:
    """Stands in for the places of a file: `layers` from line 100, `layer` from 200, `input` from 300."""
    return Position("n.prototxt", {"layers": 100, "layer": 200, "input": 300}[field] + index, 1)


@pytest.mark.parametrize("case", golden(answered=True))
def test_the_result_equals_caffes(case: dict[str, Any]) -> None:
    message = load(case, "before")
    upgrade(message)
    assert message == load(case, "after")


@pytest.mark.parametrize("case", golden(answered=True))
def test_an_upgraded_file_needs_no_upgrade(case: dict[str, Any]) -> None:
    message = load(case, "after")
    before = message.SerializeToString()
    upgrade(message)
    assert message.SerializeToString() == before
    assert not (needs_solver_upgrade(message) if case["kind"] == "solver" else needs_upgrade(message))


@pytest.mark.parametrize("case", golden(answered=False))
def test_what_caffe_refuses_is_refused_unless_only_its_schema_lacks_something(case: dict[str, Any]) -> None:
    schema_lacks_it = case["rc"] == 2
    try:
        upgrade(load(case, "before"))
    except text_format.ParseError:
        assert schema_lacks_it
    except CaffeModelError:
        pass
    else:
        assert schema_lacks_it


@pytest.mark.parametrize("case", golden(answered=True))
def test_every_layer_knows_which_entry_it_came_from(case: dict[str, Any]) -> None:
    if case["kind"] == "solver":
        return
    before = load(case, "before")
    entries = list(before.layers or before.layer)
    names = [entry.layer.name if case["format"] == "V0" else entry.name for entry in entries]
    has_dims = bool(before.input_dim or before.input_shape)
    result = upgrade_net(before)
    assert len(result.origins) == len(result.message.layer)
    for layer, origin in zip(result.message.layer, result.origins, strict=True):
        assert layer.name == ("input" if origin < 0 else names[origin])
    assert (-1 in result.origins) == (result.message.layer[0].name == "input" and has_dims)


def test_a_net_in_the_present_form_comes_back_as_it_is() -> None:
    message = net('layer { name: "x" type: "Input" top: "x" } layer { name: "r" type: "ReLU" bottom: "x" top: "x" }')
    result = upgrade_net(message)
    assert result.message is message
    assert (result.origins, result.notes) == ([0, 1], ())


PADDED = """
input: "x" input_dim: 2 input_dim: 3 input_dim: 5 input_dim: 7
layers { layer { name: "p" type: "padding" pad: 2 } bottom: "x" top: "p" }
layers { layer { name: "a" type: "conv" num_output: 4 kernelsize: 5 %s } bottom: "p" top: "a" }
layers { layer { name: "b" type: "pool" kernelsize: 3 } bottom: "p" top: "b" }
"""


def test_a_padding_layer_read_twice_goes_into_both_readers() -> None:
    result = upgraded(PADDED % "")
    assert [layer.name for layer in result.message.layer] == ["input", "a", "b"]
    assert [list(layer.bottom) for layer in result.message.layer[1:]] == [["x"], ["x"]]
    assert list(result.message.layer[1].convolution_param.pad) == [2]
    assert result.message.layer[2].pooling_param.pad == 2
    assert result.origins == [-1, 1, 2]
    assert "V0 to V1: padding layers became the pad of 'a', 'b'" in result.notes


def test_the_padding_layers_pad_wins_over_the_readers_own_and_a_note_says_so() -> None:
    result = upgraded(PADDED % "pad: 1")
    assert list(result.message.layer[1].convolution_param.pad) == [2]
    assert "layer 'a': its own pad 1 gives way to the 2 of the padding layer 'p', as in Caffe" in result.notes


def test_a_padding_layer_that_nothing_reads_is_dropped_with_a_note() -> None:
    result = upgraded('input: "x" layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" }')
    assert not result.message.layer
    assert "V0 to V1: nothing reads 1 padding layer: 'p'; dropped" in result.notes


@pytest.mark.parametrize(
    ("padding", "reader", "message"),
    [
        ('bottom: "x" top: "p"', '"relu" } bottom: "p"', "'p', which only a conv or a pool layer can"),
        ('bottom: "x" top: "p"', '"padding" } bottom: "p"', "'p', which only a conv or a pool layer can"),
        ('bottom: "x" top: "p"', '"conv" } bottom: "p" bottom: "x"', "'p' and has 2 bottoms, expected 1"),
        ('bottom: "x" bottom: "x" top: "p"', '"conv" } bottom: "p"', "'p', which has 2 bottoms and 1 top, expected 1"),
        ('bottom: "x" top: "p" top: "q"', '"pool" } bottom: "q"', "'p', which has 1 bottom and 2 tops, expected 1"),
    ],
)
def test_padding_that_cannot_be_folded_is_refused_at_its_reader(padding: str, reader: str, message: str) -> None:
    text = f'input: "x" layers {{ layer {{ name: "p" type: "padding" }} {padding} }}'
    with pytest.raises(NetError) as caught:
        upgraded(text + f'layers {{ layer {{ name: "r" type: {reader} top: "r" }}')
    assert message in str(caught.value)
    assert str(caught.value).startswith("n.prototxt:101:1: error: layer 'r' (")


def test_all_unknown_v0_types_are_named_at_once_and_nothing_is_changed() -> None:
    message = net('layers { layer { name: "a" type: "conv2" } } layers { layer { name: "b" type: "Pool" } }')
    before = message.SerializeToString()
    with pytest.raises(ErrorGroup) as caught:
        upgrade_v0(message, lines)
    assert [(type(e), e.layer, e.layer_type) for e in caught.value.errors] == [
        (UnsupportedError, "a", "conv2"),
        (UnsupportedError, "b", "Pool"),
    ]
    assert message.SerializeToString() == before


def test_a_v1_entry_between_v0_ones_stays_what_it_is() -> None:
    result = upgraded('layers { layer { name: "a" type: "relu" } } layers { name: "b" type: SIGMOID loss_weight: 3 }')
    assert [(layer.name, layer.type) for layer in result.message.layer] == [("a", "ReLU"), ("b", "Sigmoid")]
    assert result.message.layer[1].loss_weight == [3]


def test_what_v0_loses_is_noted() -> None:
    notes = upgraded(
        'state { level: 1 } layers { layer { name: "a" type: "relu" stride: 2 new_num: 3 } include { phase: TRAIN } }'
    ).notes
    assert "V0 to V1: the net's state is dropped, as Caffe does" in notes
    assert "layer 'a' (relu): include, stride, new_num dropped, as Caffe does" in notes


def test_a_padding_layers_reader_is_found_by_the_last_layer_that_made_the_blob() -> None:
    result = upgraded("""
        input: "x" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 6
        layers { layer { name: "p" type: "padding" pad: 3 } bottom: "x" top: "p" }
        layers { layer { name: "c" type: "conv" } bottom: "p" top: "p" }
        layers { layer { name: "r" type: "relu" } bottom: "p" top: "p" }
    """)
    assert [layer.name for layer in result.message.layer] == ["input", "c", "r"]


def test_blobs_survive_both_steps_bit_for_bit() -> None:
    message = net('layers { layer { name: "a" type: "innerproduct" blobs { num: 1 data: 0.5 data: -0.0 } } }')
    blob = message.layers[0].layer.blobs[0].SerializeToString()
    assert upgrade_net(message).message.layer[0].blobs[0].SerializeToString() == blob


def test_every_v1_type_and_field_has_a_place_in_v2() -> None:
    names = set(caffe_pb2.V1LayerParameter.LayerType.keys())
    assert names == set(TYPES)
    new = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name
    for field in caffe_pb2.V1LayerParameter.DESCRIPTOR.fields:
        if field.name.endswith("_param") and field.name != "mcwindow_data_param":
            assert new[field.name].message_type is field.message_type


def test_an_old_data_field_overrules_transform_param() -> None:
    message = net('layers { name: "d" type: DATA data_param { scale: 2 } transform_param { scale: 3 mirror: true } }')
    assert needs_data_upgrade(message)
    upgrade_data(message)
    assert not needs_data_upgrade(message)
    assert message.layers[0].transform_param.scale == 2
    assert message.layers[0].transform_param.mirror


def test_a_window_data_field_in_a_data_layer_is_not_moved() -> None:
    assert not needs_data_upgrade(net("layers { type: DATA window_data_param { scale: 2 } }"))


def test_the_longest_of_the_four_lists_decides_how_many_param_blocks_there_are() -> None:
    layer = upgraded('layers { type: CONVOLUTION param: "w" blobs_lr: 1 blobs_lr: 2 weight_decay: 3 }').message.layer[0]
    assert list(layer.param) == [
        caffe_pb2.ParamSpec(name="w", lr_mult=1, decay_mult=3),
        caffe_pb2.ParamSpec(lr_mult=2),
    ]


def test_a_v2_data_layers_old_fields_stay() -> None:
    text = 'layer { name: "d" type: "Data" data_param { scale: 2 } }'
    assert upgraded(text).message == net(text)


MIXED = """
layers { name: "a" type: RELU }
layer { name: "b" type: "ReLU" } layer { name: "c" type: "ReLU" }
"""


@pytest.mark.parametrize("step", [upgrade_net, upgrade_v0])
def test_a_net_of_both_forms_is_refused_with_both_places(step: Any) -> None:
    with pytest.raises(NetError) as caught:
        step(net(MIXED), lines)
    assert str(caught.value) == (
        "n.prototxt:100:1: error: the net mixes the old form, `layers` (1 times), and the new one, `layer` (2 times); "
        "expected one only; the first `layer` is at n.prototxt:200:1"
    )


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ('input: "a" input: "b" input_shape { dim: 2 }', "2 inputs but 1 input_shape; expected one for each", 301),
        ('input: "a" input_dim: 2 input_dim: 3', "1 input but 2 input_dim; expected 4 for each", 300),
    ],
)
def test_an_input_without_its_shape_is_refused(text: str, message: str, line: int) -> None:
    with pytest.raises(NetError) as caught:
        upgraded(text)
    assert str(caught.value) == f"n.prototxt:{line}:1: error: {message}"


def test_input_shape_wins_over_input_dim_and_a_surplus_is_noted() -> None:
    result = upgraded('input: "a" input_shape { dim: 2 dim: 3 } input_shape { dim: 5 } input_dim: 7')
    assert [list(shape.dim) for shape in result.message.layer[0].input_param.shape] == [[2, 3]]
    assert "not read, as in Caffe: 1 of input_shape, input_dim" in result.notes


def test_one_input_layer_stands_first_and_makes_all_inputs() -> None:
    result = upgraded('layer { name: "r" } input: "a" input: "b" input_dim: [1, 2, 3, 4, 5, 6, 7, 8]')
    assert result.origins == [-1, 0]
    assert list(result.message.layer[0].top) == ["a", "b"]
    assert [list(shape.dim) for shape in result.message.layer[0].input_param.shape] == [[1, 2, 3, 4], [5, 6, 7, 8]]


BARE = 'input: "x" layer { name: "r" type: "ReLU" bottom: "x" top: "r" }'


def test_an_input_without_any_shape_is_dropped_as_caffe_does() -> None:
    result = upgraded(BARE)
    assert (result.origins, len(result.message.layer)) == ([0], 1)
    assert result.notes == ("input 'x' has no shape and is dropped, as Caffe does",)


def test_an_input_without_any_shape_can_be_kept() -> None:
    result = upgraded(BARE, keep_inputs=True)
    assert result.message.layer[0] == caffe_pb2.LayerParameter(name="input", type="Input", top=["x"])
    assert result.origins == [-1, 0]
    assert result.notes == ("input 'x' has no shape; it became the layer 'input'",)


def test_an_input_that_a_layer_makes_is_dropped_even_when_inputs_are_kept() -> None:
    result = upgraded('input: "x" layer { name: "i" type: "Input" top: "x" }', keep_inputs=True)
    assert [layer.name for layer in result.message.layer] == ["i"]


def test_the_input_shape_of_a_v0_net_can_be_kept() -> None:
    text = 'input: "x" input_shape { dim: 2 dim: 3 } layers { layer { name: "r" type: "relu" } bottom: "x" top: "r" }'
    assert [layer.type for layer in upgraded(text).message.layer] == ["ReLU"]
    kept = upgraded(text, keep_inputs=True).message
    assert [layer.type for layer in kept.layer] == ["Input", "ReLU"]
    assert list(kept.layer[0].input_param.shape[0].dim) == [2, 3]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_batch_norms_multipliers_become_zero_only_where_there_are_three(count: int) -> None:
    block = 'param { name: "n" lr_mult: 1 }'
    layer = upgraded(f'layer {{ type: "BatchNorm" {block * count} }}').message.layer[0]
    changed = caffe_pb2.ParamSpec(name="n", lr_mult=0, decay_mult=0)
    assert list(layer.param) == [changed if count == 3 else caffe_pb2.ParamSpec(name="n", lr_mult=1)] * count


def test_other_layers_with_three_params_keep_their_multipliers() -> None:
    text = 'layer { type: "LSTM" param { lr_mult: 1 } param { lr_mult: 1 } param { lr_mult: 1 } }'
    assert upgraded(text).message == net(text)


@pytest.mark.parametrize(
    ("needs", "text", "expected"),
    [
        (needs_v0_upgrade, 'layers { layer { name: "a" } }', True),
        (needs_v0_upgrade, 'layers { name: "a" }', False),
        (needs_v1_upgrade, 'layers { name: "a" }', True),
        (needs_v1_upgrade, 'layer { name: "a" }', False),
        (needs_upgrade, 'input: "x"', True),
        (needs_upgrade, "input_dim: 3", False),
    ],
)
def test_what_needs_which_upgrade(needs: Any, text: str, expected: bool) -> None:
    assert needs(net(text)) is expected


def test_every_solver_type_has_a_name() -> None:
    assert list(caffe_pb2.SolverParameter.SolverType.keys()) == list(SOLVER_TYPES)


def test_a_solver_with_both_kinds_of_type_is_refused() -> None:
    solver = caffe_pb2.SolverParameter(type="SGD", solver_type=caffe_pb2.SolverParameter.ADAM)
    with pytest.raises(PrototxtError) as caught:
        upgrade_solver(solver, Position("s.prototxt", 4, 1))
    assert str(caught.value) == (
        "s.prototxt:4:1: error: solver_type ADAM and type 'SGD' are both given; expected only type"
    )
