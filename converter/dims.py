"""Sizes that may be left free: integers that remember how they follow from the size of an input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Shape = tuple[int, ...]


class FreeDim(int):
    """A dimension that the user left free: an integer for one sample size, and a formula for all sizes.

    Shape rules are written once, in integers; what they compute from a free dimension is free as well. The formula is
    kept as a sum of terms, so that equal sizes have equal formulas: H+6-7+1 is H, and N*30*40*12/4 is 3600*N.
    """

    terms: Mapping[str, int]
    constant: int

    def __new__(cls, sample: int, terms: Mapping[str, int] | str, constant: int = 0) -> FreeDim:
        dim = super().__new__(cls, sample)
        dim.terms = {terms: 1} if isinstance(terms, str) else dict(terms)
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
            return FreeDim(product, f"{_factor(self)}*{_factor(other)}")
        return FreeDim(product, {t: c * other for t, c in self.terms.items()}, self.constant * other) if other else 0

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> int:
        quotient = int(self) // int(other)
        if not isinstance(other, FreeDim) and all(c % other == 0 for c in (*self.terms.values(), self.constant)):
            return FreeDim(quotient, {t: c // other for t, c in self.terms.items()}, self.constant // other)
        return FreeDim(quotient, f"floor({_factor(self)}/{_factor(other)})")

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


def _factor(dim: int) -> str:
    """A size as a factor of a product: a sum in brackets, anything else as it is."""
    is_sum = isinstance(dim, FreeDim) and (len(dim.terms) > 1 or dim.constant or min(dim.terms.values()) < 0)
    return f"({dim})" if is_sum else str(dim)


def is_free(dim: int) -> bool:
    """Whether a dimension follows the size of the input."""
    return isinstance(dim, FreeDim)


def format_shape(shape: Sequence[int]) -> str:
    """`1×64×56×56`; `scalar` for no dimensions."""
    return "×".join(map(str, shape)) or "scalar"


def count(dims: Iterable[int]) -> int:
    """The product of some dimensions, free if one of them is."""
    product = 1
    for dim in dims:
        product = product * dim
    return product
