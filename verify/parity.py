"""The check of a converted model, or of another reader of Caffe files, against the interpreter.

    report = verify_model(load_net("deploy.prototxt"), open_weights("model.caffemodel"), "deploy.onnx")
    report.ok, report.first_bad, report.rows

`judge` puts OpenCV or the original Caffe in the converted model's place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from prototxt import Net
from verify.bounds import Rounding, study
from verify.comparison import Alone, compare, substitutes
from verify.engine_opencv import OpenCv
from verify.engine_pycaffe import PyCaffe
from verify.engines import Answers, Array, Engine, File, fault, open_model, rename_inputs
from verify.inputs import Shape, input_layers, input_shapes, seeded
from verify.interpreter import Trace, run, stream
from verify.preprocessing import Preprocessing, read_preprocessing
from verify.report import Report, Row
from verify.wiring import Wired, needed, wire
from weights import Weights

__all__ = ["Verifier", "compare", "judge", "verify_model", "verify_models"]

Progress: TypeAlias = Callable[[str], None]
"""Called with a few words when a part of the work begins."""


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
    progress: Progress | None = None,
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
        progress: told what is being done.

    Raises:
        RequestError: a model that cannot be loaded or run, or is not this net's.
        MissingDependencyError: its runtime is not installed.
        NetError, UnsupportedError, WeightsError: the net cannot be interpreted.
    """
    (report,) = verify_models(
        net, weights, [model], feeds=feeds, seed=seed, shapes=shapes, batch=batch, mean=mean, progress=progress
    )
    return report


def verify_models(
    net: Net,
    weights: Weights | None,
    models: Sequence[File],
    *,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
    shapes: Mapping[str, Shape] | None = None,
    batch: int | None = None,
    mean: npt.ArrayLike | None = None,
    progress: Progress | None = None,
) -> list[Report]:
    """Compare several converted models of one net; arguments and errors as of `verify_model`.

    The net itself runs once for all models that hold the same layers and are fed the same.
    """
    checks = Verifier(net, weights, feeds=feeds, seed=seed, shapes=shapes, batch=batch, mean=mean, progress=progress)
    return [checks.check(model) for model in models]


class Verifier:
    """What `verify_models` does, model by model: one that cannot be loaded or run does not stop the next.

    Arguments are those of `verify_model`.
    """

    def __init__(
        self,
        net: Net,
        weights: Weights | None,
        *,
        feeds: Mapping[str, npt.ArrayLike] | None = None,
        seed: int = 0,
        shapes: Mapping[str, Shape] | None = None,
        batch: int | None = None,
        mean: npt.ArrayLike | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._reference = _Reference(net, weights)
        self._request = _Request(seed, shapes or {}, batch, feeds, None, None, _Clock(progress))
        self._mean = mean

    def check(self, model: File) -> Report:
        """Compare one model with the net; errors as of `verify_model`."""
        clock = self._request.clock.afresh()
        path = str(Path(model))
        with clock("load", f"loading {path}"):
            engine = open_model(model)
        blobs = _compared_blobs(engine, self._reference.net, path)
        baked = read_preprocessing(engine.metadata, self._mean, path)
        return _verify(self._reference, engine, path, replace(self._request, blobs=blobs, baked=baked, clock=clock))


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
    clock = _Clock(None)
    path = None if weights is None else weights.path
    with clock("load", f"loading {net.path}"):
        engine: Engine = OpenCv(net, path) if by == "opencv" else PyCaffe(net, path)
    request = _Request(seed, shapes or {}, batch, feeds, None, None, clock)
    return _verify(_Reference(net, weights), engine, path or net.path, request)


class _Clock:
    """Seconds by name of what was timed."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    def afresh(self) -> _Clock:
        """Another, with no seconds in it."""
        return _Clock(self._progress)

    @contextmanager
    def __call__(self, name: str, doing: str) -> Iterator[None]:
        if self._progress is not None:
            self._progress(doing)
        start = perf_counter()
        yield
        self.seconds[name] = round(perf_counter() - start, 3)


@dataclass(frozen=True)
class _Request:
    """What the caller asked for, and what was found out about the model before it ran."""

    seed: int
    shapes: Mapping[str, Shape]
    batch: int | None
    feeds: Mapping[str, npt.ArrayLike] | None
    blobs: Sequence[str] | None
    baked: Preprocessing | None
    clock: _Clock


@dataclass
class _Reference:
    """The interpreter's last run, and its bounds, for the next model that asks for the same."""

    net: Net
    weights: Weights | None
    _ran: tuple[Wired, ...] = ()
    _fed: Mapping[str, Array] = field(default_factory=dict)
    _trace: Trace | None = None
    _rounding: Rounding | None = None

    def layers(self, blobs: Sequence[str] | None) -> tuple[Wired, ...]:
        """The layers that `blobs` depend on; all of them for None."""
        wired = wire(self.net)
        return tuple(wired if blobs is None else needed(wired, blobs))

    def get(self, fed: Mapping[str, Array], request: _Request) -> tuple[Trace, Rounding]:
        """The trace of the layers that a request needs, and what they round."""
        baked, blobs, clock = request.baked, request.blobs, request.clock
        errors = {}
        if baked is not None and baked.blob in fed:
            errors[baked.blob] = baked.error(fed[baked.blob])
            fed = {**fed, baked.blob: baked.apply(fed[baked.blob])}
        layers = self.layers(blobs)
        if self._trace is None or self._rounding is None or errors or layers != self._ran or not _same(fed, self._fed):
            with clock("reference", f"running {self.net.path} in the interpreter"):
                self._trace = run(self.net, self.weights, fed, blobs=blobs)
            with clock("bounds", "estimating rounding errors"):
                self._rounding = study(
                    self.net, self.weights, self._trace, blobs=blobs, feed_errors=errors, seed=request.seed
                )
            self._ran, self._fed = (() if errors else layers), fed
        return self._trace, self._rounding

    def alone(self, answers: Answers, blobs: Sequence[str] | None) -> Alone:
        """Each layer on its own, fed with what the model fed it."""
        assert self._trace is not None
        assert self._rounding is not None
        instead = substitutes(self._trace, answers, self._rounding.bounds())
        steps = stream(self.net, self.weights, self._fed, blobs=blobs, instead=instead)
        return Alone(steps, self._rounding.bounds(instead))


def _same(some: Mapping[str, Array], others: Mapping[str, Array]) -> bool:
    return some.keys() == others.keys() and all(np.array_equal(some[name], others[name]) for name in some)


def _verify(reference: _Reference, engine: Engine, path: str, request: _Request) -> Report:
    net, clock = reference.net, request.clock
    layers = reference.layers(request.blobs)
    given = _feeds(net, layers, engine, request)
    with clock("engine", f"running {path} in {engine.name}"):
        answers = engine.run(given)
    trace, rounding = reference.get({**_idle(layers, given), **given}, request)
    answers = _named_outputs(answers, trace)
    with clock("layers alone", "running each layer on the model's own inputs"):
        alone = reference.alone(answers, request.blobs) if answers.tops else None
        rows, shipped, missing = compare(trace, answers, rounding.bounds(), alone)
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
        notes=(*answers.notes, *_ties(rows or shipped)),
        seconds=clock.seconds,
    )


def _ties(rows: Sequence[Row]) -> list[str]:
    """What hangs on a choice that rounding may turn, in words."""
    lost = [row for row in rows if math.isinf(row.bound)]
    if not lost:
        return []
    what = f"{len(lost)} blobs follow" if len(lost) > 1 else "one blob follows"
    return [f"{what} a choice too close to call, first {lost[0].label}: there, what counts is each layer alone"]


def _compared_blobs(engine: Engine, net: Net, path: str) -> list[str] | None:
    """The blobs that the model says it has, or its outputs' names where they are blobs; None for the whole net."""
    made = {top for layer in net.layers for top in layer.tops}
    said = dict.fromkeys(top for _, top in engine.blobs)
    for name in said:
        if name not in made:
            raise fault(path, f"was made from another net: it has blob {name!r}, which no layer of {net.path} makes")
    return list(said) or [name for name in engine.outputs if name in made] or None


def _feeds(net: Net, layers: Sequence[Wired], engine: Engine, request: _Request) -> dict[str, Array]:
    """What the model is fed, by blob of the net, in the net's order."""
    if request.feeds is not None:
        return {name: np.asarray(values, np.float32) for name, values in request.feeds.items()}
    used = {name for item in layers for name in item.layer.bottoms}.union(entry.name for entry in engine.inputs)
    read = [top for item in layers for top in item.layer.tops if top in input_layers(net) and top in used]
    stated = rename_inputs(engine.inputs, read)
    shapes = input_shapes(net, read, stated, request.shapes, request.batch)
    raw = [request.baked.blob] if request.baked is not None else []
    return seeded(net, shapes, request.seed, raw=raw)


def _idle(layers: Sequence[Wired], given: Mapping[str, Array]) -> dict[str, Array]:
    """Tops that nobody reads of data layers with another that is fed, such as the labels of a cut net."""
    idle: dict[str, Array] = {}
    for item in layers:
        batches = [len(given[top]) for top in item.layer.tops if top in given and given[top].ndim]
        if not item.layer.bottoms and batches:
            idle.update({top: np.zeros(batches[0], np.float32) for top in item.layer.tops if top not in given})
    return idle


def _named_outputs(answers: Answers, trace: Trace) -> Answers:
    """Outputs under the blobs' names: a model from elsewhere may have its own, and then the order decides."""
    if any(name in trace.blobs for name in answers.outputs) or len(answers.outputs) != len(trace.outputs):
        return answers
    renamed = dict(zip(trace.outputs, answers.outputs.values(), strict=True))
    pairs = ", ".join(f"{own} as {name!r}" for own, name in zip(answers.outputs, trace.outputs, strict=True))
    note = f"outputs bear no blob's name and are taken in order: {pairs}"
    return replace(answers, outputs=renamed, notes=(*answers.notes, note))
