"""The net that is fed images, for the verbs that read them: which blob takes them, which holds the scores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from os import PathLike

import numpy as np

from converter.api import prepare
from converter.building.inputs import InputShapes
from converter.graph import Graph, Shape, format_shape, is_free
from converter.layers.base import registry
from converter.options import Options
from converter.reading import load_parsed, weights_of
from converter.traits import Traits
from prototxt import Net
from prototxt.errors import RequestError
from prototxt.names import named_by
from resnet_convert.plugins import load_plugins
from resnet_convert.requests.images import ImageRequest, PreparedRequest
from verify.evaluation.datasets.arrays import array_images
from verify.evaluation.datasets.opening import open_source
from verify.evaluation.records import Source
from weights import open_weights, unused_warnings


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
        scores_shape: of the scores' blob, for such an input.
        box_classes: of a blob with rows of image, class, score and corners, the classes; None for any other.
        probabilities: whether the scores come from a layer that makes probabilities of them.
        notes: what was chosen, where there was a choice.
    """

    net: Net
    weights: str | None
    scores: str
    input: str
    shape: tuple[int, int, int, int]
    options: Options
    scores_shape: Shape = ()
    box_classes: Sequence[int] | None = None
    probabilities: bool = False
    notes: list[str] = field(default_factory=list)


def subject_of(request: PreparedRequest) -> Subject:
    """Read the net and find its input and its scores.

    Raises:
        RequestError: the request names no net or no data.
        CaffeModelError: the net cannot be converted, or is none that takes images and gives scores.
    """
    given_by_name = {"NET": request.net, "--data": request.data if isinstance(request, ImageRequest) else None}
    for name, given in given_by_name.items():
        if isinstance(given, str) and not given:
            raise RequestError(f"{name} is missing; --help explains the options")
    load_plugins(request.plugins)
    options = request.to_options()
    net = load_parsed(request.net, options, request.weights)
    weights = weights_of(request.net, request.weights)
    scores, notes = _scores_blob(net, list(request.outputs))
    sized = replace(options, outputs=[scores], input_shapes=_fixed(options.input_shapes))
    with ExitStack() as stack:
        source = None if weights is None else stack.enter_context(open_weights(weights))
        graph = prepare(net, source, sized).graph
        notes += unused_warnings(source, (layer.name for layer in net.layers))
    name, shape = _image_input(graph)
    value = graph.outputs[0]
    layer = value.producer.layer if value.producer is not None else Traits()
    facts = value.shape, layer.box_classes, layer.gives_probabilities
    return Subject(net, None if weights is None else str(weights), scores, name, shape, sized, *facts, notes)


def source_of(request: ImageRequest) -> Source:
    """The data set that the request names or holds.

    Raises:
        RequestError: it cannot be read, or its labels do not fit.
    """
    labels = request.labels
    if isinstance(request.data, np.ndarray):
        if labels is not None and isinstance(labels, (str, PathLike)):
            raise RequestError("images in an array go with labels in an array")
        return array_images(request.data, labels)
    if labels is not None and not isinstance(labels, (str, PathLike)):
        raise RequestError("labels in an array go with images in an array")
    return open_source(
        request.data, labels=labels, synsets=request.synsets, ignore_orientation=request.ignore_orientation
    )


def _scores_blob(net: Net, wanted: list[str]) -> tuple[str, list[str]]:
    """The blob with the scores: the one asked for, what a loss or Accuracy reads, or the last output.

    Of several outputs those come first that a layer has made probabilities.
    """
    if len(wanted) > 1:
        raise RequestError(f"scores are one blob, but --outputs names {len(wanted)}")
    if wanted:
        return named_by(wanted[0], [top for layer in net.layers for top in layer.tops]), []
    read = {bottom for layer in net.layers for bottom in layer.bottoms if bottom not in layer.tops}
    found: list[str] = []
    probable: set[str] = set()
    for layer in net.layers:
        known = registry().get(layer.kind)
        if layer.bottoms and known is not None and known.reads_scores:
            found.append(layer.bottoms[0])
        elif layer.bottoms:
            found += [top for top in layer.tops if top not in read]
            probable |= {*layer.tops} if known is not None and known.gives_probabilities else set()
    choices = list(dict.fromkeys(found))
    if not choices:
        raise RequestError(f"{net.path}: the net has no output")
    chosen = next((name for name in reversed(choices) if name in probable), choices[-1])
    others = ", ".join(name for name in choices if name != chosen)
    return chosen, [f"the scores are blob {chosen!r}; the net also gives {others} (--outputs)"] if others else []


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
