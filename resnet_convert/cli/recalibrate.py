"""`resnet-convert recalibrate`: BatchNorm's statistics as plain averages over images, and the net written with them."""

from __future__ import annotations

from argparse import Namespace

from converter.recalibration.recalibrate import shift
from resnet_convert.cli.arguments import Shown, request_of, shown_of
from resnet_convert.cli.terminal import progress, say, say_json
from resnet_convert.recalibration import Recalibration, recalibration_of
from resnet_convert.requests import RecalibrationRequest
from verify.report.records import plain

SHOWN = 5


def run(parsed: Namespace) -> int:
    """Measure, write, and say how far the statistics moved."""
    request, shown = request_of(RecalibrationRequest, parsed), shown_of(parsed)
    with progress(shown.talks) as line:

        def tell(number: int, passes: int, images: int) -> None:
            if line is not None:
                line(f"pass {number} of {passes}: {images:,} images")

        done = recalibration_of(request, tell)
    _print(done, request, shown)
    return 0


def _print(done: Recalibration, request: RecalibrationRequest, shown: Shown) -> None:
    found, moves = done.found, shift(done.found)
    if shown.json:
        layers = [{"layer": move.layer, "mean": move.mean, "variance": move.variance} for move in moves]
        facts = {"file": str(done.file), "images": found.images, "passes": found.passes, "layers": layers}
        say_json(plain({**facts, "notes": done.notes}), request)
    if not shown.talks:
        return
    say(
        f"{len(moves)} layers over {found.images:,} images in {found.passes} passes -> {done.file}",
        "  moved most, in old standard deviations (mean) and as a ratio (variance):",
    )
    for move in sorted(moves, key=lambda move: -move.mean)[:SHOWN]:
        say(f"    {move.layer}: mean by {move.mean:.3g}, variance to {move.variance:.3g} of the old")
    say(*(f"  note: {note}" for note in done.notes))
