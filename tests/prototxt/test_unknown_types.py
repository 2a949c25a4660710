"""What is said of a layer type that nobody has, by converter and interpreter alike."""

from __future__ import annotations

import numpy as np
import pytest

from converter.building.build import build
from prototxt import Net, parse_net
from prototxt.errors import CaffeModelError
from prototxt.unknown_types import unknown_type
from verify.interpreter import run

LEAVE_OUT = "(--allow-unknown leaves such fields out)"
KNOWN = ("ReLU", "PReLU", "Convolution", "Yolov3", "PriorBox", "Softmax", "EvalDetection", "LRN")
DATA = 'layer { name: "d" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
TANH = 'layer { name: "t" type: "TanH" bottom: "x" top: "y" }\n'


def said_of(kind: str, rest: str = 'bottom: "x" top: "y"') -> str:
    net = parse_net(f'{DATA}layer {{ name: "l" type: "{kind}" {rest} }}')
    return unknown_type(net.layers[1], KNOWN).message


@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        ("Convolutoin", "Convolution"),
        ("Convolutions", "Convolution"),
        ("relu", "ReLU"),
        ("Relu", "ReLU"),
        ("SoftMax", "Softmax"),
        ("Sofmax", "Softmax"),
        ("Prior_Box", "PriorBox"),
        # types of their own
        ("RReLU", ""),
        ("CReLU", ""),
        ("GRN", ""),
        ("Yolov4", ""),
        ("Yolov", ""),
        ("PriorBox2", ""),
        ("RetinaFaceDetection", ""),
        ("Quux", ""),
    ],
)
def test_only_a_name_that_is_really_near_is_offered(kind: str, meant: str) -> None:
    guess = f"; did you mean {meant}? If not, " if meant else "; "
    assert said_of(kind) == f"unknown layer type {kind!r}{guess}--plugin FILE.py supplies it"


def test_a_layer_that_may_bring_data_in_can_be_fed() -> None:
    assert said_of("Quux", 'top: "image" top: "label"') == (
        "unknown layer type 'Quux'; --plugin FILE.py supplies it (if it only brings data in, --input-shape "
        "image=N,C,H,W makes it an input)"
    )


CUTS = {
    'layer { name: "q" type: "Quux" bottom: "y" bottom: "x" top: "z" }': ", or --outputs y gives what it reads",
    'layer { name: "u" type: "TanH" bottom: "x" top: "v" }\n'
    'layer { name: "q" type: "Quux" bottom: "y" bottom: "v" bottom: "y" top: "z" }': ", or --outputs y,v gives what it "
    "reads",
    # An input alone is no net, and a blob that is written again is given as it is in the end.
    'layer { name: "q" type: "Quux" bottom: "x" top: "z" }': "",
    'layer { name: "q" type: "Quux" bottom: "y" top: "y" }': "",
}


def errors_of(net: Net) -> tuple[list[str], list[str]]:
    """What the converter says, and what the interpreter."""
    with pytest.raises(CaffeModelError) as converting:
        build(net, None)
    with pytest.raises(CaffeModelError) as checking:
        run(net, None, {"x": np.zeros((2, 3), np.float32)})
    converter, interpreter = ([each.message for each in said.value.each] for said in (converting, checking))
    return converter, interpreter


@pytest.mark.parametrize("text", CUTS)
def test_both_sides_say_in_the_same_words_where_the_net_can_be_cut(text: str) -> None:
    rest = f"; --plugin FILE.py supplies it{CUTS[text]}"
    wanted = [f"unknown layer type 'Quux'{rest}"], [f"unknown layer type 'Quux' in the interpreter{rest}"]
    assert errors_of(parse_net(DATA + TANH + text)) == wanted


def test_the_second_of_two_cannot_be_cut_at_what_the_first_makes() -> None:
    text = 'layer { type: "Quux" bottom: "y" top: "z" }\nlayer { type: "Fuux" bottom: "z" top: "w" }'
    for said in errors_of(parse_net(DATA + TANH + text)):
        assert ["--outputs" in message for message in said] == [True, False]


def test_a_net_that_lacks_a_size_too_is_told_where_to_cut_it() -> None:
    text = f'layer {{ name: "d" type: "Input" top: "x" }}\n{TANH}layer {{ type: "Quux" bottom: "y" top: "z" }}'
    with pytest.raises(CaffeModelError) as caught:
        build(parse_net(text), None)
    assert [word in each.message for each in caught.value.each for word in ("--input-shape x", "--outputs y")] == [
        True,
        False,
        False,
        True,
    ]


def test_a_type_that_is_unknown_has_unknown_fields_and_that_says_it_all() -> None:
    text = 'layer { name: "q" type: "Quux" bottom: "y" top: "z" quux_param { a: 1 } relu_param { quux: 1 } }'
    net = parse_net(DATA + TANH + text, by_layer=True)
    for said in errors_of(net):
        assert [message.split(";")[0].removesuffix(" in the interpreter") for message in said] == [
            "unknown layer type 'Quux'"
        ]
    assert build(net, None, outputs=["y"]).output_names == ["y"]


def test_a_field_misspelt_in_a_layer_that_runs_stops_both_sides() -> None:
    net = parse_net(
        f'{DATA}layer {{ name: "r" type: "ReLU" bottom: "x" top: "y" relu_param {{ negative_slop: 1 }} }}',
        by_layer=True,
    )
    hint = "unknown field 'negative_slop' in relu_param; did you mean 'negative_slope'?"
    assert errors_of(net) == ([f"{hint} {LEAVE_OUT}"], [f"{hint} {LEAVE_OUT}"])
