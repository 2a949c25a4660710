"""A report in the terminal, as JSON, and as a page that a real browser opens."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from prototxt.names import shown
from tests.browser import visit
from verify.picture.records import DrawnLayer, DrawnNet
from verify.report.page import format_html, write_html
from verify.report.records import Report, Row
from verify.report.text import format_report, percent, verdict

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u2028層\n\x1b[31m"


def row(place: int, name: str, share: float, *, bound: float = 1e-5, **more: object) -> Row:
    made = Row(
        place=place,
        layer=name,
        layer_type="Convolution",
        top=name,
        shape=(1, 8, 5, 7),
        max_abs=share * bound,
        max_rel=share * bound / 4,
        peak=4.0,
        bound=bound,
        ok=share <= 1,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def report(*rows: Row, **more: object) -> Report:
    made = Report("deploy.prototxt", "deploy.onnx", "onnxruntime 1.32.0", {"data": (1, 3, 9, 11)}, "seed 0", rows)
    return replace(made, **more)  # type: ignore[arg-type]


GOOD = report(
    row(1, "conv1", 0.02),
    row(2, "conv10", 0.031, max_abs=2.4e-6, bound=7.74e-5),
    row(3, "conv9", 0.0),
    row(4, "prob", 0.01, output=True),
)
BAD = report(
    row(1, "conv1", 0.02),
    row(2, "scale1", 40.0, worst=((0, 3, 1, 2), 1.5, 1.25)),
    row(3, "prob", 900.0, output=True),
)


def test_the_verdict_counts_blobs_and_names_the_worst() -> None:
    assert verdict(GOOD) == (
        "parity: 4 of 4 blobs within bound in onnxruntime 1.32.0; worst conv10 at 3.1 % of its bound (max abs 2.4e-06)"
    )


def test_a_failed_verdict_names_the_first_blob_out_of_bounds_in_net_order_not_the_worst() -> None:
    assert verdict(BAD) == (
        "parity: FAILED: 1 of 3 blobs within bound in onnxruntime 1.32.0; "
        "first out of bounds: scale1 (Convolution) at 40 × of its bound (max abs 4.0e-04, bound 1.0e-05)"
    )
    assert "scale1[0, 3, 1, 2] is 1.5 in the model and 1.25 in Caffe's net" in format_report(BAD)


def test_a_layer_that_is_wrong_alone_is_told_with_its_own_error_and_bound() -> None:
    text = verdict(report(row(1, "scale1", 0.02, own_abs=3e-5, own_bound=1e-6, ok=False)))
    assert text.endswith(
        "scale1 (Convolution) alone at 30 × of its bound (max abs 3.0e-05 on the model's own inputs, bound 1.0e-06)"
    )


def test_an_output_that_only_the_shipped_model_gets_wrong_is_told_as_such() -> None:
    text = verdict(replace(GOOD, shipped=(row(4, "prob", 3.0),)))
    assert text.endswith("bound 1.0e-05) (in the model as it is shipped)")


def test_a_report_without_rows_is_not_ok() -> None:
    assert not report().ok
    assert verdict(report()) == "parity: NOTHING COMPARED in onnxruntime 1.32.0"


def test_where_only_outputs_were_compared_the_verdict_says_outputs() -> None:
    assert verdict(report(shipped=(row(4, "prob", 0.5),))).startswith("parity: 1 of 1 outputs within bound")


def test_the_table_shows_the_worst_rows_and_outputs_and_counts_the_rest() -> None:
    lines = format_report(GOOD, worst=1).splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["conv10", "prob"]
    assert lines[3] == "  (2 more within their bounds)"
    assert not any(line.endswith(" ") for line in lines)


def test_the_verbose_table_has_every_row_in_net_order() -> None:
    lines = format_report(GOOD, verbose=True).splitlines()
    assert [line.split()[1] for line in lines[1:-1]] == ["conv1", "conv10", "conv9", "prob"]


def test_the_first_row_out_of_bounds_is_in_the_table_though_worse_ones_follow() -> None:
    rows = [row(i, f"l{i}", 10.0 + i) for i in range(50)]
    assert format_report(report(*rows), worst=3).splitlines()[1].split()[1] == "l0"


def test_a_name_cannot_move_the_cursor_or_start_a_line() -> None:
    text = format_report(report(row(1, HOSTILE, 9.0)), verbose=True)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3
    assert shown("a\nb\x1b") == "a\\nb\\x1b"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (0.00021, "0.021 %"),
        (0.0312, "3.1 %"),
        (0.5, "50 %"),
        (9.99, "999 %"),
        (46.4, "46.4 ×"),
        (math.inf, "∞"),
    ],
)
def test_a_share_is_readable_at_every_size(share: float, text: str) -> None:
    assert percent(share) == text


def test_json_has_every_row_with_its_share_and_no_infinities() -> None:
    wide = replace(BAD, rows=(*BAD.rows, row(4, "index", 0.0, bound=math.inf, max_abs=0.0)))
    made = json.loads(json.dumps(wide.to_json(), allow_nan=False))
    assert made["ok"] is False
    assert made["first_bad"] == ["scale1", "scale1"]
    assert [r["share"] for r in made["rows"]] == [0.02, 40.0, 900.0, 0.0]
    assert made["rows"][1]["worst"] == {"index": [0, 3, 1, 2], "model": 1.5, "reference": 1.25}
    assert made["rows"][3]["bound"] is None


def test_the_page_loads_nothing_from_elsewhere() -> None:
    page = format_html(GOOD)
    assert "default-src 'none'" in page
    assert re.findall(r"(?:src|href)=[\"']?([^\"' >]+)", page) == ["data:,"]
    assert set(re.findall(r"https?://[^\"'\s]+", page)) <= {"http://www.w3.org/2000/svg"}


def test_no_name_ends_the_script_that_holds_it() -> None:
    page = format_html(report(row(1, HOSTILE, 9.0), model=HOSTILE, notes=("<!--", HOSTILE)))
    assert page.count("</script>") == format_html(GOOD).count("</script>") == 2
    assert "<img" not in page


USE = """
  const lines = () => [...document.querySelectorAll("#blobs tbody tr")];
  const rows = () => lines().map((line) => line.cells[1].firstChild.textContent);
  const head = (label) => [...document.querySelectorAll("#blobs th button")].find((b) => b.textContent === label);
  seen.verdict = document.getElementById("verdict").textContent;
  seen.points = document.querySelectorAll("#chart .dot, #chart .zero, #chart .out").length;
  seen.bound = document.querySelectorAll("#chart .bound").length;
  seen.start = rows();
  head("Of bound").click(); seen.byShare = rows();
  head("Of bound").click(); seen.byShareUp = rows();
  head("Layer").click(); seen.byName = rows();
  const filter = document.getElementById("filter");
  filter.value = "prob"; filter.dispatchEvent(new Event("input")); seen.filtered = rows();
  filter.value = ""; filter.dispatchEvent(new Event("input"));
  document.querySelector("#blobs tbody tr").click();
  seen.detail = document.getElementById("detail").textContent;
  const svg = document.querySelector("#chart svg"), box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.right - 1, clientY: box.top + 50, bubbles: true }));
  seen.tip = document.querySelector("#chart .tip").textContent;
  svg.dispatchEvent(new KeyboardEvent("keydown", { key: "Home" }));
  seen.keyed = document.getElementById("detail").textContent;
  document.querySelectorAll("#scale button")[1].click();
  seen.absolute = document.querySelectorAll("#chart .dot, #chart .zero, #chart .out").length;
"""


def browse(made: Report, folder: Path, width: int) -> dict[str, object]:
    """Open a report's page in a browser, use it, and return what was seen."""
    page = folder / "page.html"
    write_html(made, page)
    return visit(page, USE, width)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_works_in_a_browser_without_a_network(width: int, tmp_path: Path) -> None:
    seen = browse(GOOD, tmp_path, width)
    assert seen["title"] == "✓ deploy.onnx – parity report"
    assert "All 4 blobs are within what float32 rounding explains" in str(seen["verdict"])
    assert seen["points"] == seen["absolute"] == 4
    assert seen["bound"] == 1
    assert seen["start"] == ["conv1", "conv10", "conv9", "prob"]
    assert seen["byShare"] == ["conv10", "conv1", "prob", "conv9"]
    assert seen["byShareUp"] == ["conv9", "prob", "conv1", "conv10"]
    assert seen["byName"] == ["conv1", "conv9", "conv10", "prob"]
    assert seen["filtered"] == ["prob"]
    assert str(seen["detail"]).startswith("conv1layerconv1 (Convolution)")
    assert str(seen["tip"]).startswith("prob")
    assert str(seen["keyed"]).startswith("conv1")
    assert seen["wide"] is False


def test_a_failing_page_opens_at_the_first_blob_out_of_bounds(tmp_path: Path) -> None:
    seen = browse(BAD, tmp_path, 1280)
    assert seen["title"] == "✗ deploy.onnx – parity report"
    assert "The first that is not: scale1 (Convolution)" in str(seen["verdict"])


def test_a_hostile_name_is_shown_as_text_in_the_browser(tmp_path: Path) -> None:
    seen = browse(
        report(row(1, HOSTILE, 9.0), row(2, "prob", 0.1), model=HOSTILE, shipped=(row(2, "prob", 0.1),)), tmp_path, 390
    )
    assert seen["images"] == 0
    assert seen["wide"] is False
    start = seen["start"]
    assert isinstance(start, list)
    assert start[0] == HOSTILE


def test_a_report_of_outputs_alone_still_has_its_page(tmp_path: Path) -> None:
    seen = browse(report(shipped=(row(4, "prob", 0.5),)), tmp_path, 1280)
    assert seen["start"] == ["prob"]
    assert seen["points"] == 1


def drawn(*names: str) -> DrawnNet:
    """A chain of layers, an input first, whose tops have places from 0 on."""
    return DrawnNet(
        "chain",
        [
            DrawnLayer(
                name,
                "Input" if place == 0 else "Convolution",
                ((place - 1, 0),) if place else (),
                ((name, "1×8×5×7"),),
                "convolution" if place else "input",
                facts={"at": place},
            )
            for place, name in enumerate(names)
        ],
        [(len(names) - 1, 0)],
    )


def test_the_net_shows_the_culprit_and_what_is_only_its_consequence(tmp_path: Path) -> None:
    pytest.importorskip("graphlay")
    whole = report(
        row(1, "conv1", 0.02, own_abs=1e-8, own_bound=1e-6),
        row(2, "conv2", 0.7, own_abs=7e-7, own_bound=1e-6),
        row(3, HOSTILE, 40.0, ok=False, own_abs=4e-5, own_bound=1e-6),
        row(5, "relu", 40.0, ok=False, own_abs=0.0, own_bound=1e-6),
        row(6, "prob", 30.0, ok=False),
        drawn=drawn("data", "conv1", "conv2", HOSTILE, "folded", "relu", "prob"),
    )
    write_html(whole, tmp_path / "parity.html")
    use = """
      seen.states = all(".node").map((box) => box.className.replace("node", "").trim());
      seen.picked = all(".node.picked .mono").map((name) => name.textContent);
      seen.shown = all(".node.guilty").map((box) => {
        const at = box.getBoundingClientRect(), frame = find("#net").getBoundingClientRect();
        return at.top >= frame.top && at.bottom <= frame.bottom;
      });
      all(".node.after")[0].click();
      seen.detail = text("#detail b");
      find("#blobs tbody tr").click();
      seen.other = all(".node.picked .mono").map((name) => name.textContent);
    """
    seen = visit(tmp_path / "parity.html", use, 1280)
    assert seen["states"] == ["unknown", "low", "high", "guilty picked", "unknown", "after", "after"]
    assert (seen["picked"], seen["shown"], seen["images"]) == ([HOSTILE], [True], 0)
    assert (seen["detail"], seen["other"]) == ("relu", ["conv1"])


def test_a_page_without_the_layout_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "graphlay", None)
    write_html(replace(BAD, drawn=drawn("data", "conv1", "scale1", "prob")), tmp_path / "parity.html")
    seen = visit(tmp_path / "parity.html", "seen.said = text('#net-card p');", 360)
    assert "pip install 'resnet-convert[view]'" in str(seen["said"])
