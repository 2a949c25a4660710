"""Batches that are ended: by their time, by Ctrl-C, by SIGKILL; and batches on Ray, whose workers are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resnet_convert.cli.main import main
from tests.resnet_convert.batches.zoo import files, is_running, make_zoo, manifest, messages, statuses, wait_for

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def in_a_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_zoo(tmp_path)


def sleepers() -> list[int]:
    """The hanging process, its child, and its parent."""
    wait_for(Path("pids").exists)
    return list(map(int, Path("pids").read_text().split()))


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a batch in a process of its own; whatever the test comes to, none is left."""
    started = []

    def run(*words: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "resnet_convert.cli.main", "batch", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        python = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, text=True, env={**os.environ, **python, **(environment or {})}, **pipes)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_time_runs_out_for_a_net_and_all_that_it_started() -> None:
    rows = [("relu.prototxt", "hangs", "sleeps.py"), ("relu.prototxt", "good", "")]
    assert main(["batch", manifest(*rows), "-o", "out", "-q", "-j", "1", "--no-verify", "--timeout", "15"]) == 1
    assert statuses() == {"hangs": "timed out", "good": "ok"}
    assert messages()["hangs"] == "stopped after 15 s"
    process, child, _ = sleepers()
    assert not is_running(process)
    assert not is_running(child)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_its_processes_and_goes_on_next_time(
    number: signal.Signals, start: Callable[..., subprocess.Popen[str]]
) -> None:
    rows = [("relu.prototxt", "first", ""), ("relu.prototxt", "hangs", "sleeps.py"), ("relu.prototxt", "last", "")]
    words = [manifest(*rows), "-o", "out", "-j", "1"]
    run = start(*words)
    process, child, _ = sleepers()
    run.send_signal(number)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 130
    assert out.startswith("[1/3] first: ok (")
    assert err == "interrupted after 1 of 3 nets; the same command goes on\n"
    assert not is_running(process)
    assert not is_running(child)
    assert statuses() == {"first": "ok", "hangs": "skipped", "last": "skipped"}
    assert files("out") == [
        ".lock", "first/model.onnx", "first/parity.html", "first/result.json", "summary.html", "summary.json",
    ]  # fmt: skip
    Path("awake").touch()
    out, err = start(*words).communicate(timeout=240)
    assert out.startswith("1 of 3 nets done by an earlier run")
    assert out.endswith("3 nets: 3 ok; out/summary.html\n")


def test_a_run_that_is_killed_leaves_no_process(start: Callable[..., subprocess.Popen[str]]) -> None:
    run = start(manifest(("relu.prototxt", "hangs", "sleeps.py")), "-o", "out", "-q")
    process, child, _ = sleepers()
    assert is_running(process)
    assert is_running(child)
    run.kill()
    wait_for(lambda: not is_running(process) and not is_running(child))
    Path("awake").touch()
    assert main(["batch", "zoo.csv", "-o", "out", "-q"]) == 0


def test_two_runs_do_not_write_into_one_folder(
    start: Callable[..., subprocess.Popen[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    start(manifest(("relu.prototxt", "hangs", "sleeps.py")), "-o", "out", "-q")
    sleepers()
    assert main(["batch", "zoo.csv", "-o", "out"]) == 2
    assert capsys.readouterr().err.endswith("/out: error: another run writes there; choose another -o\n")
    assert not Path("out/summary.html").exists()


@pytest.fixture
def on_ray() -> dict[str, str]:
    """Environment of a run on a Ray of its own, whatever cluster runs beside it."""
    return {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "local"}


def test_ray_gives_what_processes_give(on_ray: dict[str, str], start: Callable[..., subprocess.Popen[str]]) -> None:
    rows = [
        ("relu.prototxt", "right", ""),
        ("twice.prototxt", "wrong", "triples.py"),
        ("unknown.prototxt", "bad", ""),
        ("twice.prototxt", "killed", "dies.py"),
    ]
    assert main(["batch", manifest(*rows), "-o", "here", "-q"]) == 3
    run = start("zoo.csv", "-o", "ray", "--runner", "ray", environment=on_ray)
    out, err = run.communicate(timeout=240)
    assert run.returncode == 3, err
    assert err.endswith("4 nets: 1 ok, 2 failed, 1 differs; ray/summary.html\n")
    assert len(out.splitlines()) == 4
    assert (statuses("ray"), messages("ray")) == (statuses("here"), messages("here"))
    for model in ("right/model.onnx", "wrong/model.onnx"):
        assert Path("ray", model).read_bytes() == Path("here", model).read_bytes()


def test_a_net_whose_ray_worker_is_killed_is_converted_again(
    on_ray: dict[str, str], start: Callable[..., subprocess.Popen[str]]
) -> None:
    Path("kills.py").write_text("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n")
    rows = [
        ("relu.prototxt", "hangs", "sleeps.py"),
        ("relu.prototxt", "kills", "kills.py"),
        ("relu.prototxt", "good", ""),
    ]
    run = start(manifest(*rows), "-o", "out", "--runner", "ray", environment=on_ray)
    process, child, server = sleepers()
    Path("awake").touch()
    os.kill(int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    _, err = run.communicate(timeout=240)
    assert run.returncode == 1, err
    assert statuses() == {"hangs": "ok", "kills": "failed", "good": "ok"}
    assert messages()["kills"].startswith("Ray gave up on it: WorkerCrashedError: ")
    wait_for(lambda: not any(map(is_running, (process, child, server))))


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_on_ray_leaves_no_process(
    number: signal.Signals, on_ray: dict[str, str], start: Callable[..., subprocess.Popen[str]]
) -> None:
    rows = [("relu.prototxt", "first", ""), ("relu.prototxt", "hangs", "sleeps.py")]
    run = start(manifest(*rows), "-o", "out", "--runner", "ray", "-j", "1", environment=on_ray)
    process, child, _ = sleepers()
    run.send_signal(number)
    _, err = run.communicate(timeout=240)
    assert run.returncode == 130, err
    assert err.endswith("interrupted after 1 of 2 nets; the same command goes on\n")
    assert statuses() == {"first": "ok", "hangs": "skipped"}
    wait_for(lambda: not is_running(process) and not is_running(child))
