"""An evaluation's page, opened and used in a real browser, at the width of a phone and of a desk."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.browser import visit
from tests.verify.evaluation.evaluations import FAILED, HOSTILE, NAMED_BY_AN_ENEMY, PASSED, UNLABELLED, big
from verify.evaluation.records import ClassResult, Evaluation, Flip, Verdict
from verify.evaluation.shown.page import LISTED, format_page, write_page

USE = """
  seen.heading = text("#title");
  seen.verdict = text("#verdict");
  seen.look = find("#verdict").className;
  seen.tiles = all("#tiles .tile").map((tile) => tile.textContent);
  seen.hidden = all("main > section[hidden]").map((card) => card.id);
  seen.about = text("#about");
"""
USE_ALL = """
  const classes = () => column("#classes", 1);
  seen.classes = classes();
  press("#classes th button", "Class"); seen.byName = classes();
  press("#classes th button", "Error"); seen.byError = classes().slice(0, 3);
  press("#classes th button", "Error"); seen.byErrorUp = classes().slice(-1);
  find("#with-errors").click(); seen.withErrors = text("#class-count");
  enter("#class-filter", "EI", "input"); seen.filtered = classes();

  seen.lines = all("#chart .line").length;
  seen.bands = all("#chart .band").length;
  seen.published = text("#chart .said-name");
  const svg = find("#chart svg"), box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.right - 1, clientY: box.top + 50, bubbles: true }));
  seen.tip = text("#chart .tip");
  key("#chart svg", "Home"); seen.first = text("#reading");
  key("#chart svg", "ArrowRight"); seen.second = text("#reading");
  svg.dispatchEvent(new PointerEvent("click", { clientX: box.right - 1, pointerType: "touch", bubbles: true }));
  seen.tapped = text("#reading");
  press("#which button", "top-5"); seen.fifth = text("#reading"); seen.fifthPublished = text("#chart .said-name");

  seen.flips = column("#flipped", 0);
  seen.heat = all("#heat tbody tr").map((line) => [...line.cells].map((cell) => cell.textContent));
  find("#heat tbody tr:nth-child(6) td:nth-child(5)").click(); seen.cell = text("#heat-reading");
  key("#heat", "ArrowRight"); seen.next = text("#heat-reading");

  seen.captions = all("figcaption").map((caption) => caption.textContent);
  seen.pictures = document.images.length;
  enter("#gallery-filter", "8", "change"); seen.ofEight = all("figcaption").length;
  seen.special = text("#data-card");
"""


def browse(evaluation: Evaluation, folder: Path, width: int, script: str = USE) -> dict[str, object]:
    page = folder / "page.html"
    write_page(evaluation, page)
    return visit(page, script, width)


def record_of(evaluation: Evaluation) -> dict[str, object]:
    """What the page is given."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', format_page(evaluation), re.S)
    assert found
    made = json.loads(found[1])
    assert isinstance(made, dict)
    return made


def test_the_page_loads_nothing_from_elsewhere() -> None:
    page = format_page(PASSED)
    assert "default-src 'none'" in page
    assert re.findall(r"(?:src|href)=[\"']?([^\"' >]+)", page) == ["data:,"]
    assert set(re.findall(r"https?://[^\"'\s]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert "/*FILE" not in page


def test_no_name_ends_the_script_that_holds_it() -> None:
    page = format_page(NAMED_BY_AN_ENEMY)
    assert page.count("</script>") == format_page(PASSED).count("</script>") == 2
    assert "<img" not in page


def test_a_place_for_a_part_inside_a_name_stays_a_name() -> None:
    page = format_page(replace(PASSED, net="/*FILE page_style.css*/", data="/*DATA*/null"))
    assert page.count("/*FILE page_style.css*/") == page.count("/*DATA*/null") == 1


def test_the_page_lists_only_so_many_skipped_and_flipped_images_and_counts_the_rest() -> None:
    assert PASSED.agreement is not None
    flips = tuple(Flip(f"{i}.png", 1, 2, 3, 0.1) for i in range(LISTED + 5))
    many = replace(
        PASSED,
        skipped=tuple((f"{i}.png", "no image") for i in range(LISTED + 9)),
        agreement=replace(PASSED.agreement, flips=flips),
    )
    record = record_of(many)
    assert (record["skipped_count"], record["flip_count"]) == (LISTED + 9, LISTED + 5)
    assert len(record["skipped"]) == LISTED  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_works_in_a_browser_without_a_network(width: int, tmp_path: Path) -> None:
    seen = browse(PASSED, tmp_path, width, USE + USE_ALL)
    assert seen["title"] == "✓ digits-resnet – evaluation"
    assert seen["heading"] == "Digits ResNet"
    assert str(seen["verdict"]).startswith("✓Agrees with what was publishedTop-1 error 2.0 % [1.1, 3.6]")
    assert seen["look"] == "verdict"
    assert seen["wide"] is False
    assert seen["tiles"] == [
        "2.0 %top-1 error[1.1, 3.6], published 2.0",
        "0.2 %top-5 error[0.0, 1.1], published 0.2",
        "500images seenof 503, 3 skipped",
        "400images/s1.3 s in onnxruntime 1.23.2",
    ]
    assert "labels are from val.txt" in str(seen["about"])
    assert "RESULT.json" in str(seen["about"])
    assert_classes_sort_and_filter(seen)
    assert_chart_can_be_read(seen)
    assert_confusions_and_pictures_show(seen)


def assert_classes_sort_and_filter(seen: dict[str, object]) -> None:
    classes = seen["classes"]
    assert isinstance(classes, list)
    assert classes[:4] == ["five", "eight", "three", "one"]
    assert seen["byName"] == ["eight", "five", "four", "nine", "one", "seven", "six", "three", "two", "zero"]
    assert seen["byError"] == ["five", "eight", "three"]
    assert seen["byErrorUp"] == ["five"]
    assert seen["withErrors"] == "4 of 10"
    assert seen["filtered"] == ["eight"]


def assert_chart_can_be_read(seen: dict[str, object]) -> None:
    assert (seen["lines"], seen["bands"]) == (1, 1)
    assert (seen["published"], seen["fifthPublished"]) == ("published 2.0 %", "published 0.2 %")
    assert seen["tip"] == "500 imagestop-1 error 2.0 % [1.1, 3.6]"
    assert seen["first"] == "After 100 images: top-1 error 3.0 % [1.0, 8.5]"
    assert seen["second"] == "After 200 images: top-1 error 2.5 % [1.1, 5.7]"
    assert seen["tapped"] == "After 500 images: top-1 error 2.0 % [1.1, 3.6]"
    assert seen["fifth"] == "After 500 images: top-5 error 0.2 % [0.0, 1.1]"


def assert_confusions_and_pictures_show(seen: dict[str, object]) -> None:
    assert seen["flips"] == ["8_021.png", "5_007.png"]
    heat = seen["heat"]
    assert isinstance(heat, list)
    assert heat[5] == ["five", "", "", "", "3", "", "46", "1", "", "", ""]
    assert heat[8] == ["eight", "1", "", "", "2", "", "", "", "", "47", ""]
    assert seen["cell"] == "five taken for three: 3 of 50 images"
    assert seen["next"] == "five taken for four: 0 of 50 images"
    assert seen["captions"] == [
        "✗ three0.988✓ five0.01235_007.png",
        "✗ zero0.75✓ eight0.28_021.png",
        "✗ six0.5✓ five1.0e-55_033.png",
    ]
    assert seen["pictures"] == 2
    assert seen["ofEight"] == 1
    assert "greyscale11 images" in str(seen["special"])
    assert "b.png: the file ends early" in str(seen["special"])


def test_a_failing_page_is_red_and_says_by_how_much(tmp_path: Path) -> None:
    seen = browse(FAILED, tmp_path, 1280)
    assert seen["title"] == "✗ digits-resnet – evaluation"
    assert seen["look"] == "verdict bad"
    assert "is 97.0 points above the published 2.0 %." in str(seen["verdict"])
    assert "With every label one higher the error would be 2.0 %." in str(seen["verdict"])
    assert seen["hidden"] == ["agreement", "data-card"]


def test_too_few_images_are_neither_green_nor_red(tmp_path: Path) -> None:
    seen = browse(replace(PASSED, verdict=Verdict("too few", ("they are few",))), tmp_path, 1280)
    assert seen["title"] == "digits-resnet – evaluation"
    assert seen["look"] == "verdict neutral"
    assert seen["verdict"] == "?Too few images to tellThey are few."


def test_without_labels_the_page_shows_the_agreement_and_no_empty_card(tmp_path: Path) -> None:
    seen = browse(UNLABELLED, tmp_path, 360)
    assert seen["hidden"] == ["chart-card", "heat-card", "classes-card", "gallery-card"]
    assert seen["tiles"] == [
        "498 / 500the same classas interpreter (numpy 2.3.1)",
        "500images seenof 503, 3 skipped",
        "400images/s1.3 s in onnxruntime 1.23.2",
    ]
    assert seen["wide"] is False


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_names_are_shown_as_text_and_only_data_pictures_are_loaded(width: int, tmp_path: Path) -> None:
    script = USE + 'seen.classes = column("#classes", 1); seen.captions = all("figcaption").map((c) => c.textContent);'
    seen = browse(NAMED_BY_AN_ENEMY, tmp_path, width, script)
    assert seen["images"] == 0
    assert seen["wide"] is False
    assert seen["heading"] == HOSTILE
    assert seen["classes"] == [HOSTILE] * 10
    assert seen["captions"] == [f"✗ {HOSTILE}no number✓ {HOSTILE}0.1{HOSTILE}", f"✗ –no number✓ {HOSTILE}0.1{HOSTILE}"]


@pytest.mark.parametrize("width", [360, 1280])
def test_a_thousand_classes_and_sixty_pictures_fit(width: int, tmp_path: Path) -> None:
    script = """
      seen.count = text("#class-count");
      seen.rows = all("#heat tbody tr").length;
      seen.columns = all("#heat thead th").map((cell) => cell.textContent);
      seen.heat = [...find("#heat tbody tr").cells].map((cell) => cell.textContent);
      seen.figures = all("figure").length;
    """
    seen = browse(big(), tmp_path, width, script)
    assert seen["wide"] is False
    assert seen["count"] == "1,000"
    assert seen["figures"] == 60
    assert seen["rows"] == 12
    names = seen["columns"]
    assert isinstance(names, list)
    assert names[:2] == ["recognised", "n00000007 name 7"]  # class 6, with 6 of 50 wrong, is taken for class 7
    assert names[-1] == "something else"
    assert len(names) == 14
    assert seen["heat"] == ["n00000006 name 6", "44", "6", *[""] * 12]


def test_what_a_record_leaves_out_of_the_confusions_is_not_shown_as_zero(tmp_path: Path) -> None:
    rest = tuple(ClassResult(k, name, 9, 0) for k, name in enumerate("abcd"))
    cut = replace(PASSED, classes=tuple("abcd"), by_class=(ClassResult(0, "a", 9, 4, ((1, 2),)), *rest[1:]))
    script = """
      seen.heat = [...find("#heat tbody tr").cells].map((cell) => cell.textContent);
      find("#heat tbody tr td:nth-child(4)").click(); seen.cell = text("#heat-reading");
    """
    seen = browse(cut, tmp_path, 1280, script)
    assert seen["heat"] == ["a", "5", "2", "", "", "2"]
    assert seen["cell"] == "a: not often taken for c"
