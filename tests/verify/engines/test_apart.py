"""A model from elsewhere runs in a process of its own: what it does there ends neither the check nor its status."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from prototxt.errors import MissingDependencyError, ModelError
from resnet_convert.cli.main import main
from tests.verify import handmade
from verify import parity
from verify.engines.apart import ModelApart
from verify.engines.engine import Array, Blobs, Engine
from verify.engines.messages import read_message, write_message
from verify.engines.opening import open_model, opened_apart
from verify.parity import verify_model, verify_models
from weights import LayerRecord, blob_from_array, write_caffemodel

AMPLE = 120.0
"""Seconds that a model may take on a machine that is busy."""


def endless_onnx(path: Path) -> Path:
    """The handmade net's input and output, with a Loop between them whose condition stays true."""
    import onnx
    from onnx import TensorProto, helper

    def value(name: str, kind: int, shape: list[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, [2, 7])],
        [value("again", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, [2, 7])],
    )
    nodes = [
        helper.make_node("Constant", [], ["true"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])),
        helper.make_node("ReduceSum", ["data"], ["sum"], keepdims=0),
        helper.make_node("Constant", [], ["size"], value=helper.make_tensor("s", TensorProto.INT64, [2], [2, 7])),
        helper.make_node("Expand", ["sum", "size"], ["start"]),
        helper.make_node("Loop", ["", "true", "start"], ["prob"], body=body),
    ]
    fed, made = value("data", TensorProto.FLOAT, [2, 3, 9, 8]), value("prob", TensorProto.FLOAT, [2, 7])
    graph = helper.make_graph(nodes, "endless", [fed], [made])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def folder(path: Path, code: str) -> Path:
    """A torch folder whose model.py is this."""
    pytest.importorskip("torch")
    from safetensors.numpy import save_file

    path.mkdir()
    (path / "model.py").write_text(code)
    save_file({"w": np.float32([1, 2])}, path / "model.safetensors")
    return path


@pytest.fixture
def caffe_files(tmp_path: Path) -> list[str]:
    """The handmade net as files."""
    (tmp_path / "net.prototxt").write_text(handmade.NET)
    records = [
        LayerRecord(name, "", tuple(map(blob_from_array, arrays))) for name, arrays in handmade.parameters().items()
    ]
    write_caffemodel(tmp_path / "net.caffemodel", "handmade", records)
    return [str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")]


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_a_model_apart_answers_as_in_this_process(form: str, tmp_path: Path) -> None:
    if form == "torch":
        pytest.importorskip("torch")
    model = handmade.write_onnx(tmp_path / "m") if form == "onnx" else handmade.write_torch(tmp_path / "m")
    here = open_model(model)
    with opened_apart(model, AMPLE) as there:
        for name in ("name", "inputs", "metadata", "blobs", "outputs"):
            assert getattr(there, name) == getattr(here, name)
        expected, answers = here.run(handmade.feeds()), there.run(handmade.feeds())
    assert answers.notes == expected.notes
    for found, wanted in ((answers.tops, expected.tops), (answers.outputs, expected.outputs)):
        assert list(found) == list(wanted)
        assert all(np.array_equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os\nos._exit(0)", "model: error: its process ended with status 0 before the check was done"),
        ("raise SystemExit(0)", "model/model.py:1: error: fails to load: SystemExit: 0"),
        ("import ctypes\nctypes.string_at(0)", "model: error: its process was ended by SIGSEGV before the check was"),
        ("def load():\n    return lambda *_: exit(0)", "model/model.py:2: error: fails to run: SystemExit: 0"),
        (
            "import os\ndef load():\n    return lambda *_: os._exit(0)",
            "model: error: its process ended with status 0 b",
        ),
    ],
)
def test_a_model_that_leaves_is_at_fault(
    code: str, message: str, tmp_path: Path, caffe_files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *caffe_files, str(folder(tmp_path / "model", code))]) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path}/{message}")


def test_a_model_that_is_unlike_the_net_is_still_told_by_status_3(
    tmp_path: Path, caffe_files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    learned = handmade.parameters()
    learned["score"][1] = learned["score"][1] + np.float32(1)
    assert main(["verify", *caffe_files, str(handmade.write_onnx(tmp_path / "m.onnx", learned=learned))]) == 3
    assert "parity: FAILED" in capsys.readouterr().err


def test_an_endless_loop_ends_by_the_time_limit(tmp_path: Path) -> None:
    with opened_apart(endless_onnx(tmp_path / "m.onnx"), AMPLE) as engine:
        assert isinstance(engine, ModelApart)
        engine.limit = 0.5
        with pytest.raises(ModelError, match=r"m\.onnx: error: does not run to its end within 0\.5 s"):
            engine.run(handmade.feeds())
    assert engine._process.poll() == -signal.SIGKILL


def test_a_model_that_never_loads_ends_by_the_time_limit(
    tmp_path: Path, caffe_files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    model = folder(tmp_path / "model", "while True:\n    pass")
    assert main(["verify", *caffe_files, str(model), "--timeout", "3"]) == 1
    assert (
        capsys.readouterr().err == f"{model}: error: does not load to its end within 3 s (--timeout gives it longer)\n"
    )


class Told(ModelApart):
    """Stands for a model apart, and remembers how long it might have run."""

    def __init__(self) -> None:
        self._inner = open_model(self.model)
        for name in ("name", "inputs", "metadata", "blobs", "outputs"):
            setattr(self, name, getattr(self._inner, name))

    model: Path
    limit = 0.0

    def stream(self, feeds: Mapping[str, Array]) -> Blobs:
        return self._inner.stream(feeds)


@pytest.mark.parametrize("asked", [None, 7.0])
def test_the_time_limit_follows_the_interpreter_unless_it_is_given(
    asked: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Told.model = handmade.write_onnx(tmp_path / "m.onnx")
    told, to_load = Told(), []

    @contextmanager
    def opened(path: Path, limit: float) -> Iterator[Engine]:
        to_load.append(limit)
        yield told

    monkeypatch.setattr(parity, "opened_apart", opened)
    report = verify_model(handmade.net(), handmade.weights(), Told.model, time_limit=asked)
    assert report.ok
    assert to_load == [asked or 300.0]
    if asked:
        assert told.limit == asked
    else:
        assert 300 < told.limit <= 300 + 100 * (report.seconds["reference"] + 0.001)


def test_a_model_that_was_just_written_runs_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "opened_apart", None)
    model = handmade.write_onnx(tmp_path / "m.onnx")
    assert verify_models(handmade.net(), handmade.weights(), [model], apart=False)[0].ok


def test_what_a_model_prints_is_no_part_of_the_result(
    tmp_path: Path, caffe_files: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    model = handmade.write_torch(tmp_path / "model")
    code = (model / "model.py").read_text()
    (model / "model.py").write_text(f"print('hello')\n{code}")
    assert main(["verify", *caffe_files, str(model), "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)[0]["ok"]
    assert err == "hello\n"


def test_a_model_whose_runtime_is_missing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "onnxruntime.py").write_text("raise ImportError('none', name='onnxruntime')")
    monkeypatch.syspath_prepend(tmp_path / "missing")
    with (
        pytest.raises(MissingDependencyError, match="pip install onnxruntime"),
        opened_apart(handmade.write_onnx(tmp_path / "m.onnx"), AMPLE),
    ):
        pass


WAITS = """\
import os, time
from pathlib import Path
here = Path(__file__).parent
(here / "new").write_text(str(os.getpid()))
(here / "new").rename(here / "pid")
while True:
    time.sleep(0.01)
"""


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_model_that_hangs_ends_with_the_command(
    number: signal.Signals, status: int, tmp_path: Path, caffe_files: list[str]
) -> None:
    model = folder(tmp_path / "model", WAITS)
    words = [sys.executable, "-m", "resnet_convert", "verify", *caffe_files, str(model)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    launched = subprocess.Popen(words, env=environment)
    try:
        assert until((model / "pid").exists)
        child = int((model / "pid").read_text())
        launched.send_signal(number)
        assert launched.wait(AMPLE) == status
    finally:
        launched.kill()
        launched.wait()
    assert until(lambda: not runs(child))


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def until(true: Callable[[], bool]) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + AMPLE
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return False


def test_messages_come_as_they_were_sent() -> None:
    stream = io.BytesIO()
    arrays = [np.arange(6).astype(kind).reshape(2, 3)[:, ::-1] for kind in ("<f4", ">f4", "<f8", "<i8", "|b1")]
    arrays += [np.zeros((0, 3), np.float32), np.float32(7)]  # type: ignore[list-item]
    write_message(stream, {"name": "a\udc80\n"}, arrays)
    stream.seek(0)
    message = read_message(stream)
    assert message is not None
    assert message.fields == {"name": "a\udc80\n"}
    for found, sent in zip(message.arrays, arrays, strict=True):
        assert (found.dtype, found.shape, found.tolist()) == (sent.dtype, sent.shape, sent.tolist())
    assert read_message(stream) is None


def message(head: str, rest: bytes = b"") -> bytes:
    return len(head).to_bytes(8, "little") + head.encode() + rest


@pytest.mark.parametrize(
    "data",
    [
        b"short",
        b"\xff" * 8,
        message("[]"),
        message("nothing"),
        message("[" * 100_000),
        message("{}"),
        message('{"arrays": 1}'),
        message('{"arrays": [["|O", [1]]]}', b"x" * 8),
        message('{"arrays": [["<f4", [-1]]]}'),
        message('{"arrays": [["<f4", ["a"]]]}'),
        message('{"arrays": [["<f4", [2]]]}', b"four"),
        message('{"arrays": [["<f8", [1000000000, 1000000000]]]}', b"four"),
    ],
)
def test_what_is_no_message_is_one_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_message(io.BytesIO(data))


def test_a_model_that_leaves_scores_no_images(
    tmp_path: Path, caffe_files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "val").mkdir()
    cv2.imwrite(str(tmp_path / "val" / "a.png"), np.zeros((9, 8, 3), np.uint8))
    (tmp_path / "val.txt").write_text("a.png 0\n")
    model = folder(tmp_path / "model", "import os\nos._exit(0)")
    images = ["--data", str(tmp_path / "val"), "--labels", str(tmp_path / "val.txt")]
    assert main(["evaluate", *caffe_files, *images, "--model", str(model)]) == 1
    assert "error: its process ended with status 0" in capsys.readouterr().err
