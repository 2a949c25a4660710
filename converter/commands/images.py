"""From the command line to images and what is done to them, for the verbs that read images.

What the user does not say comes from the published protocol (`--expect`), then from the net's own data layer, then from
what is usual; the last is said in a note.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from converter.api import Options, load_parsed, prepare, weights_of
from converter.build import InputShapes
from converter.cli_evaluation import ImageArguments
from converter.cli_options import Arguments
from converter.commands.options import options_of
from converter.graph import Graph, format_shape, is_free
from converter.preprocess import read_mean
from prototxt import Net
from prototxt.caffe_pb2 import TransformationParameter
from prototxt.errors import RequestError
from verify.evaluation.records import ImageFault, Source
from verify.evaluation.sources import open_source
from verify.evaluation.transform import Resize, Transform
from verify.published import Published
from weights import load_mean, open_weights

SCORED_LAYERS = frozenset(
    ("Accuracy", "SoftmaxWithLoss", "SigmoidCrossEntropyLoss", "HingeLoss", "MultinomialLogisticLoss", "InfogainLoss")
)
"""Layers of a training net that read the scores which an evaluation wants."""


FIRST_FEW = 10
"""Images that are looked at for the size of all."""


@dataclass
class Subject:
    """The net that is fed images: which blob takes them, which holds the scores.

    Attributes:
        net: as loaded.
        weights: path of the weight file; None for a net without.
        scores: the blob.
        input: the blob that takes images.
        shape: of that input, N×C×H×W, as the files or `--input-shape` say.
        options: of the conversion, with the scores as its one output.
        notes: what was chosen, where there was a choice.
    """

    net: Net
    weights: str | None
    scores: str
    input: str
    shape: tuple[int, int, int, int]
    options: Options
    notes: list[str] = field(default_factory=list)


def subject_of(arguments: Arguments) -> Subject:
    """Read the net and find its input and its scores.

    Raises:
        RequestError: the command line names no net or no data.
        CaffeModelError: the net cannot be converted, or is none that takes images and gives scores.
    """
    if not arguments.net or not arguments.images.data:
        missing = "NET" if not arguments.net else "--data"
        raise RequestError(f"{missing} is missing; 'resnet-convert {arguments.verb} --help' explains the options")
    options = options_of(arguments)
    net = load_parsed(arguments.net, options, arguments.weights)
    weights = weights_of(arguments.net, arguments.weights)
    scores, notes = _scores_blob(net, list(arguments.outputs))
    sized = replace(options, outputs=[scores], input_shapes=_fixed(options.input_shapes))
    with ExitStack() as stack:
        source = None if weights is None else stack.enter_context(open_weights(weights))
        graph = prepare(net, source, sized).graph
    name, shape = _image_input(graph)
    return Subject(net, None if weights is None else str(weights), scores, name, shape, sized, notes)


def source_of(images: ImageArguments) -> Source:
    """The data set that the command line names."""
    return open_source(
        images.data, labels=images.labels, synsets=images.synsets, ignore_orientation=images.ignore_orientation
    )


def transform_of(
    images: ImageArguments,
    subject: Subject,
    published: Published | None,
    source: Source,
    *,
    crops: Literal[1, 10] | None = None,
    mirror: bool = False,
) -> tuple[Transform, list[str]]:
    """What is done to an image before the net, and what the user should know of it."""
    notes: list[str] = []
    written = _written(subject.net)
    crop = images.crop or subject.shape[2:]
    mean = _mean(images, subject, published, written, notes)
    scale = images.scale
    if scale is None:
        scale = published.scale if published else written.scale
    order = images.order or (published.order if published else "bgr")
    resize = _resize(images, published, crop, source, notes)
    crops = crops or (published.crops if published else 1)
    transform = Transform(
        channels=subject.shape[1],
        crop=crop,
        resize=resize,
        crops=crops,
        mirror=mirror,
        mean=mean,
        scale=scale,
        rgb=order == "rgb",
        interpolation=images.interpolation,
    )
    return transform, notes


def _resize(
    images: ImageArguments, published: Published | None, crop: tuple[int, int], source: Source, notes: list[str]
) -> Resize | None:
    if images.resize is not None:
        return None if not images.resize else _resize_to(images.resize)
    if published is not None:
        size = (published.shorter,) if published.shorter else published.warp
        return _resize_to(size, unless_fitting=True) if any(size) else None
    side = usual_side(min(crop))
    if _first_size(source) not in (None, crop):
        notes.append(
            f"images of another size than {crop[0]}×{crop[1]} are resized to a shorter side of {side} (--resize)"
        )
    return Resize(shorter=side, unless_fitting=True)


def _first_size(source: Source) -> tuple[int, int] | None:
    """Height and width of the first image that can be read, of the first few."""
    for index in range(min(len(source), FIRST_FEW)):
        with suppress(ImageFault):
            height, width = source.read(index, color=True).pixels.shape[:2]
            return height, width
    return None


def _resize_to(size: tuple[int, ...], *, unless_fitting: bool = False) -> Resize:
    if len(size) == 1:
        return Resize(shorter=size[0], unless_fitting=unless_fitting)
    return Resize(warp=(size[0], size[1]), unless_fitting=unless_fitting)


def usual_side(crop: int) -> int:
    """The shorter side that goes with a crop: 256 with ImageNet's 224 and 227, in that proportion elsewhere.

    Small nets (CIFAR, digits) see whole images.
    """
    if crop < 64:
        return crop
    return 256 if 200 < crop <= 256 else round(crop * 256 / 224)


def _mean(
    images: ImageArguments,
    subject: Subject,
    published: Published | None,
    written: TransformationParameter,
    notes: list[str],
) -> npt.NDArray[np.float32] | None:
    if images.mean is not None:
        mean = read_mean(images.mean)
    elif published is not None:
        return _published_mean(published, subject)
    elif written.mean_file:
        mean = load_mean(_beside(written.mean_file, subject))
    elif written.mean_value:
        mean = np.array(written.mean_value, np.float32)
    else:
        notes.append("no mean is subtracted: neither --mean nor --expect nor the net says one")
        return None
    return mean if mean.ndim == 3 else mean.reshape(-1, 1, 1)


def _published_mean(published: Published, subject: Subject) -> npt.NDArray[np.float32] | None:
    if published.mean_file:
        return load_mean(_beside(published.mean_file, subject, USUAL_MEANS.get(published.dataset, "")))
    if not published.mean:
        return None
    return np.array(published.mean, np.float32).reshape(-1, 1, 1)


USUAL_MEANS = {"ImageNet 2012 validation": "104,117,123", "CIFAR-10 test": "125.3,123,113.9"}
"""Means of the training sets' mean images, in the nets' order of channels: BGR of ImageNet, RGB of CIFAR."""


def _beside(name: str, subject: Subject, values: str = "") -> Path:
    """A mean file that somebody else named: where they said, or beside the net or its weights."""
    base = Path(name.replace("\\", "/")).name
    folders = [Path(path).parent for path in (subject.weights, subject.net.path) if path]
    for place in (*(folder / base for folder in folders), Path(name)):
        if place.is_file():
            return place
    where = " or ".join(str(folder) for folder in dict.fromkeys(folders))
    close = f"; --mean {values} comes close" if values else ""
    raise RequestError(f"the mean image {base} is not in {where}: give it with --mean{close}")


def _written(net: Net) -> TransformationParameter:
    """The preprocessing of the net's own data layer, if it has one."""
    layers = (layer for layer in net.layers if not layer.bottoms and layer.param.HasField("transform_param"))
    first = next(layers, None)
    return TransformationParameter() if first is None else first.param.transform_param


def _scores_blob(net: Net, wanted: list[str]) -> tuple[str, list[str]]:
    """The blob with the scores: the one asked for, what a loss or Accuracy reads, or the last output."""
    if len(wanted) > 1:
        raise RequestError(f"scores are one blob, but --outputs names {len(wanted)}")
    if wanted:
        return wanted[0], []
    read = {bottom for layer in net.layers for bottom in layer.bottoms if bottom not in layer.tops}
    found: list[str] = []
    for layer in net.layers:
        if layer.bottoms and layer.type in SCORED_LAYERS:
            found.append(layer.bottoms[0])
        elif layer.bottoms:
            found += [top for top in layer.tops if top not in read]
    choices = list(dict.fromkeys(found))
    if not choices:
        raise RequestError(f"{net.path}: the net has no output")
    others = f"the scores are blob {choices[-1]!r}; the net also gives {', '.join(choices[:-1])} (--outputs)"
    return choices[-1], [others] if len(choices) > 1 else []


def _image_input(graph: Graph) -> tuple[str, tuple[int, int, int, int]]:
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        names = ", ".join(f"{value.name} ({format_shape(value.shape)})" for value in graph.inputs) or "none"
        raise RequestError(f"{graph.source}: a net of images has one input N×C×H×W; this one's are {names}")
    value = graph.inputs[0]
    batch, channels, height, width = (1 if is_free(size) else int(size) for size in value.shape)
    return value.blob, (batch, channels, height, width)


def _fixed(shapes: InputShapes) -> InputShapes:
    """Input shapes of the command line with their free axes at 1: the sizes are those that the net is fed."""
    return {name: tuple(1 if isinstance(dim, str) else dim for dim in dims) for name, dims in shapes.items()}
