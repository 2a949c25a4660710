"""`NetLayer.where` on every age of file: the line that the user has to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from prototxt import NetLayer, Position, load_net, net_from_message, parse_net, resnet

V2 = """\
name: "n"
layer {
  name: "data" type: "Input" top: "x"
  input_param { shape { dim: 2 dim: 3 dim: 5 dim: 7 } }
}
layer { name: "train only" type: "Dropout" bottom: "x" top: "x" include { phase: TRAIN } }
layer {
  name: "c"
  type: "Convolution"
  bottom: "x"
  top: "y"
  param { lr_mult: 1 }
  param { lr_mult: 2 decay_mult: 0 }
  convolution_param {
    num_output: 11
    kernel_size: [3, 1]
    weight_filler { type: "msra" }
  }
}
"""

V1 = """\
input: "x"
input_dim: 2 input_dim: 3
input_dim: 5
input_dim: 7
layers {
  bottom: "x" top: "y" name: "c" type: CONVOLUTION
  blobs_lr: 1
  blobs_lr: 2
  weight_decay: 1
  convolution_param { num_output: 11 kernel_size: 3 }
}
layers { name: "r" type: RELU bottom: "y" top: "y" }
"""

V0 = """\
input: "x" input: "x2"
input_shape { dim: 2 dim: 3 dim: 5 dim: 7 }
input_shape { dim: 2 dim: 3 }
layers {
  layer { name: "p" type: "padding" pad: 1 }
  bottom: "x" top: "px"
}
layers {
  layer {
    name: "c"
    type: "conv"
    num_output: 11
    kernelsize: 3
    biasterm: false
  }
  bottom: "px" top: "y"
}
"""


def layer(text: str, name: str) -> NetLayer:
    return next(layer for layer in parse_net(text, "f").layers if layer.name == name)


@pytest.mark.parametrize(
    ("text", "name", "path", "place"),
    [
        (V2, "c", (), (7, 1)),
        (V2, "c", ("type",), (9, 3)),
        (V2, "c", ("convolution_param",), (14, 3)),
        (V2, "c", ("convolution_param", "num_output"), (15, 5)),
        (V2, "c", ("convolution_param", "kernel_size"), (16, 19)),
        (V2, "c", ("convolution_param", "kernel_size", 1), (16, 22)),
        (V2, "c", ("convolution_param", "weight_filler", "type"), (17, 21)),
        (V2, "c", ("convolution_param", "weight_filler", "std"), (17, 5)),
        (V2, "c", ("convolution_param", "pad"), (14, 3)),
        (V2, "c", ("pooling_param", "pad"), (7, 1)),
        (V2, "c", ("param", 1, "decay_mult"), (13, 22)),
        (V2, "c", ("param", 2), (7, 1)),
        (V2, "c", ("bottom", 0), (10, 3)),
        (V2, "data", ("input_param", "shape", 0, "dim", 3), (4, 46)),
        (V1, "input", (), (1, 1)),
        (V1, "input", ("top", 0), (1, 1)),
        (V1, "input", ("input_param", "shape", 0, "dim", 2), (3, 1)),
        (V1, "c", ("convolution_param", "kernel_size"), (10, 38)),
        (V1, "c", ("param", 1, "lr_mult"), (8, 3)),
        (V1, "c", ("param", 0, "decay_mult"), (9, 3)),
        (V1, "r", ("type",), (12, 20)),
        (V0, "input", ("top", 1), (1, 12)),
        (V0, "input", ("input_param", "shape", 1, "dim", 1), (3, 22)),
        (V0, "c", (), (8, 1)),
        (V0, "c", ("name",), (10, 5)),
        (V0, "c", ("convolution_param", "kernel_size"), (13, 5)),
        (V0, "c", ("convolution_param", "bias_term"), (14, 5)),
        (V0, "c", ("convolution_param", "group"), (8, 1)),
        (V0, "c", ("bottom",), (16, 3)),
    ],
)
def test_a_field_is_found_where_the_file_has_it(
    text: str, name: str, path: tuple[str | int, ...], place: tuple[int, int]
) -> None:
    assert layer(text, name).where(*path) == Position("f", *place)


def test_layers_keep_their_places_when_others_are_filtered_out() -> None:
    assert [layer.position.line for layer in parse_net(V2).layers] == [2, 7]
    assert [layer.position.line for layer in parse_net(V2, phase="TRAIN").layers] == [2, 6, 7]


def test_a_net_that_was_built_has_its_name_for_a_place() -> None:
    first = net_from_message(resnet(18), "built").layers[0]
    assert first.where("type") == first.position == Position("built")


def test_layer_and_message_are_the_same_object() -> None:
    net = parse_net(V2)
    net.message.layer[1].name = "renamed"
    assert net.layers[1].param.name == "renamed"


def test_every_layer_of_a_real_file_stands_at_its_name(shared: Path) -> None:
    path = shared / "golden" / "models" / "nsfw-resnet50-thin" / "deploy.prototxt"
    if not path.is_file():
        path = next((shared / "golden" / "models" / "nsfw-resnet50-thin").glob("*.prototxt"))
    lines = path.read_text().splitlines()
    for found in load_net(path).layers:
        assert f'"{found.name}"' in lines[found.where("name").line - 1]
