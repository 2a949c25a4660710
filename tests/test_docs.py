"""What the documents say, held against the code."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from pathlib import Path

import pytest

from converter.layers.base import registry
from docs.make_layers import PAGE, counts, page
from prototxt.errors import CaffeModelError
from resnet_convert.cli.main import main
from resnet_convert.layer_types import first_sentence
from verify.evaluation.published.known import published

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("[!.]*/*.md"))


def test_the_table_of_layers_is_the_one_that_the_registry_gives() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m docs.make_layers"


def test_the_table_has_every_layer_once() -> None:
    first_cells = [line.split(" | ")[0] for line in page().splitlines() if line.startswith("| `")]
    named = [name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)]
    assert sorted(named) == sorted(registry())


def test_counts_of_blobs_read_well() -> None:
    assert (counts(2, 2), counts(1, 3), counts(1, None)) == ("2", "1–3", "1 or more")


def test_a_first_sentence_ends_at_its_own_full_stop() -> None:
    assert first_sentence("|x| (Caffe: absval_layer.cpp). More.\n\nAnd more.") == "|x| (Caffe: absval_layer.cpp)."
    assert first_sentence("Over two\n    lines; no. 2 stays. Not this.") == "Over two lines; no. 2 stays."
    assert first_sentence(None) == ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", ["README.md", "CHANGELOG.md", "docs/evaluation.md"])
def test_documents_count_the_published_models(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    counts = re.findall(r"(\d+) published\s+(?:models|figures)", text)
    assert set(counts) == {str(len(published()))}


def test_the_readme_shows_what_its_first_command_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for pip's part, and for times, versions and rounding; it is run with the environment of the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- first command -->\n```sh\n(.+)\n```\n\n```\n(.*?)```", readme, re.DOTALL)
    assert shown
    commands = [words for words in map(shlex.split, shown[1].split(" && ")) if words[0].endswith("resnet-convert")]
    assert len(commands) == 2
    for words in commands:
        output = ["-o", str(tmp_path / "deploy.onnx")] if words[1] != "evaluate" else []
        assert main([str(ROOT / word) if word.startswith("examples/") else word for word in words[1:]] + output) == 0
    printed = capsys.readouterr().out.replace(f"{tmp_path}/", "")
    varying = re.compile(r"[\d.]+ s \([\d,]+ images/s\)|onnxruntime [\d.]+|worst .*bound .*|\d\.\de-\d\d")
    assert varying.sub("…", printed) == varying.sub("…", shown[2])


def test_ci_runs_the_command_that_the_readme_names() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    marked = re.search(r"<!-- test command -->\n```sh\n(.+)\n```", readme)
    assert marked
    assert marked[1].endswith(' && .venv/bin/pytest -n auto -m "not slow"')
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- test command -->" in run
    assert '-m "slow or hypothesis"' in run


def code_blocks(document: str, language: str = "python") -> list[str]:
    """The fenced blocks of one language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_example_of_a_layer_is_the_one_in_the_code() -> None:
    """CONTRIBUTING shows a real layer: what it shows stands in the files that it names."""
    converted, interpreted = (ROOT / f"{side}/layers/activation.py" for side in ("converter", "verify"))
    shown = code_blocks("CONTRIBUTING.md")
    assert shown[0].strip() in converted.read_text(encoding="utf-8")
    assert shown[1].strip() in interpreted.read_text(encoding="utf-8")


@pytest.mark.parametrize("document", ["README.md", "docs/ci.md", "docs/weights.md", "docs/classify.md"])
def test_python_in_the_documents_parses(document: str) -> None:
    blocks = code_blocks(document)
    assert blocks
    for block in blocks:
        ast.parse(textwrap.dedent(block))


def test_weights_document_names_every_parameter() -> None:
    """Parameters that some layer has, by the names that the written files give them."""
    sources = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "converter" / "layers").glob("*.py"))
    names = set(re.findall(r'Parameter\("(\w+)"', sources)) - {"scale_factor"}  # divided out, never written
    assert {"weight", "bias", "mean"} <= names
    told = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    assert [name for name in sorted(names) if f"`{name}`" not in told] == []


def test_every_error_of_the_tree_is_documented_in_one_place() -> None:
    import prototxt.errors as errors

    kinds = [c.__name__ for c in vars(errors).values() if isinstance(c, type) and issubclass(c, CaffeModelError)]
    assert [kind for kind in kinds if kind not in (errors.__doc__ or "")] == []
