"""What a command loads before it does its work: only that. (How long it takes is measured in `benchmarks/speed.py`.)"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_convert.cli.verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits"
PAIR = [str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel")]

HEAVY = {"numpy", "google.protobuf", "weights.model", "converter.node", "verify.interpreter.lanes", "logging", "json"}
"""What no answer about the command line itself needs."""

UNUSED = set(
    "onnx onnxruntime torch h5py cv2 numpy.random ssl hashlib _hashlib secrets asyncio multiprocessing http tomllib "
    "importlib.metadata decimal fractions difflib tempfile zipfile shutil google.protobuf.descriptor_pb2 "
    "verify.interpreter verify.interpreter.lanes verify.layers".split()
)
"""What a conversion without a comparison does not need."""

FAMILIES = {"activation", "arithmetic", "base", "batch_norm", "convolution", "data", "inner_product", "pooling"}
FAMILIES |= {"reduction"}


def modules_after(folder: Path, *words: str) -> tuple[int, set[str], str]:
    """The status of a command, the modules that it loaded, and what it said on standard error."""
    code = (
        "import sys\nbefore = {*sys.modules}\n"
        "from resnet_convert.cli.main import main\n"
        "status = main()\n"
        "with open('modules', 'w') as file:\n    print(*sorted({*sys.modules} - before), sep='\\n', file=file)\n"
        "sys.exit(status)"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, set((folder / "modules").read_text().split()), done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_and_version_load_no_more_than_they_print(words: list[str], tmp_path: Path) -> None:
    status, loaded, _ = modules_after(tmp_path, *words)
    assert status == 0
    assert loaded & {*HEAVY, "argparse", "dataclasses", "pathlib"} == set()


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_loads_nothing_that_does_its_work(verb: str, tmp_path: Path) -> None:
    status, loaded, _ = modules_after(tmp_path, verb, "--help")
    assert status == 0
    assert loaded & HEAVY == set()
    assert f"resnet_convert.cli.{verb}" not in loaded


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([*PAIR, "--too", "onnx"], 2, "error: unrecognized arguments: --too onnx; "),
        ([*PAIR, "--to", "tflite"], 2, "error: argument --to: invalid choice: 'tflite'"),
        (["evaluate", *PAIR, "--limit", "x"], 2, "error: argument --limit: 'x' is no number above 0"),
        (["convrt", *PAIR], 2, "error: unknown verb 'convrt'"),
        (["no.prototxt", PAIR[1]], 1, "no.prototxt: error: can't read the file: no such file or directory\n"),
        (["verify", "no.prototxt", PAIR[1], "m.onnx"], 1, "no.prototxt: error: can't read the file: no such file or "),
        (["no.caffemodel"], 1, "no.caffemodel: error: no such file\n"),
        ([PAIR[0], "no.caffemodel"], 1, "no.caffemodel: error: no such file\n"),
    ],
)
def test_errors_of_the_command_line_wait_for_nothing(words: list[str], status: int, said: str, tmp_path: Path) -> None:
    found, loaded, errors = modules_after(tmp_path, *words)
    assert (found, errors[: len(said)]) == (status, said)
    assert {name for name in loaded & HEAVY if name not in ("logging", "json")} == set()


@pytest.mark.parametrize("missing", [["no.prototxt", PAIR[1]], ["no.caffemodel"], [PAIR[0], "no.caffemodel"]])
def test_the_library_says_the_same_of_a_missing_file(
    missing: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resnet_convert

    monkeypatch.chdir(tmp_path)
    with pytest.raises(resnet_convert.CaffeModelError) as caught:
        resnet_convert.convert(*missing)
    assert modules_after(tmp_path, *missing)[2] == f"{caught.value}\n"


@pytest.mark.parametrize("to", ["onnx", "torch", "safetensors"])
def test_a_conversion_loads_the_families_of_its_layers(to: str, tmp_path: Path) -> None:
    status, loaded, errors = modules_after(tmp_path, *PAIR, "--to", to, "--no-verify", "-o", "m")
    assert (status, errors) == (0, "")
    start = "converter.layers."
    families = {name.removeprefix(start) for name in loaded if name.startswith(start) and ".shared" not in name}
    assert families == FAMILIES


@pytest.mark.parametrize("to", ["onnx", "torch", "safetensors"])
def test_a_conversion_loads_nothing_that_it_does_not_use(to: str, tmp_path: Path) -> None:
    _, loaded, _ = modules_after(tmp_path, *PAIR, "--to", to, "--no-verify", "-o", "m")
    assert loaded & UNUSED == set()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_what_a_check_frees_is_used_again() -> None:
    code = (
        "import resource\nimport numpy as np\nfrom resnet_convert.cli.garbage import keep_freed\n"
        "def fill():\n    blobs = [np.ones(2_000_000) for _ in range(5)]\n"
        "def faults():\n    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def again():\n    before = faults()\n    fill()\n    return faults() - before\n"
        "fill()\nwithout = again()\nkeep_freed()\nfill()\nprint(without, again())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    without, kept = map(int, done.stdout.split())
    assert kept < 10 < without
