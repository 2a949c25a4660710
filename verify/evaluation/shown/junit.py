"""An evaluation as JUnit XML.

One suite with the cases `verdict`, `top-1 error`, `top-5 error`, `agreement` and `readable images`.

    failure    the verdict failed, an error lies beside the published band, or an image changed its class
    skipped    nothing to compare with, too few images to tell (a failure where that was asked for), or images that
               could not be read
"""

from __future__ import annotations

from verify.evaluation.records import Evaluation
from verify.evaluation.shown.figures import Measured, measured, title
from verify.evaluation.shown.text import causes, images, kinds_text, same_class, verdict_line
from verify.report.junit import Case, Suite, junit_text

LISTED = 100
"""Images that a case names at most."""


def junit_xml(evaluation: Evaluation) -> str:
    """The file's text, declared as UTF-8."""
    return junit_text("evaluate", [evaluation_suite(evaluation)])


def evaluation_suite(evaluation: Evaluation) -> Suite:
    """The evaluation's cases: always the same."""
    name = title(evaluation)
    cases = [_verdict(evaluation), *_errors(evaluation), _agreement(evaluation), _readable(evaluation)]
    return Suite(name, f"evaluate.{name}", cases, evaluation.seconds, _properties(evaluation))


def _verdict(evaluation: Evaluation) -> Case:
    lines = (verdict_line(evaluation), *evaluation.verdict.reasons, *causes(evaluation))
    outcome, reason = evaluation.verdict.outcome, next(iter(evaluation.verdict.reasons), verdict_line(evaluation))
    if outcome in ("pass", "fail"):
        return Case("verdict", "ok" if outcome == "pass" else "failure", reason, lines)
    bad = evaluation.strict and not evaluation.ok
    return Case(
        "verdict", "failure" if bad else "skipped", reason if outcome == "too few" else _nothing(evaluation), lines
    )


def _errors(evaluation: Evaluation) -> list[Case]:
    found = {error.name: error for error in measured(evaluation)}
    return [_error(evaluation, name, found.get(name)) for name in ("top-1", "top-5")]


def _error(evaluation: Evaluation, name: str, error: Measured | None) -> Case:
    case = f"{name} error"
    if error is None or not error.seen.images:
        return Case(case, "skipped", f"{case} was not measured")
    text = f"{error.error} {error.interval} of {images(error.seen.images)}"
    if not error.said:
        return Case(case, "skipped", f"{text}; no published {case} to compare with")
    if evaluation.verdict.outcome == "fail" and error.side:
        text = f"{case} {text} is {error.gap} points {error.side} the published {error.said}"
        return Case(case, "failure", text, (text,))
    if evaluation.verdict.outcome == "too few":
        return Case(case, "skipped", f"{text}, published {error.said}: too few images to tell")
    return Case(case, lines=(f"{text}, published {error.said}",))


def _agreement(evaluation: Evaluation) -> Case:
    found = evaluation.agreement
    if found is None:
        return Case("agreement", "skipped", "not asked for")
    if not found.images:
        return Case("agreement", "skipped", same_class(found))
    text = f"{same_class(found)}; largest difference of a score {found.largest_difference:.3g}"
    lines = [
        f"{flip.name}: {evaluation.class_name(flip.model)} here, {evaluation.class_name(flip.judge)} there"
        for flip in found.flips
    ]
    return Case("agreement", "ok" if found.ok else "failure", text, (text, *_listed(lines)))


def _readable(evaluation: Evaluation) -> Case:
    if not evaluation.skipped:
        return Case("readable images")
    text = f"{images(len(evaluation.skipped))} could not be read"
    return Case("readable images", "skipped", text, _listed([f"{n}: {why}" for n, why in evaluation.skipped]))


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
