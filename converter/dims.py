"""Sizes that may be left free: integers that remember how they follow from the size of an input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from prototxt import words

if TYPE_CHECKING:
    from fractions import Fraction

Shape = tuple[int, ...]
Slope: TypeAlias = "Mapping[str, Fraction]"
"""Product of letters -> its factor: what a size comes to for large inputs, {"H": 1/2} for one of half the height."""


class Term(str):
    """A part of a formula; its slope is empty where it has none."""

    __slots__ = ("slope",)
    slope: Slope

    def __new__(cls, text: str, slope: Slope) -> Term:
        term = super().__new__(cls, text)
        term.slope = slope
        return term


class FreeDim(int):
    """A dimension that the user left free: an integer for one sample size, and a formula for all sizes.

    Shape rules are written once, in integers; what they compute from a free dimension is free as well. The formula is
    kept as a sum of terms, so that equal sizes have equal formulas: H+6-7+1 is H, and N*30*40*12/4 is 3600*N.
    """

    terms: Mapping[Term, int]
    constant: int

    def __new__(cls, sample: int, terms: Mapping[Term, int] | str, constant: int = 0) -> FreeDim:
        dim = super().__new__(cls, sample)
        if isinstance(terms, str):
            from fractions import Fraction

            terms = {terms if isinstance(terms, Term) else Term(terms, {terms: Fraction(1)}): 1}
        dim.terms = dict(terms)
        dim.constant = constant
        return dim

    def __add__(self, other: int) -> int:
        return _sum(int(self) + int(other), self, other, 1)

    __radd__ = __add__

    def __sub__(self, other: int) -> int:
        return _sum(int(self) - int(other), self, other, -1)

    def __rsub__(self, other: int) -> int:
        return -self + other

    def __neg__(self) -> int:
        return self * -1

    def __mul__(self, other: int) -> int:
        product = int(self) * int(other)
        if isinstance(other, FreeDim):
            slope = {_product(a, b): x * y for a, x in self.slope.items() for b, y in other.slope.items()}
            return FreeDim(product, Term(f"{_factor(self)}*{_factor(other)}", slope))
        return FreeDim(product, {t: c * other for t, c in self.terms.items()}, self.constant * other) if other else 0

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> int:
        quotient = int(self) // int(other)
        if not isinstance(other, FreeDim) and all(c % other == 0 for c in (*self.terms.values(), self.constant)):
            return FreeDim(quotient, {t: c // other for t, c in self.terms.items()}, self.constant // other)
        slope = {} if isinstance(other, FreeDim) else {letters: x / other for letters, x in self.slope.items()}
        return FreeDim(quotient, Term(f"floor({_factor(self)}/{_factor(other)})", slope))

    @property
    def slope(self) -> Slope:
        """What it comes to for large inputs; empty where that cannot be said in products of letters."""
        total: dict[str, Fraction] = {}
        for term, coefficient in self.terms.items():
            if not term.slope:
                return {}
            for letters, factor in term.slope.items():
                total[letters] = factor * coefficient + total.get(letters, 0)
        return {letters: factor for letters, factor in total.items() if factor}

    @property
    def short(self) -> str:
        """For people: the formula where no rounding is in it, else about what it comes to, `H/2`."""
        exact, slope = str(self), self.slope
        return "+".join(_part(*part) for part in slope.items()) if slope and "floor" in exact else exact

    def __repr__(self) -> str:
        parts = [f"{'-' if c < 0 else '+'}{'' if abs(c) == 1 else f'{abs(c)}*'}{t}" for t, c in self.terms.items()]
        parts.sort(key=lambda part: part[0] == "-")
        text = "".join(parts).removeprefix("+")
        return f"{text}{self.constant:+d}" if self.constant else text

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def _sum(sample: int, left: FreeDim, right: int, sign: int) -> int:
    if not isinstance(right, FreeDim):
        return FreeDim(sample, left.terms, left.constant + sign * right)
    terms = dict(left.terms)
    for term, coefficient in right.terms.items():
        terms[term] = terms.get(term, 0) + sign * coefficient
    left_over = {t: c for t, c in terms.items() if c}
    constant = left.constant + sign * right.constant
    return FreeDim(sample, left_over, constant) if left_over else constant


def _product(one: str, other: str) -> str:
    return "*".join(sorted((*one.split("*"), *other.split("*"))))


def _part(letters: str, factor: Fraction) -> str:
    """`H/2`, `3*H/4`."""
    above = letters if factor.numerator == 1 else f"{factor.numerator}*{letters}"
    return above if factor.denominator == 1 else f"{above}/{factor.denominator}"


def _factor(dim: int) -> str:
    """A size as a factor of a product: a sum in brackets, anything else as it is."""
    is_sum = isinstance(dim, FreeDim) and (len(dim.terms) > 1 or dim.constant or min(dim.terms.values()) < 0)
    return f"({dim})" if is_sum else str(dim)


def is_free(dim: int) -> bool:
    """Whether a dimension follows the size of the input."""
    return isinstance(dim, FreeDim)


def format_shape(shape: Sequence[int]) -> str:
    """`1×64×56×56`, free axes by their letters, `N×64×H/4×W/4`; `scalar` for no dimensions."""
    return words.format_shape(dim.short if isinstance(dim, FreeDim) else dim for dim in shape)


def format_formulas(shape: Sequence[int]) -> str:
    """The same with the formulas of free axes."""
    return words.format_shape(shape)


def count(dims: Iterable[int]) -> int:
    """The product of some dimensions, free if one of them is."""
    product = 1
    for dim in dims:
        product = product * dim
    return product
