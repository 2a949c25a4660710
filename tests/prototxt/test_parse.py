"""Prototxt to message: every fault at its place, all at once, in exact words; and nothing but our own errors."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from prototxt import load_net, load_solver, parse_net
from prototxt.caffe_pb2 import BlobProto, LayerParameter, NetParameter, SolverParameter
from prototxt.careful import is_solver
from prototxt.check import MOST_FAULTS
from prototxt.errors import CaffeModelError, ErrorGroup, PrototxtError
from prototxt.names import to_bytes
from prototxt.parse import parse
from prototxt.repair import repair
from prototxt.scan import scan
from prototxt.source import read_text

LAYER = 'layer { name: "a" type: "ReLU" bottom: "x" top: "y" %s }'
ROOT = Path(__file__).resolve().parents[2]
METHODS = "pooling_param.pool; expected MAX, AVE or STOCHASTIC"
LEAVE_OUT = " (--allow-unknown leaves such fields out)"
INT32 = "-2147483648 to 2147483647"
UNUSUAL = """
layer {
  name: 'it''s' type: "\\x52eLU", bottom: ["x", 'z']; top: "\\303\\251"
  include [{ phase: TEST min_level: -0x1F }, < phase: 0 stage: "s" >]
  convolution_param: < num_output: 010 pad: [+1, 0X2] bias_term: f engine: 1 >
  loss_weight: .5 loss_weight: 1.f loss_weight: -inf loss_weight: 2e-3f
}
"""


def error(text: str, *, cls: Any = NetParameter, allow_unknown: bool = False) -> str:
    with pytest.raises(CaffeModelError) as caught:
        parse(text, cls, "n.prototxt", allow_unknown=allow_unknown)
    return str(caught.value)


def test_what_text_format_reads_we_read_equally() -> None:
    assert parse(UNUSUAL, NetParameter)[0] == text_format.Parse(UNUSUAL, NetParameter())


@pytest.mark.parametrize(
    ("field", "column", "message"),
    [
        ("foo: 1", 0, f"unknown field 'foo' in a layer{LEAVE_OUT}"),
        ("conv_param { }", 0, f"unknown field 'conv_param' in a layer{LEAVE_OUT}"),
        (
            "BatchNormParam { }",
            0,
            f"unknown field 'BatchNormParam' in a layer; did you mean 'batch_norm_param'?{LEAVE_OUT}",
        ),
        ("relu_params { }", 0, f"unknown field 'relu_params' in a layer; did you mean 'relu_param'?{LEAVE_OUT}"),
        ("pooling_param { pool: MAXX }", 22, f"unknown value 'MAXX' for {METHODS}"),
        ("pooling_param { pool: 7 }", 22, f"unknown value '7' for {METHODS}"),
        ("pooling_param { pool: 'AVE' }", 22, "pooling_param.pool is 'AVE'; expected a name without quotes, AVE"),
        (
            "pooling_param { poool: MAX }",
            16,
            f"unknown field 'poool' in pooling_param; did you mean 'pool'?{LEAVE_OUT}",
        ),
        ("input_param { shape { dim: 1x2 } }", 27, "input_param.shape.dim is '1x2'; expected a whole number"),
        ("convolution_param { pad: 1.5 }", 25, "convolution_param.pad is '1.5'; expected a whole number"),
        ("convolution_param { pad: 09 }", 25, "convolution_param.pad is '09'; expected a whole number"),
        ("convolution_param { pad: -1 }", 25, "convolution_param.pad is '-1'; expected 0 to 4294967295"),
        ("softmax_param { axis: 2147483648 }", 22, f"softmax_param.axis is '2147483648'; expected {INT32}"),
        ("softmax_param { axis: 0x80000000 }", 22, f"softmax_param.axis is '0x80000000'; expected {INT32}"),
        ("convolution_param { bias_term: TRUE }", 31, "convolution_param.bias_term is 'TRUE'; expected true or false"),
        ("convolution_param { pad: { } }", 25, "convolution_param.pad is '{ … }'; expected a whole number"),
        ("convolution_param: 3", 19, "convolution_param is '3'; expected '{ … }'"),
        ("loss_weight: 0x10", 13, "loss_weight is '0x10'; expected a number"),
        ("loss_weight: 1.2.3", 13, "loss_weight is '1.2.3'; expected a number"),
        ("loss_weight: 01", 13, "loss_weight is '01'; expected a number"),
        ("loss_weight: 1e", 13, "loss_weight is '1e'; expected a number"),
        (
            "loss_weight: '{{w}}'",
            13,
            "loss_weight is '{{w}}'; expected a number: it belongs to a template; fill it in first",
        ),
        ("\udcc8: 1", 0, "unexpected byte 0xc8 outside of a string"),
        ("bottom: data", 8, "bottom is 'data'; expected a quoted string"),
        ("bottom: 3", 8, "bottom is '3'; expected a quoted string"),
        ("name: 'b'", 0, "name is given twice, first on line 1"),
        ("relu_param { } relu_param { }", 15, "relu_param is given twice, first on line 1"),
        ("phase: [TEST]", 8, "phase is a list; expected one value"),
        ("bottom: 'a\\q'", 8, "bottom has the escape '\\q', which means nothing; a backslash is written '\\\\'"),
        ("bottom: '\\ud800'", 8, "bottom is '\\ud800', which is not UTF-8"),
        (
            "bottom: '\udc95\\\udc8e'",
            8,
            "bottom has a backslash before the byte \\x8e, which Caffe refuses, though in GBK and Shift-JIS a "
            "backslash may be the half of a character; a backslash is written '\\\\'",
        ),
        ("bottom: '\\U00110000'", 8, "bottom has the escape '\\U00110000', which is no character"),
    ],
)
def test_a_field_that_does_not_fit_is_named_with_its_place(field: str, column: int, message: str) -> None:
    assert error(LAYER % field) == f"n.prototxt:1:{53 + column}: error: {message}"


def test_all_faults_come_at_once_in_the_order_of_the_text() -> None:
    text = """nam: "n"
layer {
  typ: "ReLU"
  convolution_param {
    pad: -1
    kernal_size: 3
  }
}
layer { blobs { data: x } }
"""
    with pytest.raises(ErrorGroup) as caught:
        parse_net(text, "n.prototxt")
    assert all(type(fault) is PrototxtError for fault in caught.value.errors)
    assert str(caught.value).splitlines() == [
        "n.prototxt:1:1: error: unknown field 'nam'; did you mean 'name'? (--allow-unknown leaves such fields out)",
        "n.prototxt:3:3: error: unknown field 'typ' in a layer; did you mean 'type'?",
        "n.prototxt:5:10: error: convolution_param.pad is '-1'; expected 0 to 4294967295",
        "n.prototxt:6:5: error: unknown field 'kernal_size' in convolution_param; did you mean 'kernel_size'?",
        "n.prototxt:9:23: error: blobs.data is 'x'; expected a number",
    ]


def test_faults_past_counting_are_cut_and_the_cut_is_said() -> None:
    with pytest.raises(ErrorGroup) as caught:
        parse_net("foo: 1\n" * (MOST_FAULTS + 5), "n.prototxt")
    assert len(caught.value.errors) == MOST_FAULTS + 1
    assert str(caught.value.errors[-1]) == f"n.prototxt: error: {MOST_FAULTS} faults are shown; there may be more"


def test_unknown_fields_of_old_forms_are_found_at_every_depth() -> None:
    assert error('layers { nme: "a" }').startswith("n.prototxt:1:10: error: unknown field 'nme' in a layer")
    assert "1:18: error: unknown field 'kernel_size'" in error("layers { layer { kernel_size: 3 } }")
    assert "did you mean CONVOLUTION?" in error("layers { type: CONVOLUTON }")


@pytest.mark.parametrize(
    "unknown",
    [
        "foo: 1",
        "foo: [1, 2];",
        "foo { a: 1 b { c: 'x' } },",
        "foo: [{ a: 1 }, < b: [] >]",
        "foo: -inf",
        "foo: 'a' \"b\"",
        "foo: 224X224_1",
        "foo: '\\q'",
        "foo: 09",
        "[ext.x]: 1;",
        "[type.googleapis.com/x] { a: 1 }",
        "a-b: c/d",
        "foo {}",
        "relu_param { foo: 1; bar { baz: 0x10 } }",
        "include { foo: 1, }",
        "foo { layer { name: 3 } }",
    ],
)
def test_allowed_unknown_fields_are_left_out_wherever_they_stand(unknown: str) -> None:
    known = unknown.split(" ")[0] if unknown.startswith(("relu", "include")) else ""
    rest = f"{known} {{ }}" if known else ""
    assert error(LAYER % unknown)
    text = f"foo: 1; {LAYER % unknown} name: 'n'"
    message, _, _ = parse(text, NetParameter, allow_unknown=True)
    assert message == text_format.Parse(f"{LAYER % rest} name: 'n'", NetParameter())


def test_each_kind_of_allowed_unknown_field_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    text = "\n".join([LAYER % "foo: 1", LAYER % "foo: 2 relu_param { bar: 1 }", LAYER % "foo: 3"])
    with caplog.at_level(logging.WARNING):
        parse(text, NetParameter, "n.prototxt", allow_unknown=True)
    assert [record.getMessage() for record in caplog.records] == [
        "n.prototxt:1:53: warning: unknown field 'foo' in a layer is left out, here and 2 times more",
        "n.prototxt:2:73: warning: unknown field 'bar' in relu_param is left out",
    ]


def test_other_faults_stand_even_when_unknown_fields_are_allowed() -> None:
    assert error(LAYER % "foo: 1 phase: 7", allow_unknown=True) == (
        "n.prototxt:1:67: error: unknown value '7' for phase; expected TRAIN or TEST"
    )


def test_a_v1_entry_with_a_v2_type_and_the_other_way_round_are_read_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = (
        'foo: 1 layers { name: "a" type: "Softmax" bottom: "x" top: "p" }\n'
        'layer { name: "b" type: DROPOUT top: "p" foo: 2 bottom: "p" }'
    )
    with caplog.at_level(logging.WARNING):
        net = parse_net(text, "n.prototxt", allow_unknown=True)
    assert [(layer.name, layer.type, layer.bottoms) for layer in net.layers] == [
        ("a", "Softmax", ("x",)),
        ("b", "Dropout", ("p",)),
    ]
    assert net.layers[1].where("bottom")[1:] == (2, 49)
    assert [record.getMessage() for record in caplog.records[:2]] == [
        'n.prototxt:1:8: warning: `layers` with the type "Softmax" of the present form is read as `layer`',
        'n.prototxt:2:25: warning: the old type DROPOUT in a `layer` is read as "Dropout"',
    ]


def test_a_mixture_that_means_two_things_is_refused() -> None:
    with pytest.raises(CaffeModelError, match="the net mixes"):
        parse_net('layers { name: "a" type: RELU bottom: "x" top: "y" } layer { name: "b" type: "ReLU" }')
    assert error("layer { type: DROPOUTT }") == "n.prototxt:1:15: error: type is 'DROPOUTT'; expected a quoted string"


SOLVER = 'net: "train.prototxt"\nbase_lr: 0.1\n'


def test_a_solver_given_as_a_net_is_called_one_and_so_is_a_net_given_as_a_solver() -> None:
    assert error(SOLVER) == 'n.prototxt: error: this is a solver, not a net; the net it trains is "train.prototxt"'
    assert error("max_iter: 3") == "n.prototxt: error: this is a solver, not a net"
    assert error(LAYER % "", cls=SolverParameter) == "n.prototxt: error: this is a net, not a solver"


def test_a_solver_that_holds_its_net_is_a_solver() -> None:
    text = SOLVER.replace('net: "train.prototxt"', "net_param { %s }" % (LAYER % ""))
    assert is_solver(text)
    assert parse(text, SolverParameter)[0].net_param.layer[0].name == "a"
    assert not is_solver(LAYER % "")
    assert not is_solver("base_lr: {")


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    text = (LAYER % "").replace(" ", "\r\n")
    path = tmp_path / "n.prototxt"
    for data in (b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16")):
        path.write_bytes(data)
        assert load_net(path).message == parse_net(LAYER % "").message
    assert parse_net("\ufeff" + text).message == parse_net(LAYER % "").message


def test_a_file_that_is_not_utf_8_is_read_byte_by_character(tmp_path: Path) -> None:
    path = tmp_path / "n.prototxt"
    path.write_bytes(b"# \xb0\xc1\xff\n" + (LAYER % "").replace("x", "\xe9").encode("latin-1"))
    assert to_bytes(load_net(path).layers[0].bottoms[0]) == b"\xe9"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b" \r\n\t\n", "the file is empty"),
        (b"\xef\xbb\xbf\n", "the file is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "this is a Git LFS pointer, not the file itself; run 'git lfs pull'",
        ),
        (b"\n <!DOCTYPE html><html></html>", "this is a web page, not a prototxt; download the raw file"),
        (b"<html>", "this is a web page, not a prototxt; download the raw file"),
        (b"\x89HDF\r\n\x1a\n\0\0", "this is an HDF5 file, not a prototxt; a .caffemodel.h5?"),
        (b"\x1f\x8b\x08\0", "this is a compressed archive, not a prototxt; unpack it first"),
        (b"\n\x04name\x12\x05\0\0", "this is a binary file, not a prototxt; a .caffemodel?"),
        (bytes(range(1, 32)) * 9, "this is a binary file, not a prototxt; a .caffemodel?"),
        (b"# only a comment", "the net has no layers"),
        (b'name: "n"', "the net has no layers"),
    ],
)
def test_what_is_no_net_is_called_what_it_is(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "n.prototxt"
    path.write_bytes(data)
    with pytest.raises(CaffeModelError) as caught:
        load_net(path)
    assert str(caught.value) == f"{path}: error: {message}"


def test_a_directory_a_missing_file_and_an_impossible_name_are_told_apart(tmp_path: Path) -> None:
    missing = tmp_path / "none.prototxt"
    for path, message in (
        (tmp_path, "this is a directory; expected a prototxt file"),
        (missing, "can't read the file: no such file or directory"),
    ):
        for load in (load_net, load_solver):
            with pytest.raises(PrototxtError) as caught:
                load(path)
            assert str(caught.value) == f"{path}: error: {message}"
    with pytest.raises(PrototxtError, match="can't read the file"):
        read_text("a\0b")


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "n.prototxt"
    with open(path, "wb") as file:
        file.write(b"#")
        file.truncate(1 << 40)
    with pytest.raises(PrototxtError, match=r"larger than 16 MiB; expected a prototxt$"):
        load_net(path)


def test_huge_numbers_cost_nothing() -> None:
    digits = "9" * 1_000_000
    assert len(error(LAYER % f"phase: {digits}")) < 200
    assert len(error(LAYER % f"convolution_param {{ pad: {digits} }}")) < 200
    assert parse(LAYER % f"loss_weight: {digits}", NetParameter)[0].layer[0].loss_weight[0] == float("inf")


def test_a_message_as_deep_as_the_scanner_allows_does_not_escape() -> None:
    assert error("layer { include { " * 49).count("\n") == 0
    assert error("foo { " * 99 + "}" * 99) == f"n.prototxt:1:1: error: unknown field 'foo'{LEAVE_OUT}"


def test_escapes_that_protobufs_python_parser_leaves_are_read_as_caffe_does() -> None:
    assert parse("name: 'a\\?'", NetParameter)[0].name == "a?"
    assert parse("name: '\\X41\\x42'", NetParameter)[0].name == "AB"
    assert parse("raw_data: '\\?\\377'", BlobProto)[0].raw_data == b"?\xff"


def test_bytes_need_not_be_text() -> None:
    assert parse("raw_data: '\\377\\000'", BlobProto)[0].raw_data == b"\xff\0"


PIECES = [
    *"{}<>[]:,; \n#\"'\\/.-+é\0\u00a0\udcff",
    *["layer", "layers", "name", "type", "top", "bottom", "include", "phase", "convolution_param", "pad", "input"],
    *["input_dim", "blobs_lr", '"ReLU"', "RELU", "TEST", "true", "inf", '"x"', "1", "-1", "0x", "010", "1e9", ".5"],
]
SEEDS = [
    UNUSUAL,
    LAYER % "include { phase: TRAIN } convolution_param { num_output: 3 pad: 1 kernel_size: 5 }",
    'input: "x" input_dim: 2 input_dim: 3\nlayers { layer { name: "c" type: "conv" pad: 2 } bottom: "x" top: "c" }',
    'layers { name: "d" type: DATA data_param { scale: 0.5 source: "s" } blobs_lr: 1 blobs_lr: 2 top: "x" }',
    SOLVER,
]


@st.composite
def mutated(draw: Callable[..., Any], seeds: Sequence[str] = SEEDS) -> str:
    """A prototxt with up to four splices: something cut out, something put in."""
    text: str = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + "".join(draw(st.lists(st.sampled_from(PIECES), max_size=3))) + text[end:]
    return text


def ours(text: str, cls: Any) -> Any:
    with suppress(CaffeModelError):
        return parse(text, cls, "n")[0]
    return None


def protobufs(text: str, cls: Any) -> Any:
    with suppress(text_format.ParseError, ValueError, SystemError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that mean nothing
        return text_format.Parse(text, cls())
    return None


@settings(max_examples=1500)
@given(mutated())
def test_on_mutated_text_we_agree_with_text_format_or_refuse(text: str) -> None:
    message, theirs = ours(text, NetParameter), protobufs(text, NetParameter)
    if message is not None and theirs is not None:
        assert message == theirs
    elif message is not None:  # what text_format alone refuses
        assert holds_other_bytes_than_utf8(message) or repair(*scan(text, "n"))  # layers half way between two forms


def holds_other_bytes_than_utf8(message: Any) -> bool:
    """Whether a string of it holds bytes that are no UTF-8, which Caffe takes as they are."""
    held = to_bytes(text_format.MessageToString(message, as_utf8=True))
    return held != held.decode("utf-8", "replace").encode()


@settings(max_examples=600)
@given(mutated(), st.booleans())
def test_whatever_the_text_only_our_own_errors_escape(text: str, allow_unknown: bool) -> None:
    for phase in ("TEST", "TRAIN"):
        with suppress(CaffeModelError):
            net = parse_net(text, "n", phase=phase, allow_unknown=allow_unknown)
            for layer in net.layers:
                assert layer.where("convolution_param", "pad").line >= layer.position.line >= 1


@settings(max_examples=150)
@given(data=st.data())
def test_real_prototxts_with_bytes_changed_only_raise_our_own_errors(data: st.DataObject, shared: Path) -> None:
    files = sorted((shared / "golden" / "upgrade").glob("1[0-3]?/before.prototxt"))
    content = bytearray(data.draw(st.sampled_from(files)).read_bytes()[:6000])
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    text = content.decode("latin-1")
    message, theirs = ours(text, NetParameter), protobufs(text, NetParameter)
    if message is not None and theirs is not None:
        assert message == theirs


def test_the_descriptor_of_a_layer_is_not_confused_by_its_old_forms() -> None:
    assert parse('name: "a" type: "ReLU"', LayerParameter)[0].type == "ReLU"


def test_a_placeholder_is_left_out_when_unknowns_are_allowed(caplog: pytest.LogCaptureFixture) -> None:
    text = 'layer { name: "a" type: "X" detection_output_param { num_classes: cls1x keep_top_k: 5 } }'
    with pytest.raises(PrototxtError, match="num_classes is 'cls1x'; expected a whole number"):
        parse(text, NetParameter)
    message, _, _ = parse(text, NetParameter, "n.prototxt", allow_unknown=True)
    param = message.layer[0].detection_output_param
    assert not param.HasField("num_classes")
    assert param.keep_top_k == 5
    assert caplog.messages == [
        "n.prototxt:1:67: warning: detection_output_param.num_classes is 'cls1x'; expected a whole number; "
        "the field is left out"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["\n", "a:1\n", "a{}", "#\n", "layer{}\n"], ids=repr)
def test_a_large_file_of_nothing_takes_bounded_memory_and_time(unit: str, tmp_path: Path) -> None:
    path = tmp_path / "n.prototxt"
    path.write_text("x " + unit * ((16_000_000 - 2) // len(unit)))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
    code = f"{limit}from prototxt import load_net\nload_net({str(path)!r}, allow_unknown=True)"
    start = os.times().children_user
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "prototxt.errors.PrototxtError" in done.stderr
    assert os.times().children_user - start < 20
