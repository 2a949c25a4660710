"""The benchmarks' own rules, on small inputs: what they count, what they survive, what they call a miss."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import alarms, growth, large, msra, runtimes, speed
from converter.api import convert

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ROOT / "tests" / "data" / "golden" / "layers"


def test_a_childs_peak_is_what_it_allocated(tmp_path: Path) -> None:
    """However much this process holds: of a direct child the kernel would count that as well."""
    here = np.ones(100_000_000)
    used = speed.measure([sys.executable, "-c", "x = bytearray(400_000_000)"], tmp_path)
    assert here[-1] == 1
    assert 400e6 < used.peak < 430e6


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        speed.measure([sys.executable, "-c", "raise SystemExit('went wrong')"], tmp_path)
    assert "went wrong" in caught.value.stderr


def test_commands_take_turns_and_leave_nothing(tmp_path: Path) -> None:
    order = tmp_path / "order"
    order.touch()

    def command(letter: str) -> list[str | Path]:
        return ["sh", "-c", f'printf {letter} >> "$0"', order]

    used = speed.take_turns(tmp_path, 3, a=lambda _: command("a"), b=lambda target: ["cp", order, target])
    assert order.read_text() == "aaa"
    assert set(used) == {"a", "b"}
    assert [p.name for p in tmp_path.iterdir()] == ["order"]


def test_a_missed_bar_is_named() -> None:
    rows = [speed.Row("copy", 1.0, float("inf"), "s"), speed.Row("fast", 2.0, 1.5, "s", "3 × cp")]
    assert [row.ok for row in rows] == [True, False]
    assert speed.table(rows).splitlines()[2:] == [
        "| copy | 1 s |  |  |",
        "| fast | 2 s | 1.50 s | **missed** 3 × cp |",
    ]
    assert not speed.Row("verify", float("nan"), 15, "s").ok


def test_growth_is_measured_stage_by_stage() -> None:
    assert set(growth.measure("chain", 8, list(growth.STAGES))) == set(growth.STAGES)
    for shape in ("branches", "readers", "inputs"):
        assert set(growth.measure(shape, 5, ["onnx", "torch"])) == {
            "parse",
            "build",
            "passes",
            "onnx",
            "write",
            "torch",
        }


def test_the_large_nets_have_the_weights_that_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "BLOCKS", tuple((channels, 2) for channels in (2, 3, 4, 5, 6)))
    monkeypatch.setattr(large, "CLASSIFIER", (7, 5))
    monkeypatch.setattr(large, "WIDTH", 8)
    for make in (large.vgg16, large.products):
        done = convert(*make(tmp_path), output=tmp_path / "m.onnx")
        assert (done.warnings, len(done.graph.inputs), len(done.graph.outputs)) == ([], 1, 1)


def test_msra_cases_say_what_is_absent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        msra.make_cases(tmp_path / "out", (50,), shared=tmp_path)


def test_runtimes_find_cases_by_folder_and_name() -> None:
    found = runtimes.find_cases([LAYERS], ["bn", "pool_ave_ceil"])
    assert [case.name for case in found] == ["bn", "pool_ave_ceil"]
    assert runtimes.find_cases([LAYERS / "bn"])[0].answers()["y"].shape == found[0].answers()["y"].shape


def test_a_runtime_is_held_against_caffes_answer() -> None:
    (case,) = runtimes.find_cases([LAYERS / "bn"])
    answer = case.answers()["y"]
    right = answer.values.reshape(answer.shape)
    assert runtimes.judge(case, "x", {"y": right}, "").ok
    assert not runtimes.judge(case, "x", {"y": right + np.abs(right).max() * np.float32(2e-4)}, "").ok
    assert not runtimes.judge(case, "x", {"y": right * np.float32(np.nan)}, "").ok
    assert "Caffe's is" in runtimes.judge(case, "x", {"y": right[..., None]}, "").fault
    assert "no blob" in runtimes.judge(case, "x", {"z": right}, "").fault
    assert runtimes.judge(case, "x", {}, "died of signal 11").fault == "died of signal 11"


def test_resnets_have_the_tighter_bar() -> None:
    assert runtimes.Case(Path("ResNet-50")).bar == 1e-5
    assert runtimes.Case(Path("cifar10-resnet20")).bar == 1e-5
    assert runtimes.Case(Path("lenet")).bar == 1e-4


def test_sampled_answers_are_compared_where_they_were_taken(tmp_path: Path) -> None:
    case = tmp_path / "sampled"
    case.mkdir()
    keys = {"in:x": np.ones(3), "shape:l:y": [2, 3], "idx:l:y": [1, 4], "val:l:y": np.array([10.0, 20.0])}
    np.savez(case / "golden.npz", **keys)  # type: ignore[arg-type]
    answer = runtimes.Case(case).answers()["y"]
    assert answer.shape == (2, 3)
    assert answer.error(np.array([[0, 10, 0], [0, 20, 0]], np.float32)) == 0
    assert answer.error(np.array([[0, 11, 0], [0, 20, 0]], np.float32)) == pytest.approx(1 / 20)


def test_ci_is_a_shell_script_that_parses() -> None:
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


def test_planted_errors_of_one_percent_are_found_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    status = alarms.main(["--nets", "16", "--seconds", "60", "--targets", "--only", "Power", "Convolution"])
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in capsys.readouterr().out.splitlines()[2:5]}
    nets, checks, _, planted, found, no_effect, tied, passed = map(int, rows["all"])
    assert status == 0
    assert (nets, checks, tied, passed) == (16, 0, 0, 0)
    assert planted == found + no_effect
    assert found > planted / 2


def test_a_right_model_is_checked_on_what_was_drawn_and_on_three_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert alarms.main(["--nets", "1", "--seconds", "60", "--targets", "onnx", "--only", "ReLU"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| ReLU"))
    nets, checks, false_alarms = map(int, row.split("|")[2:5])
    assert (checks, false_alarms) == (4 * nets, 0)
