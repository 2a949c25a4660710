"""An evaluation as JUnit XML, which Jenkins, GitLab and GitHub's actions show.

One suite with the cases `verdict`, `top-1 error`, `top-5 error`, `agreement` and `readable images`: always the same, so
that a CI server can follow each from run to run.

    failure    the verdict failed, an error lies beside the published band, or an image changed its class
    skipped    nothing to compare with, too few images to tell, or images that could not be read

Schema: junit-10.xsd of Jenkins' xunit plugin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from verify.evaluation.records import Evaluation
from verify.evaluation.shown.figures import Measured, measured, title
from verify.evaluation.shown.text import images, kinds_text, same_class, verdict_line

LISTED = 100
"""Images that a case names at most."""

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no place for, not even escaped."""


@dataclass(frozen=True)
class _Case:
    name: str
    status: Literal["ok", "failure", "skipped"] = "ok"
    message: str = ""
    lines: tuple[str, ...] = ()


def junit_xml(evaluation: Evaluation) -> str:
    """The file's text, declared as UTF-8."""
    name = title(evaluation)
    cases = [_verdict(evaluation), *_errors(evaluation), _agreement(evaluation), _readable(evaluation)]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.status == "failure" for case in cases)),
        "errors": "0",
    }
    time = {"time": f"{evaluation.seconds:.3f}"}
    root = ElementTree.Element("testsuites", {"name": "evaluate", **counts, **time})
    skipped = {"skipped": str(sum(case.status == "skipped" for case in cases))}
    suite = ElementTree.SubElement(root, "testsuite", {"name": _clean(name), **counts, **skipped, **time})
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in _properties(evaluation).items():
        ElementTree.SubElement(properties, "property", {"name": key, "value": _clean(value)})
    for i, case in enumerate(cases):
        # The run is one piece of work: the first case has its time, so that the cases add up to the suite.
        _add(suite, case, f"evaluate.{name}", evaluation.seconds if i == 0 else 0.0)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(suite: ElementTree.Element, case: _Case, group: str, seconds: float) -> None:
    names = {"name": case.name, "classname": _clean(group), "time": f"{seconds:.3f}"}
    element = ElementTree.SubElement(suite, "testcase", names)
    text = _clean("\n".join(case.lines))
    if case.status == "ok":
        if text:
            ElementTree.SubElement(element, "system-out").text = text
        return
    more = {"type": case.status} if case.status == "failure" else {}
    ElementTree.SubElement(element, case.status, {"message": _clean(case.message), **more}).text = text


def _verdict(evaluation: Evaluation) -> _Case:
    lines = (verdict_line(evaluation), *evaluation.verdict.reasons)
    outcome, reason = evaluation.verdict.outcome, next(iter(evaluation.verdict.reasons), verdict_line(evaluation))
    if outcome in ("pass", "fail"):
        return _Case("verdict", "ok" if outcome == "pass" else "failure", reason, lines)
    return _Case("verdict", "skipped", reason if outcome == "too few" else _nothing(evaluation), lines)


def _errors(evaluation: Evaluation) -> list[_Case]:
    found = {error.name: error for error in measured(evaluation)}
    return [_error(evaluation, name, found.get(name)) for name in ("top-1", "top-5")]


def _error(evaluation: Evaluation, name: str, error: Measured | None) -> _Case:
    case = f"{name} error"
    if error is None or not error.seen.images:
        return _Case(case, "skipped", f"{case} was not measured")
    text = f"{error.error} {error.interval} of {images(error.seen.images)}"
    if not error.said:
        return _Case(case, "skipped", f"{text}; no published {case} to compare with")
    if evaluation.verdict.outcome == "fail" and error.side:
        text = f"{case} {text} is {error.gap} points {error.side} the published {error.said}"
        return _Case(case, "failure", text, (text,))
    if evaluation.verdict.outcome == "too few":
        return _Case(case, "skipped", f"{text}, published {error.said}: too few images to tell")
    return _Case(case, lines=(f"{text}, published {error.said}",))


def _agreement(evaluation: Evaluation) -> _Case:
    found = evaluation.agreement
    if found is None:
        return _Case("agreement", "skipped", "not asked for")
    if not found.images:
        return _Case("agreement", "skipped", same_class(found))
    text = f"{same_class(found)}; largest difference of a score {found.largest_difference:.3g}"
    lines = [
        f"{flip.name}: {evaluation.class_name(flip.model)} here, {evaluation.class_name(flip.judge)} there"
        for flip in found.flips
    ]
    return _Case("agreement", "ok" if found.ok else "failure", text, (text, *_listed(lines)))


def _readable(evaluation: Evaluation) -> _Case:
    if not evaluation.skipped:
        return _Case("readable images")
    text = f"{images(len(evaluation.skipped))} could not be read"
    return _Case("readable images", "skipped", text, _listed([f"{n}: {why}" for n, why in evaluation.skipped]))


def _listed(lines: list[str]) -> tuple[str, ...]:
    more = [f"({len(lines) - LISTED:,} more)"] if len(lines) > LISTED else []
    return (*lines[:LISTED], *more)


def _nothing(evaluation: Evaluation) -> str:
    return next(iter(evaluation.verdict.reasons), "nothing was published to compare with")


def _properties(evaluation: Evaluation) -> dict[str, str]:
    made = {name: str(getattr(evaluation, name)) for name in ("net", "weights", "data", "engine", "preprocessing")}
    for error in measured(evaluation):
        key = error.name.replace("-", "")
        made |= {
            f"{key}.wrong": str(error.seen.wrong),
            f"{key}.error": f"{error.seen.error:.6f}",
            f"{key}.low": f"{error.seen.low:.6f}",
            f"{key}.high": f"{error.seen.high:.6f}",
        }
        if error.published is not None:
            made[f"{key}.published"] = f"{error.published:.6f}"
    made |= {"images": str(evaluation.images), "available": str(evaluation.available)}
    made |= {"skipped": str(len(evaluation.skipped)), "confidence": f"{evaluation.confidence:g}"}
    made |= {"images_per_second": f"{evaluation.rate:.1f}", "outcome": evaluation.verdict.outcome}
    if evaluation.kinds:
        made["kinds"] = kinds_text(evaluation)
    if evaluation.agreement is not None:
        made["agreement.images"] = str(evaluation.agreement.images)
        made["agreement.same_top1"] = str(evaluation.agreement.same_top1)
        made["agreement.largest_difference"] = f"{evaluation.agreement.largest_difference:.6g}"
    return made


def _clean(text: str) -> str:
    """Text that XML 1.0 can hold: what it forbids becomes its Python escape."""
    return _FORBIDDEN.sub(lambda found: repr(found[0])[1:-1], text)
