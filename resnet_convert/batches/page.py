"""The conversion of a whole zoo as one self-contained page: counts by status, and a table to sort and filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from urllib.parse import quote

from resnet_convert.batches.records import Outcome
from verify.report.records import Json, plain
from verify.report.template import fill_page, write_text


def format_batch(
    results: Sequence[Outcome], *, source: str = "", left: Sequence[Json] = (), provenance: Json = None
) -> str:
    """The page's text.

    Args:
        results: the nets, in the manifest's order.
        source: the manifest's path, or the folder's, for the heading.
        left: what of the folder is nothing to convert: `path` and `why` each.
        provenance: what made it (`verify.report.provenance`).
    """
    record: dict[str, Json] = {"source": source, "rows": [_row(row) for row in results], "left": list(left)}
    return fill_page("page.html", record, "resnet_convert.batches", provenance)


def write_batch(
    results: Sequence[Outcome],
    path: str | PathLike[str],
    *,
    source: str = "",
    left: Sequence[Json] = (),
    provenance: Json = None,
) -> None:
    """Write the page; whatever stands at `path` is replaced."""
    write_text(format_batch(results, source=source, left=left, provenance=provenance), Path(path))


def row_of(outcome: Outcome) -> dict[str, Json]:
    """A net as the page and the summary's JSON have it: its warnings stand below its message."""
    facts = asdict(outcome)
    del facts["fingerprint"], facts["warnings"]
    facts["message"] = "\n".join(filter(None, (outcome.message, *outcome.warnings)))
    made = plain(facts)
    assert isinstance(made, dict)
    # Null is infinite to the page, as it is to the parity report's, so "not compared" needs a field of its own.
    return made | {"compared": outcome.worst_share is not None}


def _row(outcome: Outcome) -> Json:
    return row_of(outcome) | {"link": _link(outcome.report), "log": _link(outcome.log)}


def _link(path: str) -> str:
    """An address that leads nowhere but to a file beside the page or below it, whatever the net is called."""
    return f"./{quote(path, errors='surrogateescape')}" if path and not path.startswith("/") else ""
