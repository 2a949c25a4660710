"""Normalisation by neighbours, in whatever steps it is written.

    x / (k + alpha · average of x² over size channels) ^ beta

The average is a pooling whose window lies along the channels, or for Caffe's WITHIN_CHANNEL a square of the map.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from converter.matching.operation import ACROSS, WITHIN
from converter.matching.skeleton import NetPart, Skeleton, drop_unread


class _Scaled(NamedTuple):
    """`factor · part + summand`."""

    part: NetPart
    factor: float
    summand: float


def name_responses(skeleton: Skeleton) -> None:
    """Write each such normalisation as one part."""
    found = False
    for part in skeleton.parts:
        match = _matched(part)
        if match is not None:
            found = True
            part.kind, part.settings, part.inputs = match
    if found:
        drop_unread(skeleton)


def _matched(part: NetPart) -> tuple[str, dict[str, Any], list[NetPart]] | None:
    if part.kind not in ("division", "multiplication") or len(part.inputs) != 2:
        return None
    sides = [part.inputs] if part.kind == "division" else [part.inputs, part.inputs[::-1]]
    for x, root in sides:
        power = _same_values(root)
        if power.kind != "power":
            continue
        beta = power.settings["by"] if part.kind == "division" else -power.settings["by"]
        averaged, factor, summand = _scaled(power.inputs[0])
        window = _window(averaged)
        if window is not None and _same_values(window.squared) is _same_values(x):
            numbers = {"alpha": factor, "beta": beta, "k": summand}
            rounded = {name: float(f"{value:.7g}") for name, value in numbers.items()}
            return "response normalisation", {"size": window.size, **rounded, "region": window.region}, [x]
    return None


def _same_values(part: NetPart) -> NetPart:
    """What made the values, whatever shape they were given since."""
    while part.kind in ("identity", "shape"):
        (part,) = part.inputs
    return part


def _scaled(part: NetPart) -> _Scaled:
    """What numbers a value was multiplied by and what was added to it."""
    factor, summand = 1.0, 0.0
    part = _same_values(part)
    while part.kind in ("add", "sub", "mul", "div"):
        by = part.settings["by"]
        if part.kind in ("add", "sub"):
            summand += factor * (by if part.kind == "add" else -by)
        else:
            factor = factor * by if part.kind == "mul" else factor / by
        part = _same_values(part.inputs[0])
    return _Scaled(part, factor, summand)


class _Window(NamedTuple):
    """What a squared value is averaged over."""

    region: str
    size: int
    squared: NetPart


def _window(part: NetPart) -> _Window | None:
    """The window of a pooling that averages squares, if it lies around each value."""
    settings = part.settings
    if part.kind != "pooling" or settings["method"] != "average" or not isinstance(settings["kernel"], tuple):
        return None
    source, kernel, pads = _same_values(part.inputs[0]), settings["kernel"], settings["padding"]
    pads = tuple(p if isinstance(p, tuple) else (p, p) for p in pads)
    if source.kind == "padding" and source.settings["value"] == 0 and not any(map(any, pads)):
        pads, source = source.settings["sides"][-len(kernel) :], source.inputs[0]
    elif not settings.get("counts padding", True):
        return None
    squared = _squared(_same_values(source))
    around = all(pad == (size // 2, (size - 1) // 2) for pad, size in zip(pads, kernel, strict=True))
    if squared is None or not around or any(stride != 1 for stride in settings["stride"]):
        return None
    if len(kernel) == 3 and set(kernel[1:]) == {1} and part.shape[-3] == squared.shape[1]:
        return _Window(ACROSS, kernel[0], squared)
    if len(kernel) == 2 and kernel[0] == kernel[1] and part.shape == squared.shape:
        return _Window(WITHIN, kernel[0], squared)
    return None


def _squared(part: NetPart) -> NetPart | None:
    """What a square is of."""
    if part.kind == "power" and part.settings["by"] == 2:
        return part.inputs[0]
    twice = part.kind == "multiplication" and _same_values(part.inputs[0]) is _same_values(part.inputs[-1])
    return part.inputs[0] if twice else None
