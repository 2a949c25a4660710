r"""Names as bytes: each name in one form, each form its bytes again, and shown so that nothing of it is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prototxt import format_net, load_net, parse_net
from prototxt.caffe_pb2 import NetParameter
from prototxt.errors import NetError, PrototxtError
from prototxt.names import from_bytes, is_utf8, named_by, readable, shown, to_bytes, utf8
from prototxt.source import read_text
from prototxt.write import net_bytes

GBK = "全连接".encode("gbk")  # the first two bytes are by accident the UTF-8 of ȫ
NET = b'layer { name: "%s" type: "ReLU" bottom: "x" top: "y" }'


def names_of(path: Path, text: bytes) -> list[bytes]:
    path.write_bytes(text)
    return [to_bytes(layer.name) for layer in load_net(path).layers]


@given(st.binary())
def test_any_bytes_come_back(data: bytes) -> None:
    assert to_bytes(from_bytes(data)) == data


@given(st.text())
def test_a_name_in_utf_8_is_its_text_and_one_form_stands_for_one_name(text: str) -> None:
    if not any(0x10F780 <= ord(c) <= 0x10F7FF for c in text):
        assert from_bytes(text.encode()) == text
    assert to_bytes(from_bytes(text.encode())) == text.encode()


@given(st.binary())
def test_a_name_can_pass_through_protobuf(data: bytes) -> None:
    message = NetParameter(name=from_bytes(data))
    assert to_bytes(NetParameter.FromString(message.SerializeToString()).name) == data


def test_a_genuine_character_of_the_block_counts_as_its_bytes() -> None:
    assert from_bytes("\U0010f7a3".encode()) != from_bytes(b"\xa3")
    assert len(from_bytes("\U0010f7a3".encode())) == 4


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (GBK, r"\xc8\xab\xc1\xac\xbd\xd3"),
        (b"conv_\xe9", r"conv_\xe9"),
        ("全连接".encode(), "全连接"),
        (b"a\0b", r"a\x00b"),
        (b"a\\b", r"a\b"),
    ],
)
def test_for_other_formats_a_name_that_is_no_utf_8_is_written_as_its_bytes(data: bytes, text: str) -> None:
    assert utf8(from_bytes(data)) == text


def test_messages_show_bytes_once_whether_a_name_stands_there_bare_or_quoted() -> None:
    name = from_bytes(GBK)
    assert readable(f"layer {name!r} reads {name}") == rf"layer '{utf8(name)}' reads {utf8(name)}"
    assert readable(repr(r"\U0010f7a3")) == repr(r"\U0010f7a3")  # a name that is these ten characters
    assert str(NetError("no " + name, layer=name)) == rf"error: layer '{utf8(name)}': no {utf8(name)}"


def test_what_would_move_the_cursor_or_turn_the_line_is_shown_as_an_escape() -> None:
    assert shown("a\x1b[2J\u202eb\n\x9b") == r"a\x1b[2J\u202eb\n\x9b"
    assert shown("caf\udce9") == r"caf\xe9"


def test_a_name_is_found_by_its_bytes_as_a_terminal_gives_them_or_by_its_escape() -> None:
    names = ["data", from_bytes(GBK), r"\xe9", from_bytes(b"\xe9")]
    assert named_by(GBK.decode("utf-8", "surrogateescape"), names) == names[1]
    assert named_by(r"\xc8\xab\xc1\xac\xbd\xd3", names) == names[1]
    assert named_by(r"\xe9", names) == r"\xe9"
    assert named_by("\udce9", names) == from_bytes(b"\xe9")
    assert named_by("other", names) == "other"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (GBK, GBK),
        (b"\\310\\253\\301", b"\xc8\xab\xc1"),
        (b"\\xc8\xab", b"\xc8\xab"),  # an escape and a byte make a character
        (b"\xd5n" + b"\\x5c", b"\xd5n\\"),
        (b"\x95n\\n\x95", b"\x95n\n\x95"),
        (b"\xbd\\\\", b"\xbd\\"),
        ("\U0010f7a3".encode(), "\U0010f7a3".encode()),
        (b'a" # \xff\n \'\xe9" \'"b', b'a\xe9" b'),
    ],
)
def test_strings_have_the_bytes_that_caffe_reads(tmp_path: Path, written: bytes, name: bytes) -> None:
    assert names_of(tmp_path / "n.prototxt", NET % written) == [name]


def test_a_half_character_that_is_a_backslash_is_refused_as_by_caffe(tmp_path: Path) -> None:
    path = tmp_path / "n.prototxt"
    path.write_bytes(NET % "表示".encode("shift-jis"))  # 95 5C 8E A6
    with pytest.raises(
        Exception, match=r"1:15: error: name has a backslash before the byte \\x8e, which Caffe refuses"
    ):
        load_net(path)


def test_a_comment_in_another_encoding_leaves_the_names_of_a_file_in_utf_8_alone(tmp_path: Path) -> None:
    text = b"# " + "卷积层".encode("gbk") + b"\n" + NET % "全连接".encode()
    assert names_of(tmp_path / "n.prototxt", text) == ["全连接".encode()]


def test_positions_count_a_byte_that_is_no_utf_8_as_a_character(tmp_path: Path) -> None:
    path = tmp_path / "n.prototxt"
    path.write_bytes(b'name: "\xe9\xe8"  nme: 1')
    with pytest.raises(PrototxtError, match=r"n\.prototxt:1:13: error: unknown field 'nme'"):
        load_net(path)


def test_fields_left_out_take_their_names_with_them(tmp_path: Path) -> None:
    path = tmp_path / "n.prototxt"
    path.write_bytes(NET % b"\xe9" + b' nme { name: "\xe8" }')
    assert to_bytes(load_net(path, allow_unknown=True).layers[0].name) == b"\xe9"


@given(st.lists(st.binary(min_size=1), min_size=1))
def test_a_net_is_written_with_the_bytes_that_it_has_and_read_again(names: list[bytes]) -> None:
    net = NetParameter()
    for name in names:
        net.layer.add(name=from_bytes(name), type="ReLU", bottom=["x"], top=["y"])
    text = format_net(net)
    assert is_utf8(text)
    assert all(line.isprintable() for line in text.splitlines())
    assert parse_net(text).message == net
    assert parse_net(from_bytes(net_bytes(net))).message == net


def test_a_file_in_utf_16_is_read_by_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "n.prototxt"
    path.write_text('name: "全"', encoding="utf-16")
    assert read_text(path) == 'name: "全"'
