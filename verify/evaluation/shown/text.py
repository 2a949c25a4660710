"""An evaluation for the terminal: the verdict in one line, then why, and what went wrong where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from prototxt.names import shown
from prototxt.words import plural
from verify.evaluation.causes.records import Cause
from verify.evaluation.records import Agreement, ClassResult, Evaluation, Judgement
from verify.evaluation.shown.figures import Measured, class_error, measured, points, short_names, title, worst_first

SHOWN = 5
"""Classes, flips and skipped images that the short text names."""

OUTCOMES: Final[dict[Judgement, str]] = {
    "pass": "PASS",
    "fail": "FAIL",
    "too few": "TOO FEW IMAGES TO TELL",
    "none": "",
}


def verdict_line(evaluation: Evaluation) -> str:
    """The outcome with its figures, in one line; one that fails says by how much.

    `digits-resnet: PASS: top-1 error 2.0 % [1.1, 3.6] of 500 images (published 2.0), top-5 0.2 % [0.0, 1.1] (…)`
    """
    errors, outcome = measured(evaluation), evaluation.verdict.outcome
    parts = [title(evaluation), OUTCOMES[outcome]]
    failed = outcome == "fail"
    if errors and evaluation.images:
        parts.append(", ".join(_error(error, first=i == 0, failed=failed) for i, error in enumerate(errors)))
    else:
        parts.append(_without_errors(evaluation))
    if failed and not any(error.side for error in errors):
        parts += evaluation.verdict.reasons[:1]
    line = ": ".join(filter(None, parts))
    if evaluation.agreement is not None:
        line += f"; {same_class(evaluation.agreement)}"
    return shown(line)


def format_evaluation(evaluation: Evaluation, *, verbose: bool = False) -> str:
    """The verdict, its reasons, and what the user should look at; no name in it can move the cursor.

    Args:
        evaluation: what was found.
        verbose: every class with an error, every flip and every skipped image, not only the first few.
    """
    most = None if verbose else SHOWN
    lines = [*reasons(evaluation), *causes(evaluation)]
    lines += _class_lines(evaluation, most)
    lines += _agreement_lines(evaluation, most)
    lines += _skipped_lines(evaluation, most)
    if evaluation.kinds:
        lines.append(f"special images: {kinds_text(evaluation)}")
    lines += [*departures(evaluation), *(f"note: {note}" for note in evaluation.notes), work(evaluation)]
    return "\n".join([verdict_line(evaluation), *(f"  {shown(line)}".rstrip() for line in lines)])


def sentences(evaluation: Evaluation) -> list[str]:
    """Why, what is otherwise than published, and the notes: what a short report has beside the figures."""
    return [
        *reasons(evaluation),
        *causes(evaluation),
        *departures(evaluation),
        *(f"note: {note}" for note in evaluation.notes),
    ]


def reasons(evaluation: Evaluation) -> list[str]:
    """The verdict's reasons that its line does not have already."""
    return [reason for reason in evaluation.verdict.reasons if not _told(evaluation, reason)]


def causes(evaluation: Evaluation) -> list[str]:
    """What seems to be wrong with the preprocessing, and what the error would be without; the labels are a reason."""
    found = evaluation.diagnosis
    if found is None or any(cause.kind == "labels" for cause in found.causes):
        return []
    sample = images(found.images)
    if not found.causes:
        none = f"none of {found.tried} usual mistakes in preprocessing explains it, on a sample of {sample}"
        return [none] if evaluation.verdict.outcome == "fail" else []
    first, *more = [f"with {cause.what}{_by(cause)} {{}}{points(cause.error)} %" for cause in found.causes]
    line = f"the preprocessing seems to be wrong: {first.format('the top-1 error would be ')}"
    line += f" instead of {points(found.error)} %, on a sample of {sample}"
    return ["; and ".join([line, *(each.format("as well ") for each in more)])]


def _by(cause: Cause) -> str:
    return f" ({cause.option})" if cause.option else ""


def departures(evaluation: Evaluation) -> list[str]:
    """What the user did otherwise than the authors."""
    return [f"otherwise than published: {other}" for other in evaluation.expected.other] if evaluation.expected else []


def same_class(agreement: Agreement) -> str:
    """`same class as the interpreter for 499 of 500 images`."""
    if not agreement.images:
        return f"no image was compared with {agreement.judge}"
    return f"same class as {agreement.judge} for {agreement.same_top1:,} of {agreement.images:,} images"


def kinds_text(evaluation: Evaluation) -> str:
    """`12 greyscale, 1 CMYK`, the most frequent first."""
    ranked = sorted(evaluation.kinds.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count:,} {kind}" for kind, count in ranked)


def work(evaluation: Evaluation) -> str:
    """How many images in what time, in which engine."""
    of = f" of {evaluation.available:,}" if evaluation.available > evaluation.images else ""
    speed = f" ({evaluation.rate:,.0f} images/s)" if evaluation.rate >= 1 else ""
    return f"{images(evaluation.images, of)} in {evaluation.seconds:,.1f} s{speed} in {evaluation.engine}"


def images(count: int, of: str = "") -> str:
    """`1 image`, `50,000 images`, `300 of 50,000 images`."""
    return f"{count:,}{of} images" if of else plural(count, "image")


def _error(error: Measured, *, first: bool, failed: bool) -> str:
    what = f"{error.name} error" if first else error.name
    text = f"{what} {error.error} {error.interval}" + (f" of {images(error.seen.images)}" if first else "")
    if failed and error.side:
        return f"{text} is {error.gap} points {error.side} the published {error.said}"
    return f"{text} (published {error.said})" if error.said else text


def _told(evaluation: Evaluation, reason: str) -> bool:
    """Whether a reason says no more than the verdict's line does."""
    return any(
        reason.startswith(f"{error.name} error ") and reason.endswith(f"the published {error.said} %")
        for error in measured(evaluation)
    )


def _without_errors(evaluation: Evaluation) -> str:
    if not evaluation.images:
        return "no image was scored"
    return f"{images(evaluation.images)} without labels"


def _class_lines(evaluation: Evaluation, most: int | None) -> list[str]:
    wrong = [result for result in worst_first(evaluation.by_class) if result.wrong]
    if not wrong:
        return []
    names = short_names(evaluation.classes)
    lines = [f"  {_class_line(names, result)}" for result in wrong[:most]]
    return [f"worst of {len(evaluation.by_class):,} classes:", *lines, *_more(wrong, most, "with errors")]


def _class_line(names: Sequence[str], result: ClassResult) -> str:
    taken = ", ".join(f"{_name(names, label)} ({count:,})" for label, count in result.confused[:3])
    name = names[result.label] if result.label < len(names) else result.name or str(result.label)
    line = f"{name}: {result.wrong:,} of {result.images:,} wrong ({class_error(result)})"
    return f"{line}, taken for {taken}" if taken else line


def _agreement_lines(evaluation: Evaluation, most: int | None) -> list[str]:
    agreement = evaluation.agreement
    if agreement is None:
        return []
    largest = f"{agreement.largest_difference:.1e}" if math.isfinite(agreement.largest_difference) else "not a number"
    explained = f"float32 explains {agreement.bound:.1e}"
    lines = [f"largest difference from {agreement.judge} of any score: {largest} ({explained})"]
    names = short_names(evaluation.classes)
    for flip in agreement.flips[:most]:
        model, judge = _name(names, flip.model), _name(names, flip.judge)
        right = "" if flip.label is None else f", it is {_name(names, flip.label)}"
        lines.append(f"  {flip.name}: {model} here, {judge} there{right} (scores differ by {flip.difference:.1e})")
    return lines + _more(agreement.flips, most, "given to another class")


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if 0 <= label < len(names) else str(label)


def _skipped_lines(evaluation: Evaluation, most: int | None) -> list[str]:
    if not evaluation.skipped:
        return []
    lines = [f"  {name}: {reason}" for name, reason in evaluation.skipped[:most]]
    return [f"skipped {images(len(evaluation.skipped))}:", *lines, *_more(evaluation.skipped, most, "skipped")]


def _more(found: Sequence[object], most: int | None, what: str) -> list[str]:
    hidden = 0 if most is None else len(found) - most
    return [f"  ({hidden:,} more {what})"] if hidden > 0 else []
