"""The GitHub Action's steps as GitHub runs them, and the hook for pre-commit."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from resnet_convert.cli.parsers import parser_of
from tests.resnet_convert.test_json import DIGITS, NET, WEIGHTS, changed_weights

ROOT = Path(__file__).resolve().parents[1]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}
EXPRESSION = re.compile(r"\$\{\{ *([\w.-]+) *\}\}")
INSTALL, PARITY, EVALUATE, KEEP = STEPS


class Runner:
    """A folder in which the steps run, with GitHub's files and variables.

    Attributes:
        folder: the checkout.
        outputs: of the steps so far, as `steps.ID.outputs.NAME`.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self._programs = folder, programs
        self.outputs: dict[str, str] = {}
        self.said = ""

    def run(self, name: str, **inputs: str) -> int:
        """Run a step with the action's inputs (`_` for `-`); its exit status."""
        step = STEPS[name]
        output = self.folder / "output"
        output.write_text("")
        environment = {k: EXPRESSION.sub(lambda e: self._value(e[1], inputs), v) for k, v in step["env"].items()}
        files = {f"GITHUB_{each}": str(self.folder / each.lower()) for each in ("STEP_SUMMARY", "PATH", "OUTPUT")}
        path = f"{self._programs}{os.pathsep}{os.environ['PATH']}"
        script = self.folder / "step.sh"
        script.write_text(step["run"])
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]  # GitHub's `shell: bash`
        done = subprocess.run(
            words,
            cwd=self.folder,
            env={**os.environ, **environment, **files, "PATH": path, "XDG_STATE_HOME": str(self.folder / "state")},
            capture_output=True,
            text=True,
        )
        self.said = done.stdout + done.stderr
        for line in output.read_text().splitlines():
            key, _, value = line.partition("=")
            self.outputs[f"steps.{step['id']}.outputs.{key}"] = value
        return done.returncode

    def _value(self, expression: str, inputs: dict[str, str]) -> str:
        if expression.startswith("inputs."):
            name = expression.removeprefix("inputs.")
            return inputs.get(name.replace("-", "_"), ACTION["inputs"][name].get("default", ""))
        context = {"github.action_path": str(ROOT), "runner.temp": str(self.folder / "temp")}
        return {**context, **self.outputs}.get(expression, "")

    @property
    def summary(self) -> str:
        return (self.folder / "step_summary").read_text()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """With this tree's `resnet-convert` on the path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    command = programs / "resnet-convert"
    python = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)}"
    command.write_text(f'#!/bin/sh\n{python} -m resnet_convert "$@"\n')
    command.chmod(0o755)
    folder = tmp_path / "check out"
    folder.mkdir()
    return Runner(folder, programs)


@pytest.fixture
def one_bias_off(tmp_path: Path) -> str:
    def change(blobs: list[np.ndarray]) -> None:
        blobs[1][6] *= 1.01

    return changed_weights(tmp_path / "off.caffemodel", "fc10", change)


def test_no_input_is_part_of_a_script() -> None:
    assert [name for name, step in STEPS.items() if "${{" in step.get("run", "")] == []


def test_every_input_is_described_and_used_and_no_other_is() -> None:
    used = set(re.findall(r"inputs\.([\w-]+)", yaml.safe_dump(ACTION["runs"])))
    assert used == set(ACTION["inputs"])
    assert all(each["description"] for each in ACTION["inputs"].values())
    told = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert [name for name in used if f"`{name}`" not in told] == []


def test_every_script_says_what_runs_it_and_reads_only_variables_that_it_gets() -> None:
    for name in (INSTALL, PARITY, EVALUATE):
        assert STEPS[name]["shell"] == "bash"
        read = set(re.findall(r"\$\{?([A-Z_]+)", STEPS[name]["run"]))
        assert read - {"GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} == set(STEPS[name]["env"])


def test_a_net_is_converted_and_its_page_kept(runner: Runner) -> None:
    assert runner.run(PARITY, net=NET, weights=WEIGHTS) == 0, runner.said
    assert runner.outputs == {"steps.parity.outputs.model": "deploy.onnx"}
    assert {path.name for path in (runner.folder / "caffe-parity").iterdir()} == {"parity.html", "parity.xml"}
    assert (runner.folder / "deploy.onnx").exists()
    assert runner.summary.startswith("### ✅ ResNet-digits: 54 layers")
    assert STEPS[KEEP]["with"]["path"] == "${{ inputs.report }}"
    assert STEPS[KEEP]["if"].startswith("always()")


def test_the_right_model_passes_and_one_with_a_bias_off_by_a_hundredth_fails(runner: Runner, one_bias_off: str) -> None:
    assert runner.run(PARITY, net=NET, weights=WEIGHTS, output="m.onnx", options="--no-verify") == 0
    model = {"net": NET, "model": "m.onnx"}
    assert runner.run(PARITY, weights=WEIGHTS, **model) == 0, runner.said
    assert runner.run(PARITY, weights=one_bias_off, **model) == 3
    assert runner.summary.count("### ❌ parity of `m.onnx`") == 1
    assert "first out of bounds: fc10 (InnerProduct)" in runner.said
    assert 'failures="0"' not in (runner.folder / "caffe-parity" / "parity.xml").read_text()


@pytest.mark.slow
def test_a_model_is_evaluated(runner: Runner) -> None:
    inputs = {"net": NET, "weights": WEIGHTS, "data": str(DIGITS / "val"), "labels": str(DIGITS / "val.txt")}
    assert runner.run(PARITY, **inputs) == 0
    assert runner.run(EVALUATE, expect="digits-resnet", strict="true", **inputs) == 0, runner.said
    assert "top-1 error 2.0 % [1.1, 3.6] of 500 images (published 2.0)" in runner.said
    assert "### ✅ evaluation of `digits-resnet`" in runner.summary
    few = "--limit\n40\n--expect-top1=3\n--mean\n" + str(DIGITS / "mean.binaryproto")
    assert runner.run(EVALUATE, evaluate_options=few, **inputs) == 0
    assert runner.run(EVALUATE, evaluate_options=few, strict="true", **inputs) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "hostile", ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "--plugin=evil.py", "* ?"]
)
def test_nothing_that_an_input_says_is_run(hostile: str, runner: Runner) -> None:
    (runner.folder / "evil.py").write_text("open('pwned', 'w')\n")
    assert runner.run(PARITY, net=hostile, weights=hostile, model=hostile, options=f"--seed={hostile}") in (1, 2)
    assert runner.run(PARITY, net=hostile, output=hostile) in (1, 2)
    assert runner.run(EVALUATE, net=hostile, data=hostile, labels=hostile, expect=hostile) in (1, 2)
    for name in ("version", "extras"):
        assert runner.run(INSTALL, **{name: hostile}) == 2
    assert not (runner.folder / "pwned").exists()


def test_a_hostile_name_is_a_name(runner: Runner) -> None:
    name = "$(touch pwned)`touch pwned`';touch pwned;'\";touch pwned;\""
    assert runner.run(PARITY, net=name, weights=name, model=name) == 1
    assert "touch pwned" in runner.said  # in the error
    assert not (runner.folder / "pwned").exists()


def test_options_are_lines_and_not_words(runner: Runner) -> None:
    assert runner.run(PARITY, net=NET, weights=WEIGHTS, output="a b.onnx", options="--seed\n5\r\n\n--fold=none") == 0
    assert runner.outputs["steps.parity.outputs.model"] == "a b.onnx"
    assert 'value="seed 5"' in (runner.folder / "caffe-parity" / "parity.xml").read_text()


def test_an_output_sets_no_other(runner: Runner) -> None:
    name = "m\nevil=1.onnx"
    assert runner.run(PARITY, net=NET, weights=WEIGHTS, output=name, options="--no-verify") == 0
    assert list(runner.outputs) == ["steps.parity.outputs.model"]


PYTHON = """#!/bin/sh
echo "$@" >> log
if [ "$2" = venv ]; then
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    printf '#!/bin/sh\\necho resnet-convert 9\\n' > "$3/bin/resnet-convert"
    chmod +x "$3/bin/resnet-convert"
fi
"""
"""Notes what it is called with, and makes environments of itself."""


@pytest.mark.parametrize(
    ("inputs", "package"),
    [
        ({}, f"{ROOT}[evaluate]"),
        ({"version": "0.1.0"}, "resnet-convert[evaluate]==0.1.0"),
        ({"version": "1.2rc1", "extras": "evaluate,torch"}, "resnet-convert[evaluate,torch]==1.2rc1"),
        ({"extras": ""}, str(ROOT)),
    ],
)
def test_the_version_that_is_asked_for_is_installed(inputs: dict[str, str], package: str, runner: Runner) -> None:
    (python := runner.folder / "python").write_text(PYTHON)
    python.chmod(0o755)
    assert runner.run(INSTALL, python="./python", **inputs) == 0, runner.said
    venv = runner.folder / "temp" / "resnet-convert"
    assert (runner.folder / "log").read_text().splitlines() == [f"-m venv {venv}", f"-m pip install --quiet {package}"]
    assert (runner.folder / "path").read_text() == f"{venv}/bin\n"


def test_the_document_shows_yaml_that_holds() -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    github, pre_commit, gitlab = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    *_, step = github["jobs"]["parity"]["steps"]
    assert set(step["with"]) <= set(ACTION["inputs"])
    (stated,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert pre_commit["repos"][0]["hooks"][0]["id"] == stated["id"]
    command = shlex.split(gitlab["parity"]["script"][1])
    assert command[0] == "resnet-convert"
    parser_of(command[1]).parse_args(command[2:])


def hook(*files: Path) -> subprocess.CompletedProcess[str]:
    """What pre-commit runs: the hook's entry with the files whose names it wants."""
    (stated,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert stated["language"] == "python"
    command, *words = shlex.split(stated["entry"])
    assert command == "resnet-convert"
    wanted = [str(file) for file in files if re.search(stated["files"], str(file))]
    return subprocess.run(
        [sys.executable, "-m", "resnet_convert", *words, *wanted], cwd=ROOT, capture_output=True, text=True
    )


def test_the_hook_says_nothing_of_good_files_and_the_line_of_a_fault(tmp_path: Path) -> None:
    (tmp_path / "bad.prototxt").write_text('name: "n"\nlayer { name: "a" type: "ReLU" bottom: "x" top: "y" }\n')
    (tmp_path / "readme.md").write_text("no prototxt")
    good = hook(*DIGITS.glob("*.prototxt"), tmp_path / "readme.md")
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    bad = hook(*DIGITS.glob("*.prototxt"), tmp_path / "bad.prototxt")
    assert bad.returncode == 1
    assert bad.stderr.startswith(
        f"{tmp_path}/bad.prototxt:2:1: error: layer 'a' (ReLU): bottom 'x' is made by no layer"
    )


def test_steps_are_named_once() -> None:
    assert len(STEPS) == len(ACTION["runs"]["steps"]) == 4
