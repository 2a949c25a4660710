"""Items taken out of a batch."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, blob, drawn, generator, layer, normal, shape


@drawn("BatchReindex")
@st.composite
def batch_reindex(draw: Draw) -> Drawn:
    """Items in any order, some of them twice; indices are truncated."""
    x, source = blob(draw, most=4), generator(draw)
    count = draw(st.integers(1, 9))
    index = source.integers(0, x.shape[0], count) + source.choice((0, 0.5), count)
    return Drawn(layer("BatchReindex", "", "x i"), {"x": x, "i": index.astype(np.float32)})


@drawn("Filter")
@st.composite
def filter_(draw: Draw) -> Drawn:
    """Of one to three blobs, all items, some or none; any number but 0 keeps one."""
    items, source = draw(st.integers(1, 6)), generator(draw)
    count = draw(st.integers(1, 3))
    feeds = {f"x{i}": normal(draw, items, *shape(draw, draw(st.integers(0, 3)), most=5)) for i in range(count)}
    marks = source.choice(np.float32(draw(st.sampled_from(((0, 1), (0, 0.5, -2, 3), (0,), (1,))))), items)
    tail = draw(st.sampled_from(((), (1,), (1, 1, 1))))
    feeds["marks"] = marks.reshape(items, *tail)
    tops = " ".join(f"out{i}" for i in range(count))
    return Drawn(layer("Filter", "", " ".join(feeds), tops), feeds)
