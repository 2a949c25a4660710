"""What a CI server is told."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from converter.options import File
from resnet_convert.option import Request, option

FOR_CI = "for continuous integration"


@dataclass(frozen=True, eq=False, repr=False)
class GatedRequest(Request):
    """Work whose outcome a CI server reads, also where it fails."""

    _: KW_ONLY
    junit: File | None = option(
        None,
        "what was found as JUnit XML, a case for each thing that was checked; also of a run that fails",
        metavar="FILE.xml",
        parse=str,
        group=FOR_CI,
        file="out",
    )
    summary: File | None = option(
        None,
        "append what was found as Markdown: $GITHUB_STEP_SUMMARY",
        metavar="FILE.md",
        parse=str,
        group=FOR_CI,
        file="out",
    )
