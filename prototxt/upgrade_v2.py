"""What changed within the present form: inputs became a layer, and BatchNorm's own blobs are never learned.

    input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9
    ->  layer { name: "input" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 9 } } }

One layer, first in the net, makes all inputs. `input_shape` wins over `input_dim`, which holds four numbers per input.
A BatchNorm with three `param` blocks gets lr_mult 0 and decay_mult 0 in each; with any other number it stays as it is.
(Source: behaviour of BVLC Caffe 1.0.)
"""

from __future__ import annotations

from collections.abc import Sequence

from prototxt import caffe_pb2
from prototxt.change import Change, Where, nowhere
from prototxt.errors import NetError
from prototxt.words import named, plural

_DIMS_PER_INPUT = 4
_BATCH_NORM_BLOBS = 3


def needs_input_upgrade(message: caffe_pb2.NetParameter) -> bool:
    """Whether the net has `input` fields."""
    return len(message.input) > 0


def upgrade_inputs(message: caffe_pb2.NetParameter, where: Where = nowhere, *, keep_bare: bool = False) -> Change:
    """Replace `input`, `input_shape` and `input_dim` by one Input layer, in place.

    Args:
        message: a net without `layers`.
        where: places for the errors.
        keep_bare: give inputs that have no shape an Input layer without one, unless a layer makes that blob. Caffe
            drops them, which leaves the layers that read them without a bottom.

    Raises:
        NetError: fewer shapes than inputs.
    """
    names, notes = list(message.input), []
    shapes = _input_shapes(message, where)
    if shapes is None:
        made = {top for layer in message.layer for top in layer.top}
        dropped = [name for name in names if not keep_bare or name in made]
        names = [name for name in names if keep_bare and name not in made]
        if names:
            notes.append(f"input {named(names)} has no shape; it became the layer 'input'")
        if dropped:
            notes.append(f"input {named(dropped)} has no shape and is dropped, as Caffe does")
    else:
        notes.append(f"{plural(len(names), 'input field')} became the layer 'input'")
        notes += _surplus(message)
    for field in ("input", "input_shape", "input_dim"):
        message.ClearField(field)
    origins = list(range(len(message.layer)))
    if names:
        message.layer.insert(0, _input_layer(names, shapes))
        origins.insert(0, -1)
    return Change(origins, tuple(notes))


def _input_shapes(message: caffe_pb2.NetParameter, where: Where) -> list[list[int]] | None:
    """A shape for each input; None when the net gives no shapes at all."""
    count = len(message.input)
    if message.input_shape:
        shapes = [list(shape.dim) for shape in message.input_shape]
        if len(shapes) < count:
            raise NetError(
                f"{plural(count, 'input')} but {len(shapes)} input_shape; expected one for each",
                position=where("input", len(shapes)),
            )
        return shapes[:count]
    if not message.input_dim:
        return None
    dims = list(message.input_dim)
    if len(dims) < _DIMS_PER_INPUT * count:
        raise NetError(
            f"{plural(count, 'input')} but {len(dims)} input_dim; expected {_DIMS_PER_INPUT} for each",
            position=where("input", len(dims) // _DIMS_PER_INPUT),
        )
    return [dims[_DIMS_PER_INPUT * k : _DIMS_PER_INPUT * (k + 1)] for k in range(count)]


def _surplus(message: caffe_pb2.NetParameter) -> list[str]:
    count = len(message.input)
    if message.input_shape:
        unread = [f"{len(message.input_shape) - count} of input_shape"] if len(message.input_shape) > count else []
        unread += ["input_dim"] if message.input_dim else []
    else:
        extra = len(message.input_dim) - _DIMS_PER_INPUT * count
        unread = [f"{extra} of input_dim"] if extra else []
    return [f"not read, as in Caffe: {', '.join(unread)}"] if unread else []


def _input_layer(names: Sequence[str], shapes: Sequence[Sequence[int]] | None) -> caffe_pb2.LayerParameter:
    layer = caffe_pb2.LayerParameter(name="input", type="Input", top=names)
    for dims in shapes or ():
        layer.input_param.shape.add().dim.extend(dims)
    return layer


def _learned_statistics(layer: caffe_pb2.LayerParameter) -> bool:
    return layer.type == "BatchNorm" and len(layer.param) == _BATCH_NORM_BLOBS and not all(map(_frozen, layer.param))


def _frozen(spec: caffe_pb2.ParamSpec) -> bool:
    return spec.HasField("lr_mult") and spec.lr_mult == 0 and spec.HasField("decay_mult") and spec.decay_mult == 0


def needs_batch_norm_upgrade(message: caffe_pb2.NetParameter) -> bool:
    """Whether a BatchNorm has three `param` blocks that do not all say lr_mult 0 and decay_mult 0."""
    return any(map(_learned_statistics, message.layer))


def upgrade_batch_norm(message: caffe_pb2.NetParameter, where: Where = nowhere) -> Change:
    """Set lr_mult and decay_mult of BatchNorm's mean, variance and scale factor to 0, in place."""
    layers = [layer for layer in message.layer if _learned_statistics(layer)]
    for layer in layers:
        for spec in layer.param:
            spec.lr_mult = spec.decay_mult = 0.0
    note = f"lr_mult and decay_mult of {plural(len(layers), 'BatchNorm layer')} set to 0"
    return Change(list(range(len(message.layer))), (note,))
