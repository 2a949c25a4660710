"""Layers that say the same under other names are read once, where their class looks at nothing but what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from converter.building.build import build
from converter.layers.activation import ReLU
from converter.layers.base import registry
from converter.node import Layer, by_message_alone, reads_message_alone
from prototxt import NetLayer, load_net, parse_net
from prototxt.recording import Record
from tests.golden import LAYERS

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 7 } } }'
CASES = sorted(LAYERS.glob("*/net.prototxt"))


class Nameless(NetLayer):
    """A layer as those that say the same have it in common."""

    def __init__(self, source: NetLayer, record: Record) -> None:
        vars(self).update(vars(source.read_by(record)))
        for name in ("name", "position", "neighbours"):
            del vars(self)[name]
        blobs = (*source.bottoms, *source.tops)
        self.bottoms, self.tops = (tuple(f"blob {blobs.index(b)}" for b in bs) for bs in (source.bottoms, source.tops))

    def where(self, *path: str | int) -> NoReturn:
        raise AssertionError("asked for a place")

    def section(self, name: str) -> Any:
        raise AssertionError("asked for a plugin's section")


def _marked() -> Iterator[NetLayer]:
    for path in CASES:
        for layer in load_net(path).layers:
            cls = registry().get(layer.kind)
            if cls is not None and reads_message_alone(cls):
                yield layer


def test_a_marked_class_looks_at_nothing_but_the_message() -> None:
    seen = set()
    for layer in _marked():
        cls, record, nameless = registry()[layer.kind], Record(), Record()
        assert repr(cls.read(layer.read_by(record))) == repr(cls.read(Nameless(layer, nameless)))
        assert (record.read, record.ignored) == (nameless.read, nameless.ignored)
        seen.add(cls.__name__)
    assert {"BatchNorm", "Concat", "Convolution", "Eltwise", "InnerProduct", "Pooling", "ReLU", "Scale"} <= seen


def _layers(*said: str) -> list[Layer]:
    text = INPUT + "".join(
        f'layer {{ name: "l{n}" type: "ReLU" bottom: "x" top: "{top}" {rest} }}'
        for n, (top, rest) in enumerate(each.split("|") for each in said)
    )
    return [node.layer for node in build(parse_net(text), None).nodes]


def test_layers_of_one_wording_are_one() -> None:
    same, other, again = _layers("a|", "b|relu_param { negative_slope: 0.5 }", "c|")
    assert same is again
    assert (same, other) == (ReLU(), ReLU(0.5))


def test_a_class_that_reads_otherwise_is_not_marked() -> None:
    class Marked(Layer):
        @classmethod
        @by_message_alone
        def read(cls, source: NetLayer) -> Marked:
            return cls()

    class Own(Marked):
        @classmethod
        def read(cls, source: NetLayer) -> Own:
            return cls()

    class Further(Marked):
        pass

    assert [reads_message_alone(cls) for cls in (Layer, Marked, Own, Further)] == [False, True, False, True]


def test_each_layer_of_a_wording_answers_for_what_is_left_of_it() -> None:
    said = "pooling_param { kernel_size: 2 }"
    text = INPUT + "".join(f'layer {{ name: "{n}" type: "ReLU" bottom: "x" top: "{n}" {said} }}' for n in "abc")
    (warning,) = build(parse_net(text), None).warnings
    assert "layer 'a' (ReLU) and 2 more: pooling_param.kernel_size: not read" in warning
