"""The net inside a caffemodel: what was trained, read as it runs at TEST."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import resnet_convert
from prototxt import load_net, parse_net
from prototxt.caffe_pb2 import NetParameter
from prototxt.errors import RequestError, WeightsError
from resnet_convert.cli.main import main
from weights import is_caffemodel, load_structure, open_weights

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
TRAINED = """\
name: "trained"
layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN } phase: TRAIN
  transform_param { crop_size: 9 mean_value: [1, 2, 3] } data_param { batch_size: 4 } }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" phase: TRAIN
  batch_norm_param { use_global_stats: false } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "bn" bottom: "label" top: "loss" phase: TRAIN }
"""


def message_of(text: str) -> NetParameter:
    message = NetParameter()
    message.CopyFrom(parse_net(text, phase="TRAIN").message)
    return message


def test_the_digits_net_needs_no_prototxt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.onnx"
    weights = str(DIGITS / "digits_resnet.caffemodel")
    assert main([weights, "--input-shape", "data=N,1,16,16", "-o", str(model)]) == 0
    assert "parity: 40 of 40 blobs within bound" in capsys.readouterr().out
    other = tmp_path / "other.onnx"
    assert main([str(DIGITS / "deploy.prototxt"), weights, "--outputs", "fc10", "-q", "-o", str(other)]) == 0
    x = np.random.default_rng(0).standard_normal((1, 1, 16, 16)).astype(np.float32)
    one, two = (onnxruntime.InferenceSession(path).run(None, {"data": x})[0] for path in (model, other))
    assert np.array_equal(one, two)


def test_what_was_trained_is_read_as_it_runs_at_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(message_of(TRAINED).SerializeToString())
    with caplog.at_level("WARNING", "weights"):
        net = load_structure(path)
    assert [layer.name for layer in net.layers] == ["d", "bn", "loss"]
    assert not net.layers[1].param.batch_norm_param.HasField("use_global_stats")
    assert not any(layer.param.HasField("phase") or layer.param.include for layer in net.layers)
    assert caplog.messages == [
        f"{path}: warning: a BatchNorm has use_global_stats: false; without a prototxt that is of the training"
    ]


def test_a_net_that_was_saved_at_test_keeps_the_statistics_it_was_told(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(message_of(TRAINED.replace("phase: TRAIN\n", "phase: TEST\n")).SerializeToString())
    told = load_structure(path).layers[1].param.batch_norm_param
    assert (told.HasField("use_global_stats"), told.use_global_stats) == (True, False)


def test_private_fields_of_two_forks_under_one_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    message = message_of(TRAINED)
    data = message.layer[0].SerializeToString() + b"\x8a\xf1\x04\x03abc"  # 10001, PSROIPooling's section, as a string
    del message.layer[0]
    head = bytes([0xA2, 0x06, len(data)]) if len(data) < 128 else b""
    assert head
    path = tmp_path / "net.caffemodel"
    path.write_bytes(head + data + message.SerializeToString())
    with caplog.at_level("WARNING", "weights"):
        net = load_structure(path)
    assert net.name == "trained"
    assert [layer.name for layer in net.layers] == ["d", "bn", "loss"]
    what = "the whole of its psroi_pooling_param (number 10001) is of an unknown fork; what it says is left out"
    assert f"{path}: warning: layer 'd' (Data): {what}" in caplog.messages


def test_files_without_a_net_say_so(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"an HDF5 file holds the blobs alone; give the net's \.prototxt as well"):
        load_structure(_hdf5(tmp_path))
    alone = NetParameter(name="x")
    alone.layer.add(name="conv", type="Convolution").blobs.add(data=[1.0])
    path = tmp_path / "alone.caffemodel"
    path.write_bytes(alone.SerializeToString())
    with pytest.raises(RequestError, match="its layers are not connected to each other"):
        load_structure(path)
    path.write_bytes(b"\xa2\x06\x7f\x0a")
    with pytest.raises(WeightsError):
        load_structure(path)


def _hdf5(folder: Path) -> Path:
    import h5py

    path = folder / "w.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file.create_group("data")
    return path


def test_a_weight_file_is_told_by_its_name_or_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x0a\x00abc")
    (tmp_path / "b").write_text("layer { }")
    names = ("x.caffemodel", "x.caffemodel.h5", tmp_path / "a", tmp_path / "b", tmp_path / "none", "x.prototxt")
    assert [is_caffemodel(name) for name in names] == [True, True, True, False, False, False]


@pytest.mark.parametrize("words", ["convert", "inspect", "verify m.onnx", "evaluate --data .", "recalibrate --data ."])
def test_swapped_arguments_are_named_as_such(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = str(DIGITS / "digits_resnet.caffemodel"), str(DIGITS / "deploy.prototxt")
    verb, *more = words.split()
    assert main([verb, first, second, *more]) == 1
    assert capsys.readouterr().err == (
        f"{first}: error: the two files are swapped: this is the weight file and {second} the net; give the net first\n"
    )


def test_two_binary_files_are_structure_and_weights(tmp_path: Path) -> None:
    """The first may be a prototxt in binary form, under any name, or a caffemodel, whose weights then do not count."""
    net, weights = load_net(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel")
    bare = tmp_path / "net.prototxt"
    bare.write_bytes(net.message.SerializeToString())
    other = NetParameter.FromString(Path(weights).read_bytes())
    for layer in other.layer:
        for blob in layer.blobs:
            blob.data[:] = [0.5] * len(blob.data)
    full = tmp_path / "other.caffemodel"
    full.write_bytes(other.SerializeToString())
    x = np.random.default_rng(0).standard_normal((1, 1, 16, 16)).astype(np.float32)
    scores = []
    for structure, shape in ((DIGITS / "deploy.prototxt", []), (bare, []), (full, ["--input-shape", "data=1,1,16,16"])):
        model = tmp_path / "m.onnx"
        assert main([str(structure), weights, *shape, "--outputs", "fc10", "-q", "-o", str(model)]) == 0
        scores.append(onnxruntime.InferenceSession(model).run(None, {"data": x})[0])
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])


def test_a_prototxt_in_binary_form_brings_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = tmp_path / "net.bin"
    bare.write_bytes(load_net(DIGITS / "deploy.prototxt").message.SerializeToString())
    assert main([str(bare), "-o", str(tmp_path / "m.onnx")]) == 1
    assert "37 layers need weights; give the .caffemodel, or --random-weights SEED" in capsys.readouterr().err
    assert main([str(bare), "--random-weights", "0", "-o", str(tmp_path / "m.onnx")]) == 0
    assert main(["inspect", str(bare)]) == 0
    capsys.readouterr()
    assert main([str(DIGITS / "deploy.prototxt"), str(bare), "-o", str(tmp_path / "m.onnx")]) == 1
    assert capsys.readouterr().err == f"{bare}: error: holds no weights, only layers without blobs\n"


def test_a_text_is_a_net_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes((DIGITS / "deploy.prototxt").read_bytes())
    assert not is_caffemodel(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert is_caffemodel(path)


def test_a_model_of_a_caffemodel_alone_is_verified_without_naming_it_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, model = str(DIGITS / "digits_resnet.caffemodel"), str(tmp_path / "m.onnx")
    assert main([weights, "--input-shape", "data=2,1,16,16", "--no-verify", "-o", model]) == 0
    assert main(["verify", weights, model]) == 0
    assert main(["verify", weights, weights, model]) == 0
    assert capsys.readouterr().out.count("parity: 40 of 40 blobs within bound") == 2
    assert resnet_convert.verify(weights, None, model).ok


@pytest.mark.parametrize(
    ("case", "shape"),
    [
        ("lenet", "3,1,28,28"),
        ("cifar10-quick-v1", "2,3,32,32"),
        ("nsfw-resnet50-thin", "1,3,224,224"),
        ("landmark106", ""),
    ],
)
def test_published_caffemodels_of_every_age_convert_alone(
    case: str, shape: str, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shared / "golden" / "models" / case / "weights.caffemodel"
    words = ["--input-shape", f"data={shape}"] if shape else []
    assert main([str(weights), *words, "-o", str(tmp_path / "m.onnx")]) == 0
    assert "blobs within bound" in capsys.readouterr().out
    with open_weights(weights) as stored:
        assert stored.layers
