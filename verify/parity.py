"""The check of a converted model, or of another reader of Caffe files, against the interpreter.

    report = verify_model(load_net("deploy.prototxt"), open_weights("model.caffemodel"), "deploy.onnx")
    report.ok, report.first_bad, report.rows

`judge` puts OpenCV or the original Caffe in the converted model's place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from prototxt import Net
from prototxt.names import naming, utf8
from prototxt.unread import described
from verify.comparison import compare
from verify.engines.apart import ModelApart
from verify.engines.engine import Answers, Array, Blobs, Engine, File, fault, rename_inputs
from verify.engines.opencv import OpenCv
from verify.engines.opening import TIME_TO_LOAD, open_model, opened_apart
from verify.engines.pycaffe import PyCaffe
from verify.inputs import Asked, by_blob, input_layers, input_shapes, seeded
from verify.interpreter.wiring import Wired, wire
from verify.keys import Key
from verify.picture.wired import drawn_net
from verify.preprocessing import BakedPreprocessing, read_preprocessing
from verify.report.records import Report, Row
from verify.walk import Walk, walk
from weights import Weights

__all__ = ["Verifier", "compare", "judge", "verify_engine", "verify_model", "verify_models"]

TIMES_THE_INTERPRETER = 100
"""How much longer than the interpreter a model may take to run, besides."""

OnPart: TypeAlias = Callable[[str, int, int], None]
"""Called with a few words when a part of the work begins, then with what is done of how much; 0 of 0 where it counts
nothing."""


def verify_model(
    net: Net,
    weights: Weights | None,
    model: File,
    *,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
    shapes: Mapping[str, Asked] | None = None,
    batch: int | None = None,
    mean: npt.ArrayLike | None = None,
    progress: OnPart | None = None,
    apart: bool = True,
    time_limit: float | None = None,
) -> Report:
    """Compare a converted model with the net that it was made from.

    Args:
        net, weights: the Caffe side.
        model: an .onnx file, or a folder with model.py, which is executed.
        feeds: what the model is fed, by blob name of the net; seeded numbers by default. With preprocessing baked in
            these are images as they are decoded, and the net gets them preprocessed.
        seed: of those numbers, and of the bounds.
        shapes: of inputs, where neither prototxt nor model says, or to try others; None leaves an axis to them.
        batch: size of axis 0 of every input whose shape is not given.
        mean: the mean image that was baked in, if one was.
        progress: told what is being done.
        apart: run the model in a process of its own, so that what it does cannot end or hang this one. Without, a model
            that was just written is run at once.
        time_limit: seconds that a model apart has to load, and then to run; by default five minutes, and to run a
            hundred times as long as the interpreter besides.

    Raises:
        RequestError: a model that is none, or not this net's.
        ModelError: one that fails, or that does not end in time.
        MissingDependencyError: its runtime is not installed.
        NetError, UnsupportedError, WeightsError: the net cannot be interpreted.
    """
    (report,) = verify_models(
        net,
        weights,
        [model],
        feeds=feeds,
        seed=seed,
        shapes=shapes,
        batch=batch,
        mean=mean,
        progress=progress,
        apart=apart,
        time_limit=time_limit,
    )
    return report


def verify_models(
    net: Net,
    weights: Weights | None,
    models: Sequence[File],
    *,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
    shapes: Mapping[str, Asked] | None = None,
    batch: int | None = None,
    mean: npt.ArrayLike | None = None,
    progress: OnPart | None = None,
    apart: bool = True,
    time_limit: float | None = None,
) -> list[Report]:
    """Compare several converted models of one net, one after the other; arguments and errors as of `verify_model`."""
    checks = Verifier(
        net,
        weights,
        feeds=feeds,
        seed=seed,
        shapes=shapes,
        batch=batch,
        mean=mean,
        progress=progress,
        apart=apart,
        time_limit=time_limit,
    )
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
        shapes: Mapping[str, Asked] | None = None,
        batch: int | None = None,
        mean: npt.ArrayLike | None = None,
        progress: OnPart | None = None,
        apart: bool = True,
        time_limit: float | None = None,
    ) -> None:
        self._net, self._weights = net, weights
        self._request = _Request(
            seed, by_blob(net, shapes), batch, feeds and by_blob(net, feeds), None, None, _Clock(progress), time_limit
        )
        self._mean = mean
        self._apart = apart

    def check(self, model: File) -> Report:
        """Compare one model with the net; errors as of `verify_model`."""
        clock = self._request.clock.afresh()
        path = str(Path(model))
        with ExitStack() as stack:
            with clock("load", f"loading {path}"):
                limit = TIME_TO_LOAD if self._request.time_limit is None else self._request.time_limit
                engine = stack.enter_context(opened_apart(model, limit)) if self._apart else open_model(model)
            blobs = _compared_blobs(engine, self._net, path)
            baked = read_preprocessing(engine.metadata, self._mean, path)
            request = replace(self._request, blobs=blobs, baked=baked, clock=clock)
            return _verify(self._net, self._weights, engine, path, request)


def judge(
    net: Net,
    weights: Weights | None,
    by: Literal["opencv", "pycaffe"],
    *,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
    shapes: Mapping[str, Asked] | None = None,
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
    request = _Request(seed, by_blob(net, shapes), batch, feeds and by_blob(net, feeds), None, None, clock)
    return _verify(net, weights, engine, path or net.path, request)


def verify_engine(
    net: Net,
    weights: Weights | None,
    engine: Engine,
    path: str,
    *,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
    shapes: Mapping[str, Asked] | None = None,
    progress: OnPart | None = None,
) -> Report:
    """Compare what an engine has loaded already, named `path` in the report; arguments as of `verify_model`."""
    blobs = _compared_blobs(engine, net, path)
    given = feeds and by_blob(net, feeds)
    request = _Request(seed, by_blob(net, shapes), None, given, blobs, None, _Clock(progress))
    return _verify(net, weights, engine, path, request)


class _Clock:
    """Seconds by name of what was timed; what is timed within another is not counted there."""

    def __init__(self, progress: OnPart | None) -> None:
        self._spent: dict[str, float] = {}
        self._within = [0.0]
        self._progress = progress
        self._doing = ""

    @property
    def seconds(self) -> dict[str, float]:
        """All that was timed."""
        return {name: round(spent, 3) for name, spent in self._spent.items()}

    def tell(self, done: int, total: int) -> None:
        """Say how much of what is being done is done."""
        if self._progress is not None:
            self._progress(self._doing, done, total)

    def afresh(self) -> _Clock:
        """Another, with no seconds in it."""
        return _Clock(self._progress)

    @contextmanager
    def __call__(self, name: str, doing: str = "") -> Iterator[None]:
        """Time what is done; `doing` says what it is, where that is worth telling."""
        before, self._doing = self._doing, doing or self._doing
        if doing:
            self.tell(0, 0)
        self._within.append(0.0)
        start = perf_counter()
        yield
        whole = perf_counter() - start
        self._spent[name] = self._spent.get(name, 0.0) + whole - self._within.pop()
        self._within[-1] += whole
        self._doing = before


@dataclass(frozen=True)
class _Request:
    """What the caller asked for, and what was found out about the model before it ran."""

    seed: int
    shapes: Mapping[str, Asked]
    batch: int | None
    feeds: Mapping[str, npt.ArrayLike] | None
    blobs: Sequence[str] | None
    baked: BakedPreprocessing | None
    clock: _Clock
    time_limit: float | None = None


def _verify(net: Net, weights: Weights | None, engine: Engine, path: str, request: _Request) -> Report:
    clock, baked = request.clock, request.baked
    layers = wire(net, request.blobs)
    given = _feeds(net, layers, engine, request)
    fed = {**_idle(layers, given), **given}
    errors = {}
    if baked is not None and baked.blob in fed:
        errors[baked.blob] = baked.error(fed[baked.blob])
        fed[baked.blob] = baked.apply(fed[baked.blob])
    made = {top for item in layers for top in item.layer.tops}
    with clock("reference", f"running {net.path} in the interpreter"):
        found = walk(
            net,
            weights,
            fed,
            lambda: _run(engine, given, path, request),
            order=layers,
            keys=engine.blobs,
            wanted=list(map(naming(made), engine.outputs)),
            feed_errors=errors,
            seed=request.seed,
            tell=clock.tell,
        )
    answers = _named_outputs(found)
    rows, shipped = found.rows.finished(found.outputs, answers.outputs)
    if not rows and not shipped:
        have = ", ".join(answers.outputs) or "none"
        raise fault(path, f"nothing to compare: its outputs are {have}; those of {net.path} {', '.join(found.outputs)}")
    return Report(
        net=net.path,
        model=path,
        engine=engine.name,
        inputs={utf8(name): array.shape for name, array in given.items()},
        feeds=f"seed {request.seed}" if request.feeds is None else "given",
        rows=rows,
        shipped=shipped,
        folded=tuple((utf8(layer), utf8(top)) for layer, top in found.rows.missing) if rows else (),
        notes=(*answers.notes, *_ties(rows or shipped), *described(found.unread)),
        seconds=clock.seconds,
        drawn=drawn_net(net, layers, {row.place: row.shape for row in rows}),
    )


def _run(engine: Engine, given: Mapping[str, Array], path: str, request: _Request) -> Blobs:
    """The model at work; what is waited for it is timed, and limited where it runs apart."""
    clock, waited = request.clock, 0.0
    if isinstance(engine, ModelApart):
        engine.limit = TIME_TO_LOAD if request.time_limit is None else request.time_limit
    with clock("engine", f"running {path} in {engine.name}"):
        blobs = engine.stream(given)
    begun = perf_counter()

    def heard(tops: Iterator[tuple[Sequence[Key], Array]]) -> Iterator[tuple[Sequence[Key], Array]]:
        nonlocal waited
        while True:
            start = perf_counter()
            if isinstance(engine, ModelApart) and request.time_limit is None:
                engine.limit = TIME_TO_LOAD + TIMES_THE_INTERPRETER * (start - begun - waited)
            with clock("engine"):
                told = next(tops, None)
            waited += perf_counter() - start
            if told is None:
                return
            yield told

    blobs.tops = heard(blobs.tops)
    return blobs


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
    outputs = list(map(naming(made), engine.outputs))
    said = dict.fromkeys(top for _, top in engine.blobs)
    for name in said:
        if name not in made:
            raise fault(path, f"was made from another net: it has blob {name!r}, which no layer of {net.path} makes")
    return list(said) or [name for name in outputs if name in made] or None


def _feeds(net: Net, layers: Sequence[Wired], engine: Engine, request: _Request) -> dict[str, Array]:
    """What the model is fed, by blob of the net, in the net's order."""
    if request.feeds is not None:
        return {name: np.asarray(values, np.float32) for name, values in request.feeds.items()}
    sources = input_layers(net)
    used = {name for item in layers for name in item.layer.bottoms}.union(
        map(naming(sources), (entry.name for entry in engine.inputs))
    )
    read = [top for item in layers for top in item.layer.tops if top in sources and top in used]
    stated = rename_inputs(engine.inputs, read)
    shapes = input_shapes(net, set(read), stated, request.shapes, request.batch)
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


def _named_outputs(found: Walk) -> Answers:
    """Outputs under the blobs' names: a model from elsewhere may have its own, and then the order decides."""
    outputs = dict(zip(map(naming(found.names), found.shipped), found.shipped.values(), strict=True))
    if not outputs.keys().isdisjoint(found.names) or len(outputs) != len(found.outputs):
        return Answers({}, outputs, found.notes)
    renamed = dict(zip(found.outputs, outputs.values(), strict=True))
    pairs = ", ".join(f"{own} as {name!r}" for own, name in zip(outputs, found.outputs, strict=True))
    note = f"outputs bear no blob's name and are taken in order: {pairs}"
    return Answers({}, renamed, (*found.notes, note))
