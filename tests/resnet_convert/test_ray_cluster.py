"""`--runner ray` beside, on and without a Ray cluster that runs already: two nodes on one machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from prototxt.errors import Position, RequestError
from resnet_convert.batches.conversion import BatchOptions
from resnet_convert.batches.manifest import Entry
from resnet_convert.batches.runners import TOKEN, _convert_there
from verify.evaluation.datasets.opening import open_source
from verify.evaluation.running.cluster import started
from verify.evaluation.running.on_ray import _results
from verify.evaluation.running.plan import Plan
from verify.evaluation.running.results import RESULT, BatchResult
from verify.evaluation.running.transform import Transform

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
NET = ["digits/deploy.prototxt", "digits/digits_resnet.caffemodel"]
DATA = ["--data", "digits/val", "--labels", "digits/val.txt", "--mean", "digits/mean.binaryproto", "--limit", "100"]
CLOCKED = ("seconds", "rate")

TWO_NODES = """
import os, sys
from ray.cluster_utils import Cluster
os.chdir("/")
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
os.chdir(os.environ["RAY_TMPDIR"])
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
for _ in sys.stdin:
    print(sum("raylet" in dict(node.live_processes()) for node in cluster.list_all_nodes()), flush=True)
cluster.shutdown()
"""
"""Two nodes in two working folders; a line of input asks how many of them are whole."""


@dataclass
class TwoNodes:
    """A user's cluster.

    Attributes:
        address: as RAY_ADDRESS takes it.
        folder: the user's RAY_TMPDIR, where `ray.init()` finds the cluster.
    """

    process: subprocess.Popen[str]
    address: str
    folder: str

    def whole(self) -> int:
        """How many nodes have all their processes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAY_TMPDIR")}
    return {**kept, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "SOURCE_DATE_EPOCH": "0", **more}


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[TwoNodes]:
    folder = tempfile.mkdtemp(prefix="ray-")  # pytest's own paths are too long for Ray's sockets
    process = subprocess.Popen(
        [sys.executable, "-c", TWO_NODES],
        env=environment(RAY_TMPDIR=folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield TwoNodes(process, process.stdout.readline().strip(), folder)
    finally:
        process.communicate(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are named from a folder in which no node works."""
    shutil.copytree(DIGITS, tmp_path / "digits")
    monkeypatch.chdir(tmp_path)


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resnet_convert.cli.main", *words]
    state = str(Path("state").absolute())
    return subprocess.run(
        command, env=environment(XDG_STATE_HOME=state, **variables), capture_output=True, text=True, timeout=200
    )


def scored(*words: str, **variables: str) -> dict[str, Any]:
    """What `evaluate --json` prints and what it writes, without what a clock gives."""
    ended = run("evaluate", *NET, *DATA, "--json", "--scores", "scores.npy", *words, **variables)
    assert ended.returncode == 0, ended.stderr
    made: dict[str, Any] = json.loads(ended.stdout)
    return {name: value for name, value in made.items() if name not in CLOCKED} | {
        "scores": np.load("scores.npy").tobytes()
    }


@pytest.mark.slow
@pytest.mark.usefixtures("in_a_folder")
@pytest.mark.parametrize("engine", ["onnx", "interpreter"])
def test_an_evaluation_on_the_cluster_that_runs_here_gives_the_local_bytes(engine: str, two_nodes: TwoNodes) -> None:
    there = scored("--runner", "ray", "--engine", engine, RAY_TMPDIR=two_nodes.folder)
    assert there == scored("--engine", engine)
    assert two_nodes.whole() == 2


@pytest.mark.slow
@pytest.mark.usefixtures("in_a_folder")
def test_a_batch_on_the_cluster_of_ray_address_gives_the_local_bytes(two_nodes: TwoNodes) -> None:
    rows = [f"{','.join(NET)},{name}\n" for name in ("one", "two", "three")]
    Path("zoo.csv").write_text("".join(["net,weights,name\n", *rows, "digits/none.prototxt,,none\n"]))
    ended = run("batch", "zoo.csv", "-o", "there", "--runner", "ray", RAY_ADDRESS=two_nodes.address)
    assert ended.returncode == 1, ended.stderr
    assert run("batch", "zoo.csv", "-o", "here", "-j", "1").returncode == 1
    for name in ("one", "two", "three"):
        assert Path("there", name, "model.onnx").read_bytes() == Path("here", name, "model.onnx").read_bytes()
    told = [json.loads(Path(out, "summary.json").read_bytes()) for out in ("there", "here")]
    for each in told:
        for net in each["nets"]:
            net.pop("seconds")
    assert told[0] == told[1]
    assert not Path("there", TOKEN).exists()
    assert two_nodes.whole() == 2


@pytest.mark.slow
@pytest.mark.usefixtures("in_a_folder")
def test_an_evaluation_may_have_a_cluster_of_its_own_beside_another(two_nodes: TwoNodes) -> None:
    alone = scored("--runner", "ray", RAY_TMPDIR=two_nodes.folder, RAY_ADDRESS="local")
    assert alone == scored()
    assert two_nodes.whole() == 2


@pytest.fixture
def asked_of_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `ray.init` is called with, where no cluster is recorded yet."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "init", lambda **options: asked.append(options))
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return asked


def test_a_cluster_that_was_killed_is_not_waited_for(asked_of_ray: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    with started():
        pass
    assert asked_of_ray[0]["address"] == "local"
    assert asked_of_ray[0]["num_cpus"] >= 2


def test_a_named_cluster_that_is_gone_is_an_error_at_once(
    asked_of_ray: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(RequestError, match=r"Ray cannot be reached at 127\.0\.0\.1:1: nobody answers there"), started():
        pass
    assert asked_of_ray == []


def test_a_cluster_without_a_cpu_is_said_to_be_waited_for(
    asked_of_ray: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with started():
        pass
    assert "no machine of the Ray cluster has a CPU for tasks" in caplog.text


PUSHES = """
import time
from verify.evaluation.running.cluster import started
with started() as ray:
    from ray._private.utils import push_error_to_driver
    from ray._private.worker import global_worker
    push_error_to_driver(global_worker, "made up", "a warning of the raylet")
    time.sleep(2)
print("{}")
"""


@pytest.mark.slow
def test_rays_own_warnings_stay_out_of_standard_output(two_nodes: TwoNodes) -> None:
    given = environment(RAY_ADDRESS=two_nodes.address)
    ended = subprocess.run([sys.executable, "-c", PUSHES], env=given, capture_output=True, text=True, timeout=100)
    assert ended.stdout == "{}\n", ended.stderr


class Rows:
    """What Ray Data gives back, for one batch."""

    def __init__(self, result: BatchResult) -> None:
        self._result = result

    def iter_rows(self) -> list[dict[str, Any]]:
        return [{"result": self._result, "machine": "far-away"}]


def test_an_image_that_only_a_worker_cannot_see_is_an_error(tmp_path: Path) -> None:
    shutil.copy(sorted((DIGITS / "val").rglob("*.png"))[0], tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    plan = Plan(open_source(tmp_path), (Transform(1, (16, 16)),), np.arange(2), 2)
    empty, why = np.zeros(0, RESULT), "it cannot be read: No such file or directory"
    damaged = BatchResult(0, 0, empty, ((1, "it is no image"),))
    assert list(_results(Rows(damaged), plan)) == [damaged]
    expected = (
        f"a.png can be read here, but not by the Ray worker on far-away: {why}; "
        "images must lie under the same path on every machine"
    )
    with pytest.raises(RequestError) as caught:
        list(_results(Rows(BatchResult(0, 0, empty, ((0, why),))), plan))
    assert (caught.value.message, caught.value.position) == (expected, Position(str(tmp_path)))


@pytest.mark.parametrize("lacks", ["the net", "OUT", "the token of OUT"])
def test_a_net_whose_worker_does_not_see_its_files_fails_and_says_so(lacks: str, tmp_path: Path) -> None:
    out, net = tmp_path / "out", tmp_path / "net.prototxt"
    entry = Entry("net", tmp_path, "net.prototxt", None, {}, Position("zoo.csv", 2))
    if lacks != "OUT":
        out.mkdir()
        (out / TOKEN).write_text("another run's" if lacks == "the token of OUT" else "ours")
    if lacks != "the net":
        net.write_text("")
    outcome = _convert_there(entry, out, BatchOptions(), [tmp_path, net], "ours")
    unseen = net if lacks == "the net" else out
    assert outcome.status == "failed"
    assert outcome.message.startswith(f"{unseen}: the Ray worker on ")
    assert outcome.message.endswith(
        " does not see it; manifest, nets and OUT must lie under the same path on every machine"
    )
    assert not (out / "net").exists()
