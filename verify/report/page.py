"""A report as one self-contained page: summary, a chart of error against depth, a table to sort and search."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from verify.report.records import Json, Report
from verify.report.template import fill_page, write_text


def format_html(report: Report, provenance: Json = None) -> str:
    """The page's text; its foot says what made it, of which files (`verify.report.provenance`)."""
    return fill_page("page.html", report.to_json(), provenance=provenance)


def write_html(report: Report, path: str | PathLike[str], provenance: Json = None) -> None:
    """Write the page; whatever stands at `path` is replaced."""
    write_text(format_html(report, provenance), Path(path))
