"""A comparison as JUnit XML: a case for each blob with the numbers where one fails, and errors."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from prototxt.errors import ErrorGroup, NetError, Position, PrototxtError
from verify.report.junit import Case, Suite, error_suite, junit_text, parity_suite
from verify.report.records import Report, Row

GOOD = Row(0, "conv1", "Convolution", "conv1", (1, 2, 3, 4), 1e-7, 1e-7, 1.5, 2e-6, True, own_abs=1e-7, own_bound=2e-6)
BAD = Row(1, "fc", "InnerProduct", "score", (1, 7), 0.25, 0.1, 2.5, 1e-5, False, True, ((0, 5), 1.75, 1.5))
ODD = Row(2, "p", "Pooling", "p", (1, 2), float("inf"), float("inf"), 1.0, 1e-5, False, fault="its shape is 1×3")
REPORT = Report("n.prototxt", "m.onnx", "onnxruntime 9", {"data": (1, 3, 5, 7)}, "seed 0", (GOOD, BAD, ODD), (BAD,))
REPORT = replace(REPORT, seconds={"net": 1.5, "model": 0.25})


def parsed(*suites: Suite) -> ElementTree.Element:
    return ElementTree.fromstring(junit_text("verify", suites).encode())


def test_every_blob_is_a_case_and_so_is_every_output_as_shipped() -> None:
    names = [case.attrib["name"] for case in parsed(parity_suite(REPORT)).iter("testcase")]
    fc = "fc (InnerProduct) blob 'score'"
    assert names == ["conv1 (Convolution)", fc, "p (Pooling)", f"as shipped: {fc}"]


def test_counts_and_times_add_up() -> None:
    root = parsed(parity_suite(REPORT), parity_suite(replace(REPORT, rows=(GOOD,), shipped=())))
    assert (root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == ("5", "3", "0")
    assert [suite.attrib["failures"] for suite in root] == ["3", "0"]
    assert sum(float(case.attrib["time"]) for case in root[0].iter("testcase")) == 1.75
    assert root.attrib["time"] == "3.500"


def test_a_failure_has_the_numbers() -> None:
    failure = parsed(parity_suite(REPORT)).find(".//testcase[@name=\"fc (InnerProduct) blob 'score'\"]/failure")
    assert failure is not None
    said = "fc (InnerProduct) blob 'score' at 2.5e+04 × of its bound (max abs 2.5e-01, bound 1.0e-05)"
    assert failure.attrib == {"message": said, "type": "failure"}
    assert "score[0, 5] is 1.75 in the model and 1.5 in Caffe's net" in (failure.text or "")
    assert "1×7" in (failure.text or "")


def test_what_is_no_matter_of_size_is_said_in_its_words() -> None:
    failure = parsed(parity_suite(REPORT)).find(".//testcase[@name='p (Pooling)']/failure")
    assert failure is not None
    assert failure.attrib["message"] == "p (Pooling): its shape is 1×3"


def test_blobs_of_one_name_are_cases_of_two_names() -> None:
    names = [case.name for case in parity_suite(replace(REPORT, rows=(GOOD, GOOD, GOOD), shipped=())).cases]
    assert names == ["conv1 (Convolution)", "conv1 (Convolution) #2", "conv1 (Convolution) #3"]


def test_nothing_compared_is_a_failure() -> None:
    root = parsed(parity_suite(replace(REPORT, rows=(), shipped=(), notes=("no blob is in both",))))
    failure = root.find(".//testcase[@name='comparison']/failure")
    assert failure is not None
    assert "NOTHING COMPARED" in failure.attrib["message"]
    assert failure.text == "no blob is in both"


def test_an_error_is_no_failure() -> None:
    group = ErrorGroup([PrototxtError("no <field>", position=Position("n.prototxt", 3)), NetError("and another")])
    root = parsed(error_suite("verify", "n.prototxt", group))
    assert (root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == ("1", "0", "1")
    error = root.find(".//testcase[@name='verify']/error")
    assert error is not None
    assert error.attrib == {"message": "n.prototxt:3: error: no <field>", "type": "PrototxtError"}
    assert error.text == "n.prototxt:3: error: no <field>\nerror: and another"


@pytest.mark.parametrize("name", ["a]]>b", "\x00\x1b[31m", "\udcff", "\ufffe", "\"&<>'", "層\U0010f7a3"])
def test_hostile_names_leave_the_file_well_formed(name: str) -> None:
    row = replace(BAD, layer=name, top=name, layer_type=name, fault=name)
    report = replace(REPORT, rows=(row,), model=name, net=name, engine=name, notes=(name,))
    for suite in (parity_suite(report), error_suite("verify", name, NetError(name))):
        (case, *_) = parsed(suite).iter("testcase")
        assert case.attrib["name"]


def test_a_skipped_case_is_counted() -> None:
    root = parsed(Suite("m", "g", [Case("comparison", "skipped", "why")]))
    assert root[0].attrib["skipped"] == "1"
    assert root.find(".//skipped") is not None
