"""Does the check of a converted model fail a right one, or pass a wrong one? Drawn nets of every layer type tell.

    python -m benchmarks.alarms [--nets 3000] [--seconds 1800] [--seed 0] [--only KIND...] [--targets onnx torch]
        [--verbose]

Right models: each net, as the strategies in `tests/drawn` draw it and behind a layer whose rounding it inherits, is
converted and run in onnxruntime and in torch on what was drawn for it and on three seeds of the check's own inputs.
Every failure is a false alarm.

Wrong models: the same net with one parameter off by 1 % of its size, a number of the prototxt or the largest value of a
learned blob, run by the interpreter. Where no value changes by a thousandth of its blob's largest, and the check finds
nothing, more is tried. What has no effect at three times its size (an eps of 1e-9) cannot be found. Nor can what a
layer chooses where its own rounding may turn the choice: the check says that it is too close to call, and it counts as
tied. The rest has to fail.

Exit status 1 when there is a false alarm, or a wrong model passes.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, Phase, given, seed, settings

import tests.drawn  # noqa: F401 (registers the strategies)
from converter.api import prepare, write
from converter.options import Options, Target
from prototxt import Net, NetLayer, parse_net
from prototxt.errors import CaffeModelError
from tests.drawn.base import Drawn, net_text, strategies
from verify import run
from verify.bounds import peak
from verify.engines.engine import Answers, Blobs, Engine
from verify.engines.opening import open_model
from verify.inputs import exact_inputs, seeded
from verify.interpreter.steps import Trace
from verify.interpreter.wiring import wire
from verify.report.records import Row
from verify.walk import walk
from weights import ArrayWeights, Weights

Array = npt.NDArray[np.float32]
SEEDS = (0, 1, 2)
ROUND = 8
"""Nets of one kind at a time, so that a run which time ends has seen every kind."""
OFF = (1.01, 1.1, 1.5, 3.0)
"""A parameter is off by 1 %; one that changes nothing then by more: a threshold that no value is near."""
EFFECT = 1e-3


@dataclass
class Counts:
    """What was found of one layer kind."""

    nets: int = 0
    checks: int = 0
    alarms: list[str] = field(default_factory=list)
    planted: int = 0
    found: int = 0
    idle: int = 0
    tied: int = 0
    missed: list[str] = field(default_factory=list)


@dataclass
class Case:
    """A drawn net, made ready."""

    net: Net
    weights: Weights | None
    feeds: dict[str, Array]
    text: str


def behind_a_layer(text: str, case: Drawn) -> str:
    """The net with a layer that rounds before the first bottom, where that takes ordinary numbers."""
    net = parse_net(text, "net.prototxt")
    name = next(iter(case.feeds), None)
    if name is None or name in exact_inputs(net) or "input_param" not in text.split(f'top: "{name}"')[-1][:20]:
        return text
    power = f'layer {{ name: "before" type: "Power" bottom: "raw" top: "{name}" power_param {{ scale: 1.1 }} }}\n'
    head, tail = text.split(f'top: "{name}" input_param', 1)
    line, rest = tail.split("\n", 1)
    return f'{head}top: "raw" input_param{line}\n{power}{rest}'


def ready(case: Drawn, *, behind: bool, folder: Path, targets: Sequence[Target]) -> tuple[Case, list[Engine]]:
    """A net, converted to some targets."""
    text = net_text(case)
    feeds = dict(case.feeds)
    if behind and (longer := behind_a_layer(text, case)) != text:
        first = next(iter(feeds))
        text, feeds = longer, {("raw" if name == first else name): feed for name, feed in feeds.items()}
    net = parse_net(text, "net.prototxt")
    sizes = {name: feed.shape for name, feed in feeds.items()}
    outputs = list(case.outputs or net.layers[-1].tops)
    weights = ArrayWeights(case.blobs) if case.blobs else None
    made = prepare(net, weights, Options(random_weights=5, outputs=outputs, input_shapes=sizes))
    engines = []
    for target in targets:
        path = folder / ("model.onnx" if target == "onnx" else "model")
        write(made, target, path, None)
        engines.append(open_model(path))
    return Case(net, made.weights, feeds, text), engines


class Check:
    """What the check of a converted model makes of the answers to some feeds."""

    def __init__(self, case: Case, feeds: Mapping[str, Array], blobs: list[str]) -> None:
        self.case, self.feeds, self.order = case, feeds, wire(case.net, blobs)
        self.trace = run(case.net, case.weights, feeds, blobs=blobs)

    def rows(self, answers: Answers) -> list[Row]:
        """One for each blob, and for each output."""
        case, kept = self.case, list(answers.outputs)
        found = walk(case.net, case.weights, self.feeds, lambda: Blobs.of(answers), order=self.order, wanted=kept)
        rows, shipped = found.rows.finished(found.outputs, answers.outputs)
        return [*rows, *shipped]


def alarms(case: Case, engines: list[Engine]) -> Iterator[tuple[str, list[str]]]:
    """Each check of a right model, by name, with what it finds to be wrong."""
    sizes = {name: feed.shape for name, feed in case.feeds.items()}
    fed = {"drawn": case.feeds} | {f"seed {s}": seeded(case.net, sizes, s) for s in SEEDS}
    blobs = [top for engine in engines[:1] for _, top in engine.blobs]
    for name, feeds in fed.items():
        try:
            check = Check(case, feeds, blobs)
            results = [(engine.name, check.rows(engine.run(feeds))) for engine in engines]
        except CaffeModelError as error:
            yield name, [str(error)]
            continue
        for engine_name, rows in results:
            yield f"{engine_name}, {name}", [line(row) for row in rows if not row.ok]


def line(row: Row) -> str:
    """A row in words."""
    own = "" if row.own_abs is None else f"; alone {row.own_abs:.2e} of {row.own_bound:.2e}"
    return f"{row.layer}: {row.fault or f'{row.max_abs:.2e} of {row.bound:.2e}'}{own}, peak {row.peak:.2e}"


def numbers(message: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Callable[[float], None]]]:
    """Every float of a layer's parameters that is not 0, with what multiplies it by a factor."""
    for entry in message.DESCRIPTOR.fields:
        here = (*path, entry.name)
        if entry.message_type is not None and "filler" not in entry.name and not entry.is_repeated:
            if message.HasField(entry.name):
                yield from numbers(getattr(message, entry.name), here)
        elif entry.cpp_type in (entry.CPPTYPE_FLOAT, entry.CPPTYPE_DOUBLE):
            yield from _floats(message, entry, here)


def _floats(
    message: Any, entry: Any, here: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Callable[[float], None]]]:
    value = getattr(message, entry.name)
    if not entry.is_repeated:
        if value and math.isfinite(value):
            yield here, lambda factor: setattr(message, entry.name, value * factor)
        return
    for place, one in enumerate(value):
        if one:
            yield (*here, str(place)), lambda factor, place=place, one=one: value.__setitem__(place, one * factor)


WITHOUT_EFFECT = frozenset(("loss_weight", "lr_mult", "decay_mult", "param", "blobs", "moving_average_fraction"))


def parameters(case: Case) -> Iterator[tuple[str, Callable[[float], tuple[Net, Weights | None]]]]:
    """Each number and each learned blob of the layer, with what makes the net in which it is off by a factor."""
    layer = _drawn_layer(case.net)
    for place, (path, _) in enumerate(numbers(layer.param)):
        if WITHOUT_EFFECT.isdisjoint(path):
            yield ".".join(path), lambda factor, place=place: (_with_number(case, place, factor), case.weights)
    stored = {} if case.weights is None else {entry.name: entry.blobs for entry in case.weights.layers}
    arrays = {name: [blob.array().copy() for blob in blobs] for name, blobs in stored.items()}
    for index, array in enumerate(arrays.get(layer.name, [])):
        if array.any():
            yield (
                f"blob {index}",
                lambda factor, index=index: (case.net, _with_value(arrays, layer.name, index, factor)),
            )


def _with_number(case: Case, place: int, factor: float) -> Net:
    other = parse_net(case.text, "net.prototxt")
    list(numbers(_drawn_layer(other).param))[place][1](factor)
    return other


def _with_value(arrays: Mapping[str, list[Array]], name: str, index: int, factor: float) -> Weights:
    changed = [array.copy() for array in arrays[name]]
    changed[index].ravel()[np.abs(changed[index]).argmax()] *= np.float32(factor)
    return ArrayWeights({**arrays, name: changed})


def _drawn_layer(net: Net) -> NetLayer:
    return next((layer for layer in net.layers if layer.name == "it"), net.layers[-1])


def plant(case: Case, counts: Counts) -> None:
    """Wrong models of one net, and which of them the check finds."""
    blobs = [top for layer in case.net.layers for top in layer.tops]
    check = Check(case, case.feeds, blobs)
    for name, off in parameters(case):
        for factor in OFF:
            try:
                wrong = run(*off(factor), case.feeds, blobs=blobs)
            except CaffeModelError:  # no net that anybody has
                break
            effect, rows = _effect(check.trace, wrong), check.rows(Answers(wrong.tops, {}))
            if not all(row.ok for row in rows):
                counts.found += 1
                break
            if effect >= EFFECT and any(row.own_bound == math.inf for row in rows):
                counts.tied += 1
                break
            if effect >= EFFECT:
                counts.missed.append(f"{name} times {factor}, effect {effect:.1e}\n{case.text}")
                break
        else:
            counts.idle += 1
    counts.planted = counts.found + counts.idle + counts.tied + len(counts.missed)


def _effect(reference: Trace, wrong: Trace) -> float:
    """The largest change of a value, as a share of its blob's largest."""
    worst = 0.0
    for key, value in reference.tops.items():
        other, size = wrong.tops[key], peak(value)
        if other.shape != value.shape:
            return math.inf
        with np.errstate(all="ignore"):
            moved = np.abs(other.astype(np.float64) - value)
        finite = np.isfinite(moved)
        worst = max(worst, float(moved[finite].max(initial=0.0)) / size if size else 0.0)
    return worst


def look(kind: str, counts: Counts, drawing: int, until: float, folder: Path, targets: Sequence[Target]) -> None:
    """Some drawn nets of one kind; none when the time is over."""

    @seed(drawing)
    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategies()[kind]())
    def each(case: Drawn) -> None:
        if monotonic() > until:
            return
        counts.nets += 1
        made, engines = ready(case, behind=counts.nets % 2 == 0, folder=folder, targets=targets)
        for name, wrong in alarms(made, engines) if engines else ():
            counts.checks += 1
            counts.alarms += [f"{name}: {text}\n{made.text}" for text in wrong[:1]]
        plant(made, counts)

    each()


def table(found: Mapping[str, Counts]) -> str:
    """Figures by kind, and their sums."""
    rows = [
        (kind, c.nets, c.checks, len(c.alarms), c.planted, c.found, c.idle, c.tied, len(c.missed))
        for kind, c in found.items()
    ]
    rows.append(("all", *(sum(int(row[i]) for row in rows) for i in range(1, 9))))
    head = "| layer | nets | checks | false alarms | planted | found | no effect | tied | passed |\n|---|" + "---:|" * 8
    return "\n".join([head, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--nets", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--targets", nargs="*", choices=["onnx", "torch"], default=["onnx", "torch"])
    parser.add_argument("--verbose", action="store_true", help="show each false alarm and each error that passed")
    asked = parser.parse_args(arguments)
    kinds = asked.only or sorted(strategies())
    found, until, turn = {kind: Counts() for kind in kinds}, monotonic() + asked.seconds, 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while sum(c.nets for c in found.values()) < asked.nets and monotonic() < until:
            for kind in kinds:
                look(kind, found[kind], asked.seed + turn, until, Path(folder), asked.targets)
            turn += 1
    print(table(found))
    if asked.verbose:
        for kind, counts in found.items():
            for text in counts.alarms:
                print(f"\nFALSE ALARM {kind}: {text}")
            for text in counts.missed:
                print(f"\nPASSED {kind}: {text}")
    silent = [kind for kind, c in found.items() if not c.planted]
    print(f"no parameter to put off: {', '.join(silent)}")
    return int(any(c.alarms or c.missed for c in found.values()))


if __name__ == "__main__":
    sys.exit(main())
