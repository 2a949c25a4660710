"""Puts a record and the parts that all pages share into a page's template, so that the page is one file.

    /*FILE name*/      the text of a file beside the template, or else in verify/report/: page_head.html (all before the
                       title), page_style.css, page_tools.js
    /*DATA*/null       the record as JSON

The page needs no network and no fonts of its own. Everything that comes from a model or a data set is handed over as
JSON inside a script element, with `<` escaped, and put into the page as text, never as markup.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

from verify.report.records import Json

_PLACE = re.compile(r"/\*FILE ([\w.]+)\*/|/\*DATA\*/null")


def fill_page(template: str, record: dict[str, Json], package: str = "verify.report", provenance: Json = None) -> str:
    """A page's text.

    Args:
        template: name of the template's file.
        record: what the page shows; has no numbers that JSON lacks.
        package: where the template is.
        provenance: what made the page, of which files (`verify.report.provenance`); shown at its foot.
    """
    whole = {**record, "provenance": provenance}
    data = escape_script(json.dumps(whole, ensure_ascii=False, allow_nan=False, separators=(",", ":")))

    def part(place: re.Match[str]) -> str:
        return _read(place[1], package).rstrip("\n") if place[1] else data

    return _PLACE.sub(part, _read(template, package))


def write_text(page: str, path: Path) -> None:
    """Write a page; bytes of a file name that are no UTF-8 stay as the escapes that JSON has for them."""
    path.write_text(page, encoding="utf-8", newline="\n", errors="backslashreplace")


def escape_script(data: str) -> str:
    """JSON that may stand in a script element: no tag, comment or line separator in it means anything to a browser."""
    return data.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def _read(name: str, package: str) -> str:
    beside = files(package).joinpath(name)
    found = beside if beside.is_file() else files("verify.report").joinpath(name)
    return found.read_text(encoding="utf-8")
