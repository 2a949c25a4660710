"""Caffe's weights: `.caffemodel`, `.caffemodel.h5` and mean files, indexed rather than parsed.

`open_weights` is where to begin; the layers it gives have blobs, and `Blob.array()` reads one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prototxt.by_need import names_by_need

if TYPE_CHECKING:
    from weights.files import open_weights
    from weights.fillers import fill
    from weights.finite import CheckedWeights, NonFinite, nonfinite
    from weights.hdf5 import open_hdf5, write_hdf5
    from weights.match import Wanted, match_weights
    from weights.mean import load_mean
    from weights.model import ArrayWeights, Blob, LayerRecord, LayerWeights, Weights, blob_from_array
    from weights.output import Outputs, atomic_directory, atomic_file, atomic_path, noting_outputs
    from weights.overwriting import refuse_overwriting
    from weights.solverstate import SolverState, read_solverstate, write_solverstate
    from weights.strip import net_without_blobs
    from weights.structure import check_old_layers, holds_weights, is_caffemodel, load_structure, refuse_swapped
    from weights.unused import fitting, unused_warnings
    from weights.writer import write_caffemodel

__all__ = [
    "ArrayWeights",
    "Blob",
    "CheckedWeights",
    "LayerRecord",
    "LayerWeights",
    "NonFinite",
    "Outputs",
    "SolverState",
    "Wanted",
    "Weights",
    "atomic_directory",
    "atomic_file",
    "atomic_path",
    "blob_from_array",
    "check_old_layers",
    "fill",
    "fitting",
    "holds_weights",
    "is_caffemodel",
    "load_mean",
    "load_structure",
    "match_weights",
    "net_without_blobs",
    "nonfinite",
    "noting_outputs",
    "open_hdf5",
    "open_weights",
    "read_solverstate",
    "refuse_overwriting",
    "refuse_swapped",
    "unused_warnings",
    "write_caffemodel",
    "write_hdf5",
    "write_solverstate",
]

__getattr__ = names_by_need(
    __name__,
    {
        "weights.files": ("open_weights",),
        "weights.fillers": ("fill",),
        "weights.finite": ("CheckedWeights", "NonFinite", "nonfinite"),
        "weights.hdf5": ("open_hdf5", "write_hdf5"),
        "weights.match": ("Wanted", "match_weights"),
        "weights.mean": ("load_mean",),
        "weights.model": ("ArrayWeights", "Blob", "LayerRecord", "LayerWeights", "Weights", "blob_from_array"),
        "weights.output": ("Outputs", "atomic_directory", "atomic_file", "atomic_path", "noting_outputs"),
        "weights.overwriting": ("refuse_overwriting",),
        "weights.solverstate": ("SolverState", "read_solverstate", "write_solverstate"),
        "weights.strip": ("net_without_blobs",),
        "weights.structure": ("check_old_layers", "holds_weights", "is_caffemodel", "load_structure", "refuse_swapped"),
        "weights.unused": ("fitting", "unused_warnings"),
        "weights.writer": ("write_caffemodel",),
    },
)
