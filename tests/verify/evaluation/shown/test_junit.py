"""An evaluation as JUnit XML: what a CI server reads of it, and that hostile names leave it well-formed."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tests.verify.evaluation.evaluations import FAILED, NAMED_BY_AN_ENEMY, PASSED, UNLABELLED
from verify.evaluation.records import Evaluation, Verdict
from verify.evaluation.shown.junit import LISTED, junit_xml

# The attributes and children that Jenkins' junit-10.xsd knows, of what is written here.
ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "skipped": {"message"},
    "system-out": set(),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "testcase": {"failure", "skipped", "system-out"},
}


def parsed(evaluation: Evaluation) -> ElementTree.Element:
    return ElementTree.fromstring(junit_xml(evaluation).encode())


def statuses(root: ElementTree.Element) -> dict[str, str]:
    found = {}
    for case in root.iter("testcase"):
        kinds = [child.tag for child in case if child.tag != "system-out"]
        found[case.attrib["name"]] = kinds[0] if kinds else "ok"
    return found


@pytest.mark.parametrize("evaluation", [PASSED, FAILED, UNLABELLED, NAMED_BY_AN_ENEMY])
def test_the_file_keeps_to_the_schema_and_its_counts_are_right(evaluation: Evaluation) -> None:
    root = parsed(evaluation)
    for element in root.iter():
        assert set(element.attrib) == ATTRIBUTES[element.tag] or element.tag == "testsuites"
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
    (suite,) = root
    found = list(statuses(root).values())
    for counts in (root.attrib, suite.attrib):
        assert int(counts["tests"]) == len(found) == 5
        assert int(counts["failures"]) == found.count("failure")
    assert int(suite.attrib["skipped"]) == found.count("skipped")
    seconds = [float(case.attrib["time"]) for case in root.iter("testcase")]
    assert sum(seconds) == float(suite.attrib["time"]) == evaluation.seconds


def test_scores_that_differ_fail_and_images_that_flip_at_a_tie_do_not() -> None:
    assert statuses(parsed(PASSED)) == {
        "verdict": "ok",
        "top-1 error": "ok",
        "top-5 error": "ok",
        "agreement": "ok",
        "readable images": "skipped",
    }
    assert PASSED.agreement is not None
    for difference in (1e-3, float("nan")):
        other = replace(PASSED.agreement, largest_difference=difference)
        assert statuses(parsed(replace(PASSED, agreement=other)))["agreement"] == "failure"


def test_a_failure_carries_its_sentence_and_stands_at_the_error_that_is_off() -> None:
    root = parsed(FAILED)
    assert statuses(root)["verdict"] == statuses(root)["top-1 error"] == "failure"
    assert statuses(root)["top-5 error"] == statuses(root)["readable images"] == "ok"
    failure = root.find("testsuite/testcase[@name='top-1 error']/failure")
    assert failure is not None
    assert failure.attrib["message"] == (
        "top-1 error 99.0 % [97.7, 99.6] of 500 images is 97.0 points above the published 2.0"
    )


def test_too_few_images_and_nothing_published_are_skipped_not_passed() -> None:
    few = statuses(parsed(replace(PASSED, verdict=Verdict("too few", ("why",)))))
    assert {few["verdict"], few["top-1 error"], few["top-5 error"]} == {"skipped"}
    bare = statuses(parsed(replace(PASSED, verdict=Verdict("none"), expected=None)))
    assert {bare["verdict"], bare["top-1 error"], bare["top-5 error"]} == {"skipped"}
    assert statuses(parsed(UNLABELLED))["top-1 error"] == "skipped"


def test_the_numbers_are_properties() -> None:
    found = {p.attrib["name"]: p.attrib["value"] for p in parsed(PASSED).iter("property")}
    assert found["top1.wrong"] == "10"
    assert found["top1.error"] == "0.020000"
    assert found["top1.published"] == "0.020000"
    assert found["top5.high"] == "0.011200"
    assert (found["images"], found["available"], found["skipped"]) == ("500", "503", "3")
    assert found["agreement.same_top1"] == "498"
    assert found["outcome"] == "pass"
    assert found["engine"] == "onnxruntime 1.23.2"


def test_characters_that_xml_has_no_place_for_are_shown_as_escapes() -> None:
    text = junit_xml(NAMED_BY_AN_ENEMY)
    assert "\x00" not in text
    assert "\x1b" not in text
    value = next(p.attrib["value"] for p in parsed(NAMED_BY_AN_ENEMY).iter("property") if p.attrib["name"] == "engine")
    assert value.startswith("</script><img src=x onerror=alert(1)>\"'&\u2028層\n\\x1b[31m\\x00xx")
    assert "\\udcff.png: no image" in text


def test_a_data_set_that_nobody_can_read_does_not_fill_the_file() -> None:
    many = replace(PASSED, skipped=tuple((f"{i}.png", "no image") for i in range(LISTED + 7)))
    skipped = parsed(many).find("testsuite/testcase[@name='readable images']/skipped")
    assert skipped is not None
    assert skipped.attrib["message"] == "107 images could not be read"
    assert (skipped.text or "").splitlines()[-1] == "(7 more)"
