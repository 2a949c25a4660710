"""Caffe's weights: `.caffemodel`, `.caffemodel.h5` and mean files, indexed rather than parsed.

`open_weights` is where to begin; the layers it gives have blobs, and `Blob.array()` reads one.
"""

from __future__ import annotations

from .blobproto import format_shape
from .files import open_weights
from .fillers import fill
from .hdf5 import open_hdf5, write_hdf5
from .match import Wanted, match_weights
from .mean import load_mean
from .model import ArrayWeights, Blob, LayerRecord, LayerWeights, NonFinite, Weights, blob_from_array, nonfinite
from .output import atomic_directory, atomic_file, atomic_path
from .solverstate import SolverState, read_solverstate, write_solverstate
from .strip import net_without_blobs
from .structure import is_caffemodel, load_structure
from .writer import write_caffemodel

__all__ = [
    "ArrayWeights",
    "Blob",
    "LayerRecord",
    "LayerWeights",
    "NonFinite",
    "SolverState",
    "Wanted",
    "Weights",
    "atomic_directory",
    "atomic_file",
    "atomic_path",
    "blob_from_array",
    "fill",
    "format_shape",
    "is_caffemodel",
    "load_mean",
    "load_structure",
    "match_weights",
    "net_without_blobs",
    "nonfinite",
    "open_hdf5",
    "open_weights",
    "read_solverstate",
    "write_caffemodel",
    "write_hdf5",
    "write_solverstate",
]
