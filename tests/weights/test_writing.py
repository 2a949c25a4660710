"""Writing .caffemodel and .caffemodel.h5: what comes back, what protobuf and the original layout say, what is left."""

from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest

from prototxt import caffe_pb2
from prototxt.errors import RequestError, WeightsError
from tests.weights.caffe_bytes import SMALL, floats, layer, legacy_shape, saved, shape, text, v0_layer, v1_layer
from weights import (
    Blob,
    LayerRecord,
    LayerWeights,
    blob_from_array,
    net_without_blobs,
    open_hdf5,
    open_weights,
    write_caffemodel,
    write_hdf5,
)

RNG_SEED = 11


def some_layers() -> list[LayerWeights]:
    rng = np.random.default_rng(RNG_SEED)
    conv = rng.standard_normal((4, 3, 2, 5), dtype=np.float32)
    return [
        LayerWeights("data", "Input", ()),
        LayerWeights("conv", "Convolution", (blob_from_array(conv), blob_from_array(conv[:, 0, 0, 0]))),
        LayerWeights("empty", "Scale", (blob_from_array(np.zeros((3, 0), np.float32)),)),
        LayerWeights("scalar", "Scale", (blob_from_array(np.float32(2.5)),)),
        LayerWeights('inc/3×3 "a"\n', "ReLU", (blob_from_array(rng.random((6, 1))),)),
    ]


def assert_same(found, expected):
    assert [(x.name, len(x.blobs)) for x in found] == [(x.name, len(x.blobs)) for x in expected]
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one.blobs, other.blobs, strict=True):
            assert a.shape == b.shape
            assert np.array_equal(a.array(), b.array())


def test_what_was_written_reads_back(tmp_path):
    path = tmp_path / "out.caffemodel"
    write_caffemodel(path, "a net", some_layers())
    with open_weights(path) as weights:
        assert weights.name == "a net"
        assert [x.type for x in weights.layers] == [x.type for x in some_layers()]
        assert_same(weights.layers, some_layers())


def test_protobuf_reads_what_was_written_and_writes_the_same_bytes(tmp_path):
    path = tmp_path / "out.caffemodel"
    write_caffemodel(path, "a net", some_layers())
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    assert net.name == "a net"
    for stored, expected in zip(net.layer, some_layers(), strict=True):
        assert (stored.name, stored.type) == (expected.name, expected.type)
        for proto, blob in zip(stored.blobs, expected.blobs, strict=True):
            assert tuple(proto.shape.dim) == blob.shape
            assert np.array_equal(np.array(proto.data, np.float32), blob.array().ravel())
    # protobuf puts `data` before `shape` and leaves empty lists out: equal as messages, not as bytes
    assert caffe_pb2.NetParameter.FromString(net.SerializeToString()) == net


def test_an_old_form_of_shape_is_kept_since_only_that_one_fits_loosely(tmp_path):
    old = saved(tmp_path, layer("ip", "InnerProduct", legacy_shape(1, 1, 2, 3) + floats(range(6))), "old.caffemodel")
    new = tmp_path / "new.caffemodel"
    with open_weights(old) as weights:
        write_caffemodel(new, "", weights.layers)
    with open_weights(new) as weights:
        blob = weights.layers[0].blobs[0]
        assert (blob.legacy, blob.shape) == (True, (1, 1, 2, 3))
        assert blob.fits((2, 3))


def test_the_settings_of_a_layer_come_along_but_not_its_name_type_and_blobs(tmp_path):
    param = caffe_pb2.LayerParameter(name="wrong", type="Wrong", bottom=["x"], top=["y"])
    param.convolution_param.num_output = 4
    param.blobs.add(data=[1.0])
    path = tmp_path / "out.caffemodel"
    blob = blob_from_array(np.ones((4, 3)))
    write_caffemodel(path, "n", [LayerRecord("right", "Convolution", (blob,), param.SerializeToString())])
    (stored,) = caffe_pb2.NetParameter.FromString(path.read_bytes()).layer
    assert (stored.name, stored.type, list(stored.bottom), list(stored.top)) == ("right", "Convolution", ["x"], ["y"])
    assert stored.convolution_param.num_output == 4
    assert [list(b.shape.dim) for b in stored.blobs] == [[4, 3]]


def test_writing_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_caffemodel(tmp_path / name, "n", some_layers())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_only_one_blob_is_in_memory_at_a_time(tmp_path):
    megabytes = 8

    def read():
        return np.ones((megabytes, 1 << 18), np.float32)

    layers = (LayerWeights(f"l{n}", "Scale", (Blob((megabytes, 1 << 18), False, read),)) for n in range(10))
    tracemalloc.start()
    write_caffemodel(tmp_path / "out", "n", layers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "out").stat().st_size > 10 * megabytes << 20
    assert peak < 2.5 * (megabytes << 20)


def test_a_blob_that_cannot_be_read_leaves_no_file_and_the_old_one_whole(tmp_path):
    with open_weights(saved(tmp_path, SMALL)) as weights:
        layers = weights.layers
    target = tmp_path / "out.caffemodel"
    target.write_bytes(b"before")
    with pytest.raises(WeightsError, match="closed"):
        write_caffemodel(target, "n", layers)
    assert target.read_bytes() == b"before"
    assert sorted(os.listdir(tmp_path)) == ["net.caffemodel", "out.caffemodel"]


def test_a_file_can_be_rewritten_onto_itself(tmp_path):
    path = saved(tmp_path, SMALL)
    with open_weights(path) as weights:
        write_caffemodel(path, weights.name, weights.layers)
    with open_weights(path) as weights:
        assert weights.layers[1].blobs[0].array().sum() == 33


@pytest.mark.parametrize(
    "data", [SMALL, v1_layer("a", 4, shape(3) + floats([1, 2, 3])), v0_layer("b", "conv", shape(0))]
)
def test_a_net_without_its_blobs_is_what_protobuf_makes_of_it(tmp_path, data):
    net = caffe_pb2.NetParameter.FromString(data)
    for part in (*net.layer, *net.layers, *(old.layer for old in net.layers if old.HasField("layer"))):
        del part.blobs[:]
    stripped = net_without_blobs(saved(tmp_path, data))
    assert caffe_pb2.NetParameter.FromString(stripped) == net
    assert len(stripped) < len(data)


def test_hdf5_written_reads_back_with_slashes_in_names(tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "out.caffemodel.h5"
    layers = [LayerWeights("inc", "Input", (blob_from_array([1.0]),)), *some_layers()]
    write_hdf5(path, layers)
    with open_weights(path) as weights:
        assert_same(sorted(weights.layers, key=lambda x: x.name), sorted(layers, key=lambda x: x.name))


def test_hdf5_has_caffes_layout_and_the_same_bytes_each_time(tmp_path):
    h5py = pytest.importorskip("h5py")
    for name in ("a", "b"):
        write_hdf5(tmp_path / name, some_layers())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with h5py.File(tmp_path / "a") as file:
        assert file["data/conv/0"].shape == (4, 3, 2, 5)
        assert file["data/conv/0"].dtype == np.dtype("<f4")
        assert file["data/conv/0"].chunks is None
        assert set(file["data"]) >= {"data", "conv", "empty", "scalar"}


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a", "a"], "two layers named 'a'"),
        (["a//b"], "a layer named 'a//b'"),
        (["/a"], "a layer named '/a'"),
        ([""], "a layer named ''"),
        (["."], r"a layer named '\.'"),
        (["a\0b"], r"a layer named 'a\\x00b'"),
        (["a", "a/0"], "no place left for layer 'a/0'"),
        (["a/0", "a"], "no place left for layer 'a'"),
    ],
)
def test_names_that_hdf5_cannot_hold_are_refused_and_leave_nothing(tmp_path, names, reason):
    pytest.importorskip("h5py")
    layers = [LayerWeights(name, "Scale", (blob_from_array([1.0, 2.0]),)) for name in names]
    with pytest.raises(RequestError, match=reason):
        write_hdf5(tmp_path / "out.h5", layers)
    assert os.listdir(tmp_path) == []


def test_hdf5_leaves_out_parameters_that_another_layer_owns_and_reads_them_as_holes(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "shared.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file["data/a/1"] = np.ones((2, 3), np.float64)
        file["diff/a/0"] = np.full((4,), 7, np.int32)
        file.create_group("data/b")
    with open_weights(path) as weights:
        assert [(x.name, [b.stored for b in x.blobs]) for x in weights.layers] == [("a", [False, True]), ("b", [])]
        assert weights.layers[0].blobs[1].array().dtype == np.float32
        with pytest.raises(WeightsError, match="another layer owns"):
            weights.layers[0].blobs[0].array()
    with open_hdf5(path, part="diff") as gradients:
        assert gradients.layers[0].blobs[0].array().tolist() == [7, 7, 7, 7]


def hostile_hdf5(h5py, file):
    """Each entry makes one bad file and says how it is refused."""
    return {
        "no data": (lambda: file.create_group("other"), "has no group 'data'"),
        "keras": (lambda: file.create_group("model_weights"), "is a Keras weight file"),
        "solver state": (lambda: file.create_dataset("iter", data=[1]), "is a solver state"),
        "data is a dataset": (
            lambda: file.create_dataset("data", data=[1.0]),
            "where the group 'data' belongs",
        ),
        "no layers": (lambda: file.create_group("data"), "holds no layers"),
        "dataset for a layer": (lambda: file.create_dataset("data/a", data=[1.0]), "where a layer belongs"),
        "blob not numbered": (lambda: file.create_dataset("data/a/w", data=[1.0]), "where blobs are numbered"),
        "huge number": (lambda: file.create_dataset("data/a/99999999", data=[1.0]), "where blobs are numbered"),
        "text": (lambda: file.create_dataset("data/a/0", data="text"), "holds no numbers"),
        "compound": (lambda: file.create_dataset("data/a/0", data=np.zeros(3, "f4,i4")), "holds no numbers"),
        "no space": (lambda: file.create_dataset("data/a/0", data=h5py.Empty("f4")), "holds no numbers"),
        "terabytes": (lambda: file.create_dataset("data/a/0", (1 << 20, 1 << 18), "f4"), "more than Caffe can hold"),
        "unwritten": (lambda: file.create_dataset("data/a/0", (1 << 10, 1 << 18), "f4"), "but 0 bytes are stored"),
        "unwritten chunks": (
            lambda: file.create_dataset("data/a/0", (1 << 10, 1 << 18), "f4", chunks=(8, 8), compression="gzip"),
            "but 0 bytes are stored",
        ),
        "external link": (lambda: file.__setitem__("data/a", h5py.ExternalLink("x.h5", "/b")), "link to elsewhere"),
        "soft link": (lambda: file.__setitem__("data/a", h5py.SoftLink("/nowhere")), "link to elsewhere"),
        "external data": (
            lambda: file.create_dataset("data/a/0", (4,), "f4", external=[("secret.bin", 0, 16)]),
            "lies in another file",
        ),
        "virtual data": (
            lambda: file.create_virtual_dataset("data/a/0", virtual_layout(h5py)),
            "lies in another file",
        ),
        "a loop of groups": (lambda: loop(file), "nests groups deeper than 64"),
    }


def virtual_layout(h5py):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    return layout


def loop(file):
    group = file.create_group("data/a")
    group["again"] = group


HOSTILE = (
    "no data,keras,solver state,data is a dataset,no layers,dataset for a layer,blob not numbered,huge number,text,"
    "compound,no space,terabytes,unwritten,unwritten chunks,external link,soft link,external data,virtual data,"
    "a loop of groups"
)


@pytest.mark.parametrize("case", HOSTILE.split(","))
def test_an_hdf5_file_that_lies_or_points_elsewhere_is_refused(tmp_path, case):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "bad.caffemodel.h5"
    with h5py.File(path, "w") as file:
        make, reason = hostile_hdf5(h5py, file)[case]
        make()
    with pytest.raises(WeightsError, match=reason) as caught:
        open_weights(path)
    assert str(caught.value).startswith(f"{path}: error: ")


def test_holes_without_end_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "holes.h5", "w") as file:
        for name in ("a", "b", "c"):
            file[f"data/{name}/99999"] = np.ones(1, np.float32)
    with pytest.raises(WeightsError, match="holds more than 200,000 layers and blobs"):
        open_weights(tmp_path / "holes.h5")


def test_compressed_hdf5_is_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("data/a/0", data=np.zeros((300, 500), np.float32), compression="gzip")
    with open_weights(tmp_path / "c.h5") as weights:
        assert weights.layers[0].blobs[0].array().shape == (300, 500)


def test_hdf5_cut_anywhere_is_refused_or_whole(tmp_path):
    pytest.importorskip("h5py")
    write_hdf5(tmp_path / "whole.h5", [LayerWeights("a", "Scale", (blob_from_array(np.arange(12.0).reshape(3, 4)),))])
    data = (tmp_path / "whole.h5").read_bytes()
    for size in range(8, len(data), 37):
        with pytest.raises(WeightsError):
            open_weights(saved(tmp_path, data[:size], f"{size}.h5"))


def test_an_old_file_upgraded_by_writing_is_todays(tmp_path):
    path = saved(tmp_path, text(1, "n") + v1_layer("a", 4, legacy_shape(1, 1, 1, 2) + floats([1, 2])))
    with open_weights(path) as weights:
        write_caffemodel(tmp_path / "new", weights.name, weights.layers)
    net = caffe_pb2.NetParameter.FromString((tmp_path / "new").read_bytes())
    assert not net.layers
    assert (net.layer[0].type, net.layer[0].blobs[0].width) == ("Convolution", 2)
