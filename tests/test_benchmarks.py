"""The benchmarks' own rules, on small inputs: what they count, what they survive, what they call a miss."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks import corpus, msra, runtimes, speed
from prototxt.errors import ErrorGroup, NetError, PrototxtError, UnsupportedError

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ROOT / "tests" / "data" / "golden" / "layers"

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 5 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 3 kernel_size: 2 } }
"""


def entry(file: str, text: str, deploy: bool = True) -> corpus.Entry:
    return corpus.Entry(file, "V2", deploy, text)


def examined(*entries: corpus.Entry, seconds: float = 60, memory: int = 6 << 30) -> dict[str, corpus.Finding]:
    """What the pool finds out of each net, run included."""
    pool = corpus.Pool(2, seconds, memory)
    return {finding.file: finding for finding in pool.run(entries, [corpus.STEPS] * len(entries))}


def test_a_net_that_fails_does_not_stop_the_others() -> None:
    unknown = NET.replace('"Convolution"', '"Convolusion"')
    found = examined(
        entry("good", NET), entry("text", "layer {"), entry("field", "foo: 1" + NET), entry("type", unknown)
    )
    assert {name: f.reached for name, f in found.items()} == {"good": 3, "text": 0, "field": 3, "type": 1}
    assert found["field"].lenient
    assert not found["good"].lenient
    assert found["type"].reasons == ["layer type Convolusion"]
    assert found["good"].share is not None
    assert found["good"].share <= 1


def test_a_net_that_takes_too_much_time_or_memory_is_given_up() -> None:
    slow = examined(entry("slow", NET), seconds=0.01)["slow"]
    assert slow.reached == 0
    assert slow.reasons == ["takes more than 0 s"]
    fat = NET.replace("num_output: 3", "num_output: 100000000")
    big = examined(entry("fat", fat), memory=2 << 30)["fat"]
    assert big.reached == 1
    assert big.reasons == ["needs more than 2 GB"]


def test_reasons_leave_out_what_differs_from_net_to_net() -> None:
    group = ErrorGroup(
        [
            UnsupportedError("unknown layer type 'Proposal'; did you mean 'Pooling'?", layer="rpn"),
            UnsupportedError("unknown layer type 'Proposal'", layer="rpn2"),
            NetError("bottoms differ in shape: a is 1×2×3, b is 4", layer="add", layer_type="Eltwise"),
        ]
    )
    assert corpus.reasons(group) == [
        "layer type Proposal",
        "Eltwise: bottoms differ in shape: a is N, b is N",
    ]
    assert corpus.reasons(PrototxtError("no field 'x' in 'y'")) == ["no field … in …"]


def test_a_journal_goes_on_after_a_line_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = corpus.Journal(path)
    first.add(corpus.Finding("a", corpus.STEPS, reached=3))
    first.add(corpus.Finding("b", corpus.STEPS, reached=1, reasons=["x"]))
    with open(path, "a", encoding="utf-8") as out:
        out.write('{"file": "c", "st')
    second = corpus.Journal(path)
    assert second.knows("a", corpus.STEPS)
    assert not second.knows("a", corpus.STEPS[:1])
    assert not second.knows("c", corpus.STEPS)
    second.forget_failures()
    assert not second.knows("b", corpus.STEPS)


def test_the_summary_counts_nets_and_names_those_that_do_not_parse() -> None:
    entries = [entry("a", ""), entry("b", ""), entry("c", "", deploy=False), entry("d", "")]
    findings = {
        "a": corpus.Finding("a", corpus.STEPS[:2], reached=2),
        "b": corpus.Finding("b", corpus.STEPS[:2], reached=1, lenient=True, reasons=["no X", "no Y"]),
        "c": corpus.Finding("c", corpus.STEPS[:1], reached=0, reasons=["broken"], message="c:1: error: broken"),
        "d": corpus.Finding("d", corpus.STEPS[:2], reached=1, reasons=["no X"]),
    }
    assert corpus.summary(entries, findings, corpus.STEPS[:2]).splitlines() == [
        "3 of 4 nets parse (75.0 %), 2 as they are and 1 with --allow-unknown",
        "  c:1: error: broken",
        "1 of 3 deploy nets convert with --random-weights (33.3 %)",
        "     2 (  1 for this alone)  no X   e.g. b",
        "     1 (  0 for this alone)  no Y   e.g. b",
    ]


def test_the_corpus_is_read_in_place(tmp_path: Path) -> None:
    index = [
        {"file": "prototxt/a.prototxt", "kind": "net", "format": "V2", "phase": "deploy"},
        {"file": "prototxt/s.prototxt", "kind": "solver", "format": "", "phase": ""},
    ]
    with lzma.open(tmp_path / "index.json.xz", "wt") as out:
        json.dump(index, out)
    for name in ("a", "s"):
        (tmp_path / f"{name}.prototxt").write_text(NET)
    with tarfile.open(tmp_path / "prototxt.tar.xz", "w:xz") as archive:
        for name in ("a", "s"):
            archive.add(tmp_path / f"{name}.prototxt", f"prototxt/{name}.prototxt")
    (only,) = corpus.read_corpus(tmp_path)
    assert (only.file, only.deploy, only.text) == ("prototxt/a.prototxt", True, NET)


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
