"""What a request's reports say of where they come from."""

from __future__ import annotations

from resnet_convert.option import Request
from verify.report.provenance import provenance_of
from verify.report.records import Json


def provenance(request: Request) -> Json:
    """The tool, the date, and the files that a request reads with their digests; of images their name alone."""
    read = request.files("in")
    data = [*read.pop("data", []), *read.pop("images", [])]
    return provenance_of([path for paths in read.values() for path in paths], data)
