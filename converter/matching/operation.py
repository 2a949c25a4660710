"""What one step of a net computes, in the words that frameworks share.

    weighted sum     channels, features, kernel, stride, padding (before, behind), dilation, groups, transposed
    normalisation    eps
    factor, summand  learned, one a channel
    pooling          method, kernel, stride, padding (before, behind), windows, whether padding counts, dilation
    rectifier        slope, lower bound, upper bound
    concatenation    axis
    response normalisation   size, alpha, beta, k, region
    power            by; division of one value by another
    slice            axis, start, stop
    addition, multiplication, maximum, multiply-add, shape, identity, softmax, …

Settings hold where both sides mean the same by them; a kind that only one side has is in words of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WHOLE_MAP = "the whole map"
"""The kernel of a pooling over all of it."""

ACROSS, WITHIN = "across channels", "within channels"
"""The regions of a normalisation by neighbours."""


@dataclass(frozen=True)
class Operation:
    """One step: its kind, and the settings of that kind."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def pooling(
    method: str,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    windows: tuple[int, ...],
    *,
    counts_padding: bool,
    dilation: tuple[int, ...] = (),
) -> Operation:
    """Pooling as far as it shows on a map of this size, so that two ways to write the same are the same.

    A window that covers the whole map has no stride; where nothing is padded, nobody asks whether padding counts; and
    how sizes are rounded shows in the number of windows.
    """
    dilation = dilation or (1,) * len(size)
    if method == "average" and all(n == 1 for n in windows) and not any(map(any, padding)) and kernel == size:
        return Operation("pooling", {"method": method, "kernel": WHOLE_MAP})
    if all(k == 1 and s == 1 for k, s in zip(kernel, stride, strict=True)) and not any(map(any, padding)):
        return Operation("identity")
    begins = tuple(before for before, _ in padding)
    settings: dict[str, Any] = {
        "method": method,
        "kernel": kernel,
        "stride": tuple(s if n > 1 else 1 for s, n in zip(stride, windows, strict=True)),
        "padding": begins,
        "windows": windows,
    }
    if set(dilation) != {1}:
        settings["dilation"] = dilation
    if method == "average" and any(map(any, padding)):
        settings["counts padding"] = counts_padding
        settings["padding"] = padding
    return Operation("pooling", settings)
