"""Identifiers are handed out as one would by counting from the start, without counting from the start."""

from __future__ import annotations

import random

import pytest

from converter.targets import identifiers
from converter.targets.identifiers import Names, identifier


class Counting:
    """What `Names` gives, worked out for each wish anew."""

    def __init__(self, reserved: list[str]) -> None:
        self.taken = set(reserved)

    def fresh(self, wish: str) -> str:
        base, number = identifier(wish), 1
        name = base
        while name in self.taken:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name

    def free(self, name: str) -> None:
        self.taken.discard(name)


@pytest.mark.parametrize("seed", range(100))
def test_names_are_the_least_that_are_free(seed: int) -> None:
    draw = random.Random(seed)
    reserved = draw.sample(["x", "x_2", "x_3", "y", "x_1", "if_"], 2)
    counting, names, held = Counting(reserved), Names(reserved), list[str]()
    for _ in range(80):
        if held and draw.random() < 0.45:
            name = held.pop(draw.randrange(len(held)))
            counting.free(name)
            names.free(name)
        else:
            wish = draw.choice(["x", "x_2", "x_3", "x_2_2", "y", "x_1", "x_02", "if", "x-2", f"x_{'9' * 5000}"])
            held.append(names.fresh(wish))
            assert held[-1] == counting.fresh(wish)


def test_many_with_one_wish_do_not_all_count_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    numbered, asked = identifiers._numbered, list[int]()

    def counted(base: str, number: int) -> str:
        asked.append(number)
        return numbered(base, number)

    monkeypatch.setattr(identifiers, "_numbered", counted)
    names = Names()
    assert [names.fresh("relu") for _ in range(1000)][-1] == "relu_1000"
    assert len(asked) < 10_000
