"""What to write in a prototxt to have a layer compute what its counterpart in a module does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, floor
from typing import Any

from converter.matching.differences import Mismatch
from converter.matching.operation import WHOLE_MAP
from converter.matching.skeleton import NetPart

Theirs = Mapping[str, Any]
"""The module's settings, of those that differ."""


def in_prototxt(mismatch: Mismatch) -> str:
    """Fields of the layer's section, or its type; empty where no setting of Caffe's layer makes the two equal."""
    caffe = mismatch.caffe
    if caffe is None or mismatch.module is None:
        return ""
    wanted = {name: theirs for name, _, theirs in mismatch.settings}
    fields = _FIELDS.get(caffe.kind, _none)(caffe, wanted)
    return "" if None in fields else " ".join(map(str, fields))


def _none(_: NetPart, __: Theirs) -> list[str | None]:
    return [None]


def _weighted_sum(caffe: NetPart, wanted: Theirs) -> list[str | None]:
    if not wanted.keys() <= {"stride", "padding", "dilation"} or len(caffe.settings["kernel"]) != 2:
        return [None]
    return list(_window(wanted))


def _window(wanted: Theirs) -> Iterator[str | None]:
    """Fields that Convolution and Pooling share; None for what Caffe cannot have."""
    for name, field in (("kernel", "kernel"), ("stride", "stride"), ("padding", "pad")):
        if name in wanted:
            sizes = [_one(size) for size in wanted[name]]
            yield None if None in sizes else _both(field, "kernel_size" if field == "kernel" else field, sizes)
    if "dilation" in wanted:
        values = wanted["dilation"][:1] if len(set(wanted["dilation"])) == 1 else wanted["dilation"]
        yield " ".join(f"dilation: {value}" for value in values)


def _one(size: Any) -> int | None:
    """A size along an axis; None for a padding that differs before and behind."""
    return size[0] if isinstance(size, tuple) and size[0] == size[1] else None if isinstance(size, tuple) else int(size)


def _both(field: str, alike: str, sizes: Sequence[Any]) -> str:
    if len(set(sizes)) == 1:
        return f"{alike}: {sizes[0]}"
    return " ".join(f"{field}_{axis}: {size}" for axis, size in zip("hw", sizes, strict=True))


def _pooling(caffe: NetPart, wanted: Theirs) -> list[str | None]:
    given = caffe.settings
    if wanted.keys() & {"dilation", "counts padding"} or given["kernel"] == WHOLE_MAP or len(caffe.shape) != 4:
        return [None]
    method = [{"maximum": "pool: MAX", "average": "pool: AVE"}[wanted["method"]]] if "method" in wanted else []
    if wanted.get("kernel") == WHOLE_MAP:
        return [*method, "global_pooling: true, without kernel_size"]
    rounding = _rounding(caffe, {**given, **wanted})
    return [*method, *_window(wanted), *([] if rounding == "" else [rounding])]


def _rounding(caffe: NetPart, wanted: Theirs) -> str | None:
    """How Caffe has to round to have as many windows; empty for what it does already, None for neither."""
    now, then = _both_ways(caffe, caffe.settings), _both_ways(caffe, wanted)
    if wanted["windows"] not in then:
        return None
    rounds_up = caffe.settings["windows"] == now[0]
    if wanted["windows"] == then[0 if rounds_up else 1]:
        return ""
    return "round_mode: FLOOR" if rounds_up else "round_mode: CEIL"


def _both_ways(caffe: NetPart, settings: Theirs) -> list[tuple[int, ...]]:
    """How many windows there are, rounded up and rounded down."""
    pads = [pad[0] if isinstance(pad, tuple) else pad for pad in settings["padding"]]
    sizes = list(zip(caffe.inputs[0].shape[2:], settings["kernel"], settings["stride"], pads, strict=True))
    return [tuple(_windows(*size, rounded) for size in sizes) for rounded in (ceil, floor)]


def _windows(size: int, kernel: int, stride: int, pad: int, rounded: Callable[[float], int]) -> int:
    """How many windows Caffe pools: one that begins behind the map and its first padding is dropped."""
    made = rounded((size + 2 * pad - kernel) / stride) + 1
    return made - 1 if pad and (made - 1) * stride >= size + pad else made


def _rectifier(_: NetPart, wanted: Theirs) -> list[str | None]:
    if wanted.keys() == {"slope"}:
        return [f"negative_slope: {wanted['slope']:g}"]
    if wanted.keys() == {"upper bound"} and wanted["upper bound"] in (None, 6.0):
        return [f'type: "ReLU{6 if wanted["upper bound"] else ""}"']
    return [None]


def _neighbours(_: NetPart, wanted: Theirs) -> list[str | None]:
    if not wanted.keys() <= {"size", "alpha", "beta", "k"} or wanted.get("size", 1) % 2 == 0:
        return [None]
    return [f"{'local_size' if name == 'size' else name}: {value:g}" for name, value in wanted.items()]


_FIELDS: Mapping[str, Callable[[NetPart, Theirs], list[str | None]]] = {
    "weighted sum": _weighted_sum,
    "pooling": _pooling,
    "rectifier": _rectifier,
    "response normalisation": _neighbours,
}
