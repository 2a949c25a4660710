"""Findings in GitHub's Markdown, as a job's summary shows them.

Names and sentences may hold anything that a file can: names stand in code spans, in sentences what Markdown would act
upon is escaped, and neither can end its line or its cell.

Source: https://github.github.com/gfm, 2.4 (backslash escapes), 4.10 (tables), 6.3 (code spans).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prototxt.errors import MOST_SHOWN, CaffeModelError
from prototxt.names import shown
from prototxt.words import shortened
from verify.report.records import Report, Row
from verify.report.text import percent, verdict

_ACTED_UPON = re.compile(r"[\\`*_{}\[\]<>#+!|~&@$^=]|:(?=\S)|(?<=[wW]{3})\.|^-|(?<=^\d)[.)]|(?<=^\d\d)[.)]")
MOST_ROWS = 20
"""Blobs in a table; GitHub takes a MiB for the summary of a step."""

LONGEST = 300
"""Characters of a sentence."""

GOOD, BAD = "✅", "❌"


def code(name: str) -> str:
    """A name as a code span, for a table's cell too."""
    text = shortened(name, 120)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    inner = f" {text} " if not text or text[0] in "` " or text[-1] in "` " else text
    return f"{fence}{inner}{fence}".replace("|", r"\|")


def prose(text: str) -> str:
    """A sentence in which nothing is markup."""
    return _ACTED_UPON.sub(lambda found: f"\\{found[0]}", shown(text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Lines of a table whose cells are Markdown already; `right` are the columns of numbers."""
    numbers = set(right)
    rule = ["--:" if i in numbers else "---" for i in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def headed(good: bool, title: str, lines: Iterable[str]) -> str:
    """A section: its title, which is Markdown already, and lines; a blank line ends it."""
    return "\n".join([f"### {GOOD if good else BAD} {title}", "", *lines, "", ""])


def parity_markdown(report: Report) -> str:
    """A comparison: its verdict, and the blobs that are out of their bounds, or else those that are nearest to it."""
    rows = [*report.rows, *report.shipped]
    bad = [row for row in rows if not row.ok]
    chosen = bad[:MOST_ROWS] or sorted(rows, key=lambda row: -row.share)[:5]
    lines = [prose(verdict(report)), "", *(table(HEAD, map(_cells, chosen), range(3, len(HEAD))) if chosen else [])]
    if len(bad) > MOST_ROWS:
        lines += ["", f"and {len(bad) - MOST_ROWS:,} more out of their bounds"]
    lines += ["", *(f"- {prose(shortened(note, LONGEST))}" for note in report.notes)]
    return headed(report.ok, f"parity of {code(report.model)}", lines)


def error_markdown(work: str, subject: str, error: CaffeModelError) -> str:
    """Work that could not be done, and why."""
    lines = [f"- {prose(shortened(str(each), LONGEST))}" for each in error.each[:MOST_SHOWN]]
    more = len(error.each) - len(lines)
    return headed(False, f"{work} of {code(subject)}", [*lines, *([f"- and {more:,} more"] if more else [])])


HEAD = ("", "blob", "layer", "max abs", "bound", "of bound", "alone")


def _cells(row: Row) -> list[str]:
    alone = "" if row.own_abs is None else percent(row.own_share)
    numbers = [f"{row.max_abs:.1e}", f"{row.bound:.1e}", percent(row.total_share), alone]
    return [GOOD if row.ok else BAD, code(row.top), f"{code(row.layer)} ({code(row.layer_type)})", *numbers]
