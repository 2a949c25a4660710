"""What a command that fails leaves behind: nothing, and older files as they were."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import resnet_convert
from converter.options import FOLDERS
from prototxt.errors import RequestError
from resnet_convert.cli.main import main
from tests.golden import LAYERS, GoldenCase
from weights.hdf5_file import new_hdf5

CASE = GoldenCase(LAYERS / "conv_bn_scale_relu")
NET, WEIGHTS = str(CASE.net), str(CASE.weights)
TARGETS = {"onnx": "m.onnx", "torch": "m", "caffe": "m", "safetensors": "m.safetensors", "npz": "m.npz", "hdf5": "m.h5"}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def contents() -> dict[str, bytes]:
    """All files below, hidden ones too."""
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def older(to: str) -> None:
    """A model of before."""
    names = FOLDERS.get(to, ())  # type: ignore[call-overload]
    if names:
        Path(TARGETS[to]).mkdir()
    for path in [Path(TARGETS[to]) / name for name in names] or [Path(TARGETS[to])]:
        path.write_text("older")


@pytest.mark.parametrize("over", [True, False], ids=["over", "fresh"])
@pytest.mark.parametrize("to", ["onnx", "torch", "caffe"])
@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (RequestError("cannot be run"), 2, "error: cannot be run\n"),
        (KeyboardInterrupt(), 130, "interrupted; nothing was written\n"),
        (MemoryError(), 1, "error: this takes more memory than there is; try a smaller --input-shape\n"),
    ],
    ids=["error", "Ctrl-C", "memory"],
)
def test_a_check_that_breaks_off_leaves_an_older_model_and_no_new_one(
    to: str,
    over: bool,
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if over:
        older(to)
    before = contents()

    def check(net: object, weights: object, models: list[Path], **_: object) -> None:
        assert models[0].exists()  # whole, under another name
        assert contents().items() > before.items()
        raise error

    monkeypatch.setattr("resnet_convert.verification.verify_models", check)
    assert main([NET, WEIGHTS, "--to", to, "-o", TARGETS[to], "--report", "parity.html"]) == status
    captured = capsys.readouterr()
    assert captured.err == said
    assert captured.out == ""  # nothing that says what was written
    assert contents() == before


def test_the_check_reads_and_names_the_model_as_it_will_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    for to in ("onnx", "torch", "caffe"):
        name = f"{to}_{TARGETS[to]}"
        assert main([NET, WEIGHTS, "--to", to, "-o", name, "--report", f"{name}.html", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["verification"]["model"] == name
        assert ".resnet-convert-" not in Path(f"{name}.html").read_text()
    assert not any(".resnet-convert-" in name for name in contents())


def test_a_model_with_other_numbers_is_written_and_said_to_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = "converter.targets.writers._write_values"

    def wrong(out: Any, values: Any) -> None:
        out.write((np.asarray(values.load() if hasattr(values, "load") else values, np.float32) * 2).tobytes())

    with monkeypatch.context() as changed:
        changed.setattr(write, wrong)
        assert main([NET, WEIGHTS, "-o", "m.onnx", "--report", "parity.html"]) == 3
    assert "note: m.onnx: written all the same, so that it can be looked at" in capsys.readouterr().err
    assert set(contents()) == {"m.onnx", "parity.html"}
    assert main(["verify", NET, WEIGHTS, "m.onnx"]) == 3


def test_a_report_that_cannot_be_written_keeps_the_model_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([NET, WEIGHTS, "-o", "m.onnx", "--report", "missing/parity.html"]) == 2
    assert "the folder missing does not exist" in capsys.readouterr().err
    assert contents() == {}


def test_an_interrupt_after_the_model_has_its_name_does_not_say_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("resnet_convert.cli.convert.summary", interrupted)
    assert main([NET, WEIGHTS, "-o", "m.onnx", "--no-verify"]) == 130
    assert capsys.readouterr().err == "interrupted; m.onnx was written\n"


HOSTILE = Path(__file__).resolve().parents[3] / "shared" / "hostile"


@pytest.mark.skipif(not HOSTILE.exists(), reason="needs ../shared/hostile")
@pytest.mark.parametrize("to", ["onnx", "torch", "caffe"])
@pytest.mark.parametrize(
    ("name", "status"),
    [("empty_blob_name", 0), ("scalar", 0), ("dup_scale_left_behind", 1), ("nul_names_npz", 0)],
)
def test_small_hostile_nets_give_a_right_model_or_none(name: str, status: int, to: str) -> None:
    assert main([str(HOSTILE / f"{name}.prototxt"), "--random-weights", "0", "--to", to, "-o", "m", "-q"]) == status
    assert bool(contents()) is (status == 0)


def test_a_net_whose_input_has_no_name_converts() -> None:
    layer = 'layer {{ name: "{}" type: "{}" {} }}'
    data = layer.format("d", "Input", 'top: "" input_param { shape { dim: 2 dim: 3 } }')
    Path("n.prototxt").write_text(data + layer.format("t", "TanH", 'bottom: "" top: "_"'))
    for to in ("onnx", "torch", "caffe"):
        assert main(["n.prototxt", "--to", to, "-o", f"m_{to}", "-q"]) == 0


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full, for who runs without the right to make one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


FULL = "the file grows beyond what this file system or the limit on file sizes allows"


@pytest.mark.parametrize("size", [0, 50, 500])
@pytest.mark.parametrize("to", TARGETS)
def test_a_disk_that_is_full_at_any_size_is_an_error_that_leaves_nothing(
    to: str, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with files_of_at_most(size):
        assert main([NET, WEIGHTS, "--to", to, "-o", TARGETS[to], "--no-verify"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(TARGETS[to])
    assert error.endswith(f": error: cannot be written: {FULL}\n")
    assert contents() == {}


@pytest.mark.parametrize("size", [0, 100, 3000, 30_000, 41_000])
def test_a_disk_that_fills_up_under_hdf5_is_an_error_and_the_process_lives(size: int) -> None:
    code = (
        "import numpy as np, resource, signal, sys\n"
        "from weights.hdf5_file import new_hdf5\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    with new_hdf5('w.h5') as file:\n"
        "        for number in range(10):\n"
        "            file.create_dataset(f'a/{number}', data=np.ones(1000, np.float32))\n"
        "except OSError as error:\n"
        "    sys.stdout.write(f'errno {error.errno}')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "errno 27", "")


def test_hdf5_files_are_those_that_any_reader_knows() -> None:
    values = np.arange(100_000, dtype=np.float32)
    with new_hdf5("w.h5") as file:
        file.create_dataset("a/b", data=values, track_times=False)
        assert np.array_equal(file["a/b"][()], values)
    with h5py.File("w.h5") as file:
        assert np.array_equal(file["a/b"][()], values)


def net_named(name: str) -> str:
    """A net with one layer of that name, written."""
    text = name.encode().decode("latin-1").translate({0: r"\000", ord("\\"): r"\\"})
    data = 'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 3 } } }'
    layer = (
        f'layer {{ name: "{text}" type: "InnerProduct" bottom: "d" top: "y" inner_product_param {{ num_output: 2 }} }}'
    )
    Path("n.prototxt").write_text(data + layer, encoding="latin-1")
    return "n.prototxt"


@pytest.mark.parametrize("to", ["npz", "hdf5"])
@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/a", "C:a", r"a\..\..\b", "../", "x" * 70_000])
def test_names_that_lead_elsewhere_are_refused(name: str, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    net = net_named(name)
    assert main([net, "--random-weights", "0", "--to", to, "-o", "m"]) == 2
    error = capsys.readouterr().err
    assert "cannot hold weights named" in error
    assert len(error) < 200
    assert list(contents()) == ["n.prototxt"]


@pytest.mark.parametrize("name", ["a\0b", "a/b", "a.b", "", ".", "..", "a b", "é"])
@pytest.mark.parametrize("to", ["npz", "hdf5", "safetensors"])
def test_other_odd_names_are_kept_whole(name: str, to: str) -> None:
    net = net_named(name)
    status = main([net, "--random-weights", "0", "--to", to, "-o", "m", "-q"])
    if to == "hdf5" and name in (".", ".."):
        assert status == 2
        return
    assert status == 0
    wanted = name.replace("\0", r"\x00")
    if to == "npz":
        with np.load("m") as arrays:
            assert sorted(arrays.files) == [f"{wanted}.bias", f"{wanted}.weight"]
            assert arrays[f"{wanted}.weight"].shape == (2, 3)
    elif to == "hdf5":
        with h5py.File("m") as file:
            assert file[f"{wanted}/weight" if wanted else "weight"].shape == (2, 3)
    else:
        head = json.loads(Path("m").read_bytes()[8:].split(b"}}")[0] + b"}}")
        assert {f"{wanted}.bias", f"{wanted}.weight"} < {*head, ""}


def copied(source: str, name: str) -> str:
    Path(name).write_bytes(Path(source).read_bytes())
    return name


def test_no_conversion_writes_over_what_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    net, weights = copied(NET, "deploy.prototxt"), copied(WEIGHTS, "model.caffemodel")
    os.link(weights, "hard.onnx")
    os.symlink(net, "link.npz")
    before = contents()
    for to, output in (("onnx", net), ("onnx", "hard.onnx"), ("npz", "link.npz"), ("caffe", "."), ("hdf5", weights)):
        assert main([net, weights, "--to", to, "-o", output, "--no-verify"]) == 2
        assert "that is read; name another file to write" in capsys.readouterr().err
        with pytest.raises(RequestError, match="that is read"):
            resnet_convert.convert(net, weights, to=to, output=output)  # type: ignore[arg-type]
    assert contents() == before
    assert main([net, weights, "--to", "torch", "-o", ".", "--no-verify"]) == 0
    assert set(contents()) == {*before, "model.py", "model.safetensors"}


def test_no_port_writes_over_what_it_reads_or_writes(tmp_path: Path) -> None:
    weights = copied(WEIGHTS, "model.caffemodel")
    with pytest.raises(RequestError, match="that is read"):
        resnet_convert.port(weights, weights, to="caffe", source="torchvision")
    with pytest.raises(RequestError, match="that is written as well"):
        resnet_convert.port(weights, "new.caffemodel", to="caffe", source="torchvision", prototxt="new.caffemodel")


def test_no_net_of_a_batch_is_taken_away_to_make_room_for_its_model(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out/m/model_caffe").mkdir(parents=True)
    net = copied(NET, "out/m/model_caffe/deploy.prototxt")
    Path("zoo.csv").write_text(f"net,weights,name,to\n{net},{WEIGHTS},m,caffe\n")
    before = contents()
    assert main(["batch", "zoo.csv", "-o", "out"]) == 2
    assert "that is read; name another file to write" in capsys.readouterr().err
    assert contents() == before


def test_no_verb_writes_over_what_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    net, weights, page = copied(NET, "n.prototxt"), copied(WEIGHTS, "w.caffemodel"), "parity.html"
    assert main([net, weights, "-o", "m.onnx", "-q"]) == 0
    Path("images").mkdir()
    Path("images/1.png").write_bytes(b"\x89PNG")
    before = contents()
    for words in (
        [net, weights, "-o", "new.onnx", "--report", net],
        [net, weights, "-o", page, "--report", page],
        ["verify", net, weights, "m.onnx", "--report", "m.onnx"],
        ["evaluate", net, weights, "--data", "images", "--report", "images/1.png"],
        ["evaluate", net, weights, "--data", "images", "--junit", weights],
        ["evaluate", net, weights, "--data", "images", "--scores", net],
        ["evaluate", net, weights, "--data", "images", "--journal", net],
        ["evaluate", net, weights, "--data", "images", "--model", "m.onnx", "--report", "m.onnx"],
        ["recalibrate", net, weights, "--data", "images", "-o", weights],
        ["recalibrate", net, weights, "--data", "images", "--to", "onnx", "-o", net],
        ["upgrade", net, "-o", net],
        ["port", weights, "--layout", "torchvision", "-o", weights],
    ):
        assert main(words) == 2, words
        error = capsys.readouterr().err
        assert "; name another file to write" in error or "; name two files" in error, words
        assert contents() == before, words
