"""What CI servers are told as JUnit XML and as a job's summary, of runs that end well or not, or cannot be done."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import resnet_convert
from prototxt.errors import CaffeModelError
from resnet_convert.cli.main import main
from tests.resnet_convert.test_json import DATA, DIGITS, LABELS, MEAN, NET, WEIGHTS, changed_weights

OUTPUTS = ["--junit", "junit.xml", "--summary", "summary.md"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def model() -> str:
    assert main([NET, WEIGHTS, "-o", "digits.onnx", "--no-verify", "-q"]) == 0
    return "digits.onnx"


@pytest.fixture
def one_bias_off() -> str:
    """Weights one of whose biases is 1 % larger."""

    def change(blobs: list[np.ndarray]) -> None:
        blobs[1][int(np.abs(blobs[1]).argmax())] *= 1.01

    return changed_weights(Path("off.caffemodel"), "fc10", change)


def junit(name: str = "junit.xml") -> ElementTree.Element:
    return ElementTree.parse(name).getroot()


def counts() -> tuple[int, int, int]:
    """Tests, failures and errors, as the file's root says and as its cases are."""
    root = junit()
    found = [len(list(root.iter(kind))) for kind in ("testcase", "failure", "error")]
    assert [root.attrib[name] for name in ("tests", "failures", "errors")] == list(map(str, found))
    return found[0], found[1], found[2]


def test_a_good_model_passes_blob_by_blob(model: str) -> None:
    assert main(["verify", NET, WEIGHTS, model, *OUTPUTS]) == 0
    assert counts() == (42, 0, 0)  # 41 blobs, and the output of the model as it is shipped
    assert Path("summary.md").read_text().startswith("### ✅ parity of `digits.onnx`\n\nparity: 41 of 41 blobs within")


def test_one_bias_off_by_a_hundredth_fails_where_it_is(model: str, one_bias_off: str) -> None:
    assert main(["verify", NET, one_bias_off, model, *OUTPUTS]) == 3
    bad = [case.attrib["name"] for case in junit().iter("testcase") if case.find("failure") is not None]
    assert bad[0] == "fc10 (InnerProduct)"
    assert "scale5" not in "".join(bad)
    text = Path("summary.md").read_text()
    assert text.startswith("### ❌ parity of `digits.onnx`")
    assert "first out of bounds: fc10 (InnerProduct)" in text


def test_two_models_are_two_suites(model: str) -> None:
    assert main(["verify", NET, WEIGHTS, model, model, *OUTPUTS]) == 0
    assert [suite.attrib["tests"] for suite in junit()] == ["42", "42"]
    assert Path("summary.md").read_text().count("###") == 2


def test_a_model_at_fault_is_an_error_and_no_failure(model: str) -> None:
    Path("broken.onnx").write_bytes(Path(model).read_bytes()[:999])
    assert main(["verify", NET, WEIGHTS, "broken.onnx", *OUTPUTS]) == 1
    assert counts() == (1, 0, 1)
    error = next(junit().iter("error"))
    assert error.attrib["type"] == "ModelError"
    assert error.attrib["message"].startswith("broken.onnx: error: ")
    assert "### ❌ verify of" in Path("summary.md").read_text()


@pytest.mark.parametrize("verb", ["convert", "verify", "evaluate"])
def test_a_net_at_fault_is_an_error_with_its_line(verb: str, model: str) -> None:
    Path("bad.prototxt").write_text('layer {\n  name: "a"\n  type: "ReLU"\n  nosuch: 1\n}\n')
    more = {"convert": ["-o", "bad.onnx"], "verify": [model], "evaluate": DATA}[verb]
    assert main([verb, "bad.prototxt", WEIGHTS, *more, *OUTPUTS]) == 1
    assert counts() == (1, 0, 1)
    assert next(junit().iter("error")).attrib["message"].startswith("bad.prototxt:4:3: error: ")
    assert "bad.prototxt\\:4\\:3: error" in Path("summary.md").read_text()
    assert not Path("bad.onnx").exists()


def test_a_file_that_is_missing_is_an_error_too(model: str) -> None:
    assert main(["verify", "nowhere.prototxt", WEIGHTS, model, *OUTPUTS]) == 1
    assert counts() == (1, 0, 1)


def test_a_conversion_tells_what_it_wrote_and_what_the_comparison_found() -> None:
    assert main([NET, WEIGHTS, "-o", "digits.onnx", *OUTPUTS]) == 0
    assert counts() == (42, 0, 0)
    first, _, rest = Path("summary.md").read_text().partition("\n")
    assert first.startswith("### ✅ ResNet-digits: 54 layers -\\> digits.onnx (0.3 MB")
    assert "### ✅ parity of `digits.onnx`" in rest


@pytest.mark.parametrize("words", [["--no-verify"], ["--to", "npz"]])
def test_a_conversion_without_a_comparison_is_a_skipped_case(words: list[str]) -> None:
    assert main([NET, WEIGHTS, "-o", "out", *words, *OUTPUTS]) == 0
    assert len(list(junit().iter("skipped"))) == counts()[0] == 1
    assert Path("summary.md").read_text().count("###") == 1


def test_a_summary_goes_behind_what_is_there(model: str) -> None:
    Path("summary.md").write_text("# Mine\n\n")
    for _ in range(2):
        assert main(["verify", NET, WEIGHTS, model, *OUTPUTS]) == 0
    text = Path("summary.md").read_text()
    assert text.startswith("# Mine\n\n### ")
    assert text.count("### ") == 2


@pytest.mark.parametrize("option", ["--junit", "--summary"])
@pytest.mark.parametrize("verb", ["convert", "verify", "evaluate"])
def test_no_input_is_written_over_also_where_the_run_fails(
    verb: str, option: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.prototxt").write_text("layer {")
    more = {"convert": ["-o", "bad.onnx"], "verify": [model], "evaluate": DATA}[verb]
    for net in ("bad.prototxt", NET):
        before = Path(net).read_bytes()
        assert main([verb, net, WEIGHTS, *more, option, net]) == 2
        assert Path(net).read_bytes() == before
        assert "is a file that is read; name another file to write" in capsys.readouterr().err
    assert not Path("bad.onnx").exists()


@pytest.mark.parametrize("option", ["--junit", "--summary"])
@pytest.mark.parametrize("path", ["nowhere/file", "folder", "/dev/null"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(option: str, path: str, model: str) -> None:
    Path("folder").mkdir()
    assert main([NET, WEIGHTS, "-o", "new.onnx", option, path]) == 2
    assert not Path("new.onnx").exists()


def test_one_file_cannot_be_both(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", NET, WEIGHTS, model, "--junit", "a.md", "--summary", "a.md"]) == 2
    assert "is a file that is written as well" in capsys.readouterr().err
    assert not Path("a.md").exists()


def test_a_batch_has_a_case_for_each_net() -> None:
    path = Path("zoo.csv")
    path.write_text(f"net,weights,name\n{NET},{WEIGHTS},good\nnowhere.prototxt,{WEIGHTS},missing\n")
    assert main(["batch", str(path), "-o", "out", *OUTPUTS, "-q"]) == 1
    cases = {case.attrib["name"]: case for case in junit().iter("testcase")}
    assert list(cases) == ["good", "missing"]
    assert cases["good"].find("*") is None
    assert cases["missing"].find("error") is not None
    lines = Path("summary.md").read_text().splitlines()
    assert lines[0] == "### ❌ batch of `zoo.csv`"
    nets = [line.split(" | ")[1] for line in lines if line.startswith(("| ✅", "| ❌"))]
    assert nets == ["`missing`", "`good`"]


def test_a_manifest_at_fault_is_an_error_and_no_unknown_file_is_touched() -> None:
    Path("zoo.csv").write_text("nets\nx\n")
    Path("net.prototxt").write_text("name: 'mine'")
    assert main(["batch", "zoo.csv", "-o", "out", *OUTPUTS]) == 2
    assert counts() == (1, 0, 1)
    assert main(["batch", "zoo.csv", "-o", "out", "--junit", "net.prototxt"]) == 2
    assert main(["batch", "zoo.csv", "-o", "out", "--summary", "net.prototxt"]) == 2
    assert Path("net.prototxt").read_text() == "name: 'mine'"


def test_an_evaluation_is_summed_up() -> None:
    words = ["evaluate", NET, WEIGHTS, "--data", str(DIGITS / "val"), *LABELS, "--expect", "digits-resnet", *OUTPUTS]
    assert main(words) == 0
    assert counts()[:2] == (5, 0)
    lines = Path("summary.md").read_text().splitlines()
    assert lines[0] == "### ✅ evaluation of `digits-resnet`"
    assert "| top-1 | 2.0 % | \\[1.1, 3.6\\] | 2.0 % | 10 of 500 wrong |" in lines


def test_python_writes_what_the_command_line_does(model: str, one_bias_off: str) -> None:
    found = resnet_convert.verify(NET, one_bias_off, model, junit="junit.xml", summary="s.md", report="page.html")
    assert not found.ok
    assert counts()[1] > 0
    assert Path("s.md").read_text().startswith("### ❌")
    assert b"fc10" in Path("page.html").read_bytes()
    with pytest.raises(CaffeModelError):
        resnet_convert.convert("nowhere.prototxt", junit="other.xml")
    assert junit("other.xml").attrib["errors"] == "1"


FEW = ["evaluate", NET, WEIGHTS, *DATA, *LABELS, *MEAN]  # 40 images


def test_too_few_images_to_tell_fail_a_strict_run_alone(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*FEW, "--expect-top1", "3", *OUTPUTS]
    assert main(words) == 0
    assert counts()[:2] == (5, 0)
    assert "TOO FEW IMAGES TO TELL" in capsys.readouterr().out
    assert main([*words, "--strict"]) == 3
    assert "TOO FEW IMAGES TO TELL" in capsys.readouterr().err
    assert counts()[1] == 1
    assert Path("summary.md").read_text().count("### ❌ evaluation") == 1


def test_nothing_to_compare_fails_a_strict_run(capsys: pytest.CaptureFixture[str]) -> None:
    unlabelled = ["evaluate", NET, WEIGHTS, *DATA, *MEAN, "--strict"]
    assert main([*unlabelled, "--expect-top1", "3"]) == 3
    assert main([*unlabelled, "--agree", "7"]) == 0
    capsys.readouterr()
    assert main(unlabelled) == 2
    assert "--strict has nothing to hold the run against" in capsys.readouterr().err


def test_a_strict_run_that_agrees_passes() -> None:
    found = resnet_convert.evaluate(
        NET, WEIGHTS, DIGITS / "val", labels=DIGITS / "val.txt", expect="digits-resnet", strict=True
    )
    assert (found.ok, found.strict, found.verdict.outcome) == (True, True, "pass")
