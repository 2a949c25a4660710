"""A port from file to file: any layout, or Caffe, into any other.

port("ResNet-50-model.caffemodel", "resnet50.safetensors", to="torchvision")
port("resnet50.safetensors", "model.caffemodel", source="torchvision", to="caffe")
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy.typing as npt

from prototxt.caffe_pb2 import NetParameter
from prototxt.errors import Position, RequestError
from prototxt.words import few, listed
from prototxt.write import net_bytes
from weights.files import open_weights
from weights.hdf5 import write_hdf5
from weights.layouts import LAYOUTS, layout
from weights.layouts.base import Layout
from weights.layouts.family import ResNet, Variant
from weights.layouts.files import is_array_file, open_arrays
from weights.layouts.forms.writing import endings, write_arrays
from weights.layouts.msra import caffe_net, read, records
from weights.layouts.preprocessing import Order, fold_preprocessing
from weights.output import Outputs
from weights.overwriting import refuse_overwriting
from weights.writer import write_caffemodel

CAFFE: Final = "caffe"


@dataclass(frozen=True)
class Preprocessing:
    """What is folded into the first convolution; see `fold_preprocessing`."""

    order: Order = "bgr"
    mean: npt.ArrayLike | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Ported:
    """What a port did.

    Attributes:
        files: those that were written.
        depth: the net's.
        classes: width of the last layer; None without one.
        arrays: number of arrays, or of blobs, that were written.
        warnings: what gives wrong numbers if it is not heeded.
        notes: what else should be known.
    """

    files: list[Path]
    depth: int
    classes: int | None
    arrays: int
    warnings: list[str]
    notes: list[str]


def port(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    to: str = "torchvision",
    source: str = CAFFE,
    preprocessing: Preprocessing | None = None,
    net: Variant | None = None,
    prototxt: str | os.PathLike[str] | None = None,
) -> Ported:
    """Write a ResNet's weights in another layout.

    Args:
        path: the weights: .caffemodel or .caffemodel.h5 for `source="caffe"`, else any file of arrays
            (`weights.layouts.files`).
        output: the file to write; its ending says what it becomes: .safetensors, .npz, one of the framework's own files
            (`weights.layouts.base.Layout.endings`), for Caffe .caffemodel or .caffemodel.h5.
        to: a layout's name, or "caffe".
        source: the layout that `path` is in.
        preprocessing: folded into the first convolution.
        net: the net that a .caffemodel gets, and `prototxt`: "msra" (default), or "own", the source framework's.
        prototxt: where to write that net as well.

    Raises:
        WeightsError: a file that cannot be read, or that is no ResNet in that layout.
        RequestError: names or suffixes that make no sense, or a target that cannot be written.
    """
    taken, given = (None if name == CAFFE else layout(name) for name in (source, to))
    _check_target(Path(output), given)
    refuse_overwriting([output, prototxt], [path])
    if given is not None and (net is not None or prototxt is not None):
        raise RequestError(f"a net is written for Caffe only, not for {given.title}")
    if net == "own" and (taken is None or not taken.own_net):
        raise RequestError(f"Caffe has no layers for the own net of {'Caffe' if taken is None else taken.title}")
    with _opened(path, taken) as found:
        notes = _notes(path, found)
        if preprocessing is not None:
            asked = preprocessing
            found = fold_preprocessing(found, order=asked.order, mean=asked.mean, scale=asked.scale)
        if given is None:
            message = _message(found, taken if net == "own" else None)
            warnings = [] if taken is None or net is not None else [_net_caution(taken)]
            return _to_caffe(found, message, Path(output), prototxt, warnings, notes)
        arrays = given.to(found)
        write_arrays(output, arrays, given)
        return Ported([Path(output)], found.depth, found.classes, len(arrays), [given.caution(found)], notes)


@contextmanager
def _opened(path: str | os.PathLike[str], taken: Layout | None) -> Iterator[ResNet]:
    if taken is None:
        if is_array_file(path):
            raise RequestError(
                "is no file of Caffe's; say whose layout it has (--from)", position=Position(os.fspath(path))
            )
        with open_weights(path) as weights:
            yield read(weights)
    else:
        with open_arrays(path) as arrays:
            yield taken.back(arrays, os.fspath(path))


def _check_target(output: Path, given: Layout | None) -> None:
    name = output.name
    wanted = (".caffemodel", ".caffemodel.h5") if given is None else endings(given)
    if not name.endswith(wanted):
        what = "Caffe's weights" if given is None else f"weights for {given.title}"
        others = [other.name for other in LAYOUTS.values() if name.endswith(endings(other))]
        hint = f"; {output.suffix} is for {listed(others)}" if others else ""
        raise RequestError(f"{what} are written to a file that ends in {listed(wanted, 'or')}, not to {name!r}{hint}")


def _notes(path: str | os.PathLike[str], net: ResNet) -> list[str]:
    notes = []
    if net.left_out:
        notes.append(f"{os.fspath(path)}: not part of the ResNet, left out: {few(net.left_out, 5)}")
    if net.head is None:
        notes.append(f"{os.fspath(path)}: has no last layer, so none is written")
    return notes


def _message(net: ResNet, own: Layout | None) -> NetParameter:
    """MSRA's net, or that of a framework's own model."""
    if own is None:
        return caffe_net(net, stride=net.stride or "1x1")
    return caffe_net(net, stride=own.own_stride, padded_pool=True, eps=own.own_eps)


def _net_caution(taken: Layout) -> str:
    if not taken.own_net:
        return f"the net is MSRA's; weights that were trained in {taken.title}'s own model give other numbers in it"
    return (
        f"the net is MSRA's; weights that were trained in {taken.title}'s own model, with its strides and its padded "
        "first pooling, need --net own"
    )


def _to_caffe(
    net: ResNet,
    message: NetParameter,
    output: Path,
    prototxt: str | os.PathLike[str] | None,
    warnings: list[str],
    notes: list[str],
) -> Ported:
    layers = list(records(net, message))
    files = [output]
    with Outputs() as outputs:
        if output.suffix == ".h5":
            write_hdf5(outputs.file(output), [layer for layer in layers if layer.blobs])
        else:
            write_caffemodel(outputs.file(output), message.name, layers)
        if prototxt is not None:
            outputs.file(prototxt).write_bytes(net_bytes(message))
            files.append(Path(prototxt))
    return Ported(files, net.depth, net.classes, sum(len(layer.blobs) for layer in layers), warnings, notes)
