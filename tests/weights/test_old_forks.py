"""Caffemodels of the form of 2014 with the types of HyeonwooNoh's fork and of DeepLab's first, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format

from converter.api import convert
from prototxt import Net
from prototxt.caffe_pb2 import LayerParameter, V1LayerParameter
from prototxt.errors import CaffeModelError, UnsupportedError
from prototxt.old_fork_numbers import OLD_FORKS
from prototxt.upgrade_v1 import TYPES
from tests.weights.caffe_bytes import floats, legacy_shape
from tests.weights.test_fork_sections import whole
from weights import check_old_layers, load_structure
from weights.wire import prefixed


def record(
    kind: int, *fields: bytes, bottoms: Sequence[str] = ("data",), tops: Sequence[str] = ("y",), name: str = "y"
) -> bytes:
    """A layer of the form of 2014: bottom 2, top 3, name 4, type 5, blobs 6."""
    wires = b"".join(prefixed(2, b.encode()) for b in bottoms) + b"".join(prefixed(3, t.encode()) for t in tops)
    return wires + prefixed(4, name.encode()) + whole(5, kind) + b"".join(fields)


def write(folder: Path, *layers: bytes) -> Path:
    path = folder / "net.caffemodel"
    dims = b"".join(whole(4, dim) for dim in (1, 3, 4, 6))
    path.write_bytes(prefixed(3, b"data") + dims + b"".join(prefixed(2, layer) for layer in layers))
    return path


def read(folder: Path, *layers: bytes) -> Net:
    return load_structure(write(folder, *layers))


MASKED = record(17, prefixed(19, whole(2, 2) + whole(3, 2)), tops=("p", "m"), name="p")
BN = record(43, prefixed(45, whole(3, 1)), bottoms=("y",), tops=("z",), name="z")
HOLE = record(4, prefixed(10, whole(1, 3) + whole(4, 2) + whole(17, 2)), bottoms=("y",), tops=("z",), name="z")
TWO = ("data", "label")

READ = [
    (record(43, prefixed(45, whole(3, 1))), 'type: "BN" bn_param { bn_mode: INFERENCE }'),
    (record(43, tops=("y", "m", "v")), 'type: "BN"'),
    (
        record(42, prefixed(44, whole(1, 1) + whole(2, 4) + whole(3, 1) + whole(12, 4))),
        'type: "Unpooling" unpooling_param { unpool: AVE kernel_size: 4 stride: 1 unpool_size: 4 }',
    ),
    (
        record(42, prefixed(44, whole(13, 8) + whole(14, 6)), bottoms=TWO),
        'type: "Unpooling" unpooling_param { unpool_h: 8 unpool_w: 6 }',
    ),
    (record(41, prefixed(43, whole(3, 8))), 'type: "Interp" interp_param { zoom_factor: 8 }'),
    (
        record(41, prefixed(43, whole(1, 9) + whole(2, 7)), whole(1003, 0)),
        'type: "Interp" interp_param { height: 9 width: 7 } strict_dim: false',
    ),
    (
        record(41, prefixed(43, whole(2, 255)), bottoms=TWO),
        'type: "EltwiseAccuracy" eltwise_accuracy_param { ignore_label: 255 }',
    ),
    (
        record(40, prefixed(42, whole(1, 2) + whole(2, 255)), bottoms=TWO),
        'type: "SegAccuracy" seg_accuracy_param { metric: PixelIOU ignore_label: 255 }',
    ),
    (record(45, prefixed(48, whole(1, 10)), bottoms=TWO), 'type: "DenseCRF" dense_crf_param { max_iter: 10 }'),
    (record(43, prefixed(46, prefixed(1, b"out")), tops=()), 'type: "MatWrite" mat_write_param { prefix: "out" }'),
    (record(47, bottoms=(), tops=TWO), 'type: "WindowSegData"'),
    (
        record(52, prefixed(49, whole(1, 20)), bottoms=(), tops=TWO),
        'type: "SelectSegBinary" window_cls_data_param { label_dim: 20 }',
    ),
    (
        record(39, prefixed(15, whole(4, 2)), bottoms=(), tops=TWO),
        'type: "ImageSegData" image_data_param { batch_size: 2 }',
    ),
    (record(39, prefixed(10, whole(1, 3))), 'type: "Deconvolution" convolution_param { num_output: 3 }'),
]


@pytest.mark.parametrize(("layer", "expected"), READ)
def test_a_number_is_the_type_that_the_records_fork_has_there(layer: bytes, expected: str, tmp_path: Path) -> None:
    found = read(tmp_path, layer, record(18, bottoms=("data",), tops=("r",), name="r")).layers
    (param,) = (x.param for x in found if x.name == "y")
    wanted = text_format.Parse(expected, LayerParameter())
    for field in ("name", "bottom", "top"):
        param.ClearField(field)  # type: ignore[arg-type]
    assert param == wanted


def test_the_other_layers_tell_the_fork_of_one_that_both_have(tmp_path: Path) -> None:
    accuracy = record(40, bottoms=TWO, tops=("a",), name="a")
    kinds = [layer.type for layer in read(tmp_path, record(41, prefixed(43, whole(3, 8))), accuracy).layers]
    assert kinds[1:] == ["Interp", "SegAccuracy"]
    kinds = [layer.type for layer in read(tmp_path, MASKED, accuracy, BN).layers]
    assert kinds[1:] == ["Pooling", "AutoCrop", "BN"]
    net = read(tmp_path, record(40, bottoms=TWO))
    assert isinstance(net.layers[-1].fault, UnsupportedError)
    assert "type, which has no value 40" in str(net.layers[-1].fault)


def test_a_fork_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    layers = load_structure(write(tmp_path, record(40, bottoms=TWO)), dialects={"": "deeplab_v1"}).layers
    assert layers[-1].type == "SegAccuracy"


@pytest.mark.parametrize(
    "layer",
    [
        record(43, prefixed(45, whole(3, 9))),  # bn_mode has no 9
        record(43, prefixed(44, whole(3, 1))),
        record(42, prefixed(44, whole(77, 1))),
        record(41, prefixed(43, whole(3, 8)), prefixed(6, legacy_shape(1, 1, 1, 1) + floats([1]))),
        record(44, prefixed(46, b"")),
    ],
)
def test_what_neither_fork_could_have_written_is_refused(layer: bytes, tmp_path: Path) -> None:
    assert isinstance(read(tmp_path, layer).layers[-1].fault, UnsupportedError)


def test_deeplabs_hole_is_no_stride_of_another_fork_where_the_types_show_deeplab(tmp_path: Path) -> None:
    net = read(tmp_path, record(41, prefixed(43, whole(3, 8))), HOLE)
    assert net.layers[-1].fault is None
    assert net.layers[-1].param.convolution_param.hole == 2
    assert any("numbered as in deeplab_v1's fork (DeepLab's first)" in note for note in net.sections_read)


def test_upgrading_such_a_file_is_refused_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(CaffeModelError, match="type, which has no value 43"):
        check_old_layers(write(tmp_path, record(43, prefixed(45, whole(3, 1)))))


def test_a_weight_file_of_deconvnet_alone_is_a_net(tmp_path: Path) -> None:
    """Pooled maxima go back to where they were, times 2, 3 and 4, minus 1."""
    blobs = [prefixed(6, legacy_shape(1, 3, 1, 1) + floats(values)) for values in ([2, 3, 4], [-1, -1, -1])]
    unpool = record(42, prefixed(44, whole(2, 2) + whole(13, 4) + whole(14, 6)), bottoms=("p", "m"), tops=("y",))
    norm = record(43, prefixed(45, whole(3, 1)), *blobs, bottoms=("y",), tops=("z",), name="z")
    convert(write(tmp_path, MASKED, unpool, norm), output=tmp_path / "m.onnx")
    x = np.random.default_rng(3).permutation(72).reshape(1, 3, 4, 6).astype(np.float32)
    (z,) = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"data": x})
    for n, c, h, w in np.ndindex(*x.shape):
        i, j = h // 2 * 2, w // 2 * 2
        kept = x[n, c, h, w] if x[n, c, h, w] == x[n, c, i : i + 2, j : j + 2].max() else 0
        assert z[n, c, h, w] == (2 + c) * kept - 1


def test_every_number_names_a_type_and_a_section_of_the_schema() -> None:
    fields = V1LayerParameter.DESCRIPTOR.fields_by_name
    for fork in OLD_FORKS.values():
        assert set(fork.common.values()) <= set(fields)
        for known in fork.types.values():
            assert known.name in TYPES
            assert not known.section or known.section in fields
            assert bool(known.section) == bool(known.number)
