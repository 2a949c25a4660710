"""Free dimensions: one rule gives the sample's size and the formula for all sizes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.dims import FreeDim, count, format_formulas, format_shape, is_free

H = FreeDim(20, "H")


@pytest.mark.parametrize(
    ("dim", "sample", "formula"),
    [
        ((H + 2 * 3 - 7) // 2 + 1, 10, "floor((H-1)/2)+1"),
        (-(-(H - 2) // 2) + 1, 10, "-floor((-H+2)/2)+1"),
        (H + 2 - 3 + 1, 20, "H"),
        (H * 30 * 40 * 12 // 4, 72000, "3600*H"),
        (2 * (H - 1) + 1, 39, "2*H-1"),
        (3 - H, -17, "-H+3"),
        (H + H, 40, "2*H"),
        (count((2, H, FreeDim(5, "W"))), 200, "2*H*W"),
        (H // FreeDim(3, "W"), 6, "floor(H/W)"),
    ],
)
def test_arithmetic_keeps_sample_and_formula(dim: int, sample: int, formula: str) -> None:
    assert int(dim) == sample
    assert is_free(dim)
    assert str(dim) == formula


def test_what_cancels_is_fixed_again() -> None:
    assert not is_free(H - H)
    assert H - H == 0
    assert not is_free(H * 0)


def test_shapes_read_well() -> None:
    assert format_shape((FreeDim(1, "N"), 3, H, 224)) == "N×3×H×224"
    assert format_shape(()) == "scalar"


@pytest.mark.parametrize(
    ("dim", "short"),
    [
        (H, "H"),
        (H - 2, "H-2"),
        (2 * (H - 1) + 1, "2*H-1"),
        ((H + 2 * 3 - 7) // 2 + 1, "H/2"),
        (-(-((H - 7) // 2 + 1) // 4) + 1, "H/8"),
        (3 * ((H - 1) // 2) + 4, "3*H/2"),
        ((H // 3) * (FreeDim(40, "W") // 2), "H*W/6"),
        (H // 2 + FreeDim(40, "W") // 4, "H/2+W/4"),
        (H // 2 - H // 4, "H/4"),
        (H // FreeDim(3, "W"), "floor(H/W)"),
    ],
)
def test_people_see_about_what_a_formula_comes_to(dim: FreeDim, short: str) -> None:
    assert dim.short == format_shape([dim]) == short
    assert format_formulas([dim]) == str(dim)


steps = st.lists(st.tuples(st.sampled_from(["+", "-", "*", "//"]), st.integers(1, 9)), max_size=8)


@given(steps, st.integers(30, 300))
@settings(max_examples=200)
def test_the_formula_is_true_for_every_size(steps: list[tuple[str, int]], size: int) -> None:
    def apply(x: int) -> int:
        for sign, number in steps:
            x = {"+": x + number, "-": x - number, "*": x * number, "//": x // number}[sign]
        return x

    symbolic = apply(FreeDim(64, "H"))
    formula = str(symbolic).replace("/", "//").replace("floor", "")
    assert eval(formula, {"H": size}) == apply(size)
