"""Ray gives what the threads give, also when its processes die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import ray

from converter.api import convert
from converter.options import Options
from prototxt import load_net
from prototxt.errors import RequestError
from verify.evaluation.datasets.opening import open_source
from verify.evaluation.running.local import run_local
from verify.evaluation.running.on_ray import run_ray
from verify.evaluation.running.plan import Plan, choose
from verify.evaluation.running.results import BatchResult, merge
from verify.evaluation.running.scorers import ScorerSpec
from verify.evaluation.running.transform import Transform
from weights import load_mean

DIGITS = Path(__file__).resolve().parents[4] / "examples" / "digits"
NET, WEIGHTS = DIGITS / "deploy.prototxt", DIGITS / "digits_resnet.caffemodel"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of sockets and of its coming versions
]


@pytest.fixture(scope="module")
def two_workers() -> Iterator[ModuleType]:
    """A cluster of two cores on this machine."""
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def plan() -> Plan:
    source = open_source(DIGITS / "val", labels=DIGITS / "val.txt")
    transform = Transform(1, (16, 16), mean=load_mean(DIGITS / "mean.binaryproto"))
    return Plan(source, (transform,), choose(len(source), None, 0), 20)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ScorerSpec:
    target = tmp_path_factory.mktemp("model") / "digits.onnx"
    convert(NET, WEIGHTS, output=target, options=Options(input_shapes={"data": ("N", 1, 16, 16)}))
    return ScorerSpec("onnx", str(target), "prob", threads=1)


def assert_same(batches: Iterator[BatchResult], plan: Plan, spec: ScorerSpec) -> None:
    results, skipped, kinds = merge(batches)
    expected = merge(run_local(plan, spec.open()))
    assert results.tobytes() == expected[0].tobytes()
    assert (skipped, kinds) == expected[1:]
    assert (results["rank"] >= 1).sum() == 10


def test_two_workers_give_the_bytes_of_the_local_run(two_workers: ModuleType, plan: Plan, spec: ScorerSpec) -> None:
    assert_same(run_ray(plan, spec), plan, spec)


def test_the_model_travels_with_the_run(two_workers: ModuleType, plan: Plan, spec: ScorerSpec, tmp_path: Path) -> None:
    here = tmp_path / "moved.onnx"
    here.write_bytes(Path(spec.path).read_bytes())
    packed = replace(spec, path=str(here)).pack()
    here.unlink()
    assert_same(run_ray(plan, packed), plan, spec)


@pytest.mark.parametrize("engine", ["torch", "interpreter"])
def test_other_engines_run_there_too(
    engine: str, two_workers: ModuleType, plan: Plan, spec: ScorerSpec, tmp_path: Path
) -> None:
    few = replace(plan, indices=plan.indices[:100])
    if engine == "torch":
        convert(NET, WEIGHTS, to="torch", output=tmp_path / "model")
        other = ScorerSpec("torch", str(tmp_path / "model"), "prob")
    else:
        other = ScorerSpec("interpreter", str(NET), "prob", net=load_net(NET), weights=str(WEIGHTS))
    results, _, _ = merge(run_ray(few, other))
    expected, _, _ = merge(run_local(few, spec.open()))
    assert results["rank"].tolist() == expected["rank"].tolist()


def parent(pid: int) -> int:
    """A process's parent; 0 when it has ended meanwhile."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def workers() -> list[int]:
    """Processes of our Ray, not of one beside it, that are at work, by the titles that it gives them."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            title = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if title.startswith("ray::Map") and parent(parent(int(entry.name))) == os.getpid():
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("after", [1, 7])
def test_killed_workers_change_nothing(after: int, two_workers: ModuleType, plan: Plan, spec: ScorerSpec) -> None:
    killed: list[int] = []

    def batches() -> Iterator[BatchResult]:
        for count, batch in enumerate(run_ray(replace(plan, batch=4), spec), 1):
            if count == after:
                killed.extend(workers())
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
            yield batch

    assert_same(batches(), replace(plan, batch=4), spec)
    assert killed


def test_batches_that_are_done_are_left_out(two_workers: ModuleType, plan: Plan, spec: ScorerSpec) -> None:
    assert sorted(batch.batch for batch in run_ray(plan, spec, done=range(3, 25))) == [0, 1, 2]
    assert list(run_ray(plan, spec, done=range(25))) == []


def test_an_error_of_the_model_comes_out_as_it_is(two_workers: ModuleType, plan: Plan, spec: ScorerSpec) -> None:
    other = replace(plan, transforms=(Transform(1, (15, 16)),))
    with pytest.raises(RequestError, match="takes images of 1×16×16, not of 1×15×16"):
        list(run_ray(other, spec))


def test_a_cluster_that_is_not_there_is_named(plan: Plan, spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:1")
    expected = r"Ray cannot be reached at ray://127\.0\.0\.1:1: nobody answers there \(Connection refused\)"
    with pytest.raises(RequestError, match=expected):
        list(run_ray(plan, spec))
