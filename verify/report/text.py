"""A report for the terminal: the verdict in one line, and beside which blobs it stands."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prototxt.columns import aligned
from prototxt.names import shown
from prototxt.words import format_shape, shortened
from verify.report.records import Report, Row

NAME_WIDTH = 36
HEADINGS = ("", "blob", "layer", "shape", "max abs", "max rel", "bound", "of bound", "alone")


def format_report(report: Report, *, worst: int = 5, verbose: bool = False) -> str:
    """The table and the verdict; no line ends in a blank, and no name in it can move the cursor.

    Args:
        report: what was found.
        worst: rows to show besides the outputs: those with the largest share of their bound. When blobs are out of
            bounds, the first of them in net order is always among them.
        verbose: every row, in net order.
    """
    rows = list(report.rows) if verbose else _chosen(report, worst)
    lines = _table(rows) if rows else []
    hidden = len(report.rows) - len(rows)
    if hidden > 0:
        lines.append(f"  ({hidden} more within their bounds)" if report.ok else f"  ({hidden} more)")
    lines += _fault_lines(report)
    lines += [f"  note: {shown(note)}" for note in report.notes]
    return "\n".join([*lines, verdict(report)])


def verdict(report: Report) -> str:
    """One line: how many blobs are within their bounds, in which engine, and the worst or the first that is not."""
    rows, engine = (*report.rows, *report.shipped), shown(report.engine)
    if not rows:
        return f"parity: NOTHING COMPARED in {engine}"
    good = sum(row.ok for row in report.rows)
    what = f"{good} of {len(report.rows)} blobs within bound"
    if not report.rows:
        good = sum(row.ok for row in report.shipped)
        what = f"{good} of {len(report.shipped)} outputs within bound"
    first, worst = report.first_bad, report.worst
    if first is not None:
        shipped = " (in the model as it is shipped)" if first not in report.rows else ""
        return f"parity: FAILED: {what} in {engine}; first out of bounds: {row_sentence(first)}{shipped}"
    assert worst is not None
    share = f"worst {shown(worst.layer)} at {percent(worst.share)} of its bound ({_size(worst)})"
    return f"parity: {what} in {engine}; {share}"


def percent(share: float) -> str:
    """`3.1 %`, `0.02 %`; beyond ten times the bound `210 ×`, without a bound's meaning `∞`."""
    if math.isinf(share):
        return "∞"
    if share > 10:
        return f"{share:.3g} ×"
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def row_sentence(row: Row) -> str:
    """A blob that is out of its bound, and by how much."""
    where = shown(row.label)
    if row.fault:
        return f"{where}: {shown(row.fault)}"
    if row.own_bound is not None and row.own_share > max(1, row.total_share):
        return f"{where} alone at {percent(row.own_share)} of its bound ({_size(row)}, bound {row.own_bound:.1e})"
    return f"{where} at {percent(row.share)} of its bound ({_size(row)}, bound {row.bound:.1e})"


def _size(row: Row) -> str:
    """The error that the larger share is of."""
    if row.own_abs is not None and row.own_share > row.total_share:
        return f"max abs {row.own_abs:.1e} on the model's own inputs"
    return f"max abs {row.max_abs:.1e}"


def _fault_lines(report: Report) -> list[str]:
    """What the first blob out of bounds looks like at its worst place."""
    first = report.first_bad
    place = "" if first is None else worst_place(first)
    return [f"  {place}"] if place else []


def worst_place(row: Row) -> str:
    """The value with the largest error, in the model and in the reference; empty without one."""
    if row.worst is None:
        return ""
    index, got, expected = row.worst
    place = ", ".join(map(str, index))
    return f"{shown(row.top)}[{place}] is {got:.9g} in the model and {expected:.9g} in Caffe's net"


def _chosen(report: Report, worst: int) -> list[Row]:
    """The first row out of bounds, outputs, and those with the largest shares, in net order."""
    ranked = sorted(report.rows, key=lambda row: (row.ok, -row.share))[:worst]
    first = [row for row in report.rows if not row.ok][:1]
    outputs = [row for row in report.rows if row.output]
    kept = {id(row) for row in (*first, *ranked, *outputs[:worst])}
    return [row for row in report.rows if id(row) in kept]


def _table(rows: Sequence[Row]) -> list[str]:
    numbers = range(4, len(HEADINGS))
    return list(aligned([HEADINGS, *map(_cells, rows)], numbers))


def _cells(row: Row) -> tuple[str, ...]:
    mark = "ok" if row.ok else "BAD"
    numbers = (f"{row.max_abs:.1e}", f"{row.max_rel:.1e}", f"{row.bound:.1e}", percent(row.total_share), _alone(row))
    name = _short(row.top) + (" (output)" if row.output else "")
    return (mark, name, f"{_short(row.layer)} ({_short(row.layer_type)})", format_shape(row.shape), *numbers)


def _alone(row: Row) -> str:
    return "" if row.own_abs is None else percent(row.own_share)


def _short(name: str) -> str:
    return shortened(name, NAME_WIDTH)
