"""Small nets and their weights, as files of a zoo."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from weights import LayerWeights, blob_from_array, write_caffemodel, write_hdf5

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 5 } } }\n'
DATA = 'layer { name: "d" type: "HDF5Data" top: "x" top: "label" hdf5_data_param { source: "s" batch_size: 2 } }\n'
SOLVER = 'net: "train_val.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 9\n'
LABELS = 'item { name: "cat" label: 1 }\n'
URL = "http://example.org/published.caffemodel"


def net(path: Path, sizes: Sequence[int] = (3,), *, start: str = INPUT, names: str = "ip") -> Path:
    """A prototxt of inner products from 5 values, made with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text, bottom = start, "x"
    for number, size in enumerate(sizes):
        name = f"{names}{number}"
        what = f'type: "InnerProduct" bottom: "{bottom}" top: "{name}" inner_product_param {{ num_output: {size} }}'
        text += f'layer {{ name: "{name}" {what} }}\n'
        bottom = name
    path.write_text(text)
    return path


def weights(path: Path, sizes: Sequence[int] = (3,), *, seed: int = 0, names: str = "ip") -> Path:
    """Weights of that net; those of another seed are other ones of the same shapes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    layers, wide = [], 5
    for number, size in enumerate(sizes):
        arrays = draw.standard_normal((size, wide)), draw.standard_normal(size)
        layers.append(LayerWeights(f"{names}{number}", "InnerProduct", tuple(map(blob_from_array, arrays))))
        wide = size
    if path.name.endswith(".h5"):
        write_hdf5(path, layers)
    else:
        write_caffemodel(path, "net", layers)
    return path


def readme(folder: Path, caffemodel: str, **fields: str) -> Path:
    """The front matter of a zoo's folder, with the sum that the file has if it is there."""
    path = folder / caffemodel
    known = {"sha1": hashlib.sha1(path.read_bytes()).hexdigest()} if path.exists() else {}
    stated = {"name": "A Net", "caffemodel": caffemodel, "caffemodel_url": URL, "license": "unrestricted", **known}
    lines = [f"{key}: {value}" for key, value in {**stated, **fields}.items()]
    made = folder / "readme.md"
    made.write_text("\n".join(["---", *lines, "---", "", "# What it is", ""]))
    return made
