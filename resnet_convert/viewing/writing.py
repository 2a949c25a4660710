"""A net as a picture in a file, as one request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converter.api import default_output
from converter.reading import weights_of
from prototxt.errors import RequestError
from prototxt.names import readable, shown
from resnet_convert.guarding import guard
from resnet_convert.inspection import Inspection, inspecting
from resnet_convert.option import takes
from resnet_convert.provenance import provenance
from resnet_convert.requests import ViewRequest
from resnet_convert.viewing.drawn import drawn_net
from verify.picture.records import DrawnNet
from verify.report.records import Json
from weights import Outputs


@dataclass(frozen=True)
class View:
    """A picture that was written.

    Attributes:
        file: where.
        net: what it shows.
        warnings: of the stored weights, where there are any.
    """

    file: Path
    net: DrawnNet
    warnings: list[str]


@takes(ViewRequest)
def view(request: ViewRequest) -> View:
    """Write a picture of a net: a page to look around in, or a still one as SVG or DOT.

    Arguments are the fields of `ViewRequest`. The page shows the net from top to bottom with the shapes of all blobs;
    what repeats is folded together and opens on a click, a click on a layer shows its parameters, sizes and, with
    weights, a histogram of each learned blob and a first convolution's filters. It needs no network.

    Raises:
        RequestError: a suffix that is none of .html, .svg, .dot; an output that is an input or cannot be written.
        MissingDependencyError: graphlay, which lays the boxes out, is not installed (not needed for .dot).
        CaffeModelError: what `inspect` raises; see `prototxt.errors` for the tree.

    Example:
        >>> resnet_convert.view("examples/digits/deploy.prototxt", output="digits.dot").file
        PosixPath('digits.dot')
    """
    return viewed(request)


def viewed(request: ViewRequest) -> View:
    """What `view` does."""
    target = Path(request.output) if request.output is not None else Path(_default_name(request))
    if target.suffix not in _PAGES:
        raise RequestError(f"cannot draw {shown(str(target))!r}: its name ends in none of {', '.join(_PAGES)}")
    guard(request, output=[target])
    with inspecting(request) as found:
        net = drawn_net(found, _facts(found, request) if target.suffix == ".html" else {})
        text = _PAGES[target.suffix](net, found, request)
    with Outputs() as outputs:
        outputs.file(target).write_text(text, encoding="utf-8", newline="\n", errors="backslashreplace")
    return View(target, net, found.warnings)


def _default_name(request: ViewRequest) -> str:
    return str(Path(default_output(request.net, "onnx")).with_suffix(".html"))


def _facts(found: Inspection, request: ViewRequest) -> Mapping[str, Mapping[str, Json]]:
    if weights_of(request.net, request.weights) is None:
        return {}
    from resnet_convert.viewing.weight_facts import weight_facts

    return weight_facts(found.graph)


def _page(net: DrawnNet, found: Inspection, request: ViewRequest) -> str:
    from verify.picture.page_record import picture_record
    from verify.report.template import fill_page

    record: dict[str, Json] = {
        "source": shown(found.net.path),
        "notes": list(map(readable, (*found.net.notes, *found.net.readings))),
        "warnings": list(map(readable, found.warnings)),
        "picture": picture_record(net),
    }
    return fill_page("page.html", record, "resnet_convert.viewing", provenance(request))


def _svg(net: DrawnNet, found: Inspection, request: ViewRequest) -> str:
    from verify.picture.svg import format_svg

    return format_svg(net)


def _dot(net: DrawnNet, found: Inspection, request: ViewRequest) -> str:
    from verify.picture.dot import format_dot

    return format_dot(net)


_PAGES: Final[Mapping[str, Callable[[DrawnNet, Inspection, ViewRequest], str]]] = {
    ".html": _page,
    ".svg": _svg,
    ".dot": _dot,
}
