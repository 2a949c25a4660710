"""What nets are fed when they are compared: seeded numbers of a realistic size, or an image.

    image-like inputs (4 axes, 1, 3 or 4 channels)   standard normal × 64, the spread of pixels less their mean; times
                                                     the scale that a data layer's transform_param gives
    the same, where the model takes raw pixels       whole numbers, 0 to 255
    labels, indices, sequence marks, boxes …         as the layer that reads them says (`register(feeds=…)`)
    anything else                                    standard normal

Nothing is fed that a converter could get right by accident: no constants where values matter, no symmetry.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush
from os import PathLike
from typing import TypeVar

import numpy as np

from prototxt import Net, NetLayer
from prototxt.errors import MissingDependencyError, RequestError
from prototxt.names import naming
from prototxt.optional import need
from prototxt.words import format_shape
from verify.engines.engine import Array, ModelInput
from verify.layers import find
from verify.layers.data import stated_shape
from verify.layers.registry import Feeder, Feeding, labels, marks
from verify.machine import room_for

PIXEL_SPREAD = 64.0

Shape = tuple[int, ...]
Asked = tuple[int | None, ...]
T = TypeVar("T")


def input_layers(net: Net) -> dict[str, NetLayer]:
    """The layer that feeds each input blob, in net order."""
    return {top: layer for layer in net.layers if not layer.bottoms and not _makes_its_own(layer) for top in layer.tops}


def _makes_its_own(layer: NetLayer) -> bool:
    rule = find(layer.kind)
    return rule is not None and rule.never_fed


def by_blob(net: Net, given: Mapping[str, T] | None) -> dict[str, T]:
    """What a user gave for inputs, by the blobs' own names: those may be named by an escape (`prototxt.names`)."""
    blobs = input_layers(net)
    name_of = naming(blobs)
    return {name_of(name): value for name, value in (given or {}).items()}


def input_shapes(
    net: Net,
    wanted: Collection[str],
    stated: Sequence[ModelInput] = (),
    given: Mapping[str, Asked] | None = None,
    batch: int | None = None,
) -> dict[str, Shape]:
    """A shape for each wanted input: the one given, else the model's, its free axes filled from the prototxt or with 1.

    Args:
        net: the net.
        wanted: names of its inputs.
        stated: the model's inputs, by the same names.
        given: shapes that go before all others; free axes (None) are filled as the model's are.
        batch: size of axis 0 of every input whose shape is not given.

    Raises:
        RequestError: an input whose shape nobody says.
    """
    by_model = {entry.name: entry.shape for entry in stated}
    shapes: dict[str, Shape] = {}
    for name, layer in input_layers(net).items():
        if name not in wanted:
            continue
        asked = (given or {}).get(name)
        known = tuple(size for size in asked or () if size is not None)
        if asked is not None and len(known) == len(asked):
            shapes[name] = known
            continue
        written = _stated_shape(layer, name)
        if asked is not None and written is not None and len(asked) != len(written):
            written = None
        shape = _filled(asked if asked is not None else by_model.get(name), written)
        if shape is None:
            raise RequestError(f"the shape of input {name!r} is not written in {net.path}; give it (--input-shape)")
        shape = (batch, *shape[1:]) if batch is not None and shape else shape
        if any(size <= 0 for size in shape[1:]):
            seen = f"input {name!r} is {format_shape(shape)} in {net.path}"
            raise RequestError(f"{seen}; give its size (--input-shape)")
        shapes[name] = (max(shape[0], 1), *shape[1:]) if shape else shape
    _refuse_too_large(shapes)
    return shapes


def _refuse_too_large(shapes: Mapping[str, Shape]) -> None:
    """Before a number of them is drawn."""
    values = sum(math.prod(shape) for shape in shapes.values())
    if shapes and not room_for(values):
        name = max(shapes, key=lambda name: math.prod(shapes[name]))
        text = "×".join(map(str, shapes[name]))
        raise RequestError(
            f"input {name!r} is {text}; {values:,} values of input cannot be compared in this machine's memory: "
            f"give smaller sizes with --input-shape"
        )


def _filled(model: tuple[int | None, ...] | None, written: Shape | None) -> Shape | None:
    if model is None or (written is not None and len(model) != len(written)):
        return written
    fill = tuple(max(size, 1) for size in written) if written else (1,) * len(model)
    return tuple(other if size is None else size for size, other in zip(model, fill, strict=True))


def _stated_shape(layer: NetLayer, name: str) -> Shape | None:
    rule, place = find(layer.kind), layer.tops.index(name)
    return stated_shape(layer, place) if rule is None or rule.shape is None else rule.shape(layer, place)


def seeded(net: Net, shapes: Mapping[str, Shape], seed: int = 0, *, raw: Collection[str] = ()) -> dict[str, Array]:
    """Numbers for each input, always the same for a seed.

    Args:
        net: says how an input is used.
        shapes: by input.
        seed: of the generator.
        raw: inputs that take pixels as they are decoded.
    """
    rng = np.random.default_rng(seed)
    layers, readers = input_layers(net), _readers(net)
    feeds: dict[str, Array] = {}
    for name, shape in shapes.items():
        use = _use(net, readers, name)
        if name in raw:
            feeds[name] = np.asarray(rng.integers(0, 256, shape), np.float32)
        elif use is not None:
            layer, feeder = use
            feeds[name] = feeder(Feeding(layer, shape, shapes, rng, _classes(net, layer, shapes)))
        else:
            feeds[name] = rng.standard_normal(shape, dtype=np.float32) * np.float32(_spread(layers.get(name), shape))
    return {name: np.asarray(values) for name, values in feeds.items()}  # A blob without axes came out as a number.


def exact_inputs(net: Net) -> set[str]:
    """Inputs whose values are names of things (labels, indices, marks): the least change makes them others."""
    readers = _readers(net)
    return {name for name in input_layers(net) if _use(net, readers, name) is not None}


def _spread(layer: NetLayer | None, shape: Shape) -> float:
    if len(shape) != 4 or shape[1] not in (1, 3, 4):
        return 1.0
    return PIXEL_SPREAD * (layer.param.transform_param.scale if layer is not None else 1.0)


def _classes(net: Net, layer: NetLayer, shapes: Mapping[str, Shape]) -> int:
    """2, or 1 where a layer's scores are seen to be of one class without running the net."""
    scores, before = layer.bottoms[0], net.layers[: [one is layer for one in net.layers].index(True)]
    for made in reversed(before):
        if scores not in made.tops or not made.bottoms:
            continue
        rule = find(made.kind)
        if rule is not None and rule.scores is not None:
            return min(2, rule.scores(made))
        if rule is None or not rule.keeps_shape:
            return 2
        scores = made.bottoms[0]
    reader = find(layer.kind)
    return 2 if scores not in shapes or reader is None else min(2, reader.classes(layer, shapes[scores]))


_Readers = Mapping[str, Sequence[tuple[int, int]]]


def _readers(net: Net) -> _Readers:
    """Of each blob the layers that read it, by their places in the net, and at which bottom first."""
    found: dict[str, dict[int, int]] = {}
    for index, layer in enumerate(net.layers):
        for place, bottom in enumerate(layer.bottoms):
            found.setdefault(bottom, {}).setdefault(index, place)
    return {name: list(places.items()) for name, places in found.items()}


def _use(net: Net, readers: _Readers, name: str) -> tuple[NetLayer, Feeder] | None:
    """The first layer that reads an input, and what makes the numbers that it takes; None for ordinary numbers.

    Layers that only give it another shape are looked through, for labels and marks: boxes want rows of their own.
    """
    coming, last = list(readers.get(name, ())), -1
    while coming:
        index, place = heappop(coming)
        if index == last:
            continue
        layer, last = net.layers[index], index
        rule = find(layer.kind)
        passed_on = [] if rule is None or place > 0 else rule.passed_on(layer)
        if passed_on:
            for other in passed_on:
                for reader in readers.get(other, ()):
                    if reader[0] > index:
                        heappush(coming, reader)
            continue
        feeder = None if rule is None else rule.feeder(layer, place)
        if feeder is None or (layer.bottoms[place] != name and feeder not in (labels, marks)):
            return None
        return layer, feeder
    return None


def load_image(path: str | PathLike[str], shape: Shape, *, order: str = "bgr") -> Array:
    """An image file as 1×C×H×W, 0 to 255, resized to the shape without regard to its aspect.

    Args:
        path: any format that Pillow or OpenCV reads.
        shape: N×C×H×W of the input; C is 1 (grey) or 3.
        order: of the channels, `bgr` or `rgb`.

    Raises:
        RequestError: a file that is no image, or an input that takes none.
        MissingDependencyError: neither Pillow nor OpenCV is installed.
    """
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise RequestError(f"an input of shape {format_shape(shape)} takes no image")
    channels, height, width = shape[1:]
    try:
        need("PIL", "pillow", "reading images")
    except MissingDependencyError:
        return _with_opencv(path, channels, height, width, order)
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((width, height)), np.float32)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise RequestError(f"{path}: no image that can be read: {error}") from error
    planes = pixels[None, None] if channels == 1 else pixels.transpose(2, 0, 1)[None]
    return np.ascontiguousarray(planes[:, ::-1] if order == "bgr" else planes)


def _with_opencv(path: str | PathLike[str], channels: int, height: int, width: int, order: str) -> Array:
    cv2 = need("cv2", "pillow", "reading images")
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    if pixels is None:
        raise RequestError(f"{path}: no image that can be read")
    resized = cv2.resize(pixels, (width, height)).astype(np.float32)
    planes = resized[None, None] if channels == 1 else resized.transpose(2, 0, 1)[None]
    return np.ascontiguousarray(planes[:, ::-1] if order == "rgb" else planes)
