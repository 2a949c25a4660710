"""The net that a `.caffemodel` holds beside its weights: Caffe writes every layer's settings with its blobs.

What is written is the net that was trained: its data layers, its losses, and copies (Split) of blobs that several
layers read, all marked with phase TRAIN. Which layers take part has been decided, so their rules are dropped, and so is
the phase: the net is wanted as it runs at TEST.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from prototxt import Net
from prototxt.caffe_pb2 import LayerParameter, NetParameter, V1LayerParameter
from prototxt.errors import Position, RequestError, WeightsError
from prototxt.net import net_from_message

from .sniff import sniff_weights
from .strip import net_without_blobs, without_fields
from .wire import Wire

log = logging.getLogger(__name__)

LAYER = 100
FIRST_PRIVATE = 10000
"""BVLC's own fields of a layer have numbers below 1000; forks count from here on, and several from the same."""


def is_caffemodel(path: str | os.PathLike[str]) -> bool:
    """Whether a file given as a net is a weight file, by its name or by bytes that no text has."""
    if os.fspath(path).endswith((".caffemodel", ".caffemodel.h5")):
        return True
    try:
        with open(path, "rb") as file:
            return b"\0" in file.read(4096)
    except OSError:
        return False  # whoever reads it says what is wrong


def load_structure(path: str | os.PathLike[str], *, dialects: Mapping[str, str] | None = None) -> Net:
    """The net inside a `.caffemodel`, of any age, as it runs in phase TEST.

    Raises:
        WeightsError: the file cannot be read or is damaged.
        RequestError: an HDF5 file, which holds no settings of layers.
        NetError: a form that Caffe can't upgrade.
    """
    name = os.fspath(path)
    if sniff_weights(path):
        raise RequestError(
            "an HDF5 file holds the blobs alone; give the net's .prototxt as well", position=Position(name)
        )
    message = _message(net_without_blobs(path), name)
    if not message.layer and not message.layers:
        raise WeightsError("is no .caffemodel: it holds no layers", position=Position(name))
    layers: list[LayerParameter | V1LayerParameter] = [*message.layer, *message.layers]
    if not any(layer.bottom for layer in layers):
        raise RequestError(
            "its layers are not connected to each other; give the net's .prototxt as well", position=Position(name)
        )
    for layer in layers:
        for rule in ("include", "exclude", "phase"):
            if rule in layer.DESCRIPTOR.fields_by_name:
                layer.ClearField(rule)
    _use_stored_statistics(message, name)
    return net_from_message(message, name, dialects=dialects)


def _use_stored_statistics(message: NetParameter, name: str) -> None:
    """A BatchNorm told to use the batch's own statistics was told so for training."""
    told = [layer for layer in message.layer if layer.batch_norm_param.HasField("use_global_stats")]
    told = [layer for layer in told if not layer.batch_norm_param.use_global_stats]
    for layer in told:
        layer.batch_norm_param.ClearField("use_global_stats")
    if told:
        what = "a BatchNorm has" if len(told) == 1 else f"{len(told)} BatchNorm layers have"
        log.warning("%s: warning: %s use_global_stats: false; without a prototxt that is of the training", name, what)


def _message(data: bytes, name: str) -> NetParameter:
    """The net; what one fork's private fields say under the numbers of another's is left out, with a warning."""
    try:
        return NetParameter.FromString(data)
    except DecodeError:
        log.info("%s: read once more, layer by layer", name)
    try:
        message = NetParameter.FromString(without_fields(data, {LAYER}))
        with Wire(data) as wire:
            spans = [(start, stop) for number, _, start, stop in wire.records(0, len(data)) if number == LAYER]
        message.layer.extend(_layer(data[start:stop], name) for start, stop in spans)
    except DecodeError:
        raise WeightsError("is no .caffemodel in protobuf form", position=Position(name)) from None
    return message


def _layer(data: bytes, name: str) -> LayerParameter:
    try:
        return LayerParameter.FromString(data)
    except DecodeError:
        with Wire(data) as wire:
            private = {number for number, *_ in wire.records(0, len(data)) if number >= FIRST_PRIVATE}
        layer = LayerParameter.FromString(without_fields(data, private))
        numbers = ", ".join(map(str, sorted(private)))
        log.warning("%s: warning: layer %r: fields %s of an unknown fork are left out", name, layer.name, numbers)
        return layer
