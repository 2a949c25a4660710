"""The benchmark of the corpus, on small nets: what it counts, what it survives, what it calls a miss."""

from __future__ import annotations

import io
import json
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from benchmarks import corpus, corpus_pool, corpus_work
from benchmarks.corpus_pool import Journal, Pool, Progress
from benchmarks.corpus_work import STEPS, Entry, Finding, Limits
from prototxt import load_net
from prototxt.errors import ErrorGroup, NetError, PrototxtError, UnsupportedError

ROOT = Path(__file__).resolve().parents[2]

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 7 dim: 2 dim: 5 dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 3 kernel_size: 2 } }
"""


def entry(file: str, text: str, deploy: bool = True) -> Entry:
    return Entry(file, "V2", deploy, text)


def examined(*entries: Entry, seconds: float = 60, memory: int = 6 << 30) -> dict[str, Finding]:
    """What the pool finds out of each net, run included."""
    pool = Pool(2, seconds, memory)
    return {finding.file: finding for finding in pool.run(entries, [STEPS] * len(entries))}


def failed(file: str, step: str, *reasons: str, steps: tuple[str, ...] = STEPS, message: str = "") -> Finding:
    """What held before a step that did not."""
    before = list(steps[: steps.index(step)])
    return Finding(file, steps, before, step, {step: list(reasons)}, {step: message} if message else {})


def test_a_net_that_fails_does_not_stop_the_others() -> None:
    unknown = NET.replace('"Convolution"', '"Convolusion"')
    found = examined(
        entry("good", NET), entry("text", "layer {"), entry("field", "foo: 1" + NET), entry("type", unknown)
    )
    held = {name: f.held for name, f in found.items()}
    assert held == {"good": list(STEPS), "text": [], "field": list(STEPS), "type": ["parse"]}
    assert found["field"].lenient
    assert not found["good"].lenient
    assert found["type"].faults == {"convert": ["layer type Convolusion"]}
    assert found["good"].comes_through
    assert found["good"].share.keys() == {"run", "torch"}
    assert all(0 < share <= 1 for share in found["good"].share.values())


def test_a_net_is_tried_on_one_sample() -> None:
    assert examined(entry("good", NET))["good"].shapes == {"data": [1, 2, 5, 4]}


def plan(tmp_path: Path, text: str) -> corpus_work.Plan:
    (tmp_path / "net.prototxt").write_text(text)
    return corpus_work.plan(load_net(tmp_path / "net.prototxt"))


def test_activations_are_those_of_every_top(tmp_path: Path) -> None:
    assert plan(tmp_path, NET).activations == 4 * (2 * 5 * 4 + 3 * 4 * 3)
    in_place = NET + 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }'
    assert plan(tmp_path, in_place).activations == 4 * (2 * 5 * 4 + 2 * (3 * 4 * 3))


@pytest.mark.parametrize(
    "layer",
    [
        'name: "r" type: "Reshape" bottom: "conv" top: "r" reshape_param { shape { dim: 7 dim: 36 } }',
        'name: "s" type: "Slice" bottom: "conv" top: "s" top: "t" slice_param { axis: 0 slice_point: 3 }',
        'name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" batch_norm_param { use_global_stats: false }',
    ],
    ids=["reshaped to its batch", "cut along the batch", "normalised over the batch"],
)
def test_a_net_that_needs_its_batch_keeps_it(tmp_path: Path, layer: str) -> None:
    assert plan(tmp_path, NET + f"layer {{ {layer} }}").shapes == {"data": (7, 2, 5, 4)}


def test_inputs_of_another_count_keep_it(tmp_path: Path) -> None:
    text = NET + (
        'layer { name: "more" type: "Input" top: "more" input_param { shape { dim: 9 dim: 5 } } }'
        'layer { name: "power" type: "Power" bottom: "more" top: "power" }'
    )
    assert plan(tmp_path, text).shapes == {"data": (1, 2, 5, 4), "more": (9, 5)}


def test_a_recurrent_net_keeps_its_steps(tmp_path: Path) -> None:
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 6 dim: 1 dim: 5 } } }
    layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 6 dim: 1 } } }
    layer { name: "h" type: "LSTM" bottom: "x" bottom: "cont" top: "h" recurrent_param { num_output: 4 } }
    """
    assert plan(tmp_path, text).shapes == {"x": (6, 1, 5), "cont": (6, 1)}


def test_inputs_without_a_size_have_the_one_their_owner_gives() -> None:
    text = 'layer { name: "i" type: "Input" top: "input" } layer { name: "r" type: "ReLU" bottom: "input" top: "r" }'
    known = "prototxt/arrybn+opencv_extra/testdata/dnn/layers/reshape_and_slice_routines.prototxt"
    found = examined(entry(known, text), entry("other", text))
    assert found[known].held == list(STEPS)
    assert found[known].shapes == {"input": [1, 12]}  # 6×12, of which one row is a sample
    assert "doesn't give the shape" in found["other"].faults["convert"][0]


def test_a_large_net_is_loaded_and_not_run() -> None:
    size = int((corpus_work.LARGE / 4 / 5) ** 0.5) + 2  # two channels and three
    large = NET.replace("dim: 7 dim: 2 dim: 5 dim: 4", f"dim: 1 dim: 2 dim: {size} dim: {size}")
    found = examined(entry("large", large))["large"]
    assert found.large
    assert found.held == ["parse", "convert", "load"]
    assert not found.faults
    assert found.comes_through
    assert found.peak < 1e9


def test_a_net_that_takes_too_much_time_or_memory_is_given_up() -> None:
    slow = examined(entry("slow", NET), seconds=0)["slow"]
    assert not slow.comes_through
    assert slow.reasons == ["takes more than 0 s"]
    fat = NET.replace("num_output: 3", "num_output: 50000000").replace("dim: 7", "dim: 1")
    big = examined(entry("fat", fat), memory=1 << 30)["fat"]
    assert big.held == ["parse"]
    assert big.reasons == ["needs more than 1 GB"]
    assert corpus_pool.is_limit(slow)
    assert corpus_pool.is_limit(big)
    assert not corpus_pool.is_limit(failed("other", "convert", "layer type X"))


def crash(entry: Entry, steps: tuple[str, ...], limits: Limits, folder: str, answer: Connection) -> None:
    """In place of `examine`: some nets end badly in the step `run`."""
    answer.send(Finding(entry.file, steps, ["parse", "convert", "load"], "run"))
    if entry.file == "hangs":
        time.sleep(60)
    elif entry.file == "exits":
        os._exit(3)
    elif entry.file != "good":
        os.kill(os.getpid(), signal.Signals[entry.file])


def test_a_crash_is_recorded_with_its_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_pool, "examine", crash)
    names = ["SIGSEGV", "SIGABRT", "SIGKILL", "exits", "hangs", "good"]
    found = examined(*(entry(name, "") for name in names), seconds=5, memory=3 << 30)
    assert {name: f.faults.get("run") for name, f in found.items()} == {
        "SIGSEGV": ["crashed: SIGSEGV"],
        "SIGABRT": ["crashed: SIGABRT"],
        "SIGKILL": ["needs more than 3 GB"],
        "exits": ["died with exit status 3"],
        "hangs": ["takes more than 5 s"],
        "good": None,
    }
    assert all(f.held == ["parse", "convert", "load"] for f in found.values())


def test_a_pool_that_is_left_ends_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_pool, "examine", crash)
    findings = Pool(2, 60, 3 << 30).run([entry("good", ""), entry("hangs", "")], [STEPS] * 2)
    assert next(findings).file == "good"
    (running,) = findings.gi_frame.f_locals["running"]  # type: ignore[attr-defined]
    assert running.process.is_alive()
    findings.close()  # type: ignore[attr-defined]
    assert not running.process.is_alive()
    assert not Path(running.folder.name).exists()


def test_reasons_leave_out_what_differs_from_net_to_net() -> None:
    group = ErrorGroup(
        [
            UnsupportedError("unknown layer type 'Proposal'; did you mean 'Pooling'?", layer="rpn"),
            UnsupportedError("unknown layer type 'Proposal'", layer="rpn2"),
            NetError("bottoms differ in shape: a is 1×2×3, b is 4", layer="add", layer_type="Eltwise"),
        ]
    )
    assert corpus_work.reasons(group) == [
        "layer type Proposal",
        "Eltwise: bottoms differ in shape: a is N, b is N",
    ]
    assert corpus_work.reasons(PrototxtError("no field 'x' in 'y'")) == ["no field … in …"]


def test_a_runtimes_own_words_for_a_lack_of_memory_are_understood() -> None:
    limit = 4 << 30
    for error in (MemoryError(), RuntimeError("std::bad_alloc"), NetError("its tops do not fit into memory")):
        assert corpus_work.explain(error, limit) == (["needs more than 4 GB"], "")
    assert corpus_work.explain(KeyError("x"), limit) == (["defect: KeyError: …"], "KeyError: 'x'")


def test_a_journal_goes_on_after_a_line_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Journal(path)
    first.add(Finding("a", STEPS, list(STEPS)))
    first.add(failed("b", "convert", "x"))
    with open(path, "a", encoding="utf-8") as out:
        out.write('{"file": "c", "st')
    second = Journal(path)
    assert second.passed_over == 1
    assert second.knows("a", STEPS)
    assert not second.knows("a", STEPS[:1])
    assert not second.knows("c", STEPS)
    second.add(Finding("c", STEPS, list(STEPS)))
    third = Journal(path)
    assert third.findings == second.findings
    third.forget_failures()
    assert third.findings.keys() == {"a", "c"}


def test_a_journal_of_another_form_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text('{"file": "a", "steps": ["parse"], "reached": 1}\n[]\n')
    journal = Journal(path)
    assert (journal.findings, journal.passed_over) == ({}, 2)


def test_the_summary_counts_nets_and_names_those_that_do_not_parse() -> None:
    entries = [entry("a", ""), entry("b", ""), entry("c", "", deploy=False), entry("d", "")]
    two, one = STEPS[:2], STEPS[:1]
    findings = {
        "a": Finding("a", two, list(two)),
        "b": Finding("b", two, ["parse"], "convert", {"convert": ["no X", "no Y"]}, lenient=True),
        "c": failed("c", "parse", "broken", steps=one, message="c:1: error: broken"),
        "d": failed("d", "convert", "no X", steps=two),
    }
    assert corpus.summary(entries, findings, two).splitlines() == [
        "3 of 4 nets parse (75.0 %), 2 as they are and 1 with --allow-unknown",
        "  c:1: error: broken",
        "1 of 3 deploy nets convert to ONNX with --random-weights (33.3 %)",
        "     2 (  1 for this alone)  no X   e.g. b",
        "     1 (  0 for this alone)  no Y   e.g. b",
    ]


def test_the_summary_of_a_run_lists_each_net_that_does_not_come_through() -> None:
    torch = Finding("torch", STEPS, list(STEPS[:4]), "torch", {"torch": ["numbers"]}, {"torch": "relu: off"})
    large = Finding("large", STEPS, list(STEPS[:3]), "load", activations=corpus_work.LARGE)
    found = [Finding("good", STEPS, list(STEPS)), torch, large, failed("bad", "run", "numbers: ReLU")]
    lines = corpus.summary([entry(f.file, "") for f in found], {f.file: f for f in found}, STEPS).splitlines()
    assert lines[-3:] == [
        "3 of 4 deploy nets come through (75.0 %), of them 1 loaded and not run, for their blobs take 3 GB or more",
        "  torch: torch: relu: off",
        "  bad: run: numbers: ReLU",
    ]
    assert "2 of 3 deploy nets give the interpreter's numbers in onnxruntime (66.7 %)" in lines
    assert "1 of 3 deploy nets give the interpreter's numbers in torch (33.3 %)" in lines


def test_bars_are_missed_by_what_is_not_known_as_well() -> None:
    entries = [entry(str(number), "") for number in range(100)]
    findings = {e.file: Finding(e.file, STEPS, list(STEPS)) for e in entries}
    assert corpus.bars_missed(entries, findings, STEPS) == []
    for number in range(5):
        findings[str(number)] = failed(str(number), "run", "numbers")
    assert corpus.bars_missed(entries, findings, STEPS) == []
    findings["5"] = failed("5", "convert", "no X")
    assert corpus.bars_missed(entries, findings, STEPS) == [
        "94.0 % of the deploy nets come through, at least 95 % have to"
    ]
    assert corpus.bars_missed(entries, findings, STEPS[:2]) == []
    del findings["5"], findings["6"]
    assert "98.0 % parse, at least 99 % have to" in corpus.bars_missed(entries, findings, STEPS)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_and_a_log_shows_a_line_now_and_then() -> None:
    screen, log = Terminal(), io.StringIO()
    for out in (screen, log):
        progress = Progress(4, out, every=1000)
        progress.add(Finding("a", STEPS, list(STEPS)))
        progress.add(failed("b", "run", "numbers"))
        line = progress.line(time.monotonic())
        assert line.startswith("2/4 [##########----------]  50%, 1 not through, ")
        progress.add(Finding("c", STEPS, list(STEPS)))
        progress.add(Finding("d", STEPS, list(STEPS)))
        progress.end()
    assert screen.getvalue().count("\r") == 5
    assert log.getvalue().splitlines() == ["4/4 [####################] 100%, 1 not through, 0 s left"]


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_the_journal_and_leaves_no_process(tmp_path: Path) -> None:
    slow = NET + "".join(
        f'layer {{ name: "c{n}" type: "Convolution" bottom: "conv" top: "c{n}" '
        "convolution_param { num_output: 4000 kernel_size: 2 } }"
        for n in range(3000)
    )
    make_corpus(tmp_path, {"who+what/a.prototxt": NET, "who+what/slow.prototxt": slow})
    command = [sys.executable, "-m", "benchmarks.corpus", "--corpus", tmp_path, "--run", "--jobs", "1"]
    command += ["--journal", tmp_path / "journal"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not (tmp_path / "journal").exists() or not (tmp_path / "journal").read_text().endswith("\n"):
            time.sleep(0.05)
            assert process.poll() is None
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=240)
    assert process.returncode == 130
    assert said == "\ninterrupted; the journal has what was found\n"
    assert [json.loads(line)["file"] for line in (tmp_path / "journal").read_text().splitlines()] == [
        "prototxt/who+what/a.prototxt"
    ]
    assert is_gone(process.pid), "the net's process, or the one that it came from, goes on"


def is_gone(group: int) -> bool:
    """Whether, within ten seconds, no process of a group is left."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def make_corpus(folder: Path, nets: dict[str, str]) -> None:
    index = [{"file": f"prototxt/{name}", "kind": "net", "format": "V2", "phase": "deploy"} for name in nets]
    index.append({"file": "prototxt/s.prototxt", "kind": "solver", "format": "", "phase": ""})
    with lzma.open(folder / "index.json.xz", "wt") as out:
        json.dump(index, out)
    with tarfile.open(folder / "prototxt.tar.xz", "w:xz") as archive:
        for name, text in {**nets, "s.prototxt": "base_lr: 1"}.items():
            member = tarfile.TarInfo(f"prototxt/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


def test_the_corpus_is_read_in_place(tmp_path: Path) -> None:
    make_corpus(tmp_path, {"a.prototxt": NET})
    (only,) = corpus.read_corpus(tmp_path)
    assert (only.file, only.deploy, only.text) == ("prototxt/a.prototxt", True, NET)


def test_the_command_writes_summary_journal_and_gallery_and_goes_on(tmp_path: Path) -> None:
    make_corpus(tmp_path, {"who+what/lenet.prototxt": NET, "who+what/bad.prototxt": NET.replace("Convolution", "Odd")})
    command = [sys.executable, "-m", "benchmarks.corpus", "--corpus", tmp_path, "--run", "--jobs", "1"]
    command += ["--journal", tmp_path / "journal", "--gallery", tmp_path / "gallery.md"]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert first.returncode == 1, first.stderr
    assert "1 of 2 deploy nets come through (50.0 %)" in first.stdout
    assert "missed: 50.0 % of the deploy nets come through, at least 95 % have to" in first.stdout
    page, lines = (tmp_path / "gallery.md").read_text(), (tmp_path / "journal").read_text()
    assert "| LeNet, small nets | 1 | 1 | 1 | 1 | 1 | 0 |  |" in page
    assert "| single layers | 1 | 1 | 0 | 0 | 0 | 0 | layer type Odd (1) |" in page
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (second.returncode, second.stdout) == (1, first.stdout)
    assert (tmp_path / "gallery.md").read_text() == page
    assert (tmp_path / "journal").read_text() == lines
