"""What a job summary shows is what was found, and no name in it is markup."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest

from prototxt.errors import ErrorGroup, NetError
from tests.verify.report.test_junit import BAD, GOOD, REPORT
from verify.report.markdown import MOST_ROWS, code, error_markdown, parity_markdown, prose, table

markdown_it = pytest.importorskip("markdown_it")

HOSTILE = [
    "a|b",
    r"a\|b",
    "`",
    "``a`",
    " padded ",
    "<img src=x onerror=alert(1)>",
    "</details>",
    "![x](http://evil/y.png)",
    "[x](javascript:alert(1))",
    "*a* _b_ ~~c~~ $d$",
    "&lt;b&gt;",
    "https://evil.example",
    "www.evil.example",
    "# head",
    "- item",
    "1. one",
    "12) twelve",
    ":tada:",
    "@everyone #1",
    "a\\",
    "|",
    "---",
]


def rendered(text: str) -> str:
    made: str = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).render(text)
    return made


def plain(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_a_cell_is_the_name(name: str) -> None:
    made = rendered("\n".join(table(("head", "other"), [(code(name), "x"), ("y", code(name))])))
    cells = re.findall(r"<td><code>(.*?)</code></td>", made)
    assert [html.unescape(cell).strip() for cell in cells] == [name.strip()] * 2
    assert made.count("<td>") == 4


@pytest.mark.parametrize("name", HOSTILE)
def test_a_sentence_is_the_sentence(name: str) -> None:
    for start, end in (("", ""), ("- ", ""), ("### ", " end")):
        made = rendered(f"{start}{prose(name)}{end}")
        inner = re.sub(r"^<(ul>\s*<li|p|h3)>|</(li>\s*</ul|p|h3)>\s*$", "", made)
        assert "<" not in inner
        assert html.unescape(inner).strip() == f"{name}{end}".strip()


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "\r\n\r\n# head", "\x00"])
def test_what_ends_a_line_is_shown_as_an_escape(name: str) -> None:
    assert "\n" not in code(name) + prose(name)
    assert "\x1b" not in code(name) + prose(name)


def test_a_report_names_its_bad_blobs_first_and_alone() -> None:
    made = rendered(parity_markdown(REPORT))
    assert "❌ parity of <code>m.onnx</code>" in made
    assert re.findall(r"<td>(.)</td>", made) == ["❌", "❌", "❌"]
    assert "FAILED: 1 of 3 blobs within bound" in plain(made)


def test_a_good_report_shows_the_blobs_that_are_nearest_to_their_bounds() -> None:
    rows = [replace(GOOD, layer=f"l{i}", top=f"t{i}", max_abs=i * 1e-7) for i in range(9)]
    made = rendered(parity_markdown(replace(REPORT, rows=tuple(rows), shipped=())))
    assert "✅ parity of" in made
    assert re.findall(r"<td><code>(t\d)</code>", made) == ["t8", "t7", "t6", "t5", "t4"]


def test_a_net_that_is_wrong_everywhere_does_not_fill_the_summary() -> None:
    made = parity_markdown(replace(REPORT, rows=(BAD,) * (MOST_ROWS + 13), shipped=()))
    assert made.count("❌") == MOST_ROWS + 1
    assert "and 13 more out of their bounds" in made


def test_errors_are_a_list() -> None:
    made = rendered(error_markdown("verify", "n.prototxt", ErrorGroup([NetError(f"e{i}") for i in range(130)])))
    assert made.count("<li>") == 101
    assert "and 30 more" in made
