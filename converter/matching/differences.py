"""What differs between two nets whose parts are paired, though the weights fit; and what would make it equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from converter.matching.operation import WHOLE_MAP
from converter.matching.pairing import Pairing, counterparts
from converter.matching.plain import settings_of
from converter.matching.skeleton import NetPart

BRIDGED = ("eps", "slopes")
"""Settings of which the numbers make up for a difference."""


@dataclass(frozen=True)
class Mismatch:
    """A part whose counterpart has other settings, or that has none.

    Attributes:
        caffe, module: the two; None for what has no counterpart.
        settings: what differs, as (name, Caffe's, the module's).
        remedy: attributes of the module at `module.label` with the values that make it compute what Caffe does; empty
            where none would.
    """

    caffe: NetPart | None
    module: NetPart | None
    settings: tuple[tuple[str, Any, Any], ...] = ()
    remedy: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.module is None:
            return f"{self.caffe}: the module has nothing like it there"
        if self.caffe is None:
            return f"{self.module}: the Caffe net has nothing like it there"
        each = ", ".join(f"{name} {_word(ours)}, there {_word(theirs)}" for name, ours, theirs in self.settings)
        return f"{self.caffe} is {self.module} with other settings: {each}"

    @property
    def sides(self) -> tuple[NetPart | None, NetPart | None]:
        """Both parts."""
        return self.caffe, self.module

    @property
    def advice(self) -> str:
        """What to write to make the two equal; empty where no attribute does."""
        assert self.module is not None or not self.remedy
        path = f"model.{self.module.label}".rstrip(".") if self.module is not None else "model"
        return "; ".join(f"{path}.{name} = {value!r}" for name, value in self.remedy.items())


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        same = len(set(value)) == 1
        return _word(value[0]) if same else str(value) if isinstance(value[0], tuple) else "×".join(map(_word, value))
    return "none" if value is None else str(value)


def beyond(pairing: Pairing) -> list[NetPart]:
    """What stands in the Caffe net behind the module's outputs, where that gives scores and no probabilities."""
    ends = [thread for thread in pairing.threads if thread[0].target.part.kind == "output"]
    return [
        couples[-1][0]
        for couples in (counterparts(ours.parts, theirs.parts) for ours, theirs in ends)
        if couples and couples[-1][0] is not None and couples[-1][1] is None and couples[-1][0].kind == "softmax"
    ]


def mismatches(pairing: Pairing) -> list[Mismatch]:
    """All differences between paired nets that no weights make up for, in the Caffe net's order."""
    found: list[Mismatch] = []
    seen = {(id(part), id(None)) for part in beyond(pairing)}
    misfits = {id(ours) for ours, _ in pairing.misfits if ours.part.parameters}
    threads: dict[int, list[tuple[NetPart | None, NetPart | None]]] = {}
    for mine, other in pairing.threads:
        threads.setdefault(id(mine.target), []).extend(counterparts(mine.parts, other.parts))
    for ours, theirs in pairing.pairs:
        couples = [*threads.get(id(ours), ()), *([] if id(ours) in misfits else [(ours.part, theirs.part)])]
        for caffe, module in couples:
            key = (id(caffe), id(module))
            if key not in seen:
                seen.add(key)
                found += _between(caffe, module)
    joins = [
        *(Mismatch(knot.part, None) for knot in pairing.caffe_left if not knot.part.parameters),
        *(Mismatch(None, knot.part) for knot in pairing.module_left if not knot.part.parameters),
    ]
    return found + [each for each in joins if not any(p is not None and p.kind == "output" for p in each.sides)]


def _between(caffe: NetPart | None, module: NetPart | None) -> Iterator[Mismatch]:
    if caffe is None or module is None:
        yield Mismatch(caffe, module)
        return
    if caffe.kind != module.kind:  # one normalises where the other has a factor: numbers make up for it
        return
    ours, theirs = settings_of(caffe), settings_of(module)
    names = [name for name in (*ours, *(name for name in theirs if name not in ours)) if name not in BRIDGED]
    if ours.get("method") != theirs.get("method"):  # what only one method has is no difference besides
        names = [name for name in names if name in ours and name in theirs]
        ours, theirs = ({**each, **_begins(each)} for each in (ours, theirs))
    if caffe.inputs and caffe.inputs[0].shape[2:] != module.inputs[0].shape[2:]:
        theirs = _on_this_map(caffe, module)
    other = tuple(
        (name, ours.get(name), theirs.get(name))
        for name in names
        if ours.get(name) != theirs.get(name) and not (name == "stride" and _moves_alike(caffe, module))
    )
    if other:
        yield Mismatch(caffe, module, other, dict(_remedy(caffe, module, {name for name, _, _ in other})))


def _begins(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The padding before the map alone, which all ways of pooling have."""
    pads = settings.get("padding", ())
    return {"padding": tuple(p[0] if isinstance(p, tuple) else p for p in pads)} if pads else {}


def _on_this_map(caffe: NetPart, module: NetPart) -> dict[str, Any]:
    """The module's settings where it gets a map of Caffe's size, as it will when what differs before it is mended."""
    theirs = settings_of(module)
    if "windows" in theirs and "rounds up" in module.settings and "windows" in caffe.settings:
        size, up = caffe.inputs[0].shape[2:], module.settings["rounds up"]
        sizes = zip(size, theirs["kernel"], theirs["stride"], _begins(theirs)["padding"], strict=True)
        theirs["windows"] = tuple(_torch_windows(n, kernel, stride, pad, up) for n, kernel, stride, pad in sizes)
    return theirs


def _moves_alike(caffe: NetPart, module: NetPart) -> bool:
    """Whether strides differ only along axes on which one of the two has a single place."""
    strides = zip(caffe.settings["stride"], module.settings["stride"], strict=True)
    sizes = zip(caffe.shape[2:], module.shape[2:], strict=False)
    alone = [1 in pair for pair in sizes] or [True] * len(caffe.settings["stride"])
    return all(a == b or one for (a, b), one in zip(strides, alone, strict=True))


def _remedy(caffe: NetPart, module: NetPart, differing: set[str]) -> Iterator[tuple[str, Any]]:
    """Attributes of PyTorch's own module, where it is one, that would have it do what Caffe does."""
    ours = caffe.settings
    if caffe.kind == "weighted sum":
        even = all(before == behind for before, behind in ours["padding"])
        if even and differing <= {"stride", "padding", "dilation"} <= module.attributes:
            values = {**ours, "padding": tuple(before for before, _ in ours["padding"])}
            yield from ((name, values[name]) for name in ("stride", "padding", "dilation") if name in differing)
    elif caffe.kind == "pooling" and "method" not in differing:
        yield from _pooling_remedy(caffe, module, differing)
    elif caffe.kind == "rectifier" and differing == {"upper bound"} and "max_val" in module.attributes:
        yield "max_val", float("inf") if ours["upper bound"] is None else ours["upper bound"]
    elif caffe.kind == "response normalisation" and differing <= module.attributes:
        yield from ((name, ours[name]) for name in sorted(differing))
    elif caffe.kind == "rectifier" and differing == {"slope"} and "negative_slope" in module.attributes:
        yield "negative_slope", ours["slope"]


def _pooling_remedy(caffe: NetPart, module: NetPart, differing: set[str]) -> Iterator[tuple[str, Any]]:
    ours = caffe.settings
    if ours["kernel"] == WHOLE_MAP:
        if "output_size" in module.attributes:
            yield "output_size", 1
        return
    pads = ours["padding"]
    uneven = any(isinstance(p, tuple) and p[0] != p[1] for p in pads)
    if uneven or not {"kernel_size", "stride", "padding", "ceil_mode"} <= module.attributes:
        return
    begins = _begins(ours)["padding"]
    size = caffe.inputs[0].shape[2:]
    rounded = [
        tuple(map(_torch_windows, size, ours["kernel"], ours["stride"], begins, [up] * len(size)))
        for up in (False, True)
    ]
    if ours["windows"] not in rounded:
        return
    if "kernel" in differing:
        yield "kernel_size", ours["kernel"]
    if "stride" in differing:
        yield "stride", ours["stride"]
    if "padding" in differing:
        yield "padding", begins
    if "counts padding" in ours and "counts padding" in differing:
        yield "count_include_pad", ours["counts padding"]
    if module.settings.get("rounds up") != (ours["windows"] != rounded[0]):
        yield "ceil_mode", ours["windows"] != rounded[0]


def _torch_windows(size: int, kernel: int, stride: int, pad: int, up: bool) -> int:
    """How many windows PyTorch pools: rounded up it drops one that begins behind the image and its first padding."""
    span = size + 2 * pad - kernel
    windows = (-(-span // stride) if up else span // stride) + 1
    return windows - 1 if up and (windows - 1) * stride >= size + pad else windows


def agreed(found: Sequence[Mismatch]) -> list[Mismatch]:
    """Those whose remedy can be applied: a module that is called in several places must want the same everywhere."""
    wanted: dict[str, list[Mapping[str, Any]]] = {}
    for each in found:
        if each.module is not None and each.remedy:
            wanted.setdefault(each.module.label, []).append(each.remedy)
    return [
        each
        for each in found
        if each.module is not None and each.remedy and all(r == each.remedy for r in wanted[each.module.label])
    ]
