"""Exact mean and variance of values that come in pieces.

The two-pass rule is: first the mean of all values, then the mean of the squared deviations from it. Here each piece
takes those two passes by itself, which gives its mean m and its sum of squared deviations M, and pieces are joined by

    d = m_b - m_a      n = n_a + n_b
    m = m_a + d n_b / n
    M = M_a + M_b + d² n_a n_b / n

(Chan, Golub and LeVeque, 1979). That is an identity, not an estimate. For the values x of piece a, Σ (x - m)² is
M_a + n_a (m_a - m)², as the cross term 2 (m_a - m) Σ (x - m_a) is 0; likewise for b. With m_a - m = -d n_b / n and
m_b - m = d n_a / n the two extra terms add up to d² n_a n_b / n. So however the values are cut into pieces, the result
is that of two passes over all of them; in float64 the rounding is some 1e-15 of it, far below what float32 shows. No
difference of large sums is taken, as in the textbook's Σx² - (Σx)² / n, which loses its digits where the mean is large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Wide: TypeAlias = npt.NDArray[np.float64]


class Moments:
    """Count, mean and variance a channel of everything added so far.

    Attributes:
        values: how many values each channel had.
        low, high: the least and the largest value of each channel, float64; NaN once a value was none.
    """

    def __init__(self) -> None:
        self.values = 0
        self.low: Wide = np.array(np.inf)
        self.high: Wide = np.array(-np.inf)
        self._mean: Wide = np.array(0.0)
        self._squares: Wide = np.array(0.0)

    def add(self, x: torch.Tensor) -> None:
        """Add a piece, N×C×..., perhaps of no values; it may lie on any device that has float64."""
        if not x.numel():
            return
        axes = [axis for axis in range(x.ndim) if axis != 1]
        wide = x.detach().double()
        mean = wide.mean(axes, keepdim=True)
        squares = (wide - mean).square_().sum(axes)
        self.low = np.minimum(self.low, wide.amin(axes).cpu().numpy())
        self.high = np.maximum(self.high, wide.amax(axes).cpu().numpy())
        self._join(x.numel() // x.shape[1], mean.flatten().cpu().numpy(), squares.cpu().numpy())

    def _join(self, values: int, mean: Wide, squares: Wide) -> None:
        total = self.values + values
        step = mean - self._mean
        self._squares = self._squares + squares + step**2 * (self.values * values / total)
        self._mean = self._mean + step * (values / total)
        self.values = total

    @property
    def finite(self) -> bool:
        """Whether all values were numbers."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Which channels had one value only; their variance is exactly 0, their mean exactly that value."""
        return np.asarray(self.low == self.high)

    @property
    def mean(self) -> Wide:
        """The mean of each channel."""
        return np.where(self.constant, self.low, self._mean)

    @property
    def variance(self) -> Wide:
        """The mean squared deviation from the mean, divided by the number of values m and not by m - 1."""
        return np.where(self.constant, 0.0, self._squares / self.values)
