"""Nets that are no nets: one clear error each, all of them at once, with the line."""

from __future__ import annotations

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import CaffeModelError
from weights import ArrayWeights

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 7 dim: 5 } } }\n'


def error_of(text: str, weights: ArrayWeights | None = None, **options: object) -> str:
    with pytest.raises(CaffeModelError) as caught:
        prepare(parse_net(text, "net.prototxt"), weights, Options(**options))  # type: ignore[arg-type]
    return str(caught.value)


CASES = {
    "bottom nobody makes": (
        DATA + 'layer { name: "r" type: "ReLU" bottom: "dota" top: "r" }',
        "net.prototxt:2:1: error: layer 'r' (ReLU): bottom 'dota' is made by no layer before this one; "
        "did you mean 'data'?",
    ),
    "cycle": (
        DATA
        + 'layer { name: "a" type: "Eltwise" bottom: "data" bottom: "bb" top: "aa" }\n'
        + 'layer { name: "b" type: "ReLU" bottom: "aa" top: "bb" }',
        "net.prototxt:2:1: error: layer 'a' (Eltwise): bottom 'bb' is made by no layer before this one; "
        "layer 'b', which makes it, stands behind this one",
    ),
    "top made twice": (
        DATA
        + 'layer { name: "a" type: "ReLU" bottom: "data" top: "x" }\n'
        + 'layer { name: "b" type: "TanH" bottom: "data" top: "x" }',
        "net.prototxt:3:1: error: layer 'b' (TanH): top 'x' is made by layer 'a' already, and this layer does not "
        "read it",
    ),
    "top named twice": (
        DATA + 'layer { name: "s" type: "Slice" bottom: "data" top: "x" top: "x" slice_param { slice_point: 1 } }',
        "net.prototxt:2:1: error: layer 's' (Slice): top 'x' is named twice",
    ),
    "too many bottoms": (
        DATA + 'layer { name: "r" type: "ReLU" bottom: "data" bottom: "data" top: "r" }',
        "net.prototxt:2:1: error: layer 'r' (ReLU): 2 bottoms; expected 1",
    ),
    "no top": (
        DATA + 'layer { name: "r" type: "ReLU" bottom: "data" }',
        "net.prototxt:2:1: error: layer 'r' (ReLU): 0 tops; expected 1 to 2",
    ),
    "a blob that only the layer itself writes": (
        'layer { name: "d" type: "Input" top: "data" include { phase: TRAIN } }\n'
        + 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }',
        "net.prototxt:2:1: error: layer 'r' (ReLU): bottom 'data' is made by no layer before this one; layer 'd' "
        "(net.prototxt:1:1) makes it, but its include and exclude rules leave it out (see --phase and --stage)",
    ),
    "unknown types, all of them": (
        DATA
        + 'layer { name: "a" type: "Convolutoin" bottom: "data" top: "x" }\n'
        + 'layer { name: "b" type: "ReLU" bottom: "x" top: "y" }\n'
        + 'layer { name: "c" type: "Quux" bottom: "data" top: "z" }',
        "net.prototxt:2:19: error: layer 'a' (Convolutoin): unknown layer type 'Convolutoin'; did you mean "
        "Convolution? If not, --plugin FILE.py supplies it\nnet.prototxt:4:19: error: layer 'c' (Quux): unknown layer "
        "type 'Quux'; --plugin FILE.py supplies it",
    ),
    "a type whose numbers its program has in a file": (
        DATA + 'layer { name: "rois" type: "FrcnnProposal" bottom: "data" bottom: "data" bottom: "data" top: "rois" }',
        "net.prototxt:2:22: error: layer 'rois' (FrcnnProposal): unknown layer type 'FrcnnProposal': no public source "
        "defines it for a net alone: its anchors, their stride, its thresholds and how many boxes it gives stand in a "
        "JSON file that the program of its Caffe (src/caffe/FRCNN) is started with, as anchors, feat_stride and "
        "test_rpn_…, and its code for CPUs drops other boxes than that for GPUs; --plugin FILE.py supplies it",
    ),
    "a type that no public source defines": (
        DATA + 'layer { name: "y" type: "Yolo" bottom: "data" bottom: "data" top: "y" }',
        "net.prototxt:2:19: error: layer 'y' (Yolo): unknown layer type 'Yolo': no public source defines it for a net "
        "alone: in TensorRT-Yolov3's plugin its classes, anchors, sizes and threshold are constants of the program "
        "(YoloConfigs.h), which differ from one version to the next; --plugin FILE.py supplies it",
    ),
    "shapes of a sum": (
        DATA
        + 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 } }\n'
        + 'layer { name: "e" type: "Eltwise" bottom: "data" bottom: "p" top: "e" }',
        "net.prototxt:3:1: error: layer 'e' (Eltwise): bottoms differ in shape: data is 2×3×7×5, p is 2×3×6×4",
    ),
    "kernel too large": (
        DATA + 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
        "convolution_param { num_output: 2 kernel_size: 9 } }",
        "net.prototxt:2:1: error: layer 'c' (Convolution): the kernel 9×9 does not fit the bottom 2×3×7×5",
    ),
    "group": (
        DATA + 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
        "convolution_param { num_output: 4 kernel_size: 1 group: 2 } }",
        "net.prototxt:2:1: error: layer 'c' (Convolution): 3 channels are no multiple of group 2",
    ),
    "no kernel size": (
        DATA + 'layer { name: "c" type: "Convolution" bottom: "data" top: "c"\n  convolution_param { num_output: 4 } }',
        "net.prototxt:2:1: error: layer 'c' (Convolution): no kernel_size; expected kernel_size, or kernel_h and "
        "kernel_w",
    ),
    "reshape": (
        DATA + 'layer { name: "r" type: "Reshape" bottom: "data" top: "r" reshape_param { shape { dim: 4 dim: -1 } } }',
        "net.prototxt:2:1: error: layer 'r' (Reshape): 210 values can't fill rows of 4",
    ),
    "axis": (
        DATA + 'layer { name: "s" type: "Softmax" bottom: "data" top: "s" softmax_param { axis: 4 } }',
        "net.prototxt:2:1: error: layer 's' (Softmax): axis 4 is out of range for a blob of 4 axes",
    ),
    "no outputs": (
        DATA + 'layer { name: "q" type: "Silence" bottom: "data" }',
        "net.prototxt: error: the net has no outputs: every blob is read by a layer",
    ),
    "only a loss": (
        DATA + 'layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 dim: 7 dim: 5 } } }\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "data" bottom: "t" top: "loss" }',
        "net.prototxt: error: the net has no outputs: every blob is read by a layer; ask for a loss or measure with "
        "--outputs loss",
    ),
    "a top too few": (
        DATA + 'layer { name: "c" type: "Convolution" bottom: "data" bottom: "data" top: "c" '
        "convolution_param { num_output: 4 kernel_size: 1 } }",
        "net.prototxt:2:1: error: layer 'c' (Convolution): 1 tops; expected 2",
    ),
    "a logarithm to base 1": (
        DATA + 'layer { name: "l" type: "Log" bottom: "data" top: "l" log_param { base: 1 } }',
        "net.prototxt:2:67: error: layer 'l' (Log): base is 1; no logarithm has it",
    ),
    "slopes without channels": (
        'layer { name: "d" type: "Input" top: "data" input_param { shape { dim: 4 } } }\n'
        'layer { name: "p" type: "PReLU" bottom: "data" top: "p" }',
        "net.prototxt:2:1: error: layer 'p' (PReLU): the bottom is 4; expected at least 2 axes",
    ),
    "whole numbers": (
        DATA + 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
        "convolution_param { num_output: 4 kernel_size: 1 saturate: Signed } }",
        "net.prototxt:2:112: error: layer 'c' (Convolution): convolution_param.saturate: "
        "it computes in whole numbers, not in floats",
    ),
    "a blob of terabytes": (
        'layer { name: "d" type: "Input" top: "data" input_param { shape { dim: 999999 dim: 999999 dim: 9 } } }',
        "net.prototxt:1:1: error: layer 'd' (Input): top 'data' would hold 8999982000009 values; a blob of Caffe holds "
        "2147483647 at most",
    ),
    "weights of terabytes": (
        DATA + 'layer { name: "f" type: "InnerProduct" bottom: "data" top: "f" '
        "inner_product_param { num_output: 900000000 } }",
        "net.prototxt:2:1: error: layer 'f' (InnerProduct): its weight would hold 94500000000 values; at most "
        "2147483647 can be",
    ),
    "data of unknown size": (
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 4 } }\n'
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }',
        "net.prototxt:1:1: error: layer 'd' (Data): the prototxt doesn't give the shape of 'data'; give it with "
        "--input-shape data=N,C,H,W",
    ),
    "a size that is to be given": (
        'input: "data" input: "rois"\ninput_shape { dim: -1 dim: 3 dim: 0 dim: 5 }\ninput_shape { dim: 1 dim: 0 }\n'
        'layer { name: "s" type: "Silence" bottom: "rois" }\n'
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }',
        "net.prototxt:2:15: error: layer 'input' (Input): input 'data' is -1×3×0×5; expected sizes above 0: give it "
        "with --input-shape data=N,3,H,5",
    ),
    "bottoms of the time when all blobs had four axes": (
        DATA
        + 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { global_pooling: true } }\n'
        + 'layer { name: "f" type: "Flatten" bottom: "p" top: "f" }\n'
        + 'layer { name: "c" type: "Concat" bottom: "p" bottom: "f" top: "c" }',
        "net.prototxt:4:1: error: layer 'c' (Concat): bottoms differ in another axis than 1: p is 2×3×1×1, f is 2×3; "
        "they differ only by 1s at their end, which Caffe told apart after 2014: a Flatten or Reshape helps",
    ),
    "bottoms that differ by more": (
        DATA
        + 'layer { name: "f" type: "Flatten" bottom: "data" top: "f" }\n'
        + 'layer { name: "c" type: "Concat" bottom: "data" bottom: "f" top: "c" }',
        "net.prototxt:3:1: error: layer 'c' (Concat): bottoms differ in another axis than 1: data is 2×3×7×5, "
        "f is 2×105",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_net_is_refused(name: str) -> None:
    text, message = CASES[name]
    assert error_of(text) == message


CONV = (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }'
)


def test_missing_weights_name_every_layer() -> None:
    text = DATA + CONV + CONV.replace('"c"', '"d"')
    assert error_of(text) == (
        "net.prototxt: error: 2 layers need weights; give the .caffemodel, or --random-weights SEED: c, d"
    )
    lacking = error_of(text, ArrayWeights({"other": [np.ones(3)]}, path="w.caffemodel"))
    assert lacking.startswith("w.caffemodel: error: has no weights for 2 layers of the net: 'c' (net.prototxt:2:1)")


def test_a_blob_of_another_shape_names_both_places() -> None:
    weights = ArrayWeights({"c": [np.ones((4, 3, 5, 5)), np.ones(4)]}, path="w.caffemodel")
    assert error_of(DATA + CONV, weights) == (
        "w.caffemodel: error: layer 'c' (Convolution): blob 0 is 4×3×5×5, but the prototxt (net.prototxt:2:1) "
        "makes it 4×3×3×3"
    )


def test_a_size_below_1_in_the_prototxt_may_be_given_by_the_user() -> None:
    text = DATA.replace("dim: 2", "dim: -1") + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    graph = prepare(parse_net(text), None, Options(input_shapes={"data": ("N", 3, 4, 6)})).graph
    assert [str(dim) for dim in graph.outputs[0].shape] == ["N", "3", "4", "6"]
    assert int(graph.outputs[0].shape[0]) == 1


SHARED = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 8 } } }
layer { name: "z" type: "Input" top: "z" input_param { shape { dim: 1 dim: %d } } }
layer { name: "one" type: "InnerProduct" bottom: "x" top: "one" param { name: "w" }
  inner_product_param { num_output: 3 bias_term: false } }
layer { name: "two" type: "InnerProduct" bottom: "z" top: "two" param { name: "w" %s }
  inner_product_param { num_output: %d bias_term: false } }
"""


@pytest.mark.parametrize("mode", ["", "share_mode: STRICT", "share_mode: PERMISSIVE"])
def test_a_shared_blob_of_another_count_is_refused_as_in_caffe(mode: str) -> None:
    assert error_of(SHARED % (4, mode, 3), random_weights=0) == (
        "net.prototxt:6:73: error: layer 'two' (InnerProduct): its weight is 3×4, but 'w', which it shares with layer "
        "'one', is 3×8 there; Caffe refuses that"
    )


def test_a_shared_blob_may_have_another_shape_only_where_the_layer_says_so() -> None:
    assert error_of(SHARED % (4, "", 6), random_weights=0).endswith(
        "its weight is 6×4, but 'w', which it shares with layer 'one', is 3×8 there; Caffe refuses that unless it says "
        "share_mode: PERMISSIVE"
    )
    net = parse_net(SHARED % (4, "share_mode: PERMISSIVE", 6))
    one, two = prepare(net, None, Options(random_weights=0)).graph.nodes
    np.testing.assert_array_equal(two.tensors["weight"].load(), one.tensors["weight"].load().reshape(6, 4))


def test_free_axes_stand_in_messages_by_their_letters_unless_only_their_formulas_differ() -> None:
    def pooled(name: str, settings: str) -> str:
        return f'layer {{ name: "{name}" type: "Pooling" bottom: "data" top: "{name}" pooling_param {{ {settings} }} }}'

    end = 'layer { name: "e" type: "Eltwise" bottom: "p" bottom: "q" top: "e" }'
    half = pooled("p", "kernel_size: 2 stride: 2")
    free = {"data": ("N", 3, "H", "W")}
    found = error_of(DATA + half + pooled("q", "kernel_size: 4 stride: 4") + end, input_shapes=free)
    assert found.endswith("bottoms differ in shape: p is N×3×H/2×W/2, q is N×3×H/4×W/4")
    found = error_of(DATA + half + pooled("q", "kernel_size: 4 stride: 2") + end, input_shapes=free)
    assert "floor(" in found


def test_an_unknown_output_names_the_nearest() -> None:
    assert error_of(DATA + 'layer { name: "r" type: "ReLU" bottom: "data" top: "relu1" }', outputs=["relu"]) == (
        "error: the net has no blob 'relu'; did you mean 'relu1'?"
    )


def test_an_unknown_input_shape_is_refused() -> None:
    text = DATA + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    assert error_of(text, input_shapes={"image": (1, 3, 4, 4)}) == (
        "error: --input-shape names 'image'; the net's inputs are data"
    )


def test_free_axes_that_weights_fix_are_refused() -> None:
    text = (
        DATA
        + 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 4 } }'
    )
    assert error_of(text, input_shapes={"data": ("N", 3, "H", 5)}) == (
        "net.prototxt:2:1: error: layer 'fc' (InnerProduct): its weights fix the size of the axes from 1 on; they "
        "can't be left free"
    )


def test_made_weights_hold_what_layers_share_for_each_of_them() -> None:
    convolution = 'param { name: "w" } convolution_param { num_output: 2 kernel_size: 3 }'
    text = "".join(
        f'layer {{ name: "{x}" type: "Input" top: "{x}" input_param {{ shape {{ dim: [1, 3, 5, 5] }} }} }}\n'
        f'layer {{ name: "c{x}" type: "Convolution" bottom: "{x}" top: "c{x}" {convolution} }}\n'
        for x in "ab"
    )
    made = prepare(parse_net(text), None, Options(random_weights=0)).weights
    assert made is not None
    one, two = ([blob.array() for blob in layer.blobs] for layer in made.layers)
    assert [x.shape for x in two] == [(2, 3, 3, 3), (2,)]
    assert (one[0] == two[0]).all()
    assert (one[1] != two[1]).any()


def test_a_train_val_net_becomes_its_inference_net() -> None:
    text = (
        'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST }\n'
        " transform_param { crop_size: 6 mean_value: 1 mean_value: 2 mean_value: 3 } data_param { batch_size: 4 } }\n"
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 7 } }\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }'
    )
    graph = prepare(parse_net(text), None, Options(random_weights=0)).graph
    assert [(v.name, v.shape) for v in graph.inputs] == [("data", (4, 3, 6, 6))]
    assert graph.output_names == ["fc"]
    asked = prepare(parse_net(text), None, Options(random_weights=0, outputs=["loss"])).graph
    assert [v.name for v in asked.inputs] == ["data", "label"]
    assert asked.inputs[1].shape == (4,)
    assert asked.outputs[0].shape == ()


def test_a_net_that_ends_in_silence_gives_what_it_silences() -> None:
    text = DATA + (
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\nlayer { name: "s" type: "Silence" bottom: "r" }'
    )
    assert prepare(parse_net(text), None, Options()).graph.output_names == ["r"]


def test_in_place_layers_become_values_of_their_own() -> None:
    text = DATA + (
        'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }\n'
        'layer { name: "p" type: "Power" bottom: "data" top: "data" power_param { scale: 2 } }\n'
        'layer { name: "t" type: "TanH" bottom: "data" top: "t" }'
    )
    graph = prepare(parse_net(text), None, Options()).graph
    assert str(graph) == (
        "graph ''\n"
        "  in  data: 2×3×7×5\n"
        "  data/r: 2×3×7×5 = ReLU(negative_slope=0.0, maximum=None, minimum=None)(data)  # r (ReLU)\n"
        "  data/p: 2×3×7×5 = Power(scale=2.0, shift=0.0, power=1.0)(data/r)  # p (Power)\n"
        "  t: 2×3×7×5 = TanH()(data/p)  # t (TanH)\n"
        "  out t: 2×3×7×5"
    )


def test_the_copies_that_caffe_makes_of_a_blob_read_twice_can_be_asked_for() -> None:
    text = DATA + (
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n'
        'layer { name: "a" type: "TanH" bottom: "r" top: "a" }\n'
        'layer { name: "b" type: "AbsVal" bottom: "r" top: "b" }'
    )
    graph = prepare(parse_net(text), None, Options(outputs=["r_r_0_split_1", "a"])).graph
    assert graph.output_names == ["r_r_0_split_1", "a"]
    assert error_of(text, outputs=["r_r_0_split_2"]).startswith("error: the net has no blob 'r_r_0_split_2'")
    assert error_of(text, outputs=["data_data_0_split_0"]).startswith("error: the net has no blob")


def test_a_blob_made_in_another_phase_only_says_so() -> None:
    text = (
        'layer { name: "d" type: "Input" top: "data" include { phase: TRAIN } '
        "input_param { shape { dim: 2 dim: 3 } } }\n"
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    )
    assert error_of(text) == (
        "net.prototxt:2:1: error: layer 'r' (ReLU): bottom 'data' is made by no layer before this one; layer 'd' "
        "(net.prototxt:1:1) makes it, but its include and exclude rules leave it out (see --phase and --stage)"
    )


def test_an_in_place_layer_on_a_blob_that_another_reads_is_refused_as_in_caffe() -> None:
    text = DATA + (
        'layer { name: "a" type: "TanH" bottom: "data" top: "a" }\n'
        'layer { name: "b" type: "ReLU" bottom: "data" top: "data" }'
    )
    assert error_of(text) == (
        "net.prototxt:3:1: error: layer 'b' (ReLU): it works in place on 'data', which layer 'a' reads too; Caffe "
        "refuses that (produced by multiple sources)"
    )


def test_what_is_wrong_with_a_loss_stops_only_who_asks_for_it() -> None:
    text = DATA + (
        'layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 9 } } }\n'
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "r" bottom: "t" top: "loss" }\n'
        'layer { name: "own" type: "CentreLoss" bottom: "r" bottom: "t" top: "own" }'
    )
    assert prepare(parse_net(text), None, Options()).graph.output_names == ["r"]
    assert "layer 'own' (CentreLoss): unknown layer type 'CentreLoss'" in error_of(text, outputs=["own"])
    assert "layer 'loss' (SoftmaxWithLoss)" in error_of(text, outputs=["loss"])


LOSSES = {
    "a loss of a fork, whose section nobody knows": 'type: "CenterLoss" top: "l" center_loss_param { num_output: 3 }',
    "a loss whose name goes on": 'type: "EuclideanLossHeatmap" top: "l"',
    "a loss by its file": 'type: "Python" top: "l" python_param { module: "losses" layer: "RBoxLossLayer" }',
    "a loss by what it weighs": 'type: "Quux" top: "l" loss_weight: 0.5',
    "what only writes down": 'type: "MatrixWriter" matrix_writer_param { prefix: "a" }',
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_an_unknown_type_is_left_out_with_its_fields(name: str) -> None:
    labels = 'layer { name: "t" type: "Input" top: "t" }\n'
    known = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n'
    loss = f'layer {{ name: "own" bottom: "r" bottom: "t" {LOSSES[name]} }}'
    net = parse_net(DATA + labels + known + loss, by_layer=True)
    assert prepare(net, None, Options()).graph.output_names == ["r"]


@pytest.mark.parametrize("more", ["", "loss_weight: 0"])
def test_a_layer_of_an_unknown_type_that_gives_something_is_none(more: str) -> None:
    text = DATA + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n'
    text += f'layer {{ name: "own" type: "Lossy" bottom: "r" top: "l" {more} }}'
    assert "unknown layer type 'Lossy'; --plugin FILE.py supplies it, or --outputs r gives" in error_of(text)


FED = (
    'layer { name: "d" type: "Data" top: "data" top: "label" data_param { quux: 1 } quux_param { a: 1 } }',
    'layer { name: "d" type: "QuuxData" top: "data" top: "label" quux_param { a: 1 } }',
    'layer { name: "d" type: "Input" top: "data" input_param { shap { dim: 3 } } }',
)


@pytest.mark.parametrize("data", FED)
def test_what_a_data_layer_says_in_fields_unknown_stops_nobody_who_says_what_it_brings(data: str) -> None:
    net = parse_net(data + '\nlayer { name: "r" type: "ReLU" bottom: "data" top: "r" }', by_layer=True)
    graph = prepare(net, None, Options(input_shapes={"data": (2, 3, 4, 5)})).graph
    assert [value.shape for value in graph.outputs] == [(2, 3, 4, 5)]
    with pytest.raises(CaffeModelError, match=r"unknown (field '(quux|shap)'|layer type 'QuuxData')"):
        prepare(net, None, Options())


def test_a_label_follows_the_batch_asked_of_its_image() -> None:
    text = (
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param { batch_size: 50 } }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 7 } }\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }'
    )
    options = Options(random_weights=0, outputs=["loss"], input_shapes={"data": (2, 3, 4, 4)})
    graph = prepare(parse_net(text), None, options).graph
    assert [v.shape for v in graph.inputs] == [(2, 3, 4, 4), (2,)]
