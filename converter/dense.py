"""A net in fully convolutional form: it takes images of any size and gives a map of scores.

    InnerProduct K×(C·h·w) on a C×h×w map   ->  Convolution K×C×h×w; one on a vector  ->  Convolution K×C×1×1
    Flatten, or a Reshape to one vector     ->  nothing: the map stays a map
    a layer on such a vector                ->  the same on each place of the map, where it has that form

On an image of the net's own size the map is one place with the net's own numbers. What lies behind a global pooling has
one size whatever the image's, and stays as it is. Source: section 3.2 of "Very Deep Convolutional Networks" (VGG),
which the ResNet paper follows for its best results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from converter.api import Options
from converter.build import build
from converter.graph import FreeDim, Graph, Node, Shape, Tensor, Value, count, format_shape, is_free
from converter.layers.base import Layer, canonical_axis, registry
from converter.layers.inner_product import InnerProduct
from converter.layers.pooling import Pooling
from converter.parameters import RandomParameters
from prototxt import Net, NetLayer
from prototxt.caffe_pb2 import LayerParameter, NetParameter
from prototxt.errors import CaffeModelError, ErrorGroup, Position, RequestError, UnsupportedError
from weights import Blob, LayerWeights, Weights

Window = tuple[int, int, int]
"""Channels, height and width of the part of a map that is one vector of the net."""

RESHAPING = frozenset(("Flatten", "Reshape", "Squeeze"))
ELEMENTWISE = frozenset(
    "AbsVal BNLL BReLU Clip Dropout ELU Eltwise Exp HardSigmoid HardSwish Log Power ReLU ReLU6 SeLu SeLuDropout "
    "Sigmoid Split Swish TanH Threshold".split()
)
PER_CHANNEL = frozenset(("BN", "BatchNorm", "Bias", "Concat", "PReLU", "Scale", "Slice", "Softmax"))
SECTIONS = {
    "Bias": "bias_param",
    "Concat": "concat_param",
    "Scale": "scale_param",
    "Slice": "slice_param",
    "Softmax": "softmax_param",
}
"""Where these types have their axis."""


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
    vectors: dict[int, Window] = field(default_factory=dict)
    params: dict[int, LayerParameter] = field(default_factory=dict)
    learned: list[LayerWeights] = field(default_factory=list)

    def visit(self, node: Node) -> None:
        """Rewrite one layer; those before it have been."""
        source = node.origins[0].source
        if source is None:  # a Split that Caffe puts in and no file has
            self._pass_on(node)
            return
        param = LayerParameter()
        param.CopyFrom(source.param)
        param.ClearField("blobs")
        tensors = list(node.tensors.values())
        shapes = [self.sizes[id(value)] for value in node.inputs]
        windows = [self.vectors[id(value)] for value in node.inputs if id(value) in self.vectors]
        made: list[Window | None] = [None] * len(node.outputs)
        if isinstance(node.layer, InnerProduct) and _sees_map(node, shapes[0], windows):
            window = windows[0] if windows else _window(source, node.shape, shapes[0])
            tensors = _convolve(node, node.layer, source, param, window)
            made = [(node.layer.num_output, 1, 1)]
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
        self, node: Node, source: NetLayer, param: LayerParameter, shape: Shape, windows: Sequence[Window]
    ) -> list[Window | None]:
        """Rewrite a layer that reads or makes a vector; what its tops are."""
        if len(windows) not in (0, len(node.inputs)):
            raise _refusal(source, "it joins what follows the image's size with what does not")
        if source.type in RESHAPING:
            window = windows[0] if windows else _window(source, node.shape, shape)
            return [_keep_map(node, source, param, window)]
        if source.type in ELEMENTWISE and len(set(windows)) == 1:
            return [windows[0]] * len(node.outputs)
        if source.type in PER_CHANNEL and len({window[1:] for window in windows}) == 1:
            return _per_channel(node, source, param, windows)
        sizes = " and ".join(dict.fromkeys(format_shape(value.shape) for value in node.inputs))
        raise _refusal(source, f"on a vector ({sizes}) it has no convolutional form")

    def _infer(
        self, node: Node, source: NetLayer, layer: Layer, shapes: Sequence[Shape], made: Sequence[Window | None]
    ) -> None:
        """Note the shapes of the layer's tops, and which of them are vectors in the net."""
        _refuse_empty_windows(source, layer)
        try:
            tops = layer.infer(shapes)
        except CaffeModelError as error:
            raise _refusal(source, error.message) from error
        for value, shape, window in zip(node.outputs, tops, made, strict=False):
            self.sizes[id(value)] = shape
            if window is not None:
                self.vectors[id(value)] = window


def _read(source: NetLayer, param: LayerParameter, blobs: Sequence[Blob]) -> Layer:
    layer = registry()[param.type].read(replace(source, param=param))
    return layer.told_by([blob.shape for blob in blobs]) if blobs else layer


def _refuse_empty_windows(source: NetLayer, layer: Layer) -> None:
    """At some sizes of the image Caffe puts the last window wholly behind it, which no runtime does."""
    if not isinstance(layer, Pooling) or layer.global_pooling or not layer.rounds_up or any(layer.pad + layer.pad_end):
        return
    if any(stride > kernel for stride, kernel in zip(layer.stride, layer.kernel, strict=True)):
        place = source.where("pooling_param")
        raise _refusal(source, "its stride is above its kernel, so a window may lie wholly behind an image", place)


def _sees_map(node: Node, shape: Shape, windows: Sequence[Window]) -> bool:
    """Whether the sizes that an InnerProduct sums over follow the image's size."""
    assert isinstance(node.layer, InnerProduct)
    return bool(windows) or any(map(is_free, shape[canonical_axis(node.layer.axis, len(node.shape)) :]))


def _makes_vector(node: Node, shape: Shape) -> bool:
    """Whether a layer lays out a map as one vector an image."""
    flat = (node.shape[0], count(node.shape[1:]))
    reshaping = any(origin.type in RESHAPING for origin in node.origins)
    return reshaping and any(map(is_free, shape[1:])) and tuple(node.outputs[0].shape) == flat


def _window(source: NetLayer, own: Shape, shape: Shape) -> Window:
    """The whole map at the net's own size."""
    if len(shape) != 4 or is_free(shape[1]):
        raise _refusal(source, f"what it reads ({format_shape(own)}) is no map N×C×height×width")
    return int(own[1]), int(own[2]), int(own[3])


def _convolve(node: Node, layer: InnerProduct, source: NetLayer, param: LayerParameter, window: Window) -> list[Tensor]:
    """Make an InnerProduct a Convolution; its weights and bias."""
    if canonical_axis(layer.axis, len(node.shape)) != 1:
        place = source.where("inner_product_param", "axis")
        raise _refusal(source, f"axis is {layer.axis}; expected 1", place)
    param.type = "Convolution"
    param.ClearField("inner_product_param")
    for spec in param.param:  # A layer that shares this one's weights may have them in another shape.
        spec.ClearField("name")
    convolution = param.convolution_param
    convolution.num_output, convolution.bias_term = layer.num_output, layer.bias_term
    convolution.kernel_h, convolution.kernel_w = window[1:]
    weight, *bias = node.tensors.values()
    shape = (layer.num_output, *window)
    return [weight.map(lambda values: values.T if layer.transpose else values, shape), *bias]


def _keep_map(node: Node, source: NetLayer, param: LayerParameter, window: Window) -> Window | None:
    """Make a Flatten or Reshape nothing: what it makes is the vector still, or the window's own shape."""
    (top,) = node.outputs
    as_map = (node.shape[0], *window)
    if tuple(top.shape) not in (as_map, (node.shape[0], count(window))):
        raise _refusal(source, f"it makes {format_shape(top.shape)}; expected a vector for each image")
    param.Clear()
    param.name, param.type = source.name, "Split"
    param.bottom.extend(source.bottoms)
    param.top.extend(source.tops)
    return None if tuple(top.shape) == as_map else window


def _per_channel(node: Node, source: NetLayer, param: LayerParameter, windows: Sequence[Window]) -> list[Window | None]:
    """Point a layer that works along the vector at the channels."""
    _, height, width = windows[0]
    joins = source.type == "Concat"
    if (height, width) != (1, 1) and not joins:
        raise _refusal(
            source, f"on {format_shape(windows[0])} values laid out as a vector it has no convolutional form"
        )
    if len(node.inputs) > 1 and not joins:
        raise _refusal(source, "with two bottoms on a vector it has no convolutional form")
    if source.type in SECTIONS:
        section = getattr(param, SECTIONS[source.type])
        old = {"Concat": "concat_dim", "Slice": "slice_dim"}.get(source.type)
        if old is None or not section.HasField(old):
            if canonical_axis(section.axis, 2) != 1:
                raise _refusal(
                    source, f"axis is {section.axis}; expected 1", source.where(SECTIONS[source.type], "axis")
                )
            section.axis = 1
        if source.type == "Scale" and section.num_axes == -1:
            section.num_axes = 1
    if joins:
        return [(sum(window[0] for window in windows), height, width)]
    return [(int(value.shape[1]), 1, 1) for value in node.outputs]


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
    layers = tuple(
        replace(layer, param=param, neighbours=message.layer) for layer, param in zip(kept, message.layer, strict=True)
    )
    return replace(net, layers=layers, message=message, left_out=())


__all__ = ["Dense", "fully_convolutional"]
