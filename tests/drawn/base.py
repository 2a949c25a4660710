"""Nets of one layer whose parameters are drawn: what a strategy gives, and the registry of strategies by layer kind.

    @drawn("ShuffleChannel")
    @st.composite
    def shuffle_channel(draw: Draw) -> Drawn: ...

`test_drawn_layers.py` draws from each and compares the interpreter, onnxruntime and torch. A strategy draws everything
that the layer's parameters can be, and shapes whose dimensions differ; values come from a drawn seed. Where the layer
jumps (indices, comparisons), it draws values that no rounding can bring to a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Array = npt.NDArray[np.float32]
Draw = st.DrawFn
SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11)


@dataclass(frozen=True)
class Drawn:
    """One layer and what it is fed.

    Attributes:
        text: of the layer, named `it`; of several layers where it needs others beside it.
        feeds: its bottoms by blob name; each becomes an Input of that shape.
        outputs: the blobs to compare; the tops of the last layer where none are named.
        tolerance: largest difference, as a share of the largest value.
    """

    text: str
    feeds: Mapping[str, Array] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    tolerance: float = 1e-5


Make = Callable[[], st.SearchStrategy[Drawn]]
_STRATEGIES: dict[str, Make] = {}


def drawn(*kinds: str) -> Callable[[Make], Make]:
    """Register a strategy for layer kinds (`NetLayer.kind`: the type; of a Python layer with module and class)."""

    def add(make: Make) -> Make:
        for kind in kinds:
            assert kind not in _STRATEGIES, kind
            _STRATEGIES[kind] = make
        return make

    return add


def strategies() -> dict[str, Make]:
    """Layer kind -> strategy, of everything registered."""
    return dict(_STRATEGIES)


def layer(kind: str, params: str = "", bottoms: str = "x", tops: str = "out") -> str:
    """The text of a layer named `it`; bottoms and tops separated by blanks."""
    reads = " ".join(f'bottom: "{b}"' for b in bottoms.split())
    writes = " ".join(f'top: "{t}"' for t in tops.split())
    return f'layer {{ name: "it" type: "{kind}" {reads} {writes} {params} }}'


def net_text(drawn_layer: Drawn) -> str:
    """The whole net: an Input for each feed, then the layer."""
    text = ""
    for name, feed in drawn_layer.feeds.items():
        dims = " ".join(f"dim: {d}" for d in feed.shape)
        text += f'layer {{ name: "in_{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'
    return text + drawn_layer.text + "\n"


def fields(**values: object) -> str:
    """`kernel_size: 3 pad: 1` of what is not None; lists repeat the field, words of capital letters stay bare."""
    parts = []
    for name, value in values.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is not None:
                parts.append(f"{name}: {_literal(one)}")
    return " ".join(parts)


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not value.isupper():
        return f"'{value}'"
    return str(value)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """A value, or None to leave the field out."""
    return st.none() | strategy


def shape(draw: Draw, axes: int, *, least: int = 2, most: int = 9) -> tuple[int, ...]:
    """Sizes that all differ."""
    return tuple(draw(st.permutations(range(least, most + 1)))[:axes])


def generator(draw: Draw) -> np.random.Generator:
    """A source of values whose seed is drawn."""
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


def normal(draw: Draw, *sizes: int) -> Array:
    """Standard normal values."""
    return generator(draw).standard_normal(sizes).astype(np.float32)


def apart(draw: Draw, *sizes: int) -> Array:
    """Values that all differ by at least a hundredth: a permutation of steps, shifted below zero."""
    count = int(np.prod(sizes))
    steps = generator(draw).permutation(count).astype(np.float32)
    return ((steps - count // 2 + np.float32(0.25)) / np.float32(max(count, 100) ** 0.5)).reshape(sizes)
