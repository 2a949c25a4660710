"""What nets are fed when they are compared: seeded numbers of a realistic size, or an image.

    image-like inputs (4 axes, 1, 3 or 4 channels)   standard normal × 64, the spread of pixels less their mean; times
                                                     the scale that a data layer's transform_param gives
    the same, where the model takes raw pixels       whole numbers, 0 to 255
    labels, indices, sequence marks, boxes …         as the layer that reads them says (`register(feeds=…)`)
    anything else                                    standard normal

Nothing is fed that a converter could get right by accident: no constants where values matter, no symmetry.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from os import PathLike

import numpy as np

from prototxt import Net, NetLayer
from prototxt.caffe_pb2 import LayerParameter
from prototxt.errors import MissingDependencyError, RequestError
from prototxt.optional import need
from verify.engines import Array, ModelInput
from verify.layers import find
from verify.layers.registry import Feeder, Feeding, labels, marks

PIXEL_SPREAD = 64.0
RESHAPING = frozenset(("Reshape", "Flatten", "Split", "Squeeze", "Unsqueeze"))

Shape = tuple[int, ...]


MAKE_THEIR_OWN = ("ContinuationIndicator", "Parameter")
"""Layers that read no blob and need not be fed."""


def input_layers(net: Net) -> dict[str, NetLayer]:
    """The layer that feeds each input blob, in net order."""
    fed = (layer for layer in net.layers if not layer.bottoms and layer.type not in MAKE_THEIR_OWN)
    return {top: layer for layer in fed for top in layer.tops}


def input_shapes(
    net: Net,
    wanted: Collection[str],
    stated: Sequence[ModelInput] = (),
    given: Mapping[str, Shape] | None = None,
    batch: int | None = None,
) -> dict[str, Shape]:
    """A shape for each wanted input: the one given, else the model's, its free axes filled from the prototxt or with 1.

    Args:
        net: the net.
        wanted: names of its inputs.
        stated: the model's inputs, by the same names.
        given: shapes that go before all others.
        batch: size of axis 0 of every input whose shape is not given.

    Raises:
        RequestError: an input whose shape nobody says.
    """
    by_model = {entry.name: entry.shape for entry in stated}
    shapes: dict[str, Shape] = {}
    for name, layer in input_layers(net).items():
        if name not in wanted:
            continue
        if given and name in given:
            shapes[name] = given[name]
            continue
        shape = _filled(by_model.get(name), _written_shape(layer, name))
        if shape is None:
            raise RequestError(f"the shape of input {name!r} is not written in the prototxt; give it (--input-shape)")
        shapes[name] = (batch, *shape[1:]) if batch is not None and shape else shape
    return shapes


def _filled(model: tuple[int | None, ...] | None, written: Shape | None) -> Shape | None:
    if model is None or (written is not None and len(model) != len(written)):
        return written
    fill = written or (1,) * len(model)
    return tuple(other if size is None else size for size, other in zip(model, fill, strict=True))


def _written_shape(layer: NetLayer, name: str) -> Shape | None:
    place = layer.tops.index(name)
    param = layer.param
    if layer.type == "MemoryData":
        p = param.memory_data_param
        return (p.batch_size, p.channels, p.height, p.width) if place == 0 else (p.batch_size,)
    if layer.type in ("Data", "AnnotatedData", "ImageData"):
        return _cropped_shape(param, place)
    stated = param.input_param.shape or param.dummy_data_param.shape
    if not stated:
        return None
    return tuple(stated[min(place, len(stated) - 1)].dim)


def _cropped_shape(param: LayerParameter, place: int) -> Shape | None:
    """Images or labels of a data layer, where batch, channels and crop are all written; else only the files know."""
    t, images = param.transform_param, param.image_data_param
    listed = param.type == "ImageData"
    batch = images.batch_size if listed else param.data_param.batch_size
    if place > 0:
        return (batch,) if batch and param.type != "AnnotatedData" else None
    channels = len(t.mean_value) if len(t.mean_value) > 1 else 3 * t.force_color + t.force_gray
    if listed:
        channels = 3 if images.is_color else 1
    return (batch, channels, t.crop_size, t.crop_size) if batch and channels and t.crop_size else None


def seeded(net: Net, shapes: Mapping[str, Shape], seed: int = 0, *, raw: Collection[str] = ()) -> dict[str, Array]:
    """Numbers for each input, always the same for a seed.

    Args:
        net: says how an input is used.
        shapes: by input.
        seed: of the generator.
        raw: inputs that take pixels as they are decoded.
    """
    rng = np.random.default_rng(seed)
    layers = input_layers(net)
    feeds: dict[str, Array] = {}
    for name, shape in shapes.items():
        use = _use(net, name)
        if name in raw:
            feeds[name] = rng.integers(0, 256, shape).astype(np.float32)
        elif use is not None:
            layer, feeder = use
            feeds[name] = feeder(Feeding(layer, shape, shapes, rng))
        else:
            feeds[name] = rng.standard_normal(shape, dtype=np.float32) * np.float32(_spread(layers.get(name), shape))
    return feeds


def exact_inputs(net: Net) -> set[str]:
    """Inputs whose values are names of things (labels, indices, marks): the least change makes them others."""
    return {name for name in input_layers(net) if _use(net, name) is not None}


def _spread(layer: NetLayer | None, shape: Shape) -> float:
    if len(shape) != 4 or shape[1] not in (1, 3, 4):
        return 1.0
    return PIXEL_SPREAD * (layer.param.transform_param.scale if layer is not None else 1.0)


def _use(net: Net, name: str) -> tuple[NetLayer, Feeder] | None:
    """The first layer that reads an input, and what makes the numbers that it takes; None for ordinary numbers.

    Layers that only give it another shape are looked through, for labels and marks: boxes want rows of their own.
    """
    names = {name}
    for layer in net.layers:
        place = next((i for i, bottom in enumerate(layer.bottoms) if bottom in names), None)
        if place is None:
            continue
        if layer.type in RESHAPING and place == 0:
            names.update(layer.tops)
            continue
        rule = find(layer.kind)
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
        raise RequestError(f"an input of shape {'×'.join(map(str, shape))} takes no image")
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
