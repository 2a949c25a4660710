"""The site's pages: nothing is missing in its contents, and what follows from the code says all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import resnet_convert
from docs.make_reference import VALUES, commands_page, python_page, record_of
from docs.make_site import CONTENTS, ROOT, assemble, documents
from resnet_convert.cli.parsers import parser_of
from resnet_convert.cli.verbs import VERBS
from resnet_convert.requests import ConversionRequest

MADE = {"docs/commands", "docs/python"}


def test_every_document_is_in_the_contents_once() -> None:
    listed = [page for pages in CONTENTS.values() for page in pages.values()]
    assert len(set(listed)) == len(listed)
    assert set(listed) == {str(path.relative_to(ROOT).with_suffix("")) for path in documents()} | MADE


def test_pages_and_the_files_they_link_to_lie_as_in_the_repository(tmp_path: Path) -> None:
    assemble(tmp_path)
    assert (tmp_path / "docs" / "schemas" / "convert.json").is_file()
    assert (tmp_path / "docs" / "guides" / "two-files.md").is_file()
    assert "Two files and no Caffe <docs/guides/two-files>" in (tmp_path / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_stands_in_the_reference(verb: str) -> None:
    """Those that `--help` has; a table's cell is one line, so that none ends a table."""
    page = commands_page([verb])
    flags = re.findall(r"^  (?:-\w, )?(--?[\w-]+)", parser_of(verb).format_help(), re.MULTILINE)
    assert len(flags) >= 3
    assert [flag for flag in flags if f"`{flag}" not in page and f", {flag}" not in page] == ["--help"]
    assert all(line.count("|") - line.count("\\|") == 3 for line in page.splitlines() if line.startswith("|"))


def test_every_public_name_stands_on_the_page_of_python() -> None:
    page = python_page()
    named = re.findall(r"^\.\. auto\w+:: resnet_convert\.(\w+)", page, re.MULTILINE)
    assert sorted(named) == sorted({*resnet_convert.__all__} - {*VALUES, "__version__"})
    assert ".. autofunction:: resnet_convert.convert(net, weights=None, *, …)" in page


def test_a_function_of_a_request_has_a_table_of_its_fields() -> None:
    assert record_of(resnet_convert.convert) is ConversionRequest
    assert record_of(resnet_convert.load_mean) is None
    assert "| `verify` | `False` | False: skip the comparison with Caffe's numbers |" in python_page()
