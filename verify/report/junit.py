"""Findings as JUnit XML, which Jenkins, GitLab and GitHub's actions show.

The names of suites and cases are the same in every run of one kind, so that a CI server can follow each.

Schema: junit-10.xsd of Jenkins' xunit plugin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from xml.etree import ElementTree

from prototxt.errors import CaffeModelError
from verify.report.records import Report, Row
from verify.report.text import row_sentence, verdict, worst_place

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no place for, not even escaped."""


@dataclass(frozen=True)
class Case:
    """A test case.

    Attributes:
        name: the same in every run.
        status: `error` where the work could not be done, `failure` where what it found is not as it should be.
        message: why it is not ok, in a sentence.
        lines: the details.
        kind: what a failure or error is of, for its attribute `type`; by default the status.
        seconds: that it took.
    """

    name: str
    status: Literal["ok", "failure", "error", "skipped"] = "ok"
    message: str = ""
    lines: tuple[str, ...] = ()
    kind: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Suite:
    """Cases that belong together; `group` stands before their names, as a class does before its methods."""

    name: str
    group: str
    cases: Sequence[Case]
    seconds: float = 0.0
    properties: Mapping[str, str] = field(default_factory=dict)

    def count(self, status: str) -> int:
        """Cases that ended so."""
        return sum(case.status == status for case in self.cases)


def junit_text(name: str, suites: Sequence[Suite]) -> str:
    """The file's text, declared as UTF-8; `name` is that of the work."""
    root = ElementTree.Element("testsuites", {"name": name, **_counts(suites)})
    for suite in suites:
        _add_suite(root, suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def parity_suite(report: Report) -> Suite:
    """A comparison: a case for each blob, as each layer left it, and for each output of the model as it is shipped."""
    rows = [("", row) for row in report.rows] + [("as shipped: ", row) for row in report.shipped]
    names: dict[str, int] = {}
    cases = []
    for start, row in rows:
        name = start + row.label
        names[name] = again = names.get(name, 0) + 1
        cases.append(_blob(report, name if again == 1 else f"{name} #{again}", row))
    if not rows:
        cases.append(Case("comparison", "failure", verdict(report), report.notes))
    worst = report.worst
    properties = {"net": report.net, "model": report.model, "engine": report.engine, "fed": report.feeds}
    properties |= {"verdict": verdict(report), "worst": worst.label if worst else ""}
    return Suite(report.model, f"verify.{report.model}", cases, sum(report.seconds.values()), properties)


def error_suite(work: str, subject: str, error: CaffeModelError) -> Suite:
    """Work that could not be done: one case, named as the work, with every error."""
    first, *_ = error.each
    case = Case(work, "error", str(first), tuple(str(error).split("\n")), type(first).__name__)
    return Suite(subject, f"{work}.{subject}", [case])


def _blob(report: Report, name: str, row: Row) -> Case:
    if row.ok:
        return Case(name)
    lines = [row_sentence(row), f"blob {row.top}, {'×'.join(map(str, row.shape))}, largest value {row.peak:.3g}"]
    lines += [worst_place(row), f"in {report.engine}"]
    return Case(name, "failure", row_sentence(row), tuple(filter(None, lines)))


def _counts(suites: Sequence[Suite]) -> dict[str, str]:
    return {
        "tests": str(sum(len(suite.cases) for suite in suites)),
        "failures": str(sum(suite.count("failure") for suite in suites)),
        "errors": str(sum(suite.count("error") for suite in suites)),
        "time": f"{sum(suite.seconds for suite in suites):.3f}",
    }


def _add_suite(root: ElementTree.Element, suite: Suite) -> None:
    skipped = {"skipped": str(suite.count("skipped"))}
    element = ElementTree.SubElement(root, "testsuite", {"name": _clean(suite.name), **_counts([suite]), **skipped})
    properties = ElementTree.SubElement(element, "properties")
    for key, value in suite.properties.items():
        ElementTree.SubElement(properties, "property", {"name": key, "value": _clean(value)})
    # What the cases do not have of the suite's time is the first one's, so that they add up to it.
    rest = suite.seconds - sum(case.seconds for case in suite.cases)
    for i, case in enumerate(suite.cases):
        _add(element, case, suite.group, case.seconds + (rest if i == 0 else 0.0))


def _add(suite: ElementTree.Element, case: Case, group: str, seconds: float) -> None:
    names = {"name": _clean(case.name), "classname": _clean(group), "time": f"{max(0.0, seconds):.3f}"}
    element = ElementTree.SubElement(suite, "testcase", names)
    text = _clean("\n".join(case.lines))
    if case.status == "ok":
        if text:
            ElementTree.SubElement(element, "system-out").text = text
        return
    more = {} if case.status == "skipped" else {"type": _clean(case.kind or case.status)}
    ElementTree.SubElement(element, case.status, {"message": _clean(case.message), **more}).text = text


def _clean(text: str) -> str:
    """Text that XML 1.0 can hold: what it forbids becomes its Python escape."""
    return _FORBIDDEN.sub(lambda found: repr(found[0])[1:-1], text)
