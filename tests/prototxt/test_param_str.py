"""param_str of Python layers, in the forms that published nets have."""

from __future__ import annotations

import pytest

from prototxt import parse_net
from prototxt.errors import NetError
from prototxt.param_str import numbers_of


def read(text: str) -> dict[str, object]:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    net = f'layer {{ name: "it" type: "Python" python_param {{ module: "m" layer: "L" param_str: "{escaped}" }} }}'
    return dict(numbers_of(parse_net(net, "net.prototxt").layers[0]))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", {}),
        ("'feat_stride': 16", {"feat_stride": 16}),
        ("feat_stride: 16\n", {"feat_stride": 16}),
        ("'a': 16 \n'b': !!python/tuple [4, 8, 16, 32]", {"a": 16, "b": (4, 8, 16, 32)}),
        ("{'a': 16, 'b': [0.333, 1, 2.5e-1]}", {"a": 16, "b": (0.333, 1, 0.25)}),
        ("{\"a\":-1,'b':[.5],c: 3}", {"a": -1, "b": (0.5,), "c": 3}),
        ("{'a': 16,'b': [0.5,], 'c':[1 , ]}", {"a": 16, "b": (0.5,), "c": (1,)}),
        ("{ 'a': 16,\n  'b': [ ] }", {"a": 16, "b": ()}),
        ("'a': 1\r\n\n'b': 2", {"a": 1, "b": 2}),
    ],
)
def test_names_and_numbers(text: str, numbers: dict[str, object]) -> None:
    read_numbers = read(text)
    assert read_numbers == numbers
    assert {k: type(v) for k, v in read_numbers.items()} == {k: type(v) for k, v in numbers.items()}


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("16", "'16'"),
        ("'a': 1, 'b': 2", "\"'a': 1, 'b': 2\""),
        ("{'a': 1 'b': 2}", "\"'a': 1 'b': 2\""),
        ("'a': 1\n'b': [1, [2]]", "\"'b': [1, [2]]\""),
        ("'a': [1,,]", "\"'a': [1,,]\""),
        ("'a': 1\n'b': yes", "\"'b': yes\""),
        ("'a\": 1", "'\\'a\": 1'"),
        ("'a': .inf", "\"'a': .inf\""),
        ("'a': !!python/object/apply:os.system ['ls']", ""),
    ],
)
def test_other_text_is_refused_where_it_begins(text: str, rest: str) -> None:
    with pytest.raises(NetError, match=r"^net.prototxt:1:\d+: error: layer 'it' \(Python\): param_str") as caught:
        read(text)
    assert f"is not understood from {rest}" in str(caught.value)
