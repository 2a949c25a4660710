"""A user's project whose tests ask for parity: what passes, what fails, and what a failure shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnet_convert
from prototxt.errors import CaffeModelError
from resnet_convert.testing import assert_caffe_parity
from tests.resnet_convert.test_json import NET, WEIGHTS, changed_weights

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The net, its weights, the same with one bias off by 1 %, and the model of the right ones.

    A run of pytest within pytest forgets the modules that it loaded: what registers layers is loaded before.
    """
    folder = tmp_path_factory.mktemp("files")
    shutil.copy(NET, folder / "deploy.prototxt")
    shutil.copy(WEIGHTS, folder / "right.caffemodel")
    resnet_convert.convert(NET, WEIGHTS, output=folder / "m.onnx")
    assert resnet_convert.verify(NET, WEIGHTS, folder / "m.onnx").ok

    def change(blobs: list[np.ndarray]) -> None:
        blobs[1][3] *= 1.01

    changed_weights(folder / "off.caffemodel", "fc10", change)
    return folder


@pytest.fixture
def project(pytester: pytest.Pytester, files: Path) -> pytest.Pytester:
    """A folder with the files, in which pytest is to be run."""
    shutil.copytree(files, pytester.path, dirs_exist_ok=True)
    return pytester


def run(project: pytest.Pytester, *words: str) -> pytest.RunResult:
    return project.runpytest_inprocess("-p", "pytest_resnet_convert", "-p", "no:cacheprovider", "-W", "error", *words)


ASKS = "def test_parity(assert_caffe_parity):\n    assert_caffe_parity('deploy.prototxt', {!r}, 'm.onnx')\n"


def test_the_right_model_passes(project: pytest.Pytester) -> None:
    project.makepyfile(ASKS.format("right.caffemodel"))
    run(project).assert_outcomes(passed=1)


def test_a_bias_that_is_off_by_a_hundredth_fails_with_the_table(project: pytest.Pytester) -> None:
    project.makepyfile(ASKS.format("off.caffemodel"))
    found = run(project)
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(
        [
            ">*assert_caffe_parity('deploy.prototxt', 'off.caffemodel', 'm.onnx')",
            "E *m.onnx does not give Caffe's numbers",
            "E *blob *layer *max abs *bound *alone",
            "E *BAD  fc10 *fc10 (InnerProduct) *",
            "E *parity: FAILED: * first out of bounds: fc10 (InnerProduct) *",
        ]
    )
    places = re.findall(r"^(\S+\.py):\d+: ", found.stdout.str(), re.MULTILINE)
    assert {Path(place).name for place in places} == {"test_a_bias_that_is_off_by_a_hundredth_fails_with_the_table.py"}


def test_verbosely_every_blob_is_shown(project: pytest.Pytester) -> None:
    project.makepyfile(ASKS.format("off.caffemodel"))
    rows = [line for line in run(project, "-v").outlines if re.match(r"E +(ok|BAD) ", line)]
    assert len(rows) == 41
    assert len([line for line in run(project).outlines if re.match(r"E +(ok|BAD) ", line)]) < 10


def test_a_file_that_is_missing_is_said_without_our_frames(project: pytest.Pytester) -> None:
    project.makepyfile(ASKS.format("nowhere.caffemodel"))
    found = run(project)
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["E *WeightsError: nowhere.caffemodel: error: no such file"])
    assert "verification.py" not in found.stdout.str()


def test_files_beside_the_test_come_before_those_of_the_rootdir(project: pytest.Pytester) -> None:
    folder = project.mkdir("deep")
    (folder / "test_deep.py").write_text(ASKS.format("right.caffemodel"))
    run(project, "deep").assert_outcomes(passed=1)  # all three from the rootdir
    shutil.copy(project.path / "off.caffemodel", folder / "right.caffemodel")
    run(project, "deep").assert_outcomes(failed=1)


def test_where_pytest_is_started_has_no_part(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    test = project.makepyfile(ASKS.format("right.caffemodel"))
    monkeypatch.chdir(project.mkdir("elsewhere"))
    run(project, "--rootdir", str(project.path), str(test)).assert_outcomes(passed=1)


def test_options_and_the_report_are_verifys(project: pytest.Pytester) -> None:
    project.makepyfile(
        "def test_parity(assert_caffe_parity):\n"
        "    found = assert_caffe_parity('deploy.prototxt', 'right.caffemodel', 'm.onnx', seed=5, report='p.html')\n"
        "    assert found.ok and found.feeds == 'seed 5' and len(found.rows) == 41\n"
    )
    run(project).assert_outcomes(passed=1)
    assert (project.path / "p.html").exists()


def test_the_function_needs_no_pytest(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    assert assert_caffe_parity("deploy.prototxt", "right.caffemodel", "m.onnx").ok
    with pytest.raises(AssertionError, match="first out of bounds: fc10") as caught:
        assert_caffe_parity("deploy.prototxt", "off.caffemodel", model="m.onnx")
    assert str(caught.value).startswith("m.onnx does not give Caffe's numbers\n")
    with pytest.raises(CaffeModelError, match="no such file"):
        assert_caffe_parity("deploy.prototxt", "nowhere.caffemodel", "m.onnx")
    with pytest.raises(TypeError, match="no model to compare"):
        assert_caffe_parity("deploy.prototxt", "right.caffemodel")


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which pytest finds what `setup.py` would have installed."""
    stated: dict[str, Any] = {}
    monkeypatch.setattr("setuptools.setup", lambda **how: stated.update(how))
    monkeypatch.chdir(ROOT)
    exec(compile((ROOT / "setup.py").read_text(encoding="utf-8"), "setup.py", "exec"), {})
    made = folder / "site" / "resnet_convert-9.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: resnet-convert\nVersion: 9\n")
    (made / "entry_points.txt").write_text("[pytest11]\n" + "\n".join(stated["entry_points"]["pytest11"]) + "\n")
    assert stated["py_modules"] == ["pytest_resnet_convert"]
    path = os.pathsep.join([str(made.parent), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


STATES = "import sys\ndef pytest_sessionfinish():\n    open('modules', 'w').write(' '.join(sys.modules))\n"


@pytest.mark.slow
def test_installed_it_is_there_by_itself_and_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a project with a module of its own that is called as one of our packages."""
    environment = installed(tmp_path, monkeypatch)
    work = tmp_path / "work"
    work.mkdir()
    (work / "weights.py").write_text("mine = 5\n")
    (work / "conftest.py").write_text(STATES)
    (work / "test_mine.py").write_text("import weights\ndef test_mine():\n    assert weights.mine == 5\n")
    words = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run([*words, "--fixtures"], cwd=work, env=environment, capture_output=True, text=True)
    assert "assert_caffe_parity" in done.stdout, done.stdout + done.stderr
    done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    loaded = set((work / "modules").read_text().split())
    assert "pytest_resnet_convert" in loaded
    assert loaded & {"resnet_convert", "prototxt", "verify", "converter", "numpy", "onnx", "onnxruntime"} == set()
