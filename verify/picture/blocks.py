"""The blocks of a net: what lies between a box and the next one through which everything behind it comes.

A residual block begins behind the sum before it and ends with its own; an inception ends with its Concat. In terms of
graphs: behind `u`, the immediate dominator of a box `v` that joins several, all boxes on the ways from `u` to `v`, and
`v`. None of them but `v` may be read from outside. `u` may, so that a backbone whose stages feed heads has its blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from verify.picture.boxes import Boxes
from verify.picture.names import common_name

LARGEST = 40
"""Boxes of a block; more are no block but half a net, such as what lies between the ends of a U-Net's widest link."""
WHOLE = 12
"""A block of so few boxes has no blocks inside."""


def find_blocks(boxes: Boxes) -> list[list[int]]:
    """The blocks of a kind that a net has several of, as their boxes; two are disjoint, or one contains the other."""
    above = dominators(boxes.reads)
    joins = (box for box, reads in enumerate(boxes.reads) if len(reads) > 1 and above[box] >= 0)
    found = [_with_stem(above[join], block, boxes) for join in joins if (block := _between(above[join], join, boxes))]
    kinds = [shape_of(block, boxes) for block in found]
    several = Counter(kinds)
    return _without_inner([block for block, kind in zip(found, kinds, strict=True) if several[kind] > 1])


def _between(start: int, end: int, boxes: Boxes) -> list[int]:
    """The boxes on the ways from one to another, without the first; empty if they are read elsewhere or too many."""
    inside, open_ends = {end}, [end]
    while open_ends:
        for box in boxes.reads[open_ends.pop()]:
            if box != start and box not in inside:
                inside.add(box)
                open_ends.append(box)
        if len(inside) > LARGEST:
            return []
    closed = all(reader in inside for box in inside if box != end for reader in boxes.readers[box])
    return sorted(inside) if closed and len(inside) > 1 else []


def _with_stem(start: int, block: list[int], boxes: Boxes) -> list[int]:
    """The block with the box before it, if that is named like it and only read in it: the squeezing half of a fire."""
    name = common_name([boxes.names[box] for box in block])
    alone = len(boxes.reads[start]) == 1 and set(boxes.readers[start]) <= set(block)
    return [start, *block] if name and alone and common_name([boxes.names[start], name]) == name else block


def shape_of(block: Sequence[int], boxes: Boxes) -> tuple[object, ...]:
    """What two blocks have in common that are wired alike, of layers of the same types."""
    place = {box: index for index, box in enumerate(block)}
    types = (boxes.looks[box][0].partition(" ")[0] for box in block)
    wires = (tuple(sorted(place.get(read, -1) for read in boxes.reads[box])) for box in block)
    return tuple(zip(types, wires, strict=True))


def _without_inner(blocks: list[list[int]]) -> list[list[int]]:
    """Leave out what lies within a small block."""
    hidden: set[int] = set()
    kept = []
    for block in sorted(blocks, key=len, reverse=True):
        if block[-1] not in hidden:
            kept.append(block)
        if len(block) <= WHOLE:
            hidden.update(block)
    return kept


def dominators(reads: Sequence[Sequence[int]]) -> list[int]:
    """Of each box, the last one that every way to it passes; -1 where there is none.

    A box reads only boxes before it. The common dominator of two is found by jumps that double (Myers, An applicative
    random-access stack, 1983), so that the depth of a net costs little.
    """
    above, depth, jump = [0], [0], [0]  # the first stands for what is before all sources

    def common(one: int, other: int) -> int:
        if depth[one] < depth[other]:
            one, other = other, one
        while depth[one] > depth[other]:
            one = jump[one] if depth[jump[one]] >= depth[other] else above[one]
        while one != other:
            along = jump if jump[one] != jump[other] else above
            one, other = along[one], along[other]
        return one

    for sources in reads:
        found = sources[0] + 1 if sources else 0
        for source in sources[1:]:
            found = common(found, source + 1)
        above.append(found)
        depth.append(depth[found] + 1)
        far = jump[found]
        jump.append(jump[far] if depth[found] - depth[far] == depth[far] - depth[jump[far]] else found)
    return [found - 1 for found in above[1:]]
