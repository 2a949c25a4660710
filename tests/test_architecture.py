"""The house rules that imports must keep."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("prototxt", "weights", "converter", "verify")
MAY_IMPORT = {
    "prototxt": set(),
    "weights": {"prototxt"},
    "converter": {"prototxt", "weights"},
    "verify": {"prototxt", "weights"},
}
JOINS_THE_TWO = {
    f"converter/commands/{verb}.py" for verb in ("convert", "verify", "evaluate", "images", "batch", "recalibrate")
}


def imported(path: Path) -> set[str]:
    """The project's packages that a file imports, outside `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return names & set(PACKAGES)


FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    package = name.split("/")[0]
    allowed = MAY_IMPORT[package] | {package} | ({"verify"} if name in JOINS_THE_TWO else set())
    assert imported(path) <= allowed


@pytest.mark.parametrize("module", ["resnet_convert", "converter.cli", "prototxt", "weights", "verify"])
def test_importing_loads_no_framework(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'onnx', 'h5py', 'onnxruntime', 'cv2'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_weights_folder_is_not_ignored_by_git() -> None:
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert not any("weights" in line for line in lines)
