"""Where forks differ in what a layer type means: the file's evidence decides, the user overrides, and it is said."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from prototxt import dialects, parse_net
from prototxt.caffe_pb2 import LayerParameter
from prototxt.dialects import DIALECTS
from prototxt.errors import RequestError

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: %d dim: %d } } }\n'
ZOOM = 'layer { name: "up" type: "Interp" bottom: "x" top: "up" interp_param { zoom_factor: 2 } }'
SIZE = 'layer { name: "up" type: "Interp" bottom: "x" top: "up" interp_param { height: 9 width: 9 } }'


def test_evidence_decides_and_is_told() -> None:
    net = parse_net(INPUT % (64, 96) + ZOOM, "net.prototxt")
    assert net.layers[1].dialect == "openvino"
    assert net.readings == [
        "net.prototxt:2:1: Interp is read as openvino's: zoom_factor in a net whose input is 64×96, multiples of 32 "
        "(--dialect Interp=deeplab for another)"
    ]


def test_without_evidence_it_is_the_first_and_that_is_told_too() -> None:
    net = parse_net(INPUT % (65, 97) + ZOOM, "net.prototxt")
    assert net.layers[1].dialect == DIALECTS["Interp"][0].name == "deeplab"
    assert net.readings == [
        "net.prototxt:2:1: Interp is read as deeplab's: nothing shows another fork's "
        "(--dialect Interp=openvino for another)"
    ]


def test_what_a_whole_net_shows_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def count(layers: Sequence[LayerParameter]) -> str:
        looked.append(len(layers))
        return original(layers)

    original = dialects._whole_steps
    monkeypatch.setattr(dialects, "_whole_steps", count)
    net = parse_net(INPUT % (64, 96) + ZOOM + ZOOM.replace('"up"', '"down"'))
    assert [layer.dialect for layer in net.layers] == ["", "openvino", "openvino"]
    assert looked == [3]


def test_nothing_is_said_where_the_forks_agree() -> None:
    assert parse_net(INPUT % (64, 96) + SIZE).readings == []
    assert parse_net(INPUT % (64, 96)).layers[0].dialect == ""


CLASS = """
layer { name: "fc7" type: "InnerProduct" bottom: "x" top: "fc7" inner_product_param { num_output: 4 } }
layer { name: "fc7" type: "ReLU" bottom: "fc7" top: "fc7" }
layer { name: "score" type: "InnerProduct" bottom: "fc7" top: "score" inner_product_param { num_output: 9 } }
layer { name: "class" type: "ArgMax" bottom: "score" top: "class" argmax_param { axis: 1 } }
layer { name: "row" type: "Embed" bottom: "class" top: "row" embed_param { num_output: 3 input_dim: 9 } }
layer { name: "both" type: "Concat" bottom: "fc7" bottom: "row" top: "both" }
"""


@pytest.mark.parametrize(
    ("old", "new", "dialect"),
    [
        ("", "", "bottom_up_attention"),
        ("argmax_param { axis: 1 }", "", "bvlc"),
        ("argmax_param { axis: 1 }", "argmax_param { axis: 1 top_k: 2 }", "bvlc"),
        ('bottom: "class"', 'bottom: "x"', "bvlc"),
        ('bottom: "fc7" bottom: "row"', 'bottom: "x" bottom: "row"', "bvlc"),
        ('top: "both"', 'top: "both" concat_param { axis: 2 }', "bvlc"),
        ("num_output: 4 }", "num_output: 4 axis: 2 }", "bvlc"),
    ],
)
def test_a_class_joined_to_a_vector_shows_whose_embed_it_is(old: str, new: str, dialect: str) -> None:
    net = parse_net(INPUT % (64, 96) + CLASS.replace(old, new, 1))
    (embed,) = (layer for layer in net.layers if layer.type == "Embed")
    assert embed.dialect == dialect
    assert len(net.readings) == (dialect == "bottom_up_attention")


@pytest.mark.parametrize("bottom", ['bottom: "class"', 'bottom: "score"'])
def test_layers_without_bottoms_show_nothing(bottom: str) -> None:
    other = 'layer { name: "o" type: "Embed" bottom: "x" top: "o" embed_param { num_output: 3 input_dim: 9 } }'
    net = parse_net(INPUT % (64, 96) + other + CLASS.replace(bottom, "", 1))
    assert [layer.dialect for layer in net.layers if layer.type == "Embed"] == ["bvlc", "bvlc"]


@pytest.mark.parametrize("asked", [{"Interp": "deeplab"}, {"": "deeplab"}, {"": "ssd", "Interp": "deeplab"}])
def test_the_user_overrides(asked: dict[str, str]) -> None:
    net = parse_net(INPUT % (64, 96) + ZOOM, dialects=asked)
    assert net.layers[1].dialect == "deeplab"
    assert "as --dialect says" in net.readings[0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"Sigmoid": "openvino"}, "--dialect Sigmoid=openvino: 'Sigmoid' has one meaning only; several have BN, "),
        ({"Interp": "ssd"}, "no such fork of Interp; known are caffe_ocr, cambricon, "),
        ({"": "nobody"}, "--dialect nobody: no such fork; known are "),
    ],
)
def test_what_there_is_not_is_refused(asked: dict[str, str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_net(INPUT % (64, 96), dialects=asked)
