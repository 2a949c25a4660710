"""Build the documents as a site: `pip install -e '.[docs]' && python -m docs.make_site OUT`.

The pages are the repository's documents, in whichever folder they lie, and two that follow from the code. They are put
together in one folder with the repository's own shape, so that every link means the same there; Sphinx with MyST makes
the pages of it, and a warning, such as a link that leads nowhere, ends the build.

Exit status: Sphinx's, 0 when there was no warning.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from docs.make_reference import commands_page, python_page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)#:\s]+)")
TO_README = re.compile(r"(\]\((?:\.\./)+)README\.md")
"""A link to the repository's README, which is the site's front page."""

CONTENTS = {
    "Guides": {
        "Two files and no Caffe": "docs/guides/two-files",
        "A net of a paper": "docs/guides/papers-net",
        "Checks in CI": "docs/ci",
        "A whole zoo": "docs/batch",
    },
    "In depth": {
        "Scoring images": "docs/evaluation",
        "Photos and detectors": "docs/classify",
        "Pictures of nets": "docs/view",
        "Training": "docs/training",
        "Porting weights": "docs/porting",
        "Names of weights": "docs/weights",
        "Layers of your own": "docs/plugins",
    },
    "Reference": {
        "Command line": "docs/commands",
        "Python": "docs/python",
        "JSON": "docs/json",
        "Layers": "docs/layers",
    },
    "What was tried": {"Gallery": "docs/gallery", "Runtimes": "docs/runtimes"},
    "The project": {"Contributing": "CONTRIBUTING", "Changelog": "CHANGELOG"},
}
"""What stands in the margin of every page, by headings; the README is the front page."""


def assemble(folder: Path) -> None:
    """Put the pages, and the files that they link to, into a folder."""
    for document in documents():
        text = document.read_text(encoding="utf-8")
        _copy(document, folder).write_text(TO_README.sub(r"\1index.md", text), encoding="utf-8")
        for target in LINK.findall(text):
            linked = (document.parent / target).resolve()
            if linked.is_file() and linked.suffix != ".md":
                _copy(linked, folder)
    (folder / "docs" / "commands.md").write_text(commands_page(), encoding="utf-8")
    (folder / "docs" / "python.md").write_text(python_page(), encoding="utf-8")
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    (folder / "index.md").write_text(f"{front}\n{''.join(_contents())}", encoding="utf-8")


def documents() -> list[Path]:
    """The documents that become pages, but for the README."""
    names = ("CONTRIBUTING.md", "CHANGELOG.md")
    return [*(ROOT / name for name in names), *sorted((ROOT / "docs").rglob("*.md"))]


def _copy(file: Path, folder: Path) -> Path:
    copy = folder / file.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    return shutil.copyfile(file, copy)


def _contents() -> Iterator[str]:
    for caption, pages in CONTENTS.items():
        listed = "\n".join(f"{title} <{page}>" for title, page in pages.items())
        yield f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def main(out: str) -> int:
    """Build the site into a folder."""
    from sphinx.cmd.build import build_main

    with TemporaryDirectory() as folder:
        assemble(Path(folder))
        return build_main(["-W", "--keep-going", "-q", "-E", "-c", str(ROOT / "docs"), folder, out])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m docs.make_site OUT")
    sys.exit(main(sys.argv[1]))
