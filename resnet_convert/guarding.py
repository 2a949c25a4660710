"""Nothing that a request reads is written over, and no two of its outputs are one file."""

from __future__ import annotations

from collections.abc import Iterable

from converter.options import File
from resnet_convert.option import Request
from weights import refuse_overwriting


def guard(request: Request, *, reading: Iterable[File] = (), **instead: Iterable[File]) -> None:
    """Refuse what would destroy an input, before anything is written.

    Args:
        request: its files to read and to write count.
        reading: what is read besides.
        instead: by the names of the request's fields, the files that there will be in their place.

    Raises:
        RequestError: an output is an input, also through links, or two outputs are one file.
    """
    written = {**request.files("out"), **instead}
    read = [path for paths in request.files("in").values() for path in paths]
    refuse_overwriting([path for paths in written.values() for path in paths], [*read, *reading])
