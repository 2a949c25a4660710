"""The scanner: the tree of fields with their places, broken grammar, and text made to hurt."""

from __future__ import annotations

import time

import pytest

from prototxt.errors import Position, PrototxtError
from prototxt.scan import DEEPEST, Field, scan


def tree(field: Field) -> object:
    """Names, values and nesting only."""
    return [(child.name, child.value if child.value is not None else tree(child)) for child in field.children]


def scanned(text: str) -> object:
    return tree(scan(text, "n")[0])


def error(text: str) -> str:
    with pytest.raises(PrototxtError) as caught:
        scan(text, "n.prototxt")
    assert type(caught.value) is PrototxtError
    return str(caught.value)


def test_fields_messages_and_lists_become_a_tree() -> None:
    text = """
        name: "n" # a comment { with brackets
        layer { name: 'a' bottom: ["x", "y"] pad: 3, stride: -0x1F; }
        layer: < include [{ phase: TEST }, <phase: TRAIN>] >
    """
    assert scanned(text) == [
        ("name", '"n"'),
        ("layer", [("name", "'a'"), ("bottom", '"x"'), ("bottom", '"y"'), ("pad", "3"), ("stride", "-0x1F")]),
        ("layer", [("include", [("phase", "TEST")]), ("include", [("phase", "TRAIN")])]),
    ]


@pytest.mark.parametrize("blank", [" ", "\n", "\r\n", "\t", "\v", "\f", "# c\n", "\r"])
def test_any_white_space_and_comments_may_stand_between_tokens(blank: str) -> None:
    parts = ["", "a", ":", "1", "b", "{", "c", ":", '"x"', '"y"', "}", ";", "d", ":", "[", "2", ",", "3", "]", ""]
    assert scanned(blank.join(parts)) == [("a", "1"), ("b", [("c", '"x" "y"')]), ("d", "2"), ("d", "3")]


def test_no_white_space_is_needed_where_tokens_end_by_themselves() -> None:
    assert scanned("a{b:\"x\"c:'y'}d:[]e<>#end") == [("a", [("b", '"x"'), ("c", "'y'")]), ("e", [])]


def test_names_values_and_entries_of_lists_have_lines_and_columns_from_one() -> None:
    root, lines = scan("a: 1\r\n\tb {\n  c: [ 2,\n 33 ]\n}", "n")
    (a, b), (first, second) = root.children, root.children[1].children
    offsets = (a.offset, a.value_offset, b.offset, b.value_offset, first.offset, second.offset)
    places = [lines.position(offset) for offset in offsets]
    assert places == [Position("n", *at) for at in ((1, 1), (1, 4), (2, 2), (2, 4), (3, 8), (4, 2))]


def test_a_span_holds_the_whole_field_and_its_separator() -> None:
    text = 'a: "x" # c\n "y" ; b { c: 1, } d: [1, 2], e: 5'
    root, _ = scan(text, "n")
    spans = [text[slice(*child.span)] for child in root.children]
    assert spans == ['a: "x" # c\n "y" ;', "b { c: 1, }", "d: [1, 2],", "d: [1, 2],", "e: 5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer {\n  name: 'a'\n", "n.prototxt:1:1: error: 'layer {' is never closed"),
        (
            "layer {\n  relu_param {\n}\nlayer {\n}\n",
            "n.prototxt:4:1: error: 'layer {' of line 1 is not closed before the next layer",
        ),
        ("a: 1\n}", "n.prototxt:2:1: error: unexpected '}'; nothing is open here"),
        ("a <\nb: 1 }", "n.prototxt:2:6: error: unexpected '}'; 'a <' of line 1 is open"),
        ("a", "n.prototxt:1:2: error: expected ':' or '{' after 'a', found the end of the file"),
        ("a: ", "n.prototxt:1:4: error: expected a value for 'a', found the end of the file"),
        ("a: }", "n.prototxt:1:4: error: expected a value for 'a', found '}'"),
        ('a "x"', "n.prototxt:1:3: error: expected ':' or '{' after 'a', found \"x\""),
        ("a: 1;; b: 2", "n.prototxt:1:6: error: expected a field name, found ';'"),
        (", a: 1", "n.prototxt:1:1: error: expected a field name, found ','"),
        ("3: 1", "n.prototxt:1:1: error: expected a field name, found '3'"),
        ("{ a: 1 }", "n.prototxt:1:1: error: expected a field name, found '{'"),
        ("a: 1\n{{ input }}", "n.prototxt:2:1: error: '{{ input }}' belongs to a template; fill it in first"),
        ("a: 1\nb { c: {height} }", "n.prototxt:2:8: error: '{height}' belongs to a template; fill it in first"),
        ("layer {{\n name: 'a' }}", "n.prototxt:1:7: error: '{{' belongs to a template; fill it in first"),
        ("a { b: ${x} }", "n.prototxt:1:8: error: '${x}' belongs to a template; fill it in first"),
        ("a: $N", "n.prototxt:1:4: error: '$N' belongs to a template; fill it in first"),
        ("a: %d", "n.prototxt:1:4: error: '%d' belongs to a template; fill it in first"),
        ("a: %(n)d", "n.prototxt:1:4: error: '%(n)d' belongs to a template; fill it in first"),
        ("<% for %>", "n.prototxt:1:1: error: '<% for %>' belongs to a template; fill it in first"),
        ("a: '{{x}}' }", "n.prototxt:1:12: error: unexpected '}'; nothing is open here"),
        ("a: 1 } # {{x}}", "n.prototxt:1:6: error: unexpected '}'; nothing is open here"),
        ("a { b }", "n.prototxt:1:7: error: expected ':' or '{' after 'b', found '}'"),
        ("{% if x %}", "n.prototxt:1:1: error: '{% if x %}' belongs to a template; fill it in first"),
        (
            "layers {\n layer { x: 1\n}\nlayers {\n}\n",
            "n.prototxt:4:1: error: 'layers {' of line 1 is not closed before the next layers",
        ),
        ("a: [1, ]", "n.prototxt:1:8: error: expected a value for 'a', found ']'"),
        ("a: [1; 2]", "n.prototxt:1:6: error: expected ',' or ']' in the list of 'a', found ';'"),
        ("a: [1 2]", "n.prototxt:1:7: error: expected ',' or ']' in the list of 'a', found '2'"),
        ("a: [[1]]", "n.prototxt:1:5: error: expected a value for 'a', found '['"),
        ("a [1]", "n.prototxt:1:1: error: expected ':' before the list of 'a', which holds no messages"),
        ("a: [1, 2", "n.prototxt:1:1: error: 'a [' is never closed"),
        ("a: - 1", "n.prototxt:1:4: error: unexpected character '-'"),
        ('a: 1\nb: "x\n"', "n.prototxt:2:4: error: the string is not closed on its line"),
        ("a: 'x\\'", "n.prototxt:1:4: error: the string is not closed on its line"),
        ("a: @", "n.prototxt:1:4: error: unexpected character '@'"),
        ("a:\u00a01", "n.prototxt:1:3: error: unexpected character U+00A0 (no-break space)"),
        ("a: “x”", "n.prototxt:1:4: error: unexpected character U+201C (left double quotation mark)"),
        ("a: 1 \0", "n.prototxt:1:6: error: unexpected character U+0000 (control character)"),
        ("a: 1 \udcff", "n.prototxt:1:6: error: unexpected character U+DCFF (control character)"),
        ("[a: 1", "n.prototxt:1:1: error: expected a field name, found '['"),
    ],
)
def test_broken_grammar_is_named_with_its_place(text: str, message: str) -> None:
    assert error(text) == message


def test_a_long_token_is_cut_and_control_characters_are_escaped() -> None:
    start = "n.prototxt:1:3: error: expected ':' or '{' after 'a', found "
    assert error("a b" + "c" * 5000) == f"{start}'b{'c' * 29}…{'c' * 29}'"
    assert error('a "\x1b[2J"') == f'{start}"\\x1b[2J"'


@pytest.mark.parametrize(
    "token", [f'"{"x" * 2**20}"', "'" + "\\n" * 2**19 + "'", "x" * (2**20 + 1), "1" * (2**20 + 1)], ids=lambda t: t[:3]
)
def test_no_word_or_string_is_longer_than_a_mebibyte(token: str) -> None:
    message = f"n.prototxt:2:4: error: a word or string of {len(token)} characters; expected at most 1048576"
    assert error(f"\na: {token}") == message
    scan(f"a: {token[:-3]}{token[-1]}", "n")


def test_nesting_is_allowed_to_a_depth_and_no_further() -> None:
    inside = DEEPEST - 1
    scan("a{" * inside + "}" * inside, "n")
    assert error("a{" * 100_000).endswith("error: messages are nested more than 100 deep")
    assert error("a{" * 100_000 + "}" * 100_000).endswith("error: messages are nested more than 100 deep")


@pytest.mark.parametrize(
    "text",
    [
        "#" * 200_000 + "\n@",
        "# \n" * 100_000 + "@",
        "\n" * 500_000 + "@",
        " " * 500_000 + "@",
        '"' * 100_000,
        "'\\" * 100_000,
        "[" * 100_000,
        "a: [" * 100_000,
        "-" * 100_000,
        "a: " + "9" * 500_000 + "x",
        "a: '" + "\\" * 500_001,
        "a: " + "'x' " * 50_000 + "}",
        "a: " + "'' " * 600_000,
        "b" * 300_000 + ": {" * 3,
        "a: [" + "1," * 100_000,
    ],
    ids=lambda text: repr(text[:6]),
)
def test_text_made_to_hurt_fails_at_once(text: str) -> None:
    start = time.process_time()
    try:
        scan(text, "n")
    except PrototxtError as caught:
        assert len(str(caught)) < 400  # noqa: PT017
    assert time.process_time() - start < 5
