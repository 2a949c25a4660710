"""A skeleton in plain form, in which both sides write the same the same way.

gone        what changes no value: identities, dropout, another shape of the same values
split       a · x + y into its two steps
joined      padding with the window behind it; sums of sums; concatenations of concatenations, which name the
            pieces and no longer how they were put together
taken in    what a weighted sum or a normalisation has behind it for each channel: normalisation, factor, summand
named       normalisation by neighbours, of the steps that it is written in
one kind    a linear layer is a convolution whose window covers the map, and one of stride 1 where it has one place;
            convolutions of slices that are joined again are one in groups
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from converter.matching.groups import join_groups
from converter.matching.response import name_responses
from converter.matching.skeleton import NetPart, Skeleton, drop_unread, readers

AFFINE = ("normalisation", "factor", "summand")
_KEEP_PLACES = frozenset("identity rectifier sigmoid tanh abs softplus".split())


def plain(skeleton: Skeleton) -> Skeleton:
    """The skeleton in plain form; its parts are changed."""
    steps = (name_responses, _split, _name_maps, _as_windows, _without_identities, _with_padding, _taken_in)
    for step in (*steps, join_groups, _flat_joins, drop_unread):
        step(skeleton)
    return skeleton


def _replace(skeleton: Skeleton, becomes: Callable[[NetPart], NetPart | None]) -> None:
    """Put what `becomes` gives in the place of each part; None leaves it."""
    instead: dict[int, NetPart] = {}
    kept = []
    for part in skeleton.parts:
        part.inputs = [instead.get(id(source), source) for source in part.inputs]
        other = becomes(part)
        if other is None:
            kept.append(part)
        else:
            instead[id(part)] = other
    skeleton.parts = kept
    skeleton.outputs = [instead.get(id(part), part) for part in skeleton.outputs]


def _split(skeleton: Skeleton) -> None:
    parts = []
    for part in skeleton.parts:
        if part.kind == "multiply-add":
            factor, x, y = part.inputs
            product = NetPart("multiplication", {}, [factor, x], x.shape, {}, part.label, part.type, part.place)
            part.kind, part.inputs = "addition", [product, y]
            parts.append(product)
        parts.append(part)
    skeleton.parts = parts


def _name_maps(skeleton: Skeleton) -> None:
    """Say of each vector which map it was."""
    for part in skeleton.parts:
        if len(part.inputs) != 1:
            continue
        (source,) = part.inputs
        if part.kind in _KEEP_PLACES and part.shape == source.shape:
            part.map, part.order = source.map, source.order
        elif part.kind == "shape" and _is_flattening(part, source):
            if source.kind == "permutation" and not source.map:
                part.order = source.settings["order"]
                part.map = source.inputs[0].shape
            else:
                part.map, part.order = source.map or source.shape, source.order


def _is_flattening(part: NetPart, source: NetPart) -> bool:
    return len(part.shape) == 2 and len(source.shape) >= 2 and part.shape[0] == source.shape[0]


def _without_identities(skeleton: Skeleton) -> None:
    reading = readers(skeleton.parts)
    ends = {id(part) for part in skeleton.outputs}

    def becomes(part: NetPart) -> NetPart | None:
        if part.kind in ("identity", "shape") or (part.kind == "concatenation" and len(part.inputs) == 1):
            (source,) = part.inputs
            source.values.extend(part.values)
            return source
        behind = reading.get(id(part), [])
        if part.kind == "permutation" and behind and id(part) not in ends and all(each.order for each in behind):
            for each in behind:  # who reads the vector knows the order; the values themselves stand in another
                each.values.clear()
            return part.inputs[0]
        return None

    _replace(skeleton, becomes)


def _with_padding(skeleton: Skeleton) -> None:
    reading = readers(skeleton.parts)

    def takes(padding: NetPart, part: NetPart) -> bool:
        sides, value = padding.settings["sides"], padding.settings["value"]
        if part.kind == "weighted sum" and "padding" in part.settings:
            return value == 0 and len(sides) == len(part.settings["padding"]) and not part.settings["transposed"]
        if part.kind == "pooling" and part.settings["method"] == "maximum" and "padding" in part.settings:
            below = value == float("-inf") or (value == 0 and padding.inputs[0].kind == "rectifier")
            return below and len(sides) == len(part.settings["padding"])
        return False

    def becomes(padding: NetPart) -> NetPart | None:
        if padding.kind != "padding" or not all(takes(padding, part) for part in reading.get(id(padding), [])):
            return None
        for part in reading.get(id(padding), []):
            own, sides = part.settings["padding"], padding.settings["sides"]
            if part.kind == "pooling":
                part.settings["padding"] = tuple(p + side[0] for p, side in zip(own, sides, strict=True))
            else:
                pairs = zip(own, sides, strict=True)
                part.settings["padding"] = tuple((p[0] + side[0], p[1] + side[1]) for p, side in pairs)
        return padding.inputs[0]

    _replace(skeleton, becomes)


def _as_windows(skeleton: Skeleton) -> None:
    """Have all weighted sums say the same of themselves."""
    for part in skeleton.parts:
        if part.kind != "weighted sum":
            continue
        settings = part.settings
        if "kernel" not in settings:
            (source,) = part.inputs
            before = part_map(source)
            axes = max(len(before) - 2, 0)
            kernel = before[2:] or (1, 1)
            axes = axes or 2
            part.order = source.order
            settings |= {"channels": before[1], "kernel": kernel, "stride": (1,) * axes, "padding": ((0, 0),) * axes}
            settings |= {"dilation": (1,) * axes, "groups": 1, "transposed": False, "linear": True}
        else:
            size = part.shape[2:]
            settings["stride"] = tuple(1 if n == 1 else s for s, n in zip(settings["stride"], size, strict=True))
            settings["dilation"] = tuple(
                1 if k == 1 else d for d, k in zip(settings["dilation"], settings["kernel"], strict=True)
            )


def part_map(part: NetPart) -> tuple[int, ...]:
    """The shape of what a part makes, as a map where it was one."""
    return part.map or part.shape


def _taken_in(skeleton: Skeleton) -> None:
    reading = readers(skeleton.parts)
    ends = {id(part) for part in skeleton.outputs}

    def becomes(part: NetPart) -> NetPart | None:
        if part.kind not in AFFINE:
            return None
        (head,) = part.inputs
        if head.kind not in ("weighted sum", "normalisation") or id(head.together[-1]) in ends:
            return None
        if len(reading[id(head.together[-1])]) != 1:
            return None
        is_bias = part.kind == "summand" and head.kind == "weighted sum"
        if is_bias and not head.affine and "bias" not in head.parameters:
            head.parameters["bias"] = part.parameters["bias"]
            head.values = part.values
            if id(part) in ends:
                ends.add(id(head))
            reading[id(head)] = reading.get(id(part), [])
        else:
            head.affine.append(part)
        return head

    _replace(skeleton, becomes)


def _flat_joins(skeleton: Skeleton) -> None:
    reading = readers(skeleton.parts)
    ends = {id(part) for part in skeleton.outputs}
    for part in skeleton.parts:
        flat: list[NetPart] = []
        for source in part.inputs:
            same_axis = part.kind == source.kind == "concatenation" and part.settings == source.settings
            alone = len(reading.get(id(source), [])) == 1 and id(source) not in ends
            same_sum = part.kind == source.kind == "addition" and source.shape == part.shape and alone
            flat += source.inputs if same_axis or same_sum else [source]
        part.inputs = flat


def settings_of(part: NetPart) -> dict[str, Any]:
    """What of a part may differ from another of its kind and form."""
    return {name: value for name, value in part.settings.items() if name not in ("linear", "stored", "rounds up")}
