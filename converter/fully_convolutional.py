"""A net in fully convolutional form: it takes images of any size and gives a map of scores.

    InnerProduct K×(C·h·w) on a C×h×w map   ->  Convolution K×C×h×w; one on a vector  ->  Convolution K×C×1×1
    Flatten, or a Reshape to one vector     ->  nothing: the map stays a map
    a layer on such a vector                ->  the same on each place of the map, where it has that form

On an image of the net's own size the map is one place with the net's own numbers. What lies behind a global pooling has
one size whatever the image's, and stays as it is. Source: section 3.2 of "Very Deep Convolutional Networks" (VGG),
which the ResNet paper follows for its best results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from converter.building.build import build
from converter.building.parameters import RandomParameters
from converter.graph import FreeDim, Graph, Shape, count, format_shape, is_free
from converter.layers.base import canonical_axis, registry
from converter.layers.shaping import Split
from converter.node import Layer, Node, Value, maker
from converter.options import Options
from prototxt import Net, NetLayer
from prototxt.caffe_pb2 import LayerParameter, NetParameter
from prototxt.errors import CaffeModelError, ErrorGroup, Position, RequestError, UnsupportedError
from prototxt.net import Neighbours
from prototxt.words import listed
from weights import Blob, LayerWeights, Weights

MapPart = tuple[int, int, int]
"""Channels, height and width of the part of a map that is one vector of the net."""


@dataclass(frozen=True)
class Dense:
    """A net in fully convolutional form.

    Attributes:
        net: its layers stand where the original's do in the user's file; those that the scores don't need are left out.
        weights: of its layers, read from the original's file when they are asked for: to be used while that is open.
        input: the blob that takes images.
        channels: of the images.
        outputs: the blob with the scores, in a list.
    """

    net: Net
    weights: Weights
    input: str
    channels: int
    outputs: Sequence[str]

    def check_size(self, height: int, width: int) -> None:
        """Make sure that the net takes images of a size.

        Raises:
            RequestError: it does not; names the first layer that cannot work on what reaches it.
        """
        shape = (1, self.channels, height, width)
        try:
            build(self.net, self.weights, input_shapes={self.input: shape}, outputs=self.outputs)
        except CaffeModelError as error:
            first = error.errors[0] if isinstance(error, ErrorGroup) else error
            raise RequestError(
                f"the net takes no image of {height}×{width}: {first.message}",
                position=first.position,
                layer=first.layer,
                layer_type=first.layer_type,
            ) from error


def fully_convolutional(net: Net, weights: Weights | None, options: Options) -> Dense:
    """The net in that form.

    Args:
        net: the net.
        weights: its weights.
        options: with the input's shape, at which the net was trained, and the scores as its one output.

    Raises:
        UnsupportedError: a layer that has no such form, with its place in the prototxt.
        CaffeModelError: the net cannot be read.
    """
    make = None if options.random_weights is None else RandomParameters(options.random_weights)
    graph = build(net, weights, input_shapes=options.input_shapes, outputs=options.outputs, make=make)
    (fed,) = graph.inputs
    rewriting = _Rewriting({id(fed): _freed(fed)})
    for node in graph.nodes:
        rewriting.visit(node)
    _check_scores(graph, rewriting)
    path = net.path if weights is None else weights.path
    learned = Weights(path, [layer for layer in rewriting.learned if layer.blobs], name=net.name)
    return Dense(_assembled(net, fed, rewriting), learned, fed.blob, int(fed.shape[1]), list(options.outputs))


def _freed(fed: Value) -> Shape:
    batch, channels, height, width = fed.shape
    return batch, channels, FreeDim(int(height), "H"), FreeDim(int(width), "W")


@dataclass
class _Rewriting:
    """The walk through a net.

    Attributes:
        sizes: shape of each value in the new net, by its id; free where it follows the image's size.
        vectors: those that are vectors in the net and maps in the new one, and what part of the map each vector was.
        params: each layer's new message, by the id of the layer.
        learned: each layer's weights, in the order of the net.
    """

    sizes: dict[int, Shape]
    vectors: dict[int, MapPart] = field(default_factory=dict)
    params: dict[int, LayerParameter] = field(default_factory=dict)
    learned: list[LayerWeights] = field(default_factory=list)

    def visit(self, node: Node) -> None:
        """Rewrite one layer; those before it have been."""
        source = maker(node).source
        if source is not None and not node.origins:
            message = (
                f"it works in place on memory that {node.outputs[0].blob!r} shares, which has no convolutional form"
            )
            raise _refusal(source, message)
        if source is None or node.layer.leads:  # a Split that Caffe puts in and no file has; what the next layer does
            self._pass_on(node)
            return
        param = LayerParameter()
        param.CopyFrom(source.param)
        param.ClearField("blobs")
        tensors = list(node.tensors.values())
        shapes = [self.sizes[id(value)] for value in node.inputs]
        windows = [self.vectors[id(value)] for value in node.inputs if id(value) in self.vectors]
        made: list[MapPart | None] = [None] * len(node.outputs)
        first = node.layer.sums_from
        if first is not None and _sees_map(canonical_axis(first, len(node.shape)), shapes[0], windows):
            window = windows[0] if windows else _window(source, node.shape, shapes[0])
            with _refusals(source):
                tensors = node.layer.as_convolution(node, source, param, window)
            made = [(int(node.outputs[0].shape[1]), 1, 1)]
        elif windows or (shapes and _makes_vector(node, shapes[0])):
            made = self._on_vector(node, source, param, shapes[0], windows)
        blobs = tuple(Blob(tuple(map(int, tensor.shape)), False, tensor.load) for tensor in tensors)
        layer = _read(source, param, blobs) if any(made) else node.layer
        self._infer(node, source, layer, shapes, made)
        self.params[id(source)] = param
        self.learned.append(LayerWeights(source.name, param.type, blobs))

    def _pass_on(self, node: Node) -> None:
        (read,) = node.inputs
        for value in node.outputs:
            self.sizes[id(value)] = self.sizes[id(read)]
            if id(read) in self.vectors:
                self.vectors[id(value)] = self.vectors[id(read)]

    def _on_vector(
        self, node: Node, source: NetLayer, param: LayerParameter, shape: Shape, windows: Sequence[MapPart]
    ) -> list[MapPart | None]:
        """Rewrite a layer that reads or makes a vector; what its tops are."""
        if len(windows) not in (0, len(node.inputs)):
            raise _refusal(source, "it joins what follows the image's size with what does not")
        acts_on = node.layer.acts_on
        if acts_on == "shape":
            window = windows[0] if windows else _window(source, node.shape, shape)
            return [_keep_map(node, source, param, window)]
        if acts_on == "values" and len(set(windows)) == 1:
            return [windows[0]] * len(node.outputs)
        if acts_on == "channels" and len({window[1:] for window in windows}) == 1:
            return _per_channel(node, source, param, windows)
        sizes = listed(list(dict.fromkeys(format_shape(value.shape) for value in node.inputs)))
        raise _refusal(source, f"on a vector ({sizes}) it has no convolutional form")

    def _infer(
        self, node: Node, source: NetLayer, layer: Layer, shapes: Sequence[Shape], made: Sequence[MapPart | None]
    ) -> None:
        """Note the shapes of the layer's tops, and which of them are vectors in the net."""
        with _refusals(source):
            layer.check_any_size(source)
            tops = layer.infer(shapes)
        for value, shape, window in zip(node.outputs, tops, made, strict=False):
            self.sizes[id(value)] = shape
            if window is not None:
                self.vectors[id(value)] = window


def _read(source: NetLayer, param: LayerParameter, blobs: Sequence[Blob]) -> Layer:
    rewritten = source.replaced(param=param)
    layer = registry()[rewritten.kind].read(rewritten)
    return layer.told_by([blob.shape for blob in blobs]) if blobs else layer


def _sees_map(axis: int, shape: Shape, windows: Sequence[MapPart]) -> bool:
    """Whether the sizes that a layer sums over follow the image's size."""
    return bool(windows) or any(map(is_free, shape[axis:]))


def _makes_vector(node: Node, shape: Shape) -> bool:
    """Whether a layer lays out a map as one vector an image."""
    flat = (node.shape[0], count(node.shape[1:]))
    return node.layer.acts_on == "shape" and any(map(is_free, shape[1:])) and tuple(node.outputs[0].shape) == flat


def _window(source: NetLayer, own: Shape, shape: Shape) -> MapPart:
    """The whole map at the net's own size."""
    if len(shape) != 4 or is_free(shape[1]):
        raise _refusal(source, f"what it reads ({format_shape(own)}) is no map N×C×height×width")
    return int(own[1]), int(own[2]), int(own[3])


def _keep_map(node: Node, source: NetLayer, param: LayerParameter, window: MapPart) -> MapPart | None:
    """Make a Flatten or Reshape nothing: what it makes is the vector still, or the window's own shape."""
    (top,) = node.outputs
    as_map = (node.shape[0], *window)
    if tuple(top.shape) not in (as_map, (node.shape[0], count(window))):
        raise _refusal(source, f"it makes {format_shape(top.shape)}; expected a vector for each image")
    param.Clear()
    param.name, param.type = source.name, Split.types[0]
    param.bottom.extend(source.bottoms)
    param.top.extend(source.tops)
    return None if tuple(top.shape) == as_map else window


def _per_channel(
    node: Node, source: NetLayer, param: LayerParameter, windows: Sequence[MapPart]
) -> list[MapPart | None]:
    """Point a layer that works along the vector at the channels."""
    _, height, width = windows[0]
    layer = node.layer
    if (height, width) != (1, 1) and not layer.joins:
        raise _refusal(
            source, f"on {format_shape(windows[0])} values laid out as a vector it has no convolutional form"
        )
    if len(node.inputs) > 1 and not layer.joins:
        raise _refusal(source, "with two bottoms on a vector it has no convolutional form")
    if layer.axis_fields:
        _point_at_channels(source, param, *layer.axis_fields)
    if layer.joins:
        return [(sum(window[0] for window in windows), height, width)]
    return [(int(value.shape[1]), 1, 1) for value in node.outputs]


def _point_at_channels(source: NetLayer, param: LayerParameter, section: str, *names: str) -> None:
    """Write the axis of a map's channels where a vector's own axis stands."""
    message = getattr(param, section)
    name = next((name for name in names if message.HasField(name)), names[0])
    axis = getattr(message, name)
    if canonical_axis(axis, 2) != 1:
        raise _refusal(source, f"{name} is {axis}; expected 1", source.where(section, name))
    setattr(message, name, 1)
    if getattr(message, "num_axes", 1) == -1:
        message.num_axes = 1


@contextmanager
def _refusals(source: NetLayer) -> Iterator[None]:
    """What a layer itself refuses, as what keeps the net from that form."""
    try:
        yield
    except CaffeModelError as error:
        raise _refusal(source, error.message, error.position) from error


def _refusal(source: NetLayer, why: str, place: Position | None = None) -> UnsupportedError:
    message = f"it keeps the net from being fully convolutional: {why}"
    where = place or source.position
    return UnsupportedError(message, position=where, layer=source.name, layer_type=source.type)


def _check_scores(graph: Graph, rewriting: _Rewriting) -> None:
    """The scores are a row, or a map with the classes as its channels."""
    (scores,) = graph.outputs
    shape = rewriting.sizes[id(scores)]
    if any(map(is_free, shape)) and (len(shape) != 4 or is_free(shape[1])):
        origin = None if scores.producer is None else scores.producer.origins[0]
        message = f"the scores {scores.blob!r} ({format_shape(scores.shape)}) are no map with a channel for each class"
        raise UnsupportedError(message, position=origin.position if origin else Position(graph.source))


def _assembled(net: Net, fed: Value, rewriting: _Rewriting) -> Net:
    """The new layers in the order of the net, each at the place of the one that it comes from."""
    kept = [
        layer for layer in net.layers if id(layer) in rewriting.params or (not layer.bottoms and fed.blob in layer.tops)
    ]
    message = NetParameter()
    message.CopyFrom(net.message)
    message.ClearField("layer")
    for layer in kept:
        message.layer.add().CopyFrom(rewriting.params.get(id(layer), layer.param))
    neighbours = Neighbours(message.layer)
    layers = tuple(
        layer.replaced(param=param, neighbours=neighbours) for layer, param in zip(kept, message.layer, strict=True)
    )
    return replace(net, layers=layers, message=message, left_out=())


__all__ = ["Dense", "fully_convolutional"]
