"""A report as one self-contained page: summary, a chart of error against depth, a table to sort and search.

The page needs no network and no fonts of its own. Everything that comes from a model is handed over as JSON inside a
script element, with `<` escaped, and put into the page as text, never as markup.
"""

from __future__ import annotations

import json
from importlib.resources import files
from os import PathLike
from pathlib import Path

from verify.report import Report

PLACEHOLDER = "/*REPORT*/null"


def format_html(report: Report) -> str:
    """The page's text."""
    template = files("verify").joinpath("report.html").read_text(encoding="utf-8")
    data = json.dumps(report.to_json(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return template.replace(PLACEHOLDER, escape_script(data), 1)


def write_html(report: Report, path: str | PathLike[str]) -> None:
    """Write the page; whatever stands at `path` is replaced."""
    Path(path).write_text(format_html(report), encoding="utf-8", newline="\n", errors="backslashreplace")


def escape_script(data: str) -> str:
    """JSON that may stand in a script element: no tag, comment or line separator in it means anything to a browser."""
    return data.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})
