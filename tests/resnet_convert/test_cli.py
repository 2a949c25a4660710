"""The command as a person uses it: messages, exit statuses, files left behind."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import resnet_convert
from resnet_convert.cli.main import main
from tests.golden import LAYERS, GoldenCase

CASE = GoldenCase(LAYERS / "conv_bn_scale_relu")
NET, WEIGHTS = str(CASE.net), str(CASE.weights)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_convert_is_the_default_verb_and_names_its_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([NET, WEIGHTS, "--to", "onnx", "--no-verify"]) == 0
    assert files(tmp_path) == ["net.onnx"]
    assert "net.onnx" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("onnx", ["net.onnx"]),
        ("torch", ["net_torch/model.py", "net_torch/model.safetensors"]),
        ("safetensors", ["net.safetensors"]),
        ("npz", ["net.npz"]),
        ("hdf5", ["net.h5"]),
        ("caffe", ["net_caffe/deploy.prototxt", "net_caffe/model.caffemodel"]),
    ],
)
def test_every_target_writes_what_it_says(
    target: str, expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", NET, WEIGHTS, "--to", target, "--no-verify", "--json"]) == 0
    assert files(tmp_path) == expected
    assert json.loads(capsys.readouterr().out)["files"] == expected


def test_weights_carry_layer_and_parameter_names(tmp_path: Path) -> None:
    assert main([NET, WEIGHTS, "--to", "npz", "--fold", "none", "--no-verify", "-q"]) == 0
    with np.load(tmp_path / "net.npz") as arrays:
        assert sorted(arrays.files) == ["bn.mean", "bn.variance", "sc.bias", "sc.weight", "y.weight"]


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([NET, WEIGHTS, "-q", "--no-verify"]) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_explain_gives_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([NET, WEIGHTS, "--no-verify", "--explain", "--outputs", "y"]) == 0
    assert "1 BatchNorm + Scale merged" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["convert", "--help"], ["inspect", "-h"], ["upgrade", "-h"]])
def test_help_teaches(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "exit status" in capsys.readouterr().out


USAGE = [
    ([NET, "--too", "onnx"], "unrecognized arguments: --too"),
    ([NET, WEIGHTS, "--to", "tflite"], "invalid choice: 'tflite'"),
    ([NET, WEIGHTS, "--input-shape", "x"], "'x' is no shape; expected BLOB=N,C,H,W"),
    ([NET, WEIGHTS, "--input-shape", "x=1,-3,4,4"], "'-3' in 'x=1,-3,4,4' is neither a size above 0 nor a letter"),
    ([NET, WEIGHTS, "--opset", "9"], "opset 9; expected 13 to"),
    ([NET, WEIGHTS, "--to", "torch", "--opset", "13"], "--opset goes with --to onnx, not with torch"),
    ([NET, WEIGHTS, "--outputs", "nope"], "the net has no blob 'nope'"),
    ([NET, WEIGHTS, "--input-shape", "q=1,2"], "--input-shape names 'q'; the net's inputs are x"),
    ([NET, WEIGHTS, "-o", "missing/net.onnx"], "the folder missing does not exist"),
    ([NET, WEIGHTS, "-o", "."], "is a directory"),
    ([NET, WEIGHTS, "--mean", "1,x"], "expected numbers like 104,117,123"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE, ids=lambda a: " ".join(a[2:]) if isinstance(a, list) else "")
def test_usage_errors_exit_with_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--no-verify"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "error: " in error
    assert files(tmp_path) == []


def write(name: str, content: bytes | str) -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


HTML = b"<!DOCTYPE html><html><body>Not found</body></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (HTML, "web page"),
        (LFS, "Git LFS pointer"),
        (CASE.net.read_bytes(), "is a prototxt, not the weights"),
        (CASE.weights.read_bytes()[:-7] if CASE.weights else b"", "error"),
        (b"PK\x03\x04" + bytes(60), "ZIP archive"),
    ],
    ids=["empty", "html", "lfs", "prototxt", "truncated", "zip"],
)
def test_wrong_weights_say_what_they_are(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([NET, write("w.caffemodel", content), "--no-verify"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("w.caffemodel")
    assert message in error
    assert error.count("\n") == 1
    assert files(tmp_path) == ["w.caffemodel"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (HTML, "web page"),
        (LFS, "Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "is a PNG image"),
        (b"net: 'x.prototxt'\nbase_lr: 0.1\nlr_policy: 'fixed'\n", "this is a solver, not a net"),
        (b"layer { name: 'x' ", "is never closed"),
        (b"layer { nam: 'x' }", "unknown field 'nam'"),
    ],
    ids=["empty", "html", "lfs", "image", "solver", "open", "field"],
)
def test_wrong_prototxts_say_what_they_are(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write("n.prototxt", content), WEIGHTS, "--no-verify"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("n.prototxt")
    assert message in error
    assert files(tmp_path) == ["n.prototxt"]


def test_missing_files_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere.prototxt", WEIGHTS]) == 1
    assert capsys.readouterr().err == "nowhere.prototxt: error: can't read the file: no such file or directory\n"
    assert main([NET, "nowhere.caffemodel"]) == 1
    assert "nowhere.caffemodel: error: " in capsys.readouterr().err


def test_nan_weights_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    from weights import LayerWeights, blob_from_array, open_weights, write_caffemodel

    layers = []
    for layer in open_weights(WEIGHTS).layers:
        arrays = [np.array(b.array()) for b in layer.blobs]
        if layer.name == "y":
            arrays[0].flat[:3] = [np.nan, np.inf, -np.inf]
        layers.append(LayerWeights(layer.name, layer.type, tuple(map(blob_from_array, arrays))))
    write_caffemodel("bad.caffemodel", "bad", layers)
    assert main([NET, "bad.caffemodel", "--no-verify", "-q"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("warning: bad.caffemodel: layer 'y': blob 0 holds 1 NaN and 2 infinite values of ")


def test_an_existing_output_survives_a_failure(tmp_path: Path) -> None:
    write("net.onnx", b"precious")
    assert main(["nowhere.prototxt", "-o", "net.onnx"]) == 1
    assert main([NET, "-o", "net.onnx", "--no-verify"]) == 1  # no weights
    assert (tmp_path / "net.onnx").read_bytes() == b"precious"


def test_inspect_prints_layers_and_totals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", NET, WEIGHTS]) == 0
    out = capsys.readouterr().out
    assert "Convolution" in out
    assert "parameters" in out
    assert main(["inspect", NET, "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert [x["type"] for x in layers] == ["Input", "Convolution", "BatchNorm", "Scale", "ReLU"]


def test_upgrade_prints_todays_form(capsys: pytest.CaptureFixture[str]) -> None:
    old = 'name: "n"\ninput: "d"\ninput_dim: 1\ninput_dim: 2\ninput_dim: 3\ninput_dim: 4\n'
    old += 'layers { name: "r" type: RELU bottom: "d" top: "r" }\n'
    assert main(["upgrade", write("old.prototxt", old)]) == 0
    captured = capsys.readouterr()
    assert 'type: "ReLU"' in captured.out
    assert 'type: "Input"' in captured.out
    assert "old.prototxt: " in captured.err
    write("new.prototxt", captured.out)
    assert main(["upgrade", "new.prototxt", "-o", "newer.prototxt"]) == 0
    assert Path("newer.prototxt").read_text() == captured.out
    assert "nothing to upgrade" in capsys.readouterr().err


def test_upgrade_takes_solvers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upgrade", write("solver.prototxt", "net: 'n'\nbase_lr: 0.1\nsolver_type: ADAM\n"), "-q"]) == 0
    assert 'type: "Adam"' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import sys, time, converter.targets.writers as w\n"
        "write = w._write_values\n"
        "def slow(*a):\n    print('writing', flush=True); time.sleep(5); write(*a)\n"
        "w._write_values = slow\n"
        "from resnet_convert.cli.main import main\n"
        f"sys.exit(main([{NET!r}, {WEIGHTS!r}, '--no-verify', '-o', 'out.onnx']))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    time.sleep(0.2)
    os.kill(child.pid, number)
    _, error = child.communicate(timeout=120)
    assert child.returncode == 130
    assert error == "interrupted; nothing was written\n"
    assert files(tmp_path) == []


def test_a_run_that_was_told_to_ignore_ctrl_c_goes_on(tmp_path: Path) -> None:
    """As a shell tells what it starts in the background."""
    code = (
        "import os, signal, sys\n"
        "from resnet_convert.cli import main as module\n"
        "parse = module.parse\n"
        "module.parse = lambda words: (os.kill(os.getpid(), signal.SIGINT), parse(words))[1]\n"
        f"sys.exit(module.main([{NET!r}, {WEIGHTS!r}, '--no-verify', '-o', 'out.onnx']))"
    )
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run(ignoring, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path) == ["out.onnx"]


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m resnet_convert.cli.main inspect {shlex.quote(NET)} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""


def test_names_that_hdf5_cannot_hold_together_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ip = 'layer {{ name: "{}" type: "InnerProduct" bottom: "d" top: "{}" inner_product_param {{ num_output: 2 }} }}'
    data = 'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 3 } } }'
    net = write("n.prototxt", data + ip.format("a", "x") + ip.format("a/weight", "y"))
    assert main([net, "--random-weights", "0", "--to", "hdf5"]) == 2
    assert "HDF5 has no room for 'a/weight.weight'" in capsys.readouterr().err
    assert files(tmp_path) == ["n.prototxt"]


def test_what_the_interpreter_lacks_is_said_and_the_model_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prototxt.errors import UnsupportedError

    def refuse(*_: object, **__: object) -> None:
        raise UnsupportedError("unknown layer type 'Odd'")

    monkeypatch.setattr("resnet_convert.verification.verify_models", refuse)
    assert main([NET, WEIGHTS]) == 0
    assert capsys.readouterr().err == "warning: not verified: unknown layer type 'Odd'\n"
    assert files(tmp_path) == ["net.onnx"]


@pytest.mark.parametrize(("to", "target"), [("onnx", "m.onnx"), ("torch", "m")])
@pytest.mark.parametrize(
    ("layer", "shape", "fed"),
    [
        ('type: "Data"', "N,3,4,5", [1, 3, 4, 5]),
        ('type: "Input" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 7 } }', "N,5,H,8", [2, 5, 6, 8]),
        ('type: "Input" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 7 } }', "N,9", [1, 9]),
    ],
)
def test_what_an_input_shape_says_beside_free_axes_is_what_the_check_feeds(
    layer: str, shape: str, fed: list[int], to: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    relu = 'layer { name: "r" type: "ReLU" bottom: "x" top: "y" }'
    net = write("n.prototxt", f'layer {{ name: "d" top: "x" {layer} }} {relu}')
    asked = ["--input-shape", f"x={shape}"]
    assert main([net, "--to", to, "-o", target, "--json", *asked]) == 0
    assert json.loads(capsys.readouterr().out)["verification"]["inputs"] == {"x": fed}
    sizes = [int(size) if size.isdecimal() else size for size in shape.split(",")]
    report = resnet_convert.verify(net, None, target, input_shapes={"x": sizes})
    assert report.ok
    assert report.inputs == {"x": tuple(fed)}


BEHIND = (
    ('type: "Quux" quux_param { a: 1 }', "type"),  # whose own fields nobody can know
    ('type: "ReLU" relu_param { quux: 3 }', "quux"),
    ('type: "Pooling" pooling_param { pool: quux kernel_size: 1 }', "quux"),
)


@pytest.mark.parametrize(("behind", "at"), BEHIND)
def test_unknown_fields_of_a_layer_behind_the_outputs_stop_nothing(
    behind: str, at: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = 'input: "x" input_shape { dim: 2 dim: 3 }\nlayer { name: "r" type: "TanH" bottom: "x" top: "y" }\n'
    line = f'layer {{ name: "q" bottom: "y" top: "z" {behind} }}'
    net = write("n.prototxt", data + line)
    for to, target in (("onnx", "m.onnx"), ("torch", "m")):
        assert main([net, "--to", to, "-o", target, "--outputs", "y"]) == 0
        assert main(["verify", net, target]) == 0
        assert resnet_convert.verify(net, None, target).ok
    assert main(["inspect", net, "--outputs", "y"]) == 0
    capsys.readouterr()
    for wanted in ([], ["--outputs", "z"], ["--outputs", "y,z"]):
        assert main([net, "-o", "no.onnx", *wanted]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"n.prototxt:3:{line.index(at) + 1}: error: ")
        assert "unknown " in said
        assert "'quux'" in said.lower()
    assert not Path("no.onnx").exists()
    whole = write("whole.prototxt", Path(net).read_text().replace(behind, 'type: "ReLU"'))
    assert main([whole, "--to", "onnx", "-o", "whole.onnx"]) == 0
    assert main(["verify", net, "whole.onnx"]) == 1


@pytest.mark.parametrize(
    "layer",
    [
        'type: "ReLU" top: y }',
        'type: "ReLU" tpo: "y" }',
        'type: "ReLU" top: "y" exclude { phase: QUUX } }',
        'type: "ReLU" top: "z" relu_param { } } quux: 3',
        'type: "ReLU" top: "z" relu_param { } } quux { a: 3 }',
    ],
)
def test_a_fault_in_what_wires_a_layer_or_outside_of_any_stops_whoever_may_need_it(layer: str) -> None:
    data = 'input: "x" input_shape { dim: 2 dim: 3 }\nlayer { name: "r" type: "TanH" bottom: "x" top: "y" }\n'
    net = write("n.prototxt", f'{data}layer {{ name: "q" bottom: "y" {layer}')
    assert main([net, "--to", "onnx", "-o", "m.onnx", "--outputs", "y"]) == 1
