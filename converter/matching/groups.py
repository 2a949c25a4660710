"""Convolutions of slices, joined again, as the one convolution in groups that they are.

    cat(conv_1(x[:, :a]), …, conv_n(x[:, b:]))  =  one convolution of x in n groups, the rows of its weight those of all

Whatever works on the same places of each branch alone, in the same way, stands behind the join as well as before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from converter.matching.aten import StateEntry
from converter.matching.skeleton import NetPart, Skeleton, readers
from converter.tensor import Tensor

BRANCHWISE = frozenset("rectifier sigmoid tanh abs softplus pooling".split())
"""Kinds without weights that treat each channel alike."""


def join_groups(skeleton: Skeleton) -> None:
    """Write separate convolutions as one."""
    ends = {id(part) for part in skeleton.outputs}
    instead: dict[int, NetPart] = {}
    parts: list[NetPart] = []
    for part in skeleton.parts:
        part.inputs = [instead.get(id(source), source) for source in part.inputs]
        branches = _branches(part, readers(skeleton.parts), ends) if part.kind == "concatenation" else None
        if branches is None:
            parts.append(part)
            continue
        made = _joined(branches, part)
        parts += made
        instead[id(part)] = made[-1]
    skeleton.parts = parts
    skeleton.outputs = [instead.get(id(part), part) for part in skeleton.outputs]


def _branches(part: NetPart, reading: dict[int, list[NetPart]], ends: set[int]) -> list[list[NetPart]] | None:
    """What a join is of: a convolution of a slice each, and what works on its places behind it; None for another."""
    if part.settings["axis"] != 1 or len(part.inputs) < 2:
        return None
    branches = []
    for source in part.inputs:
        branch = [source]
        while branch[0].kind in BRANCHWISE:
            branch.insert(0, branch[0].inputs[0])
        if any(len(reading.get(id(each), ())) != 1 or id(each) in ends for each in branch):
            return None
        branches.append(branch)
    alike = len({str([_look(each) for each in branch]) for branch in branches}) == 1
    return branches if alike and branches[0][0].kind == "weighted sum" and _covers(branches) else None


def _look(part: NetPart) -> Any:
    """What must be the same in all branches."""
    return [(each.kind, sorted(each.settings.items()), sorted(each.parameters)) for each in part.together]


def _covers(branches: Sequence[Sequence[NetPart]]) -> bool:
    """Whether the branches read one map, cut along its channels, all of it and in order."""
    slices = [branch[0].inputs[0] for branch in branches]
    if any(each.kind != "slice" or each.settings["axis"] != 1 for each in slices):
        return False
    bounds = [0, *(each.settings["stop"] for each in slices)]
    whole = slices[0].inputs[0]
    same = all(each.inputs[0] is whole for each in slices)
    return same and bounds[:-1] == [each.settings["start"] for each in slices] and bounds[-1] == whole.shape[1]


def _joined(branches: Sequence[Sequence[NetPart]], join: NetPart) -> list[NetPart]:
    source = branches[0][0].inputs[0].inputs[0]
    made: list[NetPart] = []
    for beside in zip(*branches, strict=True):
        whole = _one(beside, source)
        whole.affine = [_one([each.affine[place] for each in beside], whole) for place in range(len(beside[0].affine))]
        made.append(whole)
        source = whole
    made[0].joined = len(branches)
    settings = made[0].settings
    count = len(branches)
    made[0].settings = {
        **settings,
        **{name: count * settings[name] for name in ("channels", "features", "groups")},
    }
    made[-1].together[-1].values = join.values
    return made


def _one(parts: Sequence[NetPart], source: NetPart) -> NetPart:
    first = parts[0]
    shape = (first.shape[0], sum(each.shape[1] for each in parts), *first.shape[2:])
    held = {role: _stacked([each.parameters[role] for each in parts]) for role in first.parameters}
    label = " and ".join(each.label for each in parts)
    return NetPart(first.kind, dict(first.settings), [source], shape, held, label, first.type, first.place)


def _stacked(held: Sequence[Any]) -> Any:
    """Parameters one below the other."""
    name, shape = " and ".join(each.name for each in held), held[0].shape
    whole = (sum(each.shape[0] for each in held), *shape[1:])
    if isinstance(held[0], Tensor):
        return Tensor(name, whole, lambda: np.concatenate([each.load() for each in held]).reshape(whole))
    return StateEntry(name, whole, pieces=tuple(held))
