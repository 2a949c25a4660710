"""From Caffe's first form (2013, `layers { layer { type: "conv" } }`) to the second, V1.

Every parameter lay flat in one message, padding was a layer of its own, and the fields have moved: `kernelsize` of a
"conv" is `convolution_param.kernel_size` now. The tables say where to.

What Caffe's upgrade does not carry over is lost here too, and noted: of the net it keeps name, layers, input, input_dim
and force_backward, of an entry bottom, top and the nested layer. `include`, `loss_weight` and `state` vanish, so that a
layer with `include` runs in every phase.  (Source: behaviour of BVLC Caffe 1.0, upgrade_proto.cpp.)
"""

from __future__ import annotations

from typing import Any, cast

from prototxt import caffe_pb2
from prototxt.change import Change, Where, nowhere, refuse_mixture
from prototxt.errors import CaffeModelError, NetError, UnsupportedError, raise_all
from prototxt.words import named, plural

TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
"""V0 type string -> name in V1's enum."""

_PARAMS = {
    "concat": "concat_param",
    "conv": "convolution_param",
    "data": "data_param",
    "dropout": "dropout_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "infogain_loss": "infogain_loss_param",
    "innerproduct": "inner_product_param",
    "lrn": "lrn_param",
    "pool": "pooling_param",
    "window_data": "window_data_param",
}

_MOVED = {
    "num_output": ("num_output", "conv innerproduct"),
    "biasterm": ("bias_term", "conv innerproduct"),
    "weight_filler": ("weight_filler", "conv innerproduct"),
    "bias_filler": ("bias_filler", "conv innerproduct"),
    "pad": ("pad", "conv pool"),
    "kernelsize": ("kernel_size", "conv pool"),
    "group": ("group", "conv"),
    "stride": ("stride", "conv pool"),
    "pool": ("pool", "pool"),
    "dropout_ratio": ("dropout_ratio", "dropout"),
    "local_size": ("local_size", "lrn"),
    "alpha": ("alpha", "lrn"),
    "beta": ("beta", "lrn"),
    "k": ("k", "lrn"),
    "source": ("source", "data hdf5_data images window_data infogain_loss"),
    "batchsize": ("batch_size", "data hdf5_data images window_data"),
    "rand_skip": ("rand_skip", "data images"),
    "shuffle_images": ("shuffle", "images"),
    "new_height": ("new_height", "images"),
    "new_width": ("new_width", "images"),
    "concat_dim": ("concat_dim", "concat"),
    "det_fg_threshold": ("fg_threshold", "window_data"),
    "det_bg_threshold": ("bg_threshold", "window_data"),
    "det_fg_fraction": ("fg_fraction", "window_data"),
    "det_context_pad": ("context_pad", "window_data"),
    "det_crop_mode": ("crop_mode", "window_data"),
}
"""V0 field -> (its name now, the V0 types that have it)."""

_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
_SAME_NAME = ("name", "blobs", "blobs_lr", "weight_decay")
_KEPT_OF_NET = {"name", "layers", "input", "input_dim", "force_backward"}
_KEPT_OF_ENTRY = {"bottom", "top", "layer"}


def needs_v0_upgrade(message: caffe_pb2.NetParameter) -> bool:
    """Whether some `layers` entry nests a `layer`."""
    return any(entry.HasField("layer") for entry in message.layers)


def upgrade_v0(message: caffe_pb2.NetParameter, where: Where = nowhere, *, keep_input_shape: bool = False) -> Change:
    """Turn the V0 entries of `layers` into V1 ones, in place; padding layers go into the conv or pool that reads them.

    Args:
        message: changed only if nothing is wrong with it.
        where: places for the errors.
        keep_input_shape: keep `input_shape`, which Caffe's own upgrade loses (and its inputs with it).

    Raises:
        NetError: a padding layer that anything but a conv or pool reads, or one without exactly one bottom and top.
        UnsupportedError: a type that V0 never had. Several faults are reported together.
    """
    refuse_mixture(message, where)
    readers, errors = _padding_readers(message, where)
    errors += _unknown_types(message, where)
    raise_all(errors)
    lost = _drop_of_net(message, _KEPT_OF_NET | ({"input_shape"} if keep_input_shape else set()))
    notes = [*lost, *_fold_padding(message, readers)]
    kept = [index for index, entry in enumerate(message.layers) if not _is_padding(entry)]
    for index in reversed(range(len(message.layers))):
        if _is_padding(message.layers[index]):
            del message.layers[index]
    upgraded = [entry for entry in message.layers if entry.HasField("layer")]
    for entry in upgraded:
        dropped = _upgrade_entry(entry)
        notes, lost = notes + dropped, lost + dropped
    return Change(kept, (f"V0 to V1: {plural(len(upgraded), 'layer')}", *notes), tuple(lost))


def _is_padding(entry: caffe_pb2.V1LayerParameter) -> bool:
    return entry.HasField("layer") and entry.layer.type == "padding"


def _padding_readers(message: caffe_pb2.NetParameter, where: Where) -> tuple[dict[int, int], list[CaffeModelError]]:
    """Index of each layer that reads a padding layer -> index of that padding layer."""
    makers: dict[str, int] = {}
    readers: dict[int, int] = {}
    errors: list[CaffeModelError] = []
    for index, entry in enumerate(message.layers):
        sources = [makers[bottom] for bottom in entry.bottom if bottom in makers]
        for source in sources:
            if not _is_padding(message.layers[source]):
                continue
            readers[index] = source
            fault = _padding_fault(entry, message.layers[source])
            if fault:
                name, kind = entry.layer.name or entry.name, entry.layer.type or None
                errors.append(NetError(fault, position=where("layers", index), layer=name, layer_type=kind))
        makers.update((top, index) for top in entry.top)
    return readers, errors


def _padding_fault(reader: caffe_pb2.V1LayerParameter, padding: caffe_pb2.V1LayerParameter) -> str | None:
    name = padding.layer.name
    if reader.layer.type not in ("conv", "pool"):
        return f"reads the padding layer {name!r}, which only a conv or a pool layer can"
    if len(reader.bottom) != 1:
        return f"reads the padding layer {name!r} and has {len(reader.bottom)} bottoms, expected 1"
    if len(padding.bottom) != 1 or len(padding.top) != 1:
        ends = f"{plural(len(padding.bottom), 'bottom')} and {plural(len(padding.top), 'top')}"
        return f"reads the padding layer {name!r}, which has {ends}, expected 1 and 1"
    return None


def _unknown_types(message: caffe_pb2.NetParameter, where: Where) -> list[CaffeModelError]:
    return [
        UnsupportedError(
            f"no such layer type in Caffe's V0 form; expected one of {', '.join(sorted([*TYPES, 'padding']))}",
            position=where("layers", index),
            layer=entry.layer.name,
            layer_type=entry.layer.type,
        )
        for index, entry in enumerate(message.layers)
        if entry.layer.HasField("type") and entry.layer.type not in TYPES and not _is_padding(entry)
    ]


def _drop_of_net(message: caffe_pb2.NetParameter, kept: set[str]) -> list[str]:
    lost = [field.name for field, _ in message.ListFields() if field.name not in kept]
    for name in lost:
        message.ClearField(name)
    return [f"V0 to V1: the net's {name} is dropped, as Caffe does" for name in lost]


def _fold_padding(message: caffe_pb2.NetParameter, readers: dict[int, int]) -> list[str]:
    notes = []
    for index, source in readers.items():
        entry, padding = message.layers[index], message.layers[source]
        if entry.layer.HasField("pad") and entry.layer.pad != padding.layer.pad:
            notes.append(
                f"layer {entry.layer.name!r}: its own pad {entry.layer.pad} gives way to the {padding.layer.pad} "
                f"of the padding layer {padding.layer.name!r}, as in Caffe"
            )
        entry.layer.pad = padding.layer.pad
        entry.bottom[0] = padding.bottom[0]
    if readers:
        names = [message.layers[index].layer.name for index in readers]
        notes.insert(0, f"V0 to V1: padding layers became the pad of {named(names)}")
    used = set(readers.values())
    idle = [e.layer.name for i, e in enumerate(message.layers) if _is_padding(e) and i not in used]
    if idle:
        notes.append(f"V0 to V1: nothing reads {plural(len(idle), 'padding layer')}: {named(idle)}; dropped")
    return notes


def _upgrade_entry(entry: caffe_pb2.V1LayerParameter) -> list[str]:
    """Move the nested layer's fields to where V1 has them; the notes tell what has no place there."""
    lost = [field.name for field, _ in entry.ListFields() if field.name not in _KEPT_OF_ENTRY]
    for name in lost:
        entry.ClearField(name)
    old = entry.layer
    if old.HasField("type"):
        number = caffe_pb2.V1LayerParameter.LayerType.Value(TYPES[old.type])
        entry.type = cast(caffe_pb2.V1LayerParameter.LayerType, number)
    for field, value in old.ListFields():
        if field.name == "type":
            continue
        place = _place(entry, old.type, field.name)
        if place is None:
            lost.append(field.name)
        else:
            assign(*place, value)
    notes = []
    if lost:
        notes.append(f"layer {old.name!r} ({old.type}): {', '.join(lost)} dropped, as Caffe does")
    entry.ClearField("layer")
    return notes


def _place(entry: caffe_pb2.V1LayerParameter, kind: str, field: str) -> tuple[Any, str] | None:
    """The message and the field in it that take a V0 layer's `field`; None when this type never had it."""
    if field in _SAME_NAME:
        return entry, field
    if field in _TRANSFORM:
        return entry.transform_param, _TRANSFORM[field]
    if field == "hdf5_output_param" and kind == "hdf5_output":
        return entry, field
    name, kinds = _MOVED.get(field, ("", ""))
    if kind in kinds.split():
        return getattr(entry, _PARAMS[kind]), name
    return None


def assign(message: Any, field: str, value: Any) -> None:
    """Set `message.field`, whatever its kind: one more element, all elements, a copied message, or a plain value."""
    current = getattr(message, field)
    if hasattr(current, "extend"):
        current.extend(value if hasattr(value, "extend") else [value])
    elif hasattr(current, "CopyFrom"):
        current.CopyFrom(value)
    else:
        setattr(message, field, value)
