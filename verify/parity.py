"""The check of a converted model, or of another reader of Caffe files, against the interpreter.

    report = verify_model(load_net("deploy.prototxt"), open_weights("model.caffemodel"), "deploy.onnx")
    report.ok, report.first_bad, report.rows

`judge` puts OpenCV or the original Caffe in the converted model's place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
import numpy.typing as npt

from prototxt import Net
from verify.bounds import estimate
from verify.comparison import compare
from verify.engine_opencv import OpenCv
from verify.engine_pycaffe import PyCaffe
from verify.engines import Answers, Array, Engine, File, fault, open_model, rename_inputs
from verify.inputs import Shape, input_layers, input_shapes, seeded
from verify.interpreter import Trace, run
from verify.preprocessing import Preprocessing, read_preprocessing
from verify.report import Report
from verify.wiring import needed, wire
from weights import Weights

__all__ = ["compare", "judge", "verify_model"]


def verify_model(
    net: Net,
    weights: Weights | None,
    model: File,
    *,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
    shapes: Mapping[str, Shape] | None = None,
    batch: int | None = None,
    mean: npt.ArrayLike | None = None,
) -> Report:
    """Compare a converted model with the net that it was made from.

    Args:
        net, weights: the Caffe side.
        model: an .onnx file, or a folder with model.py (which is executed).
        feeds: what the model is fed, by blob name of the net; seeded numbers by default. With preprocessing baked in
            these are images as they are decoded, and the net gets them preprocessed.
        seed: of those numbers, and of the bounds.
        shapes: of inputs, where neither prototxt nor model says, or to try others.
        batch: size of axis 0 of every input whose shape is not given.
        mean: the mean image that was baked in, if one was.

    Raises:
        RequestError: a model that cannot be loaded or run, or is not this net's.
        MissingDependencyError: its runtime is not installed.
        NetError, UnsupportedError, WeightsError: the net cannot be interpreted.
    """
    clock = _Clock()
    with clock("load"):
        engine = open_model(model)
    path = str(Path(model))
    blobs = _compared_blobs(engine, net, path)
    baked = read_preprocessing(engine.metadata, mean, path)
    return _verify(net, weights, engine, path, _Request(seed, shapes or {}, batch, feeds, blobs, baked, clock))


def judge(
    net: Net,
    weights: Weights | None,
    by: Literal["opencv", "pycaffe"],
    *,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
    shapes: Mapping[str, Shape] | None = None,
    batch: int | None = None,
) -> Report:
    """Compare the interpreter itself with another reader of the same Caffe files; arguments as of `verify_model`.

    Raises:
        RequestError: that reader cannot read or run the net.
        MissingDependencyError: it is not installed.
    """
    clock = _Clock()
    path = None if weights is None else weights.path
    with clock("load"):
        engine: Engine = OpenCv(net, path) if by == "opencv" else PyCaffe(net, path)
    return _verify(net, weights, engine, path or net.path, _Request(seed, shapes or {}, batch, feeds, clock=clock))


class _Clock:
    """Seconds by name of what was timed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.seconds[what] = round(perf_counter() - start, 3)


@dataclass(frozen=True)
class _Request:
    """What the caller asked for, and what was found out about the model before it ran."""

    seed: int
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    batch: int | None = None
    feeds: Mapping[str, npt.ArrayLike] | None = None
    blobs: Sequence[str] | None = None
    baked: Preprocessing | None = None
    clock: _Clock = field(default_factory=_Clock)


def _verify(net: Net, weights: Weights | None, engine: Engine, path: str, request: _Request) -> Report:
    clock, baked = request.clock, request.baked
    given = _feeds(net, engine, request)
    fed, errors = dict(given), {}
    if baked is not None and baked.blob in fed:
        errors[baked.blob] = baked.error(fed[baked.blob])
        fed[baked.blob] = baked.apply(fed[baked.blob])
    with clock("engine"):
        answers = engine.run(given)
    with clock("reference"):
        trace = run(net, weights, fed, blobs=request.blobs)
    with clock("bounds"):
        bounds = estimate(net, weights, trace, blobs=request.blobs, feed_errors=errors, seed=request.seed)
    with clock("comparison"):
        answers = _named_outputs(answers, trace)
        rows, shipped, missing = compare(trace, answers, bounds)
    if not rows and not shipped:
        have = ", ".join(answers.outputs) or "none"
        raise fault(path, f"nothing to compare: its outputs are {have}; those of {net.path} {', '.join(trace.outputs)}")
    return Report(
        net=net.path,
        model=path,
        engine=engine.name,
        inputs={name: array.shape for name, array in given.items()},
        feeds=f"seed {request.seed}" if request.feeds is None else "given",
        rows=rows,
        shipped=shipped,
        folded=missing if rows else (),
        notes=answers.notes,
        seconds=clock.seconds,
    )


def _compared_blobs(engine: Engine, net: Net, path: str) -> list[str] | None:
    """The blobs that the model says it has, or its outputs' names where they are blobs; None for the whole net."""
    made = {top for layer in net.layers for top in layer.tops}
    said = dict.fromkeys(top for _, top in engine.blobs)
    for name in said:
        if name not in made:
            raise fault(path, f"was made from another net: it has blob {name!r}, which no layer of {net.path} makes")
    return list(said) or [name for name in engine.outputs if name in made] or None


def _feeds(net: Net, engine: Engine, request: _Request) -> dict[str, Array]:
    """What the model is fed, by blob of the net, in the net's order."""
    if request.feeds is not None:
        return {name: np.asarray(values, np.float32) for name, values in request.feeds.items()}
    order = wire(net) if request.blobs is None else needed(wire(net), request.blobs)
    read = [top for item in order for top in item.layer.tops if top in input_layers(net)]
    stated = rename_inputs(engine.inputs, read)
    shapes = input_shapes(net, read, stated, request.shapes, request.batch)
    raw = [request.baked.blob] if request.baked is not None else []
    return seeded(net, shapes, request.seed, raw=raw)


def _named_outputs(answers: Answers, trace: Trace) -> Answers:
    """Outputs under the blobs' names: a model from elsewhere may have its own, and then the order decides."""
    if any(name in trace.blobs for name in answers.outputs) or len(answers.outputs) != len(trace.outputs):
        return answers
    renamed = dict(zip(trace.outputs, answers.outputs.values(), strict=True))
    pairs = ", ".join(f"{own} as {name!r}" for own, name in zip(answers.outputs, trace.outputs, strict=True))
    note = f"outputs bear no blob's name and are taken in order: {pairs}"
    return replace(answers, outputs=renamed, notes=(*answers.notes, note))
