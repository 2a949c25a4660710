"""Drawn nets of layers in place and of shared memory: outputs and gradients are those of Caffe's pointers."""

from __future__ import annotations

import random

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.options import Options
from converter.training.module import trainable
from prototxt import parse_net
from tests.training.small_caffe import GIVERS, NEURONS, TAKERS, Layer, passes

SHAPE = (2, 3, 4)
INPUTS = "".join(
    f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ dim: 2 dim: 3 dim: 4 }} }} }}\n'
    for name in "xz"
)


def drawn(seed: int) -> list[Layer]:
    """Up to ten layers; one in place only on a blob that nothing else reads, as Caffe wants it."""
    draw = random.Random(seed)
    layers: list[Layer] = []
    now = {"x": (0, SHAPE), "z": (0, SHAPE)}
    read: set[tuple[str, int]] = set()
    for number in range(draw.randint(3, 10)):
        name = draw.choice(list(now)[-3:])
        version, shape = now[name]
        kind = draw.choice([*NEURONS, *2 * TAKERS, *2 * GIVERS, "Split", "Sum", "Product"])
        bottoms = [(name, version)]
        if kind in ("Sum", "Product"):
            others = [(other, v) for other, (v, its) in now.items() if its == shape and other != name]
            if not others:
                continue
            bottoms.append(draw.choice(others))
        in_place = kind in NEURONS and bottoms[0] not in read and draw.random() < 0.6
        read.update(bottoms)
        after = {"Flatten": (24,), "Reshape": draw.choice([(24,), (2, 12), SHAPE])}.get(kind, shape)
        top = (name, version + 1) if in_place else (f"t{number}", 0)
        now[top[0]] = (top[1], after)
        layers.append(Layer(f"l{number}", kind, bottoms, top, after))
    return layers


@settings(max_examples=320)
@given(seed=st.integers(0, 2**32 - 1))
def test_gradients_are_those_of_caffes_pointers(seed: int) -> None:
    layers = drawn(seed)
    text = "force_backward: true\n" + INPUTS + "\n".join(layer.text() for layer in layers)
    read = {key for layer in layers for key in layer.bottoms}
    last = {layer.top[0]: layer.top for layer in layers}
    ends = [name for name, key in last.items() if key not in read]
    made = trainable(parse_net(text, "net.prototxt", phase="TRAIN"), None, options=Options(outputs=ends))
    rng = np.random.default_rng(seed)
    fed = {name: torch.from_numpy(rng.normal(size=SHAPE)).requires_grad_() for name in "xz"}
    outputs = made.module.double()(*(fed[name] for name in made.inputs))
    assert set(outputs) == set(ends)
    seeds = {name: rng.normal(size=tuple(value.shape)) for name, value in outputs.items()}
    sum((value * torch.from_numpy(seeds[name])).sum() for name, value in outputs.items()).backward()
    data, diffs = passes(layers, {name: value.detach().numpy() for name, value in fed.items()}, seeds)
    for name, value in outputs.items():
        np.testing.assert_allclose(value.detach().numpy().ravel(), data[name], rtol=1e-9, err_msg=text)
    for name, value in fed.items():
        found = np.zeros(24) if value.grad is None else value.grad.numpy().ravel()
        np.testing.assert_allclose(found, diffs[name], rtol=1e-9, atol=1e-12, err_msg=f"{name} of\n{text}")
