"""A report as one self-contained page: summary, a chart of error against depth, a table to sort and search."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from verify.page_template import fill_page, write_text
from verify.report import Report


def format_html(report: Report) -> str:
    """The page's text."""
    return fill_page("report.html", report.to_json())


def write_html(report: Report, path: str | PathLike[str]) -> None:
    """Write the page; whatever stands at `path` is replaced."""
    write_text(format_html(report), Path(path))
