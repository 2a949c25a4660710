"""The net that a binary NetParameter holds: a `.caffemodel`, or a prototxt saved in binary form.

Caffe writes every layer's settings with its blobs. What is written is the net that was trained: its data layers, its
losses, and copies (Split) of blobs that several layers read, all marked with phase TRAIN. Which layers take part has
been decided, so their rules are dropped, and so is the phase: the net is wanted as it runs at TEST, as the net for
deployment would (`weights.snapshot`). A prototxt in binary form has neither blobs nor marks, and is read as its text.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from prototxt import Net
from prototxt.caffe_pb2 import TEST, LayerParameter, NetParameter, V1LayerParameter
from prototxt.errors import Position, RequestError, WeightsError, raise_all
from prototxt.net import net_from_message
from prototxt.source import is_binary
from prototxt.upgrade import upgrade_net
from weights.sniff import HEAD, is_prototxt, sniff_weights
from weights.strings import read_message
from weights.strip import has_blobs, net_without_blobs, without_fields
from weights.wire import Malformed, Wire

if TYPE_CHECKING:
    from weights.fork_sections import SectionReader

log = logging.getLogger(__name__)

LAYER, OLD_LAYER = 100, 2


def is_caffemodel(path: str | os.PathLike[str]) -> bool:
    """Whether a file given as a net is a binary one: by bytes that no text has, else by its name."""
    named = os.fspath(path).endswith((".caffemodel", ".caffemodel.h5"))
    head = _head(path)
    return bool(head) and (is_binary(head) or (named and not is_prototxt(head))) if head is not None else named


def holds_weights(path: str | os.PathLike[str]) -> bool:
    """Whether a file given as a net brings its weights: a `.caffemodel` does, of either kind.

    Raises:
        WeightsError: the file is damaged, or something else.
    """
    return is_caffemodel(path) and (sniff_weights(path) or has_blobs(path))


def refuse_swapped(net: str | os.PathLike[str], weights: str | os.PathLike[str] | None) -> None:
    """Pass unless the weight file is given as the net, and the net's text as the weights.

    Raises:
        WeightsError: it is; or the weight file is damaged.
    """
    if weights is not None and is_prototxt(_head(weights) or b"\0") and holds_weights(net):
        where = os.fspath(weights)
        message = f"the two files are swapped: this is the weight file and {where} the net; give the net first"
        raise WeightsError(message, position=Position(os.fspath(net)))


def _head(path: str | os.PathLike[str]) -> bytes | None:
    """The first bytes, None for a file that cannot be read: whoever reads it says what is wrong."""
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except (OSError, ValueError):
        return None


def load_structure(
    path: str | os.PathLike[str],
    *,
    phase: str = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    outputs: Collection[str] = (),
    allow_unknown: bool = False,
    dialects: Mapping[str, str] | None = None,
) -> Net:
    """The net inside a binary NetParameter, of any age.

    Args:
        path: the file.
        phase: TEST, for which losses and labels are left out of a net with weights; or TRAIN, which keeps them.
        level, stages: the rest of Caffe's net state, for a net that Caffe has not filtered yet.
        outputs: blobs that are wanted; what they need stays.
        allow_unknown, dialects: as of `load_net`.

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
    from weights.fork_sections import SectionReader  # with the forks' numbers: nobody else needs them

    reader = SectionReader(name, dialects or {})
    message = _message(net_without_blobs(path, emptied=True), reader)
    layers: list[LayerParameter | V1LayerParameter] = [*message.layer, *message.layers]
    if not layers:
        raise WeightsError("is no .caffemodel: it holds no layers", position=Position(name))
    if not any(layer.bottom for layer in layers):
        raise RequestError(
            "its layers are not connected to each other; give the net's .prototxt as well", position=Position(name)
        )
    upgraded = upgrade_net(message, lambda field, index: Position(name), keep_inputs=True)
    for sentence in upgraded.lost:
        log.warning("%s: warning: %s", name, sentence)
    notes = [*upgraded.notes, *_as_run(upgraded.message, name, phase, outputs)]
    net = net_from_message(
        upgraded.message,
        name,
        phase=phase,
        level=level,
        stages=stages,
        dialects=dialects,
        sections_read=reader.notes,
        faults=reader.faults,
    )
    return replace(net, notes=(*notes, *net.notes), lenient=allow_unknown)


def _as_run(message: NetParameter, name: str, phase: str, outputs: Collection[str]) -> list[str]:
    """Make the net that was written the one that runs in `phase`; in words what was done."""
    learned = {layer.name for layer in message.layer if layer.blobs}
    for layer in message.layer:
        layer.ClearField("blobs")
    if (learned or any(layer.HasField("phase") for layer in message.layer)) and _is_filtered(message):
        if phase == "TEST":
            _use_stored_statistics(message, name)
        for layer in message.layer:
            for rule in ("include", "exclude", "phase"):
                layer.ClearField(rule)
    from weights.snapshot import leave_out_objective, see_through_copies

    notes = [*see_through_copies(message, outputs)]
    if learned and phase == "TEST":
        notes += leave_out_objective(message, learned, outputs)
    return notes


def _is_filtered(message: NetParameter) -> bool:
    """Whether the layers can be of one phase: no two of them make the same blob."""
    made: set[str] = set()
    for layer in message.layer:
        if not made.intersection(layer.top) <= set(layer.bottom):
            return False
        made.update(layer.top)
    return True


def check_old_layers(path: str | os.PathLike[str]) -> None:
    """Refuse a `.caffemodel` whose layers of the form of 2014 hold what their upgrade would lose.

    Raises:
        UnsupportedError: a section or a type of a fork.
        WeightsError: the file cannot be read or is damaged.
    """
    from weights.fork_sections import SectionReader

    reader = SectionReader(os.fspath(path), {}, renumbers=False)
    _message(net_without_blobs(path), reader, forms=(OLD_LAYER,))
    raise_all(list(reader.faults.values()))


def _use_stored_statistics(message: NetParameter, name: str) -> None:
    """A BatchNorm told to use the batch's own statistics was told so for training, unless the net ran at TEST."""
    trained = [layer for layer in message.layer if not (layer.HasField("phase") and layer.phase == TEST)]
    told = [layer for layer in trained if layer.batch_norm_param.HasField("use_global_stats")]
    told = [layer for layer in told if not layer.batch_norm_param.use_global_stats]
    for layer in told:
        layer.batch_norm_param.ClearField("use_global_stats")
    if told:
        what = "a BatchNorm has" if len(told) == 1 else f"{len(told)} BatchNorm layers have"
        log.warning("%s: warning: %s use_global_stats: false; without a prototxt that is of the training", name, what)


def _message(data: bytes, reader: SectionReader, forms: Sequence[int] = (OLD_LAYER, LAYER)) -> NetParameter:
    """The net, each layer's sections read by its type."""
    try:
        message = read_message(NetParameter, without_fields(data, {LAYER, OLD_LAYER}))
        spans = [(number, data[start:stop]) for number, _, start, stop in Wire(data).records(0, len(data))]
        old, new = ([span for number, span in spans if number == form in forms] for form in (OLD_LAYER, LAYER))
        message.layers.extend(reader.read(old, V1LayerParameter))
        message.layer.extend(reader.read(new, LayerParameter))
    except (DecodeError, Malformed):
        raise WeightsError("is no .caffemodel in protobuf form", position=Position(reader.path)) from None
    return message
