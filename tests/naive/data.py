"""Layers that bring data in or take it out, beside one that reads the same blob."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Array, Naive, case, random

READER = 'layer { name: "reader" type: "Power" bottom: "data" top: "out" power_param { scale: 2 shift: 1 } }'


def read(text: str, feeds: Mapping[str, Array]) -> Naive:
    """Twice what is fed, plus 1."""
    y = np.empty_like(feeds["data"])
    for place in np.ndindex(y.shape):
        y[place] = 2 * feeds["data"][place] + 1
    return Naive(f"{text}\n{READER}", feeds, {("reader", "out"): y})


def brought_in(kind: str, params: str, *sizes: int, tops: str = "data") -> Naive:
    feeds = {"data": random(1, *sizes)}
    if " " in tops:
        feeds["label"] = np.arange(sizes[0], dtype=np.float32)
    return read(layer(kind, params, "", tops), feeds)


@case("data")
def data() -> Naive:
    params = "data_param { source: 'images' batch_size: 2 } transform_param { crop_size: 5 force_color: true }"
    return brought_in("Data", params, 2, 3, 5, 5, tops="data label")


@case("annotated_data")
def annotated_data() -> Naive:
    return brought_in("AnnotatedData", "data_param { source: 'images' batch_size: 2 }", 2, 3, 4, 5)


@case("image_data")
def image_data() -> Naive:
    params = "image_data_param { source: 'list' batch_size: 2 new_height: 4 new_width: 5 }"
    return brought_in("ImageData", params, 2, 3, 4, 5, tops="data label")


@case("memory_data")
def memory_data() -> Naive:
    params = "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }"
    return brought_in("MemoryData", params, 2, 3, 4, 5, tops="data label")


@case("memory_data_of_volumes")
def memory_data_of_volumes() -> Naive:
    """Greentea's memory_data_layer.cpp: a label has as many axes as its datum."""
    feeds = {"data": random(1, 2, 3, 4, 5, 6), "label": random(2, 2, 1, 1, 1, 1)}
    text = layer("MemoryData", "memory_data_param { dim: 2 dim: 3 dim: 4 dim: 5 dim: 6 }", "", "data label")
    return read(text, feeds)


@case("window_data")
def window_data() -> Naive:
    params = "window_data_param { source: 'list' batch_size: 2 crop_size: 5 }"
    return brought_in("WindowData", params, 2, 3, 5, 5, tops="data label")


@case("hdf5_data")
def hdf5_data() -> Naive:
    return brought_in("HDF5Data", "hdf5_data_param { source: 'list' batch_size: 2 }", 2, 3, 4, 5)


@case("dummy_data")
def dummy_data() -> Naive:
    """dummy_data_layer.cpp: each of the four old fields stands once, or once a top."""
    params = "dummy_data_param { num: 2 channels: 3 channels: 6 height: 4 width: 5 width: 7 }"
    feeds = {"data": random(1, 2, 3, 4, 5), "other": random(2, 2, 6, 4, 7)}
    return read(layer("DummyData", params, "", "data other"), feeds)


@case("hdf5_output")
def hdf5_output() -> Naive:
    text = layer("HDF5Output", "hdf5_output_param { file_name: 'out.h5' }", "data label", "")
    return read(text, {"data": random(1, 2, 3, 4, 5), "label": random(2, 2, 1)})


@case("silence_beside_a_reader")
def silence() -> Naive:
    return read(layer("Silence", "", "data", ""), {"data": random(1, 2, 3, 4, 5)})
