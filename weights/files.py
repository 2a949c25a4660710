"""Open a weight file of either kind."""

from __future__ import annotations

import os

from prototxt.errors import Position, WeightsError
from weights.caffemodel import open_caffemodel
from weights.hdf5 import open_hdf5
from weights.model import Weights
from weights.pieces import PiecewiseFile
from weights.sniff import name_other_message, sniff_weights


def open_weights(path: str | os.PathLike[str]) -> Weights:
    """Open a `.caffemodel` or `.caffemodel.h5`, told apart by content, without reading a weight.

    Returns:
        the layers with their blobs: shapes as stored, numbers as float32 once a blob's `array()` is asked for.

    Raises:
        WeightsError: the file is missing, damaged or of another kind; the message says which.
        MissingDependencyError: it is HDF5 and h5py is not installed.

    Example:
        >>> with resnet_convert.open_weights("examples/digits/digits_resnet.caffemodel") as weights:
        ...     blob = weights.get("conv1").blobs[0]
        ...     blob.shape, str(blob.array().dtype)
        ((16, 1, 3, 3), 'float32')
    """
    if sniff_weights(path):
        return open_hdf5(path)
    try:
        weights = open_caffemodel(path)
        if any(layer.name for layer in weights.layers):
            return weights
        weights.close()
        raise WeightsError("is no .caffemodel: its layers have no names", position=Position(weights.path))
    except WeightsError as fault:
        other = _other_kind(path)
        if other is None:
            raise
        raise WeightsError(f"is {other}", position=Position(os.fspath(path))) from fault


def _other_kind(path: str | os.PathLike[str]) -> str | None:
    with PiecewiseFile(path) as file:
        return name_other_message(file.wire())
