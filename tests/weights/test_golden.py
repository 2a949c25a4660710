"""Real weight files: what protobuf's own parser, the original Caffe's upgrade and its HDF5 form say of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prototxt import caffe_pb2
from prototxt.names import from_bytes
from weights import load_mean, nonfinite, open_hdf5, open_weights, write_caffemodel, write_hdf5


def blob_arrays(layers):
    return {x.name: [b.array() for b in x.blobs] for x in layers if x.blobs}


def assert_equal_arrays(found, expected):
    assert found.keys() == expected.keys()
    for name, arrays in found.items():
        assert [a.shape for a in arrays] == [b.shape for b in expected[name]], name
        assert all(map(np.array_equal, arrays, expected[name])), name


def decoded(name):
    """protobuf gives a name that is no UTF-8 as bytes."""
    return from_bytes(name) if isinstance(name, bytes) else name


def protobuf_arrays(net):
    """Name to arrays as protobuf parses them, without any of the reader's rules but Caffe's own two."""
    layers = [(x.layer if x.HasField("layer") else x) for x in net.layers] or net.layer
    result = {}
    for layer in layers:
        arrays = []
        for blob in layer.blobs:
            legacy = any(map(blob.HasField, ("num", "channels", "height", "width")))
            shape = (blob.num, blob.channels, blob.height, blob.width) if legacy else tuple(blob.shape.dim)
            with np.errstate(over="ignore", invalid="ignore"):
                arrays.append(np.array(blob.double_data or blob.data, np.float32).reshape(shape))
        if arrays:
            result[decoded(layer.name)] = arrays
    return result


def small_files(shared: Path) -> list[Path]:
    found = sorted((shared / "golden").rglob("*.caffemodel")) + sorted((shared / "digits").glob("*.caffemodel"))
    return [path for path in found if path.stat().st_size < 6 << 20]


def test_every_golden_caffemodel_reads_as_protobuf_reads_it(shared):
    files = small_files(shared)
    assert len(files) > 100
    for path in files:
        net = caffe_pb2.NetParameter.FromString(path.read_bytes())
        with open_weights(path) as weights:
            assert weights.name == net.name
            assert_equal_arrays(blob_arrays(weights.layers), protobuf_arrays(net))
            assert [x.name for x in weights.layers] == [
                decoded(x.name or x.layer.name) for x in (net.layers or net.layer)
            ]
            assert not list(nonfinite(weights))


@pytest.mark.parametrize("case", ["141", "142"])
def test_old_files_read_as_the_original_caffe_upgrades_them(shared, case):
    folder = shared / "golden" / "upgrade" / case
    with open_weights(folder / "before.caffemodel") as old, open_weights(folder / "after.caffemodel") as new:
        assert_equal_arrays(blob_arrays(old.layers), blob_arrays(new.layers))
        types = {x.name: x.type for x in old.layers}
        assert all(types[x.name] == x.type for x in new.layers if x.name != "input")  # the upgrade makes that one


def test_the_hdf5_form_holds_the_same_numbers(shared):
    pytest.importorskip("h5py")
    pairs = [(shared / "digits" / "digits_resnet.caffemodel", shared / "digits" / "digits_resnet.caffemodel.h5")]
    for path in sorted((shared / "golden" / "train" / "solver").glob("*/snap_iter_6.caffemodel")):
        pairs.append((path, path.with_name("snap_iter_6.caffemodel.h5")))
    assert len(pairs) > 10
    for binary, hdf5 in pairs:
        with open_weights(binary) as one, open_weights(hdf5) as other:
            listed = {x.name: len(x.blobs) for x in other.layers}
            expected = {n: a for n, a in blob_arrays(one.layers).items() if listed[n]}  # shared ones are left out
            assert_equal_arrays(blob_arrays(other.layers), expected)


def test_a_trained_hdf5_net_loads(shared):
    pytest.importorskip("h5py")
    with open_hdf5(shared / "golden" / "models" / "cifar10-full-hdf5" / "weights.caffemodel.h5") as weights:
        conv = weights.get("conv1")
        assert conv is not None
        assert [b.shape for b in conv.blobs] == [(32, 3, 5, 5), (32,)]
        assert not list(nonfinite(weights))


def test_the_mean_image_of_the_digits_is_the_mean_of_the_digits(shared):
    with np.load(shared / "digits" / "pixels.npz") as pixels:
        expected = pixels["train"].mean(0)
    mean = load_mean(shared / "digits" / "mean.binaryproto")
    assert mean.shape == (1, 16, 16)
    assert np.abs(mean[0] - expected).max() < 1e-4 * expected.max()


def test_a_real_file_survives_both_round_trips(shared, tmp_path):
    pytest.importorskip("h5py")
    with open_weights(shared / "golden" / "models" / "landmark106" / "weights.caffemodel") as weights:
        write_caffemodel(tmp_path / "a.caffemodel", weights.name, weights.layers)
        write_hdf5(tmp_path / "a.caffemodel.h5", weights.layers)
        with open_weights(tmp_path / "a.caffemodel") as one, open_weights(tmp_path / "a.caffemodel.h5") as other:
            assert_equal_arrays(blob_arrays(one.layers), blob_arrays(weights.layers))
            assert_equal_arrays(blob_arrays(other.layers), blob_arrays(weights.layers))
