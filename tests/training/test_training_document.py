"""docs/training.md: its example is run, and what it prints is what the document says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from converter.training.optimizers import CaffeSGD

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def example() -> tuple[str, str]:
    """The program and the output that the document shows for it."""
    found = re.search(r"<!-- learning rate example -->\n```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return found[1], found[2]


@pytest.mark.slow
def test_the_learning_rate_example_prints_what_the_document_shows() -> None:
    program, shown = example()
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == shown


def test_the_numbers_of_the_example_are_those_of_the_formula() -> None:
    """Effective rates by hand: 10 · (1 - 0.9^n) while the buffer fills, 1 + 9 · 0.9^n after the drop."""
    rows = {int(row[0]): [float(cell) for cell in row[1:]] for row in map(str.split, example()[1].splitlines()[1:-1])}
    for step in (0, 10, 99):
        filled = 10 * (1 - 0.9 ** (step + 1))
        assert rows[step] == [round(filled, 3), round(filled, 3), round(filled / 10, 3), round(filled, 3)]
    for step in (100, 101, 106, 110, 121, 149):
        emptied = 1 + 9 * 0.9 ** (step - 99)
        assert rows[step] == [round(emptied, 3), 1.0, round(emptied / 10, 3), round(emptied, 3)]


def test_rescaled_buffers_make_torchs_sgd_take_caffes_steps() -> None:
    """The document's own function, on weights with a decay and rates that fall and rise."""
    scope: dict[str, object] = {}
    tree = ast.parse(example()[0])
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "set_rate_as_caffe"]
    exec(compile(tree, "docs/training.md", "exec"), scope)
    change = scope["set_rate_as_caffe"]
    assert callable(change)
    torch.manual_seed(3)
    start, gradients = torch.randn(3, 4, dtype=torch.float64), torch.randn(9, 3, 4, dtype=torch.float64)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    caffe = CaffeSGD([ours], lr=0.3, momentum=0.8, weight_decay=0.05)
    other = torch.optim.SGD([theirs], lr=0.3, momentum=0.8, weight_decay=0.05)
    for step, gradient in enumerate(gradients):
        if step in (3, 6):
            rate = {3: 0.03, 6: 0.7}[step]
            caffe.param_groups[0]["lr"] = rate
            change(other, rate)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        caffe.step()
        other.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_the_deploy_example_trains_as_the_document_shows() -> None:
    """Word for word but for losses and errors, which round otherwise on another processor."""
    found = re.search(r"<!-- deploy example -->\n```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)
    assert found
    ran = subprocess.run([sys.executable, "-c", found[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    figures = re.compile(r"(loss|error) ([\d.]+)")
    assert figures.sub(r"\1 x", ran.stdout) == figures.sub(r"\1 x", found[2])
    before, *_, after = [float(value) for kind, value in figures.findall(ran.stdout) if kind == "error"]
    assert before == 49.5  # of 297: a layer that is 0 calls them all even
    assert after < 3


def test_python_in_the_document_parses() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        ast.parse(block)
