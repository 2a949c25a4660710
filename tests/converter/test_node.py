"""A layer class is a dataclass from its first layer on, by itself or by its own decorator."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from converter.node import Layer


class Plain(Layer):
    """Without a decorator."""

    size: int
    factor: float = 0.5
    shown: str = field(default="", repr=False)


class Further(Plain):
    """With one more field."""

    more: int = 1


@dataclass(frozen=True)
class Decorated(Plain):
    """As a plugin has it."""

    own: bool = False


@pytest.mark.parametrize("cls", [Plain, Further, Decorated])
def test_a_layer_is_a_frozen_record_of_its_fields(cls: type[Any]) -> None:
    layer = cls(3, factor=2.0)
    assert (layer.size, layer.factor, layer.shown) == (3, 2.0, "")
    assert layer == cls(3, 2.0) != cls(4, 2.0)
    assert hash(layer) == hash(cls(3, 2.0))
    assert replace(layer, size=4) == cls(4, 2.0)
    assert repr(layer).startswith(f"{cls.__name__}(size=3, factor=2.0")
    assert "shown" not in repr(layer)
    with pytest.raises(FrozenInstanceError):
        layer.size = 5
    with pytest.raises(TypeError):
        cls()


def test_fields_come_in_the_order_of_the_bases() -> None:
    assert [entry.name for entry in fields(Further(1))] == ["size", "factor", "shown", "more"]
    assert [entry.name for entry in fields(Decorated(1))] == ["size", "factor", "shown", "own"]


def test_a_class_without_a_layer_is_not_made_yet() -> None:
    class Unused(Layer):
        size: int = 0

    assert "__dataclass_fields__" not in vars(Unused)
    assert Unused(2).size == 2
    assert "__dataclass_fields__" in vars(Unused)
