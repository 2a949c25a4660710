"""The summary page of a whole zoo, opened and used in a real browser."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from resnet_convert.batches.page import format_batch, write_batch
from resnet_convert.batches.records import Outcome
from tests.browser import visit
from tests.verify.evaluation.evaluations import HOSTILE

GOOD = Outcome(
    "resnet-9", "r/deploy.prototxt", "r/m.caffemodel", "onnx", "ok", "", 3.25, 12.5, 71, 68, 0.031, "o/r.onnx", "r.html"
)
ROWS = (
    GOOD,
    replace(GOOD, name="resnet-10", worst_share=0.002, target="torch", seconds=70.0),
    replace(GOOD, name="ssd", status="differs", message="first out of bounds: conv4", worst_share=40.0),
    replace(
        GOOD, name="yolo", status="failed", message="no such layer: Reorg", worst_share=None, report="", megabytes=0.0
    ),
    replace(GOOD, name="big", status="timed out", worst_share=None, blobs_compared=0, report=""),
    replace(GOOD, name="old", status="skipped", message="no weights", worst_share=None, report="", blobs_compared=0),
)
USE = """
  seen.verdict = text("#verdict");
  seen.look = find("#verdict").className;
  seen.tiles = all("#tiles .tile").map((tile) => tile.textContent);
  const names = () => all("#nets tbody tr").map((line) => line.cells[0].firstChild.textContent);
  seen.start = names();
  seen.statuses = all("#status button").map((button) => button.textContent);
  seen.links = all("#nets a").map((link) => link.getAttribute("href"));
"""
USE_ALL = """
  press("#nets th button", "Of bound"); seen.byShare = names();
  press("#nets th button", "Net"); seen.byName = names();
  seen.shares = column("#nets", 3);
  press("#status button", "failed 1"); seen.failed = names();
  press("#status button", "all");
  enter("#filter", "weights", "input"); seen.filtered = names(); seen.count = text("#count");
"""


def browse(rows: Sequence[Outcome], folder: Path, width: int, script: str = USE) -> dict[str, object]:
    page = folder / "page.html"
    write_batch(rows, page, source="zoo/manifest.csv")
    return visit(page, script, width)


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_sorts_and_filters_in_a_browser(width: int, tmp_path: Path) -> None:
    seen = browse(ROWS, tmp_path, width, USE + USE_ALL)
    assert seen["title"] == "✗ 6 nets – batch conversion"
    assert seen["look"] == "verdict bad"
    assert seen["verdict"] == (
        "✗3 nets need a look2 of 6 are converted and have Caffe's numbers; 1 failed, 1 differs, 1 timed out, 1 skipped."
    )
    assert seen["tiles"] == ["2 / 6nets ok", "272blobs compared", "63 MBwritten", "86 sof work, all nets together"]
    assert seen["statuses"] == ["all", "failed 1", "differs 1", "timed out 1", "skipped 1", "ok 2"]
    assert seen["start"] == ["yolo", "ssd", "big", "old", "resnet-9", "resnet-10"]
    assert seen["byShare"] == ["ssd", "resnet-9", "resnet-10", "yolo", "big", "old"]
    assert seen["byName"] == ["big", "old", "resnet-9", "resnet-10", "ssd", "yolo"]
    assert seen["shares"] == ["–", "–", "3.1 %", "0.2 %", "40 ×", "–"]
    assert seen["failed"] == ["yolo"]
    assert (seen["filtered"], seen["count"]) == (["old"], "1 of 6")
    assert seen["wide"] is False


def test_a_zoo_without_a_fault_is_green_and_none_at_all_is_neither(tmp_path: Path) -> None:
    seen = browse([GOOD], tmp_path, 1280)
    assert (seen["title"], seen["look"]) == ("✓ 1 net – batch conversion", "verdict")
    assert seen["verdict"] == "✓No net failedEvery net is converted and has Caffe's numbers."
    assert browse([], tmp_path, 1280)["look"] == "verdict neutral"
    assert browse(ROWS[5:], tmp_path, 1280)["verdict"] == (
        "–Nothing was converted0 of 1 are converted and have Caffe's numbers; 1 skipped."
    )


@pytest.mark.parametrize(
    ("compared", "told"),
    [
        ((True, True), "Every net is converted and has Caffe's numbers."),
        ((True, False), "1 of 2 is converted and has Caffe's numbers; 1 converted but not compared."),
        ((False, False), "0 of 2 are converted and have Caffe's numbers; 2 converted but not compared."),
    ],
)
def test_nets_that_were_not_compared_are_not_said_to_have_caffes_numbers(
    compared: tuple[bool, ...], told: str, tmp_path: Path
) -> None:
    rows = [GOOD if seen else replace(GOOD, worst_share=None, blobs_compared=0) for seen in compared]
    assert browse(rows, tmp_path, 1280)["verdict"] == f"✓No net failed{told}"


def test_what_is_nought_is_left_out_and_small_sizes_are_not_nought(tmp_path: Path) -> None:
    rows = [
        GOOD,
        replace(GOOD, name="small", megabytes=0.0034, seconds=0.06),
        Outcome("bad", "n", "", "onnx", "failed"),
    ]
    script = 'seen.cells = [4, 5, 6, 7].map((place) => column("#nets", place));'
    assert browse(rows, tmp_path, 1280, script)["cells"] == [
        ["–", "68", "68"],
        ["–", "71", "71"],
        ["–", "13", "0.003"],
        ["–", "3.3", "0.06"],
    ]


def test_the_log_is_a_link_of_its_own(tmp_path: Path) -> None:
    rows = [replace(GOOD, log="r/log.txt"), replace(GOOD, status="failed", report="", log="a#b/log.txt")]
    seen = browse(rows, tmp_path, 360)
    assert seen["links"] == ["./a%23b/log.txt", "./r.html", "./r/log.txt"]
    assert seen["start"] == ["resnet-9", "resnet-9"]


def test_messages_use_a_phones_width(tmp_path: Path) -> None:
    rows = [replace(GOOD, name=f"n{n}", status="failed", message="a message of many words " * 9) for n in range(3)]
    script = """
      const message = find(".message").getBoundingClientRect(), box = find(".scroll");
      seen.share = message.width / box.clientWidth;
      seen.moves = box.scrollWidth > box.clientWidth;
    """
    seen = browse(rows, tmp_path, 360, script)
    assert seen["share"] > 0.85  # type: ignore[operator]
    assert seen["moves"] is False


def test_links_lead_to_files_beside_the_page_whatever_the_net_is_called(tmp_path: Path) -> None:
    reports = ["a b/#1?.html", "javascript:alert(1)", "//example.com/x.html", "\udcff.html", "../up.html"]
    seen = browse([replace(GOOD, report=report) for report in reports], tmp_path, 1280)
    assert seen["links"] == ["./a%20b/%231%3F.html", "./javascript%3Aalert%281%29", "./%FF.html", "./../up.html"]


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_names_are_shown_as_text(width: int, tmp_path: Path) -> None:
    bad = Outcome(HOSTILE, HOSTILE, HOSTILE, HOSTILE, "differs", HOSTILE, math.nan, math.inf, 1, 2, math.inf, HOSTILE)
    assert format_batch([bad], source=HOSTILE).count("</script>") == 2
    seen = browse([bad, GOOD], tmp_path, width)
    assert seen["start"] == [HOSTILE, "resnet-9"]
    assert seen["images"] == 0
    assert seen["wide"] is False


def test_the_page_loads_nothing_from_elsewhere() -> None:
    page = format_batch(ROWS)
    assert "default-src 'none'" in page
    assert re.findall(r"(?:src|href)=[\"']?([^\"' >{]+)", page) == ["data:,"]
    assert set(re.findall(r"https?://[^\"'\s]+", page)) <= {"http://www.w3.org/2000/svg"}
