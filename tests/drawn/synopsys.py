"""Synopsys' layers of two blobs, and its Python layers about shapes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, drawn, layer, normal, shape


def python(module: str, name: str, text: str = "", bottoms: str = "x") -> str:
    """A Python layer; `text` is its param_str."""
    said = f'param_str: "{text}"' if text else ""
    return layer("Python", f"python_param {{ module: '{module}' layer: '{name}' {said} }}", bottoms)


def pair(draw: Draw) -> dict[str, Array]:
    """Two blobs that go together: sizes of 1 in either, and fewer axes."""
    sizes = shape(draw, draw(st.integers(1, 4)), most=6)
    both = []
    for _ in "xy":
        ones = [1 if draw(st.booleans()) else size for size in sizes]
        both.append(ones[draw(st.integers(0, len(ones) - 1)) :])
    whole = draw(st.integers(0, 1))
    both[whole] = list(sizes)
    return {"x": normal(draw, *both[0]), "y": normal(draw, *both[1])}


@drawn("Add")
@st.composite
def added(draw: Draw) -> Drawn:
    return Drawn(layer("Add", bottoms="x y"), pair(draw))


@drawn("Python eltwise.Eltwise")
@st.composite
def python_eltwise(draw: Draw) -> Drawn:
    operation = draw(st.integers(0, 4))
    coefficients = [draw(st.sampled_from([1, 1.0, -0.5, 2])) for _ in "xy"]
    feeds = pair(draw)
    if operation == 3:
        feeds["y"] = np.sign(feeds["y"]) * (np.abs(feeds["y"]) + np.float32(0.5))
    text = f"{{'operation': {operation}, 'coeff': {coefficients}}}"
    return Drawn(python("eltwise", "Eltwise", text, "x y"), feeds)


@drawn("Python shape.TensorShape")
@st.composite
def tensor_shape(draw: Draw) -> Drawn:
    return Drawn(python("shape", "TensorShape"), {"x": normal(draw, *shape(draw, draw(st.integers(1, 5)), most=6))})


@drawn("Python pad.PadTensor")
@st.composite
def pad_tensor(draw: Draw) -> Drawn:
    sizes = shape(draw, 4, most=7)
    mode = draw(st.sampled_from(["constant", "edge", "reflect"]))
    pads = {}
    for side in "tblr":
        size = sizes[2 if side in "tb" else 3]
        pads[f"pad_{side}"] = draw(st.integers(0, size - 1 if mode == "reflect" else 9))
    return Drawn(python("pad", "PadTensor", str({**pads, "pad_mode": mode})), {"x": normal(draw, *sizes)})


@drawn("Python reshape.Reshape")
@st.composite
def python_reshape(draw: Draw) -> Drawn:
    x = normal(draw, *shape(draw, draw(st.integers(1, 4)), most=6))
    sizes = list(draw(st.permutations(x.shape)))
    if draw(st.booleans()):
        sizes[-1] = -1
    if draw(st.booleans()):
        sizes.insert(0, 1)
    return Drawn(python("reshape", "Reshape", bottoms="x sizes"), {"x": x, "sizes": np.asarray(sizes, np.float32)})
