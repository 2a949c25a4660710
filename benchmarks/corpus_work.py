"""What the process of one net does: parse, convert, run in onnxruntime and in torch, and say how far it came.

    parse     the prototxt alone, unknown fields allowed if it takes that
    convert   to ONNX, with seeded random weights
    load      onnxruntime takes the file
    run       onnxruntime's blobs beside the interpreter's, every one within its bound
    torch     the same for the PyTorch module; the interpreter runs once for both

A net whose blobs take more than LARGE bytes is converted and loaded, and not run.

Most nets for deployment state a batch of 10 or more, which shows nothing that a batch of 1 does not. So inputs are cut
to one sample where the net takes that: where its shapes still fit, and where axis 0 is no time and its statistics are
not taken over it. A net of more than MANY multiply-adds is converted and loaded at its own size, and compared on
smaller images where it takes them: a wrong conversion is as wrong there, and the run does not take a day.
"""

from __future__ import annotations

import logging
import math
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from benchmarks.corpus_inputs import given_shapes
from prototxt.errors import CaffeModelError, ErrorGroup

if TYPE_CHECKING:
    from converter.graph import Graph
    from converter.node import Node, Parameter
    from prototxt import Net
    from verify.parity import Report

STEPS = ("parse", "convert", "load", "run", "torch")
SEED = 0
"""Of the weights and of what is fed."""
MANY, DIVISORS = 20e9, (2, 3, 4, 6, 8)
"""Multiply-adds from which on smaller images do, and by what their sides are divided, the first first."""
LARGE = 3_000_000_000
"""Bytes of all blobs of a net, in float32, from which on it is not run."""
NET = Path("net.prototxt")
"""Relative, in the process's own folder: messages then hold no path of this machine."""
RECURRENT = {"LSTM", "RNN", "Lstm", "GRU", "ContinuationIndicator", "Reverse"}
"""Layers for which axis 0 may be time."""
NO_MEMORY = re.compile(r"bad.?alloc|allocate memory|fit into memory|failed to allocate", re.IGNORECASE)

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Entry:
    """A net of the corpus: its path there, the form it has, and whether it is for deployment."""

    file: str
    form: str
    deploy: bool
    text: str = field(repr=False, compare=False)


@dataclass
class Finding:
    """What became of one net.

    Attributes:
        file: its path in the corpus.
        steps: those of STEPS that were asked for.
        held: those that held.
        at: the one that it was at last.
        faults: why others did not hold: by step, sentences without names and numbers.
        messages: by step, the first error as it reads.
        lenient: whether it took --allow-unknown.
        shapes: of its inputs, as it was compared.
        activations: bytes of all its blobs at these shapes.
        blobs, ties, unjudged: of `run`, how many were compared, how many of them follow a choice too close to call, and
            for how many of those the layer makes that choice by itself, so that it was not compared alone either.
        share: by step, the largest error as a share of its bound.
        seconds, peak: of its process; peak resident bytes.
        parts: seconds by what was done.
    """

    file: str
    steps: tuple[str, ...]
    held: list[str] = field(default_factory=list)
    at: str = STEPS[0]
    faults: dict[str, list[str]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    lenient: bool = False
    shapes: dict[str, list[int]] = field(default_factory=dict)
    activations: int = 0
    blobs: int = 0
    ties: int = 0
    unjudged: int = 0
    share: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    peak: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    def did(self, step: str) -> bool:
        """Whether a step held."""
        return step in self.held

    @property
    def large(self) -> bool:
        """Whether it is too large to be run."""
        return self.activations >= LARGE

    @property
    def comes_through(self) -> bool:
        """Whether the ONNX file is right, as far as it is asked: one too large to run has to load."""
        return self.did("run") or (self.large and self.did("load"))

    @property
    def reasons(self) -> list[str]:
        """Why it does not come through in ONNX; empty when it does or was not asked to."""
        return next((self.faults[step] for step in STEPS[:-1] if step in self.faults), [])

    @property
    def message(self) -> str:
        """The first error of these as it reads."""
        return next((self.messages[step] for step in STEPS[:-1] if step in self.faults), "")


@dataclass(frozen=True)
class Plan:
    """The shapes at which a net is tried, and the bytes of its blobs and the multiply-adds then."""

    shapes: Shapes
    activations: int
    operations: int

    @classmethod
    def of(cls, graph: Graph) -> Plan:
        """That of a graph as it is built, in-place tops counted one by one."""
        values = [*graph.inputs, *(value for node in graph.nodes for value in node.outputs)]
        sizes = (math.prod(map(int, value.shape)) for value in values)
        shapes = {value.blob: tuple(map(int, value.shape)) for value in graph.inputs}
        return cls(shapes, 4 * sum(sizes), sum(map(_operations, graph.nodes)))


def plan(net: Net, given: Shapes | None = None) -> Plan:
    """One sample where the net takes that, else its own sizes, or those given for inputs that have none of their own.

    Raises:
        CaffeModelError: why the net cannot be converted at its own sizes.
    """
    from converter.building.build import build

    own = build(net, None, input_shapes=given, make=_no_values)
    single = _single_sample(own)
    if single:
        try:
            return Plan.of(build(net, None, input_shapes=single, make=_no_values))
        except CaffeModelError:
            pass  # a Reshape, a Slice or another input holds it to its batch
    return Plan.of(own)


def smaller(net: Net, own: Plan) -> Plan:
    """On smaller images, where the net has more than MANY multiply-adds and takes them; else its own plan."""
    from converter.building.build import build

    best = own
    for divisor in DIVISORS:
        if best.operations <= MANY:
            break
        shapes = {name: _shrunk(shape, divisor) for name, shape in own.shapes.items()}
        try:
            best = Plan.of(build(net, None, input_shapes=shapes, make=_no_values))
        except CaffeModelError:
            continue  # a size that is written in the net, or features that no longer meet
    return best


def _shrunk(shape: tuple[int, ...], divisor: int) -> tuple[int, ...]:
    """Images with sides divided, in whole steps of 32; those of 8 n + 1, which DeepLab's nets want, keep their 1."""
    if len(shape) != 4 or min(shape[2:]) < 64:
        return shape
    return (*shape[:2], *(max(1, side // divisor // 32) * 32 + side % 8 % 2 for side in shape[2:]))


def _operations(node: Node) -> int:
    return int(node.layer.multiply_adds([v.shape for v in node.inputs], [v.shape for v in node.outputs]))


def _no_values(_: object, parameter: Parameter) -> npt.NDArray[np.float32]:
    """Zeros that take no memory."""
    return np.broadcast_to(np.float32(0), tuple(map(int, parameter.shape)))


def _single_sample(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Shapes with 1 for the batch of the first input; empty where that is no mere batch."""
    from converter.layers.batch_norm import BatchNorm

    shapes = Plan.of(graph).shapes
    batch = next((shape[0] for shape in shapes.values() if len(shape) > 1), 1)
    by_batch = any(isinstance(node.layer, BatchNorm) and not node.layer.global_statistics for node in graph.nodes)
    over_time = any(origin.type in RECURRENT for node in graph.nodes for origin in node.origins)
    if batch == 1 or by_batch or over_time:
        return {}
    return {name: (1, *shape[1:]) if shape[:1] == (batch,) else shape for name, shape in shapes.items()}


class DisagreementError(Exception):
    """A blob out of its bound: why, for the table, and which."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What a process may use: seconds, bytes of memory, processors."""

    seconds: float
    memory: int
    cores: Sequence[int]


def examine(entry: Entry, steps: tuple[str, ...], limits: Limits, folder: str, answer: Connection) -> None:
    """The process of one net, in a folder of its own, which the one who started it removes.

    What is known is sent at the start of each step, so that it outlives a crash; the last that comes is the whole.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started it, and who ends it then
    signal.alarm(int(limits.seconds) + 60)  # should that one be killed
    os.chdir(folder)
    os.sched_setaffinity(0, limits.cores)
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    work = _Work(entry, Finding(entry.file, steps), limits.memory, answer.send)
    work.take_steps()
    work.tell()


@dataclass
class _Work:
    entry: Entry
    finding: Finding
    memory: int
    send: Callable[[Finding], None]
    start: float = field(default_factory=time.perf_counter)

    def tell(self) -> None:
        """Send what is known."""
        self.finding.seconds = time.perf_counter() - self.start
        self.finding.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.send(self.finding)

    def attempt(self, step: str, act: Callable[[], None], *, holds: bool = True) -> bool:
        """Take a step, and note why it failed if it does; `holds`: whether its success is that of the step."""
        if step not in self.finding.steps:
            return False
        self.finding.at = step
        self.tell()
        begun = time.perf_counter()
        try:
            act()
        except Exception as error:  # noqa: BLE001 (a defect of ours is a finding, too, which the table must show)
            self.finding.faults[step], self.finding.messages[step] = explain(error, self.memory)
            return False
        finally:
            self.finding.parts[step] = time.perf_counter() - begun
        if holds:
            self.finding.held.append(step)
        return True

    def take_steps(self) -> None:
        """As many as hold; torch does not wait for onnxruntime."""
        if not self.attempt("parse", self._parse) or not self.attempt("convert", self._convert):
            return
        loads = self.attempt("load", self._load)
        if self.finding.large:
            self.attempt("torch", self._load_torch, holds=False)
            return
        self._choose_size()
        if loads:
            self.attempt("run", lambda: self._compare("run", Path("model.onnx")))
        self.attempt("torch", self._torch)

    def _choose_size(self) -> None:
        """At which the net is compared; made anew where that is not its own."""
        from converter.api import prepare, write
        from converter.options import Options
        from verify.parity import Verifier

        chosen = smaller(self._net, self._planned)
        if chosen is not self._planned:
            self._ready = prepare(self._net, None, Options(random_weights=SEED, input_shapes=chosen.shapes))
            write(self._ready, "onnx", Path("model.onnx"), None)
            self.finding.shapes = {name: list(shape) for name, shape in chosen.shapes.items()}
        self._verifier = Verifier(self._net, self._ready.weights, shapes=chosen.shapes, seed=SEED)

    def _parse(self) -> None:
        from prototxt.net import read_net_message

        try:
            read_net_message(self.entry.text, self.entry.file)
        except CaffeModelError:
            self.finding.lenient = True
            read_net_message(self.entry.text, self.entry.file, allow_unknown=True)

    def _convert(self) -> None:
        from converter.api import prepare, write
        from converter.options import Options
        from converter.reading import load_parsed

        NET.write_text(self.entry.text, encoding="utf-8", errors="surrogateescape")
        net = load_parsed(NET, Options(allow_unknown=self.finding.lenient))
        planned = plan(net, given_shapes(self.entry.file))
        self.finding.activations = planned.activations
        self.finding.shapes = {name: list(shape) for name, shape in planned.shapes.items()}
        self._ready = prepare(net, None, Options(random_weights=SEED, input_shapes=planned.shapes))
        write(self._ready, "onnx", Path("model.onnx"), None)
        self._net, self._planned = net, planned

    def _load(self) -> None:
        from verify.engines.opening import open_model

        open_model("model.onnx")

    def _load_torch(self) -> None:
        from converter.api import write
        from verify.engines.opening import open_model

        write(self._ready, "torch", Path("model"), None)
        open_model("model")

    def _torch(self) -> None:
        from converter.api import write

        write(self._ready, "torch", Path("model"), None)
        self._compare("torch", Path("model"))

    def _compare(self, step: str, model: Path) -> None:
        report = self._verifier.check(model)
        self._keep(step, report)
        bad = report.first_bad
        if bad is not None:
            reason = sentence(bad.fault) if bad.fault else "out of its bound"
            raise DisagreementError(
                f"numbers: {bad.layer_type}: {reason}", f"{bad.label}: {bad.fault or _excess(report)}"
            )

    def _keep(self, step: str, report: Report) -> None:
        found = self.finding
        found.parts.update({f"{step}: {name}": seconds for name, seconds in report.seconds.items()})
        rows = report.rows or report.shipped
        loose = [row for row in rows if math.isinf(row.bound)]
        found.blobs, found.ties = len(rows), len(loose)
        found.unjudged = sum(row.own_bound is None or math.isinf(row.own_bound) for row in loose)
        if report.worst is not None:
            found.share[step] = report.worst.share


def _excess(report: Report) -> str:
    bad = report.first_bad
    assert bad is not None
    own = f", alone {bad.own_abs:.2g} where it may be {bad.own_bound:.2g}" if bad.own_abs is not None else ""
    return f"differs by {bad.max_abs:.2g} where {bad.bound:.2g} is its bound{own}"


def explain(error: Exception, memory: int) -> tuple[list[str], str]:
    """The reasons of a failure, for the table, and its text."""
    if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
        return [too_much_memory(memory)], ""
    if isinstance(error, DisagreementError):
        return [error.reason], str(error)
    if isinstance(error, CaffeModelError):
        return reasons(error), str(error).partition("\n")[0]
    kind = type(error).__name__
    return [f"defect: {kind}: {sentence(str(error))}"], f"{kind}: {error}"[:300]


def too_much_memory(limit: int) -> str:
    """The reason of a net that its limit stopped."""
    return f"needs more than {limit / 2**30:.0f} GB"


def reasons(error: CaffeModelError) -> list[str]:
    """Every error of a group, once each, as a sentence that other nets can share."""
    errors = error.errors if isinstance(error, ErrorGroup) else (error,)
    return list(dict.fromkeys(r for e in errors for r in (reasons(e) if isinstance(e, ErrorGroup) else [_reason(e)])))


def _reason(error: CaffeModelError) -> str:
    unknown = re.match(r"unknown layer type '(.*?)'", error.message)
    if unknown:
        return f"layer type {unknown[1]}"
    kind = f"{error.layer_type}: " if error.layer_type else ""
    return f"{kind}{sentence(error.message)}"


def sentence(message: str) -> str:
    """A message without its names and numbers: those differ from net to net."""
    text = re.sub(r"(?<!\w)'[^']*'|\"[^\"]*\"|\S*\w/\w\S*", "…", message.partition("\n")[0])
    text = re.sub(r"\d+(×\d+)*", "N", text)
    return re.sub(r"N(, N)+", "N", text)[:160]
