"""`resnet-convert verify`, and the check that follows every conversion."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Timer
from typing import Literal

import numpy as np

from converter.api import load_parsed
from converter.cli_options import Arguments
from converter.commands.options import options_of
from converter.preprocess import read_mean
from prototxt import Net
from prototxt.errors import RequestError
from verify import Report, format_report, judge, load_image, verdict, verify_models, write_html
from weights import Weights, atomic_path, open_weights


def check_all(net: Net, weights: Weights | None, models: list[Path], arguments: Arguments) -> list[Report]:
    """Compare models with one run of the Caffe net, on what the command line asks to feed it."""
    mean = None if arguments.mean is None else read_mean(arguments.mean)
    with _progress(arguments) as say:
        return verify_models(
            net,
            weights,
            models,
            feeds=_feeds(net, arguments),
            seed=arguments.seed,
            shapes=_fixed_shapes(arguments),
            mean=mean if mean is not None and mean.ndim == 3 else None,
            progress=say,
        )


def run(arguments: Arguments) -> int:
    """Compare every model and print what was found; 3 if one of them leaves its bound."""
    net = load_parsed(arguments.net, options_of(arguments), arguments.weights)
    reports = []
    with ExitStack() as stack:
        weights = stack.enter_context(open_weights(arguments.weights)) if arguments.weights else None
        if arguments.judge is not None:
            by: Literal["opencv", "pycaffe"] = "opencv" if arguments.judge == "opencv" else "pycaffe"
            reports.append(judge(net, weights, by, seed=arguments.seed, shapes=_fixed_shapes(arguments)))
        reports += check_all(net, weights, [Path(model) for model in arguments.models], arguments)
    for report in reports:
        show(report, arguments)
    write_pages(reports, arguments)
    if arguments.json:
        print(json.dumps([report.to_json() for report in reports]))
    return 0 if all(report.ok for report in reports) else 3


def show(report: Report, arguments: Arguments) -> None:
    """Print a report: to standard output when it is good, to standard error when it is not."""
    if report.ok and (arguments.quiet or arguments.json):
        return
    after_conversion = arguments.verb == "convert" and report.ok
    text = verdict(report) if after_conversion else format_report(report, verbose=arguments.verbose)
    print(text, file=sys.stdout if report.ok else sys.stderr)


def write_pages(reports: list[Report], arguments: Arguments) -> None:
    """The reports as pages, where the command line asks for them: FILE.html, FILE-2.html …"""
    if arguments.report is None:
        return
    target = Path(arguments.report)
    for number, report in enumerate(reports, 1):
        page = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        with atomic_path(page) as temporary:
            write_html(report, temporary)


def _feeds(net: Net, arguments: Arguments) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] | None:
    if arguments.image is None:
        return None
    images = [top for layer in net.layers if not layer.bottoms for top in layer.tops]
    if len(images) != 1:
        raise RequestError(f"--image feeds one input, but the net's are {', '.join(images)}")
    layer = next(x for x in net.layers if images[0] in x.tops)
    shape = _fixed_shapes(arguments).get(images[0])
    stated = tuple(layer.param.input_param.shape[0].dim) if layer.param.input_param.shape else None
    if shape is None and stated is None:
        raise RequestError(f"the size of {images[0]!r} is unknown; give it with --input-shape")
    return {images[0]: load_image(arguments.image, shape or stated or ())}


def _fixed_shapes(arguments: Arguments) -> dict[str, tuple[int, ...]]:
    """The input shapes of the command line without free axes; those come from the prototxt."""
    fixed = {}
    for name, dims in arguments.input_shapes.items():
        sizes = tuple(d for d in dims if isinstance(d, int))
        if len(sizes) == len(dims):
            fixed[name] = sizes
    return fixed


PATIENCE = 1.0
"""Seconds before a terminal is told what takes so long."""


@contextmanager
def _progress(arguments: Arguments) -> Iterator[Callable[[str], None] | None]:
    """A line on the terminal that says what takes long, nothing elsewhere; it is wiped at the end."""
    if not sys.stderr.isatty() or arguments.quiet or arguments.json:
        yield None
        return
    doing = [""]
    shown = Event()

    def show() -> None:
        shown.set()
        print(f"\r\x1b[K{doing[0]} …", end="", file=sys.stderr, flush=True)

    def say(what: str) -> None:
        doing[0] = what
        if shown.is_set():
            show()

    timer = Timer(PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield say
    finally:
        timer.cancel()
        if shown.is_set():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
