"""`resnet-convert models`: what was published of which models."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence

from prototxt.columns import aligned
from resnet_convert.cli.arguments import request_of, shown_of
from resnet_convert.cli.statuses import DONE
from resnet_convert.cli.terminal import say, say_json, table
from resnet_convert.published_models import models
from resnet_convert.requests import ModelsRequest
from verify.evaluation.published.figure import Published
from verify.evaluation.shown.figures import points, published_digits
from verify.report.records import Json, plain

LIST = "list"
"""The word that `--expect` takes for all of them."""


def run(parsed: Namespace) -> int:
    """Print all of them, a line each, or one in full."""
    request, asked = request_of(ModelsRequest, parsed), shown_of(parsed)
    found = models(request.name)
    if asked.json:
        say_json({"models": list(map(facts, found))}, request)
    elif asked.talks and request.name is None:
        print_table(found)
        say(f"{len(found)} models; 'resnet-convert models NAME' says more of one")
    elif asked.talks:
        say(*_detail(found[0]))
    return DONE


def print_table(found: Sequence[Published]) -> None:
    """Print a line a model: errors, protocol, whose it is."""
    rows: list[tuple[str, ...]] = [("name", "top-1", "top-5", "how", "model")]
    rows += [(each.name, *map(_error, (each.top1, each.top5)), each.protocol, each.title) for each in found]
    table(aligned(rows, (1, 2)))


def facts(each: Published) -> dict[str, Json]:
    """A model for json.dumps."""
    made = plain({**vars(each), "weights": vars(each.weights)})
    assert isinstance(made, dict)
    return {**made, "protocol": each.protocol, "preprocessing": each.preprocessing}


def _detail(each: Published) -> Iterator[str]:
    yield f"{each.name}: {each.title}"
    for name, error in (("top-1", each.top1), ("top-5", each.top5)):
        yield f"  {name} error: {_error(error)}" + (" %" if error is not None else " (none was published)")
    yield f"  varies by: {100 * each.variation:.3g} points (what its authors say, and the last digit)"
    yield f"  measured on: {each.dataset}, {each.images:,} images"
    yield f"  protocol: {each.protocol}"
    yield f"  preprocessing: {each.preprocessing}"
    if each.note:
        yield f"  note: {each.note}"
    yield f"  source: {each.source}"
    yield from _of_weights(each)


def _of_weights(each: Published) -> Iterator[str]:
    known = each.weights
    size = f", {known.size:,} bytes" if known.size else ""
    yield f"  weights: {known.file or 'not known'}{size}"
    yield from (f"    {kind}: {digest}" for kind, digest in known.digests.items())


def _error(error: float | None) -> str:
    return "–" if error is None else points(error, published_digits(error))
