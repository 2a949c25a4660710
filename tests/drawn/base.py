"""Nets of one layer whose parameters are drawn: what a strategy gives, and the registry of strategies by layer kind.

    @drawn("ShuffleChannel")
    @st.composite
    def shuffle_channel(draw: Draw) -> Drawn: ...

`test_drawn_layers.py` draws from each and compares the interpreter, onnxruntime and torch. A strategy draws everything
that the layer's parameters can be, and shapes whose dimensions differ; values come from a drawn seed. Where the layer
jumps (indices, comparisons), it draws values that no rounding can bring to a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from prototxt import parse_net

Array = npt.NDArray[np.float32]
Draw = st.DrawFn
SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11)


@dataclass(frozen=True)
class Drawn:
    """One layer and what it is fed.

    Attributes:
        text: of the layer, named `it`; of several layers where it needs others beside it.
        feeds: its bottoms by blob name; each becomes an Input of that shape, unless a data layer of the text makes it.
        outputs: the blobs to compare; the tops of the last layer where none are named.
        tolerance: largest difference, as a share of the largest value.
        scale: what it is a share of at least: a sum whose parts cancel is no more exact than its parts.
        blobs: learned blobs by layer, where values made by fillers would not do.
        dialects: whose meaning of a type holds, as `--dialect` says.
        sized: feeds whose shape the text cannot say, so that the caller does (`--input-shape`).
    """

    text: str
    feeds: Mapping[str, Array] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    tolerance: float = 1e-5
    scale: float = 0.0
    blobs: Mapping[str, Sequence[Array]] = field(default_factory=dict)
    sized: tuple[str, ...] = ()
    dialects: Mapping[str, str] = field(default_factory=dict)


Make = Callable[[], st.SearchStrategy[Drawn]]
_STRATEGIES: dict[str, list[Make]] = {}


def drawn(*kinds: str) -> Callable[[Make], Make]:
    """Register a strategy for layer kinds (`NetLayer.kind`: the type; of a Python layer with module and class).

    A kind may have several, for one fork's fields and another's.
    """

    def add(make: Make) -> Make:
        for kind in kinds:
            _STRATEGIES.setdefault(kind, []).append(make)
        return make

    return add


def strategies() -> dict[str, Make]:
    """Layer kind -> strategy, of everything registered; of several, any."""
    return {kind: lambda makes=makes: st.one_of(make() for make in makes) for kind, makes in _STRATEGIES.items()}


def layer(kind: str, params: str = "", bottoms: str = "x", tops: str = "out") -> str:
    """The text of a layer named `it`; bottoms and tops separated by blanks."""
    reads = " ".join(f'bottom: "{b}"' for b in bottoms.split())
    writes = " ".join(f'top: "{t}"' for t in tops.split())
    return f'layer {{ name: "it" type: "{kind}" {reads} {writes} {params} }}'


def net_text(drawn_layer: Drawn) -> str:
    """The whole net: an Input for each feed that no data layer makes, then the layer."""
    text = ""
    made = {top for found in parse_net(drawn_layer.text).layers if not found.bottoms for top in found.tops}
    for name, feed in drawn_layer.feeds.items():
        if name in made:
            continue
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


def blob(draw: Draw, *, least: int = 1, most: int = 5) -> Array:
    """Standard normal values, perhaps ten times as large, of `least` to `most` axes that all differ."""
    sizes = shape(draw, draw(st.integers(least, most)), most=6)
    return normal(draw, *sizes) * np.float32(draw(st.sampled_from((1, 10))))


def axis(draw: Draw, rank: int, *, least: int = 0) -> int:
    """An axis from `least` on, counted from either end."""
    place = draw(st.integers(least, rank - 1))
    return draw(st.sampled_from((place, place - rank)))


def number(*values: float) -> st.SearchStrategy[float]:
    """One of some values that stand for all of their sort, or any other of two decimals between -3 and 3."""
    return st.sampled_from(values) | st.integers(-300, 300).map(lambda n: n / 100)


def section(name: str, *parts: str, **values: object) -> str:
    """`name { … }`: `fields` of the values, then parts as they are; nothing where there is neither."""
    inside = " ".join([fields(**values), *parts]).strip()
    return f"{name} {{ {inside} }}" if inside else ""


def uniform(name: str = "filler") -> str:
    """A filler whose values all differ."""
    return f"{name} {{ type: 'uniform' min: -1 max: 1 }}"
