"""The one pass over usual prototxts: it answers for real nets, and then as the careful parser and text_format do."""

from __future__ import annotations

import math
import re
import struct
import subprocess
import sys
import warnings
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import TestCase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prototxt import one_pass, parse_net, sections
from prototxt.caffe_pb2 import BlobProto, LayerParameter, NetParameter, SolverParameter
from prototxt.careful import parse_carefully
from prototxt.names import typed
from prototxt.one_pass import read_usual
from prototxt.scan import Field, Lines
from tests.prototxt.test_parse import mutated, protobufs

ROOT = Path(__file__).resolve().parents[2]
NETS = sorted((ROOT / "tests" / "data" / "golden").rglob("*.prototxt"))
LISTED = {"pool_gapped_average", "pool_gapped_volumes", "pooling_of_films", "pooling_of_films_average"}
"""Of Greentea's pooling, where what is one value elsewhere stands once for each axis (`prototxt.repeated`)."""
USUAL = """name: "n" # a comment, with a 'quote' in it
input: "x" input_shape { dim: 1 dim: 300 };
layer {
  name: 'it"s' type: "Convolution", bottom: "x";
  top: "caf\u00e9" include: { phase: TEST stage: "a\\tb" }
  convolution_param { num_output: 5 pad: 1 pad: 2 bias_term: false engine: 1 weight_filler { std: -2.5e-1 value: .5 } }
}
layer { name: "s" type: "Scale" loss_weight: 0.1 blobs { shape { dim: 2 } data: 1 data: -0 data: 1e-45 } }
"""


WORDS = re.findall(r"""#.*\n | "[^"]*" | '[^']*' | [-+.\w]+ | \S""", USUAL, re.X)
BEHIND = ["", " ", "\n", "\t\v", "\r\n", " # c\n", "#\n", ",", ";", " ;", ",,", "\u00a0"]


def described(field: Field) -> tuple[object, ...]:
    """A field with all that is in it."""
    places = field.offset, field.value_offset, field.value_end, field.span, field.listed
    return field.name, field.value, places, [described(child) for child in field.children]


def usual(text: str, cls: Any = NetParameter) -> Any:
    """The message of a text that the one pass answers for, held against both judges; else None."""
    text = typed(text)
    lines = Lines(text, "n")
    found = read_usual(text, cls, lines)
    if found is None:
        return None
    message, root = found
    with TestCase().assertNoLogs(level="WARNING"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protobuf's parser, which finds \\? odd
        expected, tree, places = parse_carefully(text, cls, "n", allow_unknown=False, by_layer=None)
    assert message == expected
    assert described(root) == described(tree)
    assert [lines.position(at) for at in range(len(text))] == [places.position(at) for at in range(len(text))]
    assert message == protobufs(text, cls)
    return message


@pytest.mark.parametrize("path", NETS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_nets_of_the_golden_cases_are_usual(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = usual(text, SolverParameter if "base_lr" in text else NetParameter)
    assert (found is not None) == (path.parent.name not in LISTED)


def test_what_usual_prototxts_hold_is_read() -> None:
    net = usual(USUAL)
    assert net.layer[0].name == 'it"s'
    assert net.layer[0].convolution_param.weight_filler.std == -0.25
    assert list(net.input_shape[0].dim) == [1, 300]
    assert math.copysign(1, net.layer[1].blobs[0].data[1]) == -1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        " \n",
        "layer{}",
        "layer{} , ",
        'name:"n"layer:{name:"a"}',
        'name\n:\n"n"',
        "layer { # c }\n }",
        "force_backward: 0, debug_info: True;",
        'state { phase: 1 level: -2147483648 stage: "" }',
        'name: "\\303\\251"',
        'name: "\u00e9"',
    ],
)
def test_what_stands_at_the_edges_is_read_rightly_or_left(text: str) -> None:
    usual(text)


@pytest.mark.parametrize(
    "text",
    [
        "layer {, }",
        "layer: [{ }]",
        "layer < >",
        "layer { } }",
        "layer { layer { }",
        "layer { name: 'a' 'b' }",
        "input_dim: [1, 2]",
        "input_dim: 0x10",
        "input_dim: 010",
        "input_dim: 1.0",
        "input_dim: 2147483648",
        "input_dim { }",
        "layer: 3",
        "name: n",
        "name: 'a' name: 'b'",
        "name: 'a\nb'",
        "name: '\\q'",
        "name: '\\?'",
        "name: '\\X41'",
        "name: '\\377'",
        "name: '\udcc8'",
        "name: 'a';;",
        "; name: 'a'",
        "layer { relu_param { } relu_param { } }",
        "layer { relu_param { engine: CAFFEE } }",
        "layer { relu_param { engine: 9 } }",
        "layer { loss_weight: inf }",
        "layer { loss_weight: 1e39 }",
        "layer { loss_weight: 1_0 }",
        "layer { loss_weight: 1f }",
        "layer { name: 'a' foo: 1 }",
        "layer { [a.b]: 1 }",
        "force_backward: yes",
        "name: '" + "x" * (1 << 20) + "'",
    ],
)
def test_what_is_wrong_or_rare_is_left_to_the_careful_parser(text: str) -> None:
    assert read_usual(typed(text), NetParameter, Lines(text, "n")) is None


def test_numbers_are_packed_by_the_message_that_holds_them() -> None:
    text = 'blobs { shape { dim: 1 dim: 70000 } data: 1 data: 2.5 } name: "a"'
    assert usual(text, LayerParameter).blobs[0].data == [1, 2.5]
    assert read_usual("data: 1", BlobProto, Lines("", "n")) is None  # outermost, where no net has them
    assert read_usual("blobs { data: 1 diff: 2 }", LayerParameter, Lines("", "n")) is None


@st.composite
def spaced(draw: st.DrawFn) -> str:
    """The usual text with other things than a space behind some words, and others in the place of some."""
    words = [[word, " "] for word in WORDS]
    for _ in range(draw(st.integers(0, 6))):
        draw(st.sampled_from(words))[1] = draw(st.sampled_from(BEHIND))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        draw(st.sampled_from(words))[0] = draw(st.sampled_from(["", *WORDS]))
    return "".join(chain.from_iterable(words))


@given(st.one_of(mutated(), spaced()))
@settings(max_examples=1500)
def test_on_mutated_text_all_three_parsers_agree_where_the_one_pass_answers(text: str) -> None:
    for cls in (NetParameter, SolverParameter):
        usual(text, cls)


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(["{!r}", "{:.17e}", "{:.6g}", "{:f}"])
)
def test_floats_are_those_of_text_format(value: float, written: str) -> None:
    number = written.format(value)
    between = repr((value + struct.unpack("<f", struct.pack("<f", value * 0.9999999))[0]) / 2)
    assert usual(f"layer {{ loss_weight: {number} loss_weight: {between} }}") is not None


@given(st.integers(-(1 << 65), 1 << 65), st.sampled_from(["input_dim", "state { level", "layer { top_k"]))
def test_whole_numbers_are_those_of_text_format_or_left(number: int, field: str) -> None:
    closing = " }" * field.count("{")
    usual(f"{field}: {number}{closing}")


@given(st.text(st.sampled_from("\\\\\\01789abfnrtvxXuU'?é\t "), max_size=12))
def test_strings_are_those_of_text_format_or_left(content: str) -> None:
    usual(f'name: "{content}"')


def test_no_message_holds_itself_so_that_depth_is_bounded() -> None:
    """The reader calls itself for each message within another."""

    def depth(descriptor: Any, above: tuple[str, ...] = ()) -> int:
        assert descriptor.full_name not in above
        inside = [field.message_type for field in descriptor.fields if field.message_type is not None]
        return 1 + max((depth(each, (*above, descriptor.full_name)) for each in inside), default=0)

    assert depth(SolverParameter.DESCRIPTOR) < 20


def test_what_stands_within_a_layer_is_scanned_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[int] = []

    def scan_inside(text: str, lines: Lines, start: int, stop: int) -> list[Field]:
        scanned.append(start)
        return original(text, lines, start, stop)

    original = one_pass.scan_inside
    monkeypatch.setattr(one_pass, "scan_inside", scan_inside)
    monkeypatch.setattr(sections, "_DECLARED", {})
    net = parse_net('layer { name: "a" type: "ReLU" }\nlayer {\n  name: "b"\n}')
    assert [list(layer.stated_for_plugins()) for layer in net.layers] == [[], []]
    assert (net.layers[1].position.line, scanned) == (2, [])
    assert (net.layers[1].where("name").line, net.layers[1].where("type").line) == (3, 2)
    assert scanned == [40]


def test_a_usual_prototxt_does_not_load_the_careful_parser() -> None:
    code = "import sys, prototxt; prototxt.parse_net('layer { }'); print('prototxt.careful' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
