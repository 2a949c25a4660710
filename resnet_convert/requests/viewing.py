"""What may be asked of a picture."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from converter.options import File
from resnet_convert.option import output_option
from resnet_convert.requests.net import NetRequest


@dataclass(frozen=True, eq=False, repr=False)
class ViewRequest(NetRequest):
    """A picture of a net.

    Attributes:
        output: .html for a page to look around in, .svg for a still picture of it, .dot for Graphviz; None names a page
            after the net.
    """

    _: KW_ONLY
    output: File | None = output_option(
        "file to write, as its suffix says: .html (a page), .svg (a still picture) or .dot (for Graphviz); by default "
        "a page named after NET",
        metavar="FILE",
    )
