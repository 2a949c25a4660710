"""Operators that give nothing new beside those of other layers, and what nothing reads.

    an operator, a constant that nobody reads   ->  none
    the same operator on the same values twice  ->  once
    Transpose, Transpose                        ->  one of both orders, or none where the second undoes the first
    Reshape, Reshape                            ->  the second; Flatten, Squeeze and Unsqueeze count as the first

Of a pair the first stays where it has another reader, and outputs of the model stay. A blob of Caffe's that only has
another shape stays, too: it costs nothing, and can be compared. One in another order goes with its Transpose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from converter.emission import OnnxBody, OnnxOp, all_ops

SMALL = 1 << 12
"""Bytes up to which a constant is told by its numbers, whatever its name."""

_RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}


def tidied(
    ops: Sequence[OnnxOp], initializers: MutableMapping[str, Any], outputs: Collection[str], blobs: Collection[str]
) -> tuple[list[OnnxOp], dict[str, str]]:
    """The operators that are wanted, which read what those that went left.

    Args:
        ops: all of them; some get other inputs.
        initializers: by name; those that nothing reads any more are taken out.
        outputs: names of the model's.
        blobs: names of Caffe's.

    Returns:
        Them, and by the name of a value that is no longer made that of the same value.
    """
    ops, repeated = _without_repeats(_wanted(ops, outputs), initializers, outputs)
    ops, undone = _without_pairs(ops, initializers, outputs, blobs)
    read = {name for op in all_ops(ops) for name in op.inputs}
    for name in initializers.keys() - read:
        del initializers[name]
    return ops, {name: undone.get(same, same) for name, same in repeated.items()} | undone


def _wanted(ops: Sequence[OnnxOp], outputs: Collection[str]) -> list[OnnxOp]:
    """Those that the outputs hang on: of a layer of several tops, one may be read by a Silence alone."""
    read = set(outputs)
    kept: list[OnnxOp] = []
    for op in reversed(ops):
        if not read.isdisjoint(op.outputs):
            kept.append(op)
            read.update(name for inner in all_ops([op]) for name in inner.inputs)
    return kept[::-1]


def _without_repeats(
    ops: Sequence[OnnxOp], initializers: Mapping[str, Any], outputs: Collection[str]
) -> tuple[list[OnnxOp], dict[str, str]]:
    """The first of operators alike; where one after it makes an output of the model, the first gets its name."""
    found: dict[object, OnnxOp] = {}
    kept: list[OnnxOp] = []
    same: dict[str, str] = {}
    named: dict[str, str] = {}  # value of the first -> the output that it is
    for op in ops:
        _read_instead([op], same)
        attributes = sorted(op.attributes.items())
        if any(isinstance(value, OnnxBody) for _, value in attributes):
            kept.append(op)
            continue
        inputs = tuple(_content(name, initializers) for name in op.inputs)
        first = found.setdefault((op.type, inputs, repr(attributes), len(op.outputs)), op)
        pairs = dict(zip(op.outputs, first.outputs, strict=True))
        ends = {theirs: mine for mine, theirs in pairs.items() if mine in outputs}
        if first is op or any(theirs in outputs or theirs in named for theirs in ends):
            kept.append(op)
        else:
            same |= pairs
            named |= ends
    _read_instead(kept, named)
    for op in kept if named else ():
        op.outputs = [named.get(name, name) for name in op.outputs]
    return kept, {name: named.get(first, first) for name, first in same.items()} | named


def _content(name: str, initializers: Mapping[str, Any]) -> object:
    """What tells an input from others."""
    value = initializers.get(name)
    if isinstance(value, np.ndarray) and value.nbytes <= SMALL:
        return value.dtype.str, value.shape, value.tobytes()
    return name


def _without_pairs(
    ops: Sequence[OnnxOp], initializers: Mapping[str, Any], outputs: Collection[str], blobs: Collection[str]
) -> tuple[list[OnnxOp], dict[str, str]]:
    readers = Counter([*outputs, *(name for op in all_ops(ops) for name in op.inputs)])
    makers = {name: op for op in ops for name in op.outputs}
    gone: set[int] = set()
    same: dict[str, str] = {}
    for op in ops:
        _read_instead([op], same)
        first = makers.get(op.inputs[0]) if op.inputs else None
        if first is None or not _replaces(op, first, initializers):
            continue
        alone = readers[op.inputs[0]] == 1 and (op.type == "Transpose" or op.inputs[0] not in blobs)
        if op.type == "Transpose":
            order = [first.attributes["perm"][axis] for axis in op.attributes["perm"]]
            if order == sorted(order) and op.outputs[0] not in outputs:
                same[op.outputs[0]] = first.inputs[0]
                readers[first.inputs[0]] += readers[op.outputs[0]] - alone
                readers[op.inputs[0]] -= 1
                gone |= {id(op), id(first)} if alone else {id(op)}
                continue
            op.attributes = {"perm": order} if alone else op.attributes
        if alone:
            op.inputs = [first.inputs[0], *op.inputs[1:]]
            gone.add(id(first))
    return [op for op in ops if id(op) not in gone], same


def _replaces(op: OnnxOp, first: OnnxOp, initializers: Mapping[str, Any]) -> bool:
    """Whether the order or shape that the operator before it gives is of no account behind it."""
    if op.type == "Transpose":
        return first.type == "Transpose"
    if op.type != "Reshape" or first.type not in _RESHAPES:
        return False
    target = initializers.get(op.inputs[1])
    return isinstance(target, np.ndarray) and 0 not in target  # a 0 copies a size of the shape before


def _read_instead(ops: Sequence[OnnxOp], same: Mapping[str, str]) -> None:
    """Also in what a Loop runs, which reads the values around it."""
    for op in all_ops(ops) if same else ():
        op.inputs = [same.get(name, name) for name in op.inputs]
