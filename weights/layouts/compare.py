"""Two weight files side by side, whatever frameworks they are of: which layers differ, and by how much.

Names are matched through MSRA's structure where both files are ResNets of the family, under any of the layouts: then
what counts is compared, a BatchNorm's sums divided by its factor and a convolution's bias taken into the mean, so that
a port and its origin are the same. Else equal names match; where no name is in both, arrays of one shape in their
order.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from prototxt.errors import CaffeModelError, RequestError
from prototxt.words import few, first_line
from weights.files import open_weights
from weights.layouts import LAYOUTS, caffe_names
from weights.layouts.arrays import Float64Array, LazyArray
from weights.layouts.base import affine_scale, affine_shift
from weights.layouts.family import ResNet, without_bias
from weights.layouts.files import is_array_file, open_arrays
from weights.layouts.msra import is_msra, read
from weights.model import FloatArray, Shape

How = Literal["resnet", "names", "shapes"]
MEANS = ("running_mean", "moving_mean")
STATISTICS = {**dict.fromkeys(MEANS, 0), "running_var": 1, "moving_variance": 1}
"""What a normalisation's statistics are called elsewhere, and Caffe's order of them."""
_CHUNK = 1 << 20


class Difference(NamedTuple):
    """How two arrays differ.

    Attributes:
        layer, parameter: which; in a ResNet by MSRA's names.
        shapes: of both; where they do not agree no values are compared.
        largest: the largest absolute difference; inf where one is no number and the other is.
        relative: that as a share of the largest value of either.
        values: how many values differ.
    """

    layer: str
    parameter: str
    shapes: tuple[Shape, Shape]
    largest: float = float("nan")
    relative: float = float("nan")
    values: int = 0


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        how: how names were matched.
        compared: number of arrays that are in both.
        different: those that differ, in the order of the first file.
        only: names that only the first, and only the second file has.
        notes: what was seen on the way, in words.
    """

    how: How
    compared: int
    different: list[Difference]
    only: tuple[list[str], list[str]]
    notes: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether the files hold the same."""
        return not self.different and not any(self.only)


@dataclass(frozen=True)
class _Opened:
    """A weight file: its arrays by name, and its ResNet where it has one."""

    arrays: Mapping[str, LazyArray]
    resnet: ResNet | None = None
    affine: bool = False
    layout: str = ""


def compare(a: str | os.PathLike[str], b: str | os.PathLike[str], *, tolerance: float = 0.0) -> Comparison:
    """Compare two weight files, each a .caffemodel, Caffe's .h5 or any file of arrays (`weights.layouts.files`).

    Args:
        a, b: the files.
        tolerance: how far two values may be apart, as a share of the largest value of their arrays.

    Raises:
        WeightsError: a file that cannot be read.
        RequestError: a tolerance below 0.
    """
    if not tolerance >= 0:
        raise RequestError(f"tolerance {tolerance!r}; expected 0 or more")
    notes: list[str] = []
    with ExitStack() as stack:
        why_no_resnet: list[str] = []
        first, second = (stack.enter_context(_opened(path, why_no_resnet)) for path in (a, b))
        how: How = "names"
        if first.resnet is not None and second.resnet is not None:
            how = "resnet"
            affine = first.affine or second.affine
            if first.resnet.depth != second.resnet.depth:
                notes.append(f"one is a ResNet-{first.resnet.depth}, the other a ResNet-{second.resnet.depth}")
            left, right = (_structure(net, affine, first.resnet.classes) for net in (first.resnet, second.resnet))
            for path, file in ((a, first), (b, second)):
                notes += _seen(path, file)
        else:
            left, right = dict(first.arrays), dict(second.arrays)
            if not left.keys() & right.keys():
                how = "shapes"
                right = _by_shape(left, right)
                notes.append("no name is in both files: arrays were matched by shape, in their order")
            if how == "shapes" or first.resnet is not None or second.resnet is not None:
                notes += why_no_resnet
        return _compared(how, left, right, tolerance, notes)


@contextmanager
def _opened(path: str | os.PathLike[str], notes: list[str]) -> Iterator[_Opened]:
    if not is_array_file(path):
        with open_weights(path) as weights:
            arrays = caffe_names.named(weights)
            net = None
            if is_msra(weights):
                try:
                    net = read(weights)
                except CaffeModelError as error:
                    notes.append(f"not read as a ResNet: {first_line(error)}")
            yield _Opened(arrays, net, layout="caffe")
        return
    with open_arrays(path) as arrays:
        for layout in (*LAYOUTS.values(), *caffe_names.LAYOUTS):
            if layout.depth_of(arrays) is not None:
                try:
                    yield _Opened(arrays, layout.back(arrays, os.fspath(path)), layout.affine, layout.name)
                    return
                except CaffeModelError as error:
                    notes.append(f"not read as a ResNet: {first_line(error)}")
        yield _Opened(arrays)


def _seen(path: str | os.PathLike[str], file: _Opened) -> list[str]:
    net = file.resnet
    if net is None:
        return []
    found = [f"{os.fspath(path)}: ResNet-{net.depth} with the names of {file.layout}"]
    if net.left_out:
        found.append(f"{os.fspath(path)}: not compared: {few(net.left_out, 5)}")
    return found


def _structure(net: ResNet, affine: bool, classes: int | None) -> dict[str, LazyArray]:
    """A ResNet's parameters by MSRA's names; with `affine` those that a layout without statistics has."""
    found: dict[str, LazyArray] = {}
    for unit, given in net.units.items():
        roles = without_bias(given)
        found[f"{unit.conv}.weight"] = roles["weight"]
        if affine:
            found[f"{unit.affine}.folded scale"] = affine_scale(roles)
            found[f"{unit.affine}.folded bias"] = affine_shift(roles)
        else:
            found[f"{unit.norm}.mean"], found[f"{unit.norm}.variance"] = roles["mean"], roles["variance"]
            found[f"{unit.affine}.weight"], found[f"{unit.affine}.bias"] = roles["scale"], roles["shift"]
    if net.head is not None:
        found |= {f"fc{classes or ''}.weight": net.head.weight, f"fc{classes or ''}.bias": net.head.bias}
    return found


def _by_shape(left: Mapping[str, LazyArray], right: Mapping[str, LazyArray]) -> dict[str, LazyArray]:
    """The second file's arrays under the first one's names, the nth of a shape for the nth of it."""
    waiting: dict[Shape, deque[str]] = {}
    for name in _in_caffes_order(left):
        waiting.setdefault(_plain(left[name].shape), deque()).append(name)
    found = {}
    for name in _in_caffes_order(right):
        names = waiting.get(_plain(right[name].shape))
        found[names.popleft() if names else name] = right[name]
    return found


def _in_caffes_order(names: Iterable[str]) -> list[str]:
    """Names of arrays, a normalisation's mean and variance before its factors, which Caffe has in a layer behind."""
    parts = {name: name.replace("/", ".").rpartition(".")[::2] for name in names}
    norms = {module for module, parameter in parts.values() if parameter in MEANS}
    begin: dict[str, int] = {}
    keys = {}
    for place, (name, (module, parameter)) in enumerate(parts.items()):
        first = begin.setdefault(module, place)
        keys[name] = (first, STATISTICS.get(parameter, 2)) if module in norms else (place, 0)
    return sorted(keys, key=keys.__getitem__)


def _compared(
    how: How, left: Mapping[str, LazyArray], right: Mapping[str, LazyArray], tolerance: float, notes: list[str]
) -> Comparison:
    different = []
    for name in left:
        if name in right:
            found = _difference(name, left[name], right[name], tolerance)
            different += [] if found is None else [found]
    only = [name for name in left if name not in right], [name for name in right if name not in left]
    return Comparison(how, len(left) - len(only[0]), different, only, notes)


def _difference(name: str, a: LazyArray, b: LazyArray, tolerance: float) -> Difference | None:
    layer, _, parameter = name.rpartition(".")
    shapes = a.shape, b.shape
    if _plain(a.shape) != _plain(b.shape):
        return Difference(layer, parameter, shapes)
    if all(np.array_equal(x, y) for x, y in _pairs(a, b)):
        return None
    peak = largest = 0.0
    for x, y in _pairs(a, b):
        finite = np.abs(np.concatenate([x, y]).astype(np.float64))
        peak = max(peak, float(finite[np.isfinite(finite)].max(initial=0.0)))
    count = 0
    for x, y in _pairs(a, b):
        apart = _apart(x.astype(np.float64), y.astype(np.float64))
        largest = max(largest, float(apart.max(initial=0.0)))
        count += int((apart > tolerance * peak).sum())
    if not count:
        return None
    return Difference(layer, parameter, shapes, largest, largest / peak if peak else float("inf"), count)


def _pairs(a: LazyArray, b: LazyArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Two arrays of one size in flat pieces, so that a large layer takes little memory."""
    ours, theirs = a.parts(), b.parts()
    x = y = np.empty(0, np.float32)
    while True:
        x = x if x.size else next(ours, x)
        y = y if y.size else next(theirs, y)
        size = min(x.size, y.size, _CHUNK)
        if not size:
            return
        yield x[:size], y[:size]
        x, y = x[size:], y[size:]


def _apart(p: Float64Array, q: Float64Array) -> Float64Array:
    """Absolute differences; two NaN or two equal infinities are the same."""
    with np.errstate(invalid="ignore"):
        apart: Float64Array = np.abs(p - q)
    apart[(p == q) | (np.isnan(p) & np.isnan(q))] = 0.0
    apart[np.isnan(apart)] = np.inf
    return apart


def _plain(shape: Shape) -> Shape:
    """A shape without 1s in front, which Caffe's old form adds."""
    first = next((place for place, dim in enumerate(shape) if dim != 1), len(shape))
    return shape[first:]
