"""The exit status tells how the work ended, whatever becomes of the output; and what the command line needs to run."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import resnet_convert
from resnet_convert.cli.main import main
from tests.golden import LAYERS, GoldenCase

ROOT = Path(__file__).resolve().parents[2]
CASE = GoldenCase(LAYERS / "conv_bn_scale_relu")
NET, WEIGHTS = str(CASE.net), str(CASE.weights)
FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str]]:
    """Command lines by the status of their check; the models are Caffe's own files, which are read the fastest."""
    folder = tmp_path_factory.mktemp("pairs")
    resnet_convert.convert(NET, WEIGHTS, to="caffe", output=folder / "good")
    options = resnet_convert.Options(random_weights=0)
    resnet_convert.convert(NET, None, to="caffe", output=folder / "bad", options=options)
    return {status: ["verify", NET, WEIGHTS, str(folder / name)] for name, status in (("good", 0), ("bad", 3))}


def command(*words: str, python: tuple[str, ...] = ("-m", "resnet_convert"), **more: object) -> tuple[int, str]:
    """Run the command line in a process of its own: its status, and what it said on standard error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, *python, *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        **more,  # type: ignore[call-overload]
    ) as process:
        _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def close_output() -> None:
    os.close(1)


def close_all() -> None:
    os.closerange(0, 3)


LOST = "error: standard output cannot be written: "


def test_python_dash_m_is_the_command_line(tmp_path: Path) -> None:
    listing = tmp_path / "listing"
    with listing.open("w") as file:
        assert command("inspect", NET, stdout=file) == (0, "")
    assert "conv_bn_scale_relu" in listing.read_text()


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("check", "status"), [(0, 1), (3, 3)])
def test_a_full_disk_is_told_and_hides_no_verdict(check: int, status: int, pairs: dict[int, list[str]]) -> None:
    with FULL.open("w") as full:
        found, errors = command(*pairs[check], "--json", stdout=full)
    assert found == status
    assert errors.splitlines()[-1] == LOST + os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(("check", "status"), [(0, 1), (3, 3)])
def test_a_closed_output_is_told_and_hides_no_verdict(check: int, status: int, pairs: dict[int, list[str]]) -> None:
    found, errors = command(*pairs[check], "--json", preexec_fn=close_output)
    assert found == status
    assert errors.splitlines()[-1] == LOST + os.strerror(errno.EBADF)


@pytest.mark.parametrize("check", [0, 3])
def test_a_reader_that_went_away_leaves_the_status_of_the_check(check: int, pairs: dict[int, list[str]]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        found, errors = command(*pairs[check], "--json", "-v", stdout=pipe)
    assert found == check
    assert "Broken pipe" not in errors


def test_who_prints_nothing_needs_no_output(pairs: dict[int, list[str]]) -> None:
    assert command(*pairs[0], "--quiet", preexec_fn=close_output) == (0, "")


def test_a_reader_that_went_away_does_not_stop_a_conversion(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        words = ["--to", "safetensors", "-o", str(tmp_path / "m.safetensors"), "--explain"]
        assert command(NET, WEIGHTS, *words, stdout=pipe)[0] == 0
    assert (tmp_path / "m.safetensors").exists()


def test_no_file_gets_the_number_of_a_closed_descriptor(tmp_path: Path) -> None:
    code = (
        "import os, sys; from resnet_convert.cli.output import lasting_output\n"
        "with lasting_output():\n"
        f"    file = open({str(tmp_path / 'file')!r}, 'w')\n"
        "    os.write(1, b'past Python'); print('and not'); print('told', file=sys.stderr)\n"
        "    sys.exit(file.fileno() < 3)\n"
    )
    assert command(python=("-c", code), preexec_fn=close_all)[0] == 0
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["verify", "--help"], ["--version"], ["inspect", NET]])
def test_what_was_asked_for_and_could_not_be_printed_is_no_success(words: list[str]) -> None:
    with FULL.open("w") as full:
        assert command(*words, stdout=full) == (1, f"{LOST}{os.strerror(errno.ENOSPC)}\n")


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "import sys; sys.exit()"])
def test_a_plugin_that_exits_is_at_fault(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("leaves.py").write_text(code)
    assert main([NET, WEIGHTS, "--plugin", "leaves.py"]) == 2
    assert capsys.readouterr().err.startswith("leaves.py:1: error: the plugin fails: SystemExit: ")


LATE = """
from dataclasses import dataclass
from converter.layers.base import register
from converter.layers.activation import ReLU

@register
@dataclass(frozen=True)
class Late(ReLU):
    types = ("Late",)

    def onnx(self, g, node, *x):
        raise SystemExit(0)
"""


def test_a_plugin_that_exits_in_the_middle_is_at_fault(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(LATE)
    (tmp_path / "net.prototxt").write_text(
        "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 } } }\n"
        "layer { name: 'late' type: 'Late' bottom: 'x' top: 'y' }"
    )
    words = ["net.prototxt", "--plugin", "late.py", "--no-verify"]
    message = "error: code of a plugin or model ended the run: SystemExit: 0\n"
    assert command(*words, cwd=tmp_path) == (1, message)
    assert not (tmp_path / "net.onnx").exists()


WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\n"
HOW = (
    "needs torch, which is not installed: pip install 'resnet-convert[torch]' (for the CPU alone, first: pip install "
    "torch --index-url https://download.pytorch.org/whl/cpu)"
)


def test_without_torch_a_conversion_to_torch_says_how_its_check_runs(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    code = f"{WITHOUT_TORCH}from resnet_convert.cli.main import main; sys.exit(main())"
    status, errors = command(NET, WEIGHTS, "--to", "torch", "-o", "m", "--quiet", python=("-c", code), cwd=tmp_path)
    assert (status, errors) == (0, f"warning: not verified: running m/model.py {HOW}\n")
    assert (tmp_path / "m" / "model.py").exists()


@pytest.mark.parametrize("train", [False, True])
def test_without_torch_load_raises_an_error_of_ours(train: bool) -> None:
    code = (
        f"{WITHOUT_TORCH}import resnet_convert\nfrom prototxt.errors import MissingDependencyError\n"
        f"try:\n    resnet_convert.load({NET!r}, {WEIGHTS!r}, train={train})\n"
        "except MissingDependencyError as error:\n    sys.exit(str(error))\n"
    )
    assert command(python=("-c", code)) == (1, f"error: a live module {HOW}\n")
