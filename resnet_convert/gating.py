"""What a CI server is told of a run, as JUnit XML and as a job's summary: what was found, and that it failed.

with gated(request, "verify", net) as gate:
    …                                           # a CaffeModelError is written down, and goes on
    gate.tell_reports(reports)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from converter.options import File
from prototxt.errors import CaffeModelError, Position, RequestError
from prototxt.words import reason
from resnet_convert.guarding import guard
from resnet_convert.requests import GatedRequest

if TYPE_CHECKING:
    from resnet_convert.batches.records import Outcome
    from verify import Report
    from verify.evaluation.records import Evaluation
    from verify.report.junit import Suite

SUMMARIES = (".md", ".markdown", ".txt")


class Gate:
    """Writes what was found into the files that a request names; where it names none, nothing is done.

    Args:
        request: the request.
        work: what is done: `verify`, `convert` …
        subject: with what.
    """

    def __init__(self, request: GatedRequest, work: str, subject: str) -> None:
        self._request, self._work, self._subject = request, work, subject

    @property
    def asked(self) -> bool:
        """Whether anything is to be written."""
        return self._request.junit is not None or self._request.summary is not None

    def tell_reports(self, reports: Sequence[Report], before: str = "") -> None:
        """Comparisons; `before` is Markdown that stands before them."""
        if self.asked:
            from verify.report.junit import parity_suite
            from verify.report.markdown import parity_markdown

            self._write(map(parity_suite, reports), before + "".join(map(parity_markdown, reports)))

    def tell_uncompared(self, text: str, why: str) -> None:
        """A model that was written and not compared; `text` is Markdown."""
        if self.asked:
            from verify.report.junit import Case, Suite

            case = Case("comparison", "skipped", why)
            self._write([Suite(self._subject, f"{self._work}.{self._subject}", [case])], text)

    def tell_evaluation(self, found: Evaluation) -> None:
        """An evaluation."""
        if self.asked:
            from verify.evaluation.shown.junit import evaluation_suite
            from verify.evaluation.shown.markdown import evaluation_markdown

            self._write([evaluation_suite(found)], evaluation_markdown(found))

    def tell_batch(self, outcomes: Sequence[Outcome]) -> None:
        """The nets of a batch."""
        if self.asked:
            from resnet_convert.batches.gating import batch_markdown, batch_suite

            suite = batch_suite(self._subject, outcomes)
            self._write([suite], batch_markdown(self._subject, outcomes))

    def tell_error(self, error: CaffeModelError) -> None:
        """Work that could not be done. What stands there and may be a net's or a user's own file is left alone."""
        from verify.report.junit import error_suite
        from verify.report.markdown import error_markdown

        junit, summary = self._request.junit, self._request.summary
        suites = [error_suite(self._work, self._subject, error)] if _is_older_junit(junit) else []
        self._write(suites, error_markdown(self._work, self._subject, error) if _takes_more(summary) else "")

    def _write(self, suites: Iterable[Suite], markdown: str) -> None:
        from verify.report.junit import junit_text
        from weights import atomic_file

        cases = list(suites)
        if self._request.junit is not None and cases:
            with atomic_file(self._request.junit) as file:
                file.write(junit_text(self._work, cases).encode("utf-8", "backslashreplace"))
        if self._request.summary is not None and markdown:
            _append(Path(self._request.summary), markdown.encode("utf-8", "backslashreplace"))


@contextmanager
def gated(request: GatedRequest, work: str, subject: File, *, reading: Iterable[File] = ()) -> Iterator[Gate]:
    """What is found in the block is told to the gate; an error that ends it is written down as well.

    Args:
        request: the request.
        work: what is done: `verify`, `convert` …
        subject: with what.
        reading: files that are read beside those that the request names.

    Raises:
        RequestError: the files that are to be written are read as well, or cannot be written.
    """
    gate = Gate(request, work, os.fspath(subject))
    if gate.asked:
        _check(request, reading)
    try:
        yield gate
    except CaffeModelError as error:
        if gate.asked:
            gate.tell_error(error)
        raise


def _check(request: GatedRequest, reading: Iterable[File]) -> None:
    from weights.output import check_file_target

    guard(request, reading=reading)
    for path in (request.junit, request.summary):
        if path is not None:
            check_file_target(Path(path))


def _is_older_junit(path: File | None) -> bool:
    """Whether a file is none yet, or an XML file: before a manifest is read nobody knows what it names."""
    return path is not None and (not os.path.exists(path) or Path(path).read_bytes()[:5] in (b"", b"<?xml"))


def _takes_more(path: File | None) -> bool:
    """Whether a file is none yet, or looks like a summary."""
    if path is None or not os.path.exists(path) or not os.path.getsize(path):
        return path is not None
    named = os.environ.get("GITHUB_STEP_SUMMARY")
    return os.fspath(path).lower().endswith(SUMMARIES) or os.fspath(path) == named


def _append(path: Path, text: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(text)
    except OSError as fault:
        raise RequestError(f"cannot be written: {reason(fault)}", position=Position(str(path))) from fault
