"""Nets that are forked from one process: what one does to itself, to that process or to its files reaches no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_convert.batches import starting
from resnet_convert.batches.process import Children, StoppedError
from resnet_convert.cli.main import main
from tests.golden import LAYERS
from tests.resnet_convert.batches.zoo import files, is_running, make_zoo, manifest, messages, statuses, wait_for

CONV = LAYERS / "conv_bn_scale_relu"

NOTES = """\
import atexit, os, sys
from pathlib import Path
here, loaded = Path(__file__).parent, set(sys.modules)
status = Path(f"/proc/{os.getppid()}/status").read_text().split()
(here / f"threads-{os.getpid()}").write_text(status[status.index("Threads:") + 1])
def tell():
    (here / f"loaded-{os.getpid()}").write_text(" ".join(set(sys.modules) - loaded))
    (here / f"before-{os.getpid()}").write_text(" ".join({"torch", "onnxruntime", "cv2", "ray"} & loaded))
atexit.register(tell)
"""
"""A plugin that notes what was loaded before it and after, and how many threads there are where it was forked."""

PLUGINS = {
    "crashes": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "eats": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\nbytearray(1 << 31)\n",
    "splits": (
        "import os, subprocess, sys, time\nfrom pathlib import Path\n"
        "child = os.fork()\n"
        "if child == 0:\n    time.sleep(300)\n"
        "sleeps = [sys.executable, '-c', 'import time; time.sleep(300)']\n"
        "other = subprocess.Popen(sleeps, close_fds=False)\n"
        "Path(__file__).with_name('left').write_text(f'{child} {other.pid}')\n"
    ),
    "closes": "import os\nos.closerange(0, 64)\n",
    "floods": "import os\nfor _ in range(2000):\n    os.write(1, b'{\\n' * 500)\n",
    "notes": NOTES,
    "hungry": (
        "import os, signal\nfrom pathlib import Path\n"
        "once = Path(__file__).with_name('once')\n"
        "if not once.exists():\n    once.touch()\n    os.kill(os.getppid(), signal.SIGKILL)\n    signal.pause()\n"
    ),
    "waits": "import time\ntime.sleep(2)\n",
}


@pytest.fixture(autouse=True)
def in_a_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_zoo(tmp_path)
    for name, text in PLUGINS.items():
        (tmp_path / f"{name}.py").write_text(text)


def batch(*nets: str, out: str = "out", jobs: int = 2, more: tuple[str, ...] = ("--no-verify",)) -> int:
    """Convert a net of each name, with the plugin of that name where there is one."""
    rows = [("relu.prototxt", name, f"{name}.py" if Path(f"{name}.py").exists() else "") for name in nets]
    return main(["batch", manifest(*rows), "-o", out, "-q", "-j", str(jobs), *more])


def test_what_ends_one_net_ends_no_other() -> None:
    nets = ["first", "crashes", "dies", "eats", "splits", "closes", "floods", "last"]
    assert batch(*nets) == 1
    assert statuses() == {
        "first": "ok", "crashes": "failed", "dies": "failed", "eats": "failed", "splits": "ok", "closes": "failed",
        "floods": "ok", "last": "ok",
    }  # fmt: skip
    said = messages()
    assert said["crashes"] == "ended by SIGSEGV"
    assert said["dies"].startswith("ended by SIGKILL, as the system does when memory runs out")
    assert "this takes more memory than there is" in said["eats"] or "MemoryError" in said["eats"]
    assert files("out/first") == files("out/last") == ["model.onnx", "result.json"]
    assert Path("out/first/model.onnx").read_bytes() == Path("out/last/model.onnx").read_bytes()
    assert [pid for pid in map(int, Path("left").read_text().split()) if is_running(pid)] == []


def test_the_forks_give_what_processes_of_their_own_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    weights = str(CONV / "weights.caffemodel")
    rows = [
        *((str(CONV / "net.prototxt"), weights, to, "", to) for to in ("onnx", "torch", "hdf5")),
        ("unknown.prototxt", "", "", "", "unknown"),
        ("relu.prototxt", "", "", "raises.py", "raises"),
    ]
    path = manifest(*rows, head="net weights to plugin name")
    assert main(["batch", path, "-o", "forked", "-q", "--no-verify"]) == 1
    monkeypatch.setattr("resnet_convert.batches.process.FORKS", False)
    assert main(["batch", path, "-o", "spawned", "-q", "--no-verify"]) == 1
    assert (statuses("forked"), messages("forked")) == (statuses("spawned"), messages("spawned"))
    made = [name for name in files("forked") if Path(name).name not in ("result.json", "summary.html", "summary.json")]
    assert made == [
        ".lock", "hdf5/model.h5", "onnx/model.onnx", "raises/log.txt", "torch/model_torch/model.py",
        "torch/model_torch/model.safetensors", "unknown/log.txt",
    ]  # fmt: skip
    assert [name for name in made if Path("forked", name).read_bytes() != Path("spawned", name).read_bytes()] == []


def test_a_fork_finds_all_modules_loaded_and_no_thread_or_runtime() -> None:
    rows = [
        (str(CONV / "net.prototxt"), str(CONV / "weights.caffemodel"), to, to, "notes.py") for to in ("onnx", "torch")
    ]
    words = ["batch", manifest(*rows, head="net weights to name plugin"), "-o", "out", "-q", "-j", "1"]
    assert main([*words, "--no-verify"]) == 0
    assert [path.read_text() for path in Path().glob("loaded-*")] == ["", ""]
    assert [path.read_text() for path in Path().glob("before-*")] == ["", ""]
    assert {path.read_text() for path in Path().glob("threads-*")} == {"1"}
    for path in Path().glob("loaded-*"):
        path.unlink()
    assert main([*words, "--again"]) == 0
    loaded = {name.split(".")[0] for path in Path().glob("loaded-*") for name in path.read_text().split()}
    assert {"onnxruntime", "torch"} <= loaded
    assert loaded & {"prototxt", "weights", "converter", "verify", "resnet_convert", "numpy"} == set()


def test_a_net_that_kills_what_it_was_forked_from_costs_no_net() -> None:
    assert batch("first", "waits", "hungry", "last", jobs=3) == 0
    assert statuses() == dict.fromkeys(("first", "waits", "hungry", "last"), "ok")


def test_a_single_net_needs_no_process_beside_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting.ForkServer, "__init__", None)
    assert batch("only") == 0


def test_where_loaded_processes_do_not_fork_each_net_has_a_python_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_convert.batches.process.FORKS", False)
    monkeypatch.setattr(starting.ForkServer, "__init__", None)
    assert batch("first", "crashes", "last") == 1
    assert statuses() == {"first": "ok", "crashes": "failed", "last": "ok"}


def test_a_folder_that_is_gone_is_an_error_of_its_net_alone(tmp_path: Path) -> None:
    children = Children(many=True)
    words = ["convert", "--to", "npz", "--no-verify", "--", str(tmp_path / "relu.prototxt")]
    try:
        with pytest.raises(FileNotFoundError) as caught:
            children.run(words, folder=tmp_path / "gone", timeout=60)
        assert caught.value.filename == str(tmp_path / "gone")
        assert children.run(["inspect", "relu.prototxt"], folder=tmp_path, timeout=60).status == 0
    finally:
        children.stop()
    with pytest.raises(StoppedError):
        children.run(words, folder=tmp_path, timeout=60)


HOLDS = """
import ctypes, os, sys
from pathlib import Path
here = Path(__file__).parent
(here / "pids.tmp").write_text(f"{os.getpid()} {os.getppid()}")
(here / "pids.tmp").rename(here / "pids")
ctypes.PyDLL(None).sleep(300)  # with Python's lock
"""


@pytest.mark.slow
def test_a_net_that_hears_nothing_does_not_outlive_a_killed_run() -> None:
    Path("holds.py").write_text(HOLDS)
    rows = [("relu.prototxt", "holds", "holds.py"), ("relu.prototxt", "other", "")]
    command = [sys.executable, "-m", "resnet_convert", "batch", manifest(*rows), "-o", "out", "-q", "-j", "1"]
    run = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": starting.ROOT})
    try:
        wait_for(Path("pids").exists)
        pids = list(map(int, Path("pids").read_text().split()))
        assert all(map(is_running, pids))
    finally:
        run.kill()
        run.wait()
    wait_for(lambda: not any(map(is_running, pids)))
