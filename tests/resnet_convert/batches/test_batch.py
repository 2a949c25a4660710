"""Whole zoos on the command line: what goes well, what goes wrong, and what a second run does."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from resnet_convert.cli.main import main
from tests.browser import visit
from tests.golden import LAYERS
from tests.resnet_convert.batches.zoo import RELU, TRIPLES, UNKNOWN, files, make_zoo, manifest, messages, statuses

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
CONV = LAYERS / "conv_bn_scale_relu"


@pytest.fixture(autouse=True)
def in_a_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_zoo(tmp_path)


def test_a_zoo_is_converted_and_verified(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        ("relu.prototxt", "", "", ""),
        (f"{DIGITS}/deploy.prototxt", f"{DIGITS}/digits_resnet.caffemodel", "", "12.5"),
        (str(CONV / "net.prototxt"), str(CONV / "weights.caffemodel"), "torch", ""),
    ]
    assert main(["batch", manifest(*rows, head="net weights to mean"), "-o", "new/out", "-j", "1"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert lines[0].startswith("[1/3] relu: ok (2 layers, ")
    assert " s, 1 blob compared, worst at 0 % of its bound)" in lines[0]
    assert lines[1].startswith("[2/3] digits: ok (54 layers, 0.4 MB, ")
    assert " 41 blobs compared, worst at " in lines[1]
    assert lines[3] == "3 nets: 3 ok; new/out/summary.html"
    model = onnxruntime.InferenceSession("new/out/digits/model.onnx", providers=["CPUExecutionProvider"])
    given = {"data": np.full((1, 1, 16, 16), 12.5, np.float32)}
    assert model.run(None, given)[0].shape == (1, 10)
    assert "Parity" in Path("new/out/digits/parity.html").read_text()
    assert [name for name in files("new/out") if name.startswith("conv_bn_scale_relu/")] == [
        "conv_bn_scale_relu/model_torch/model.py",
        "conv_bn_scale_relu/model_torch/model.safetensors",
        "conv_bn_scale_relu/parity.html",
        "conv_bn_scale_relu/result.json",
    ]


def test_what_goes_wrong_with_one_net_stops_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        ("twice.prototxt", "differs", "triples.py"),
        ("unknown.prototxt", "unknown", ""),
        ("none.prototxt", "missing", ""),
        ("twice.prototxt", "killed", "dies.py"),
        ("twice.prototxt", "gone", "leaves.py"),
        ("twice.prototxt", "nothing", "exits.py"),
        ("twice.prototxt", "raises", "raises.py"),
        ("zoo.csv", "other", ""),
        ("relu.prototxt", "folder", ""),
        ("relu.prototxt", "relu", ""),
    ]
    Path("out").mkdir()
    Path("out/folder").write_text("a file where a folder is to be")
    assert main(["batch", manifest(*rows), "-o", "out", "-j", "2"]) == 3
    assert statuses() == {
        "differs": "differs", "unknown": "failed", "missing": "missing", "killed": "failed", "gone": "failed",
        "nothing": "failed", "raises": "failed", "other": "failed", "folder": "failed", "relu": "ok",
    }  # fmt: skip
    said = messages()
    assert said["differs"].startswith("0 of 1 blobs within bound in onnxruntime")
    assert "first out of bounds: t (Twice) blob 'y' at " in said["differs"]
    assert [line.split(" error: ")[0] for line in said["unknown"].splitlines()] == [
        f"unknown.prototxt:{line}:19:" for line in (2, 3, 4)
    ]
    assert said["missing"] == "zoo.csv:4: error: net none.prototxt: no such file"
    assert said["killed"] == "ended by SIGKILL, as the system does when memory runs out: fewer --jobs need less"
    assert said["gone"] == "leaves.py:1: error: the plugin fails: SystemExit: 7"
    assert said["nothing"] == "ended without a word of what it wrote"
    assert said["raises"] == "raises.py:1: error: the plugin fails: ZeroDivisionError: division by zero"
    assert said["folder"].endswith("out/folder: File exists")
    assert said["relu"] == ""
    assert Path("out/unknown/log.txt").read_text().splitlines() == said["unknown"].splitlines()
    assert files("out/unknown") == ["log.txt", "result.json"]
    out, err = capsys.readouterr()
    assert (
        "unknown: failed: unknown.prototxt:2:19: error: layer 'a' (Nopea): unknown layer type 'Nopea'; "
        "--plugin FILE.py supplies it (and 2 more)" in out
    )
    assert err.splitlines() == [
        "missing: missing: zoo.csv:4: error: net none.prototxt: no such file",
        "10 nets: 1 ok, 7 failed, 1 differs, 1 missing; out/summary.html",
    ]


def test_the_status_is_1_when_none_differs_and_some_failed() -> None:
    rows = [("relu.prototxt", "good", ""), ("unknown.prototxt", "bad", "")]
    assert main(["batch", manifest(*rows), "-o", "out", "-q"]) == 1


def test_options_that_a_conversion_refuses_are_told_with_the_manifests_line() -> None:
    head = "net name to fold opset mean input_shape phase"
    rows = [
        ("relu.prototxt", "fold", "", "banana", "", "", "", ""),
        ("relu.prototxt", "opset", "torch", "", "17", "", "", ""),
        ("relu.prototxt", "mean", "", "", "", "1,2,3", "", ""),
        ("relu.prototxt", "image", "", "", "", "no.binaryproto", "", ""),
        ("relu.prototxt", "shape", "", "", "", "", "x=0,3", ""),
        ("relu.prototxt", "dashes", "", "", "", "", "--help", ""),
        ("--help", "net", "", "", "", "", "", ""),
        ("relu.prototxt", "good", "", "none", "17", "2", "x=1,3,4,5", "test"),
    ]
    assert main(["batch", manifest(*rows, head=head), "-o", "out", "-q"]) == 1
    said = messages()
    assert said["fold"].startswith("zoo.csv:2: error: argument --fold: invalid choice: 'banana' (choose from ")
    assert said["opset"] == "zoo.csv:3: error: --opset goes with --to onnx, not with torch"
    assert said["mean"].startswith("zoo.csv:4: error: ")
    assert said["image"] == "no.binaryproto: error: no such file"
    assert said["shape"].startswith(
        "zoo.csv:6: error: argument --input-shape: '0' in 'x=0,3' is neither a size above 0"
    )
    assert said["dashes"].startswith("zoo.csv:7: error: argument --input-shape: '--help' is no shape")
    assert said["net"] == "zoo.csv:8: error: net --help: no such file"
    assert (said.pop("good"), statuses()["good"]) == ("", "ok")


def test_paths_start_at_the_manifest_and_no_module_beside_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = Path("elsewhere/zoo")
    zoo.mkdir(parents=True)
    for name in ("twice.prototxt", "triples.py"):
        shutil.move(name, zoo)
    for name in ("weights", "onnx", "json", "converter"):
        (zoo / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    path = manifest(("twice.prototxt", "", "triples.py"), to=str(zoo / "zoo.csv"))
    assert main(["batch", path, "-o", "out", "-q", "--no-verify"]) == 0
    assert Path("out/twice/model.onnx").exists()
    monkeypatch.chdir(zoo)
    assert main(["batch", "zoo.csv", "-o", "../../out", "--no-verify"]) == 0
    assert Path("../../out/summary.json").exists()


def converted(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[str]:
    """The nets that a run converts, from its lines."""
    capsys.readouterr()
    assert main(["batch", "zoo.csv", "-o", "out", "-j", "1", "--no-verify", *words]) == status
    return [line.split()[1].rstrip(":") for line in capsys.readouterr().out.splitlines() if line.startswith("[")]


@pytest.mark.slow
def test_a_second_run_does_what_has_changed_and_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("note.py").write_text("")
    rows = [
        ("relu.prototxt", "plain", "", ""),
        ("relu.prototxt", "plugged", "note.py", ""),
        ("twice.prototxt", "failing", "", ""),
        (str(CONV / "net.prototxt"), "random", "", "3"),
    ]
    head = "net name plugin random_weights"
    manifest(*rows, head=head)
    assert converted(capsys, status=1) == ["plain", "plugged", "failing", "random"]
    assert converted(capsys, status=1) == ["failing"]
    Path("note.py").write_text("# changed\n")
    assert converted(capsys, status=1) == ["plugged", "failing"]
    manifest(*rows[:3], (*rows[3][:3], "4"), head=head)
    assert converted(capsys, status=1) == ["failing", "random"]
    Path("twice.prototxt").write_text(RELU)
    assert converted(capsys) == ["failing"]
    Path("out/plain/model.onnx").unlink()
    assert converted(capsys) == ["plain"]
    Path("out/plain/result.json").write_text("{")
    assert converted(capsys) == ["plain"]
    assert converted(capsys, "--to", "npz") == ["plain", "plugged", "failing", "random"]
    assert converted(capsys, "--to", "npz") == []
    assert converted(capsys, "--to", "npz", "--again") == ["plain", "plugged", "failing", "random"]
    os.utime("relu.prototxt", (1, 1))
    assert converted(capsys, "--to", "npz") == ["plain", "plugged"]
    assert set(statuses().values()) == {"ok"}


def test_what_an_earlier_run_did_counts_and_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    rows = [("twice.prototxt", "wrong", "turns.py"), ("relu.prototxt", "right", "")]
    words = ["batch", manifest(*rows), "-o", "out"]
    assert main(words) == 3
    before = Path("out/summary.json").read_bytes()
    wrong = json.loads(before)["nets"][0]
    assert (wrong["compared"], wrong["worst_share"]) == (True, None)  # another shape: no number says how far off
    capsys.readouterr()
    assert main(words) == 3
    out, err = capsys.readouterr()
    assert out == "2 of 2 nets done by an earlier run (--again does them anew)\n"
    assert err == "2 nets: 1 ok, 1 differs; out/summary.html\n"
    assert Path("out/summary.json").read_bytes() == before


def test_a_failure_leaves_no_model_of_an_earlier_run(capsys: pytest.CaptureFixture[str]) -> None:
    manifest(("relu.prototxt", "net", ""))
    assert main(["batch", "zoo.csv", "-o", "out"]) == 0
    assert files("out/net") == ["model.onnx", "parity.html", "result.json"]
    Path("relu.prototxt").write_text(UNKNOWN)
    Path("out/net/.resnet-convert-0123").write_text("left by a process that was killed")
    Path("out/net/notes.txt").write_text("mine")
    assert main(["batch", "zoo.csv", "-o", "out"]) == 1
    assert files("out/net") == ["log.txt", "notes.txt", "result.json"]
    assert json.loads(Path("out/summary.json").read_bytes())["nets"][0]["output"] == ""
    Path("relu.prototxt").write_text(RELU)
    assert main(["batch", "zoo.csv", "-o", "out", "--to", "torch", "--no-verify"]) == 0
    assert main(["batch", "zoo.csv", "-o", "out", "--no-verify"]) == 0
    assert files("out/net") == ["model.onnx", "notes.txt", "result.json"]


def test_what_was_not_compared_is_not_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = (
        TRIPLES[: TRIPLES.index("@registry")].replace("3.0", "2.0").replace("from verify.layers import registry", "")
    )
    Path("unchecked.py").write_text(plugin)
    assert main(["batch", manifest(("twice.prototxt", "net", "unchecked.py")), "-o", "out"]) == 0
    assert ", not compared, warning: not verified: " in capsys.readouterr().out
    assert "not verified" in messages()["net"]
    (tmp_path / "look").mkdir()
    shutil.copy("out/summary.html", tmp_path / "look/page.html")
    seen = visit(tmp_path / "look/page.html", 'seen.verdict = text("#verdict");', 360)
    assert seen["verdict"] == (
        "✓No net failed0 of 1 are converted and have Caffe's numbers; 1 converted but not compared."
    )


def test_json_is_the_summary_and_the_only_thing_printed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("twice.prototxt", "wrong", "triples.py"), ("unknown.prototxt", "bad", ""), ("relu.prototxt", "good", "")]
    assert main(["batch", manifest(*rows), "-o", "out", "--json", "-j", "1"]) == 3
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found == json.loads(Path("out/summary.json").read_bytes())
    assert (found["manifest"], found["counts"]) == ("zoo.csv", {"ok": 1, "failed": 1, "differs": 1})
    wrong, bad, good = found["nets"]
    assert (good["net"], good["target"], good["layers"], good["blobs_compared"]) == ("relu.prototxt", "onnx", 2, 1)
    assert (good["worst_share"], good["compared"], good["output"]) == (0.0, True, "good/model.onnx")
    assert good["megabytes"] * 1e6 == Path("out/good/model.onnx").stat().st_size
    assert wrong["worst_share"] > 1e5
    assert (wrong["report"], wrong["log"]) == ("wrong/parity.html", "wrong/log.txt")
    assert (bad["worst_share"], bad["compared"], bad["output"], bad["report"]) == (None, False, "", "")
    assert [line.split(":")[:2] for line in err.splitlines()] == [["wrong", " differs"], ["bad", " failed"]]


def test_quiet_says_nothing_of_a_zoo_without_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", manifest(("relu.prototxt", "", "")), "-o", "out", "-q", "--no-verify"]) == 0
    assert capsys.readouterr() == ("", "")


USAGE = {
    "zoo.csv": "the following arguments are required: -o",
    "zoo.csv -o out -j 0": "'0' is no number above 0",
    "zoo.csv -o out --timeout nan": "'nan' is no time in seconds above 0",
    "zoo.csv -o out --timeout -1": "'-1' is no time in seconds above 0",
    "zoo.csv -o out --to tflite": "invalid choice: 'tflite'",
    "none.csv -o out": "none.csv: error: cannot be read: No such file or directory",
    "empty.csv -o out": "empty.csv:1: error: has no column 'net'",
    "zoo.csv -o relu.prototxt": "relu.prototxt: error: cannot be made: File exists",
    "zoo.csv -o relu.prototxt/out": "relu.prototxt/out: error: cannot be made: Not a directory",
}


@pytest.mark.parametrize("words", USAGE)
def test_usage_errors_have_their_own_status(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    manifest(("relu.prototxt", "", ""))
    Path("empty.csv").touch()
    assert main(["batch", *words.split()]) == 2
    assert USAGE[words] in capsys.readouterr().err
    assert not Path("out").exists()


def test_cores_are_shared_out_among_the_processes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("cores.py").write_text(
        "import os, sys\nfrom pathlib import Path\n"
        "cores = len(os.sched_getaffinity(0))\n"
        "Path(__file__).with_name(f'cores-{os.getpid()}').write_text(f\"{cores} {os.environ['OMP_NUM_THREADS']}\")\n"
    )
    have = len(os.sched_getaffinity(0))
    rows = [("relu.prototxt", f"net{n}", "cores.py") for n in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        assert main(["batch", manifest(*rows), "-o", "out", "-q", "--no-verify", "-j", str(have)]) == 0
    assert [path.read_text() for path in Path().glob("cores-*")] == ["1 1", "1 1"]


def test_the_trained_nets_come_through(shared: Path, tmp_path: Path) -> None:
    small = ["cifar10-full-hdf5", "cifar10-quick-v1", "lenet", "mtcnn-det1"]
    nets = [shared / "golden" / "models" / name for name in small]
    rows = [(str(net / "net.prototxt"), str(next(net.glob("weights.*")))) for net in nets]
    assert main(["batch", manifest(*rows, head="net weights"), "-o", "out", "-q", "-j", "2"]) == 0
    found = json.loads(Path("out/summary.json").read_bytes())["nets"]
    assert [net["name"] for net in found] == small
    assert all(0 < net["worst_share"] < 1 for net in found)
    page = tmp_path / "look" / "page.html"
    page.parent.mkdir()
    shutil.copy("out/summary.html", page)
    seen = visit(page, 'seen.names = column("#nets", 0); seen.look = find("#verdict").className;', 1280)
    assert (seen["names"], seen["look"]) == (small, "verdict")
