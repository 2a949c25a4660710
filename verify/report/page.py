"""A report as one self-contained page: summary, error against depth, the net, a table to sort and search."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from prototxt.errors import MissingDependencyError
from verify.picture.page_record import picture_record
from verify.report.records import Json, Report
from verify.report.template import fill_page, write_text


def format_html(report: Report, provenance: Json = None) -> str:
    """The page's text; its foot says what made it, of which files (`verify.report.provenance`)."""
    return fill_page("page.html", {**report.to_json(), "picture": _picture(report)}, provenance=provenance)


def _picture(report: Report) -> Json:
    """The net; a sentence where what lays it out is not installed."""
    if report.drawn is None:
        return None
    try:
        return picture_record(report.drawn)
    except MissingDependencyError as error:
        return str(error)


def write_html(report: Report, path: str | PathLike[str], provenance: Json = None) -> None:
    """Write the page; whatever stands at `path` is replaced."""
    write_text(format_html(report, provenance), Path(path))
