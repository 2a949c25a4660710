"""The conversion of a whole zoo as one self-contained page: counts by status, and a table to sort and filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from urllib.parse import quote

from verify.batch_records import BatchRow
from verify.page_template import fill_page, write_text
from verify.report import Json, plain


def format_batch(results: Sequence[BatchRow], *, source: str = "") -> str:
    """The page's text.

    Args:
        results: the nets, in the manifest's order.
        source: the manifest's path, for the heading.
    """
    return fill_page("batch_page.html", {"source": source, "rows": [_row(row) for row in results]})


def write_batch(results: Sequence[BatchRow], path: str | PathLike[str], *, source: str = "") -> None:
    """Write the page; whatever stands at `path` is replaced."""
    write_text(format_batch(results, source=source), Path(path))


def _row(row: BatchRow) -> Json:
    made = plain(asdict(row))
    assert isinstance(made, dict)
    # Null is infinite to the page, as it is to the parity report's, so "not compared" needs a field of its own.
    return made | {"compared": row.worst_share is not None, "link": _link(row.report), "log": _link(row.log)}


def _link(path: str) -> str:
    """An address that leads nowhere but to a file beside the page or below it, whatever the net is called."""
    return f"./{quote(path, errors='surrogateescape')}" if path and not path.startswith("/") else ""
