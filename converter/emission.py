"""What layers emit: plain records of ONNX operators, PyTorch modules and expressions, without either framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.constants import computed
from converter.dims import Shape, is_free
from converter.tensor import Tensor
from prototxt.errors import UnsupportedError

Array = npt.NDArray[Any]


@dataclass(eq=False, repr=False)
class OnnxOp:
    """One ONNX node to be; attribute values are ints, floats, strings or lists of them."""

    type: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


@dataclass(eq=False, repr=False)
class OnnxBody:
    """The graph that a Loop runs.

    It is given the round's number, whether to go on, and what is carried from round to round, if anything is; it makes
    whether to go on, and what is carried on or stacked. Beside its own values it may read those around it, by name.
    """

    inputs: tuple[str, ...]
    ops: list[OnnxOp]
    outputs: tuple[str, ...]


def all_ops(ops: Sequence[OnnxOp]) -> Iterator[OnnxOp]:
    """The operators, and those inside of them."""
    for op in ops:
        yield op
        for value in op.attributes.values():
            if isinstance(value, OnnxBody):
                yield from all_ops(value.ops)


@dataclass(eq=False, repr=False)
class OnnxOps:
    """Records the operators of one node; one that reads constants alone is computed, and its result is a constant.

    Attributes:
        opset: the version being written.
        prefix: start of the names of intermediate values and small constants, unique to the node.
        known: constants of the nodes before, by initializer name.
        ops: what was recorded.
        constants: small arrays by initializer name.
        weights: weights by initializer name.
    """

    opset: int
    prefix: str
    known: Mapping[str, Array] = field(default_factory=dict)
    ops: list[OnnxOp] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def op(self, type: str, *inputs: str, **attributes: Any) -> str:
        """Record an operator with one output and return that output's name; an empty input is an omitted one."""
        values = [self.value(name) for name in inputs]
        result = None if any(v is None for v in values) else computed(type, values, attributes)  # type: ignore[arg-type]
        if result is not None:
            return self.constant(result, type.lower())
        return self.multi(type, *inputs, outputs=1, **attributes)[0]

    def value(self, name: str) -> Array | None:
        """The constant of this name; None for what only a run of the model makes, and for weights."""
        found = self.constants.get(name)
        return self.known.get(name) if found is None else found

    def multi(self, type: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Record an operator with several outputs."""
        names = [f"{self.prefix}/{type}_{len(self.ops)}" + (f"_{i}" if i else "") for i in range(outputs)]
        self.ops.append(OnnxOp(type, list(inputs), names, attributes))
        return names

    def _inner(self) -> OnnxOps:
        """Records what a Loop does; its constants are the node's."""
        return OnnxOps(self.opset, f"{self.prefix}/Loop_{len(self.ops)}", self.known, constants=self.constants)

    def loop(self, rounds: str, body: Callable[[OnnxOps, str], str]) -> str:
        """Record a Loop and return what its rounds make, float32, stacked along a new first axis.

        Args:
            rounds: how many, an int64 scalar.
            body: records the operators of a round, given where to and the round's number, an int64 scalar; returns the
                value made.
        """
        inner = self._inner()
        number, going = f"{inner.prefix}/number", f"{inner.prefix}/going"
        made = body(inner, number)
        return self.op(
            "Loop", rounds, "", body=OnnxBody((number, going), inner.ops, (inner.op("Identity", going), made))
        )

    def carry(self, rounds: str, start: str, body: Callable[[OnnxOps, str, str], str]) -> str:
        """Record a Loop that changes a float32 value from round to round, and return what the last one leaves.

        Args:
            rounds: how many, an int64 scalar.
            start: the value before the first.
            body: records the operators of a round, given where to, the round's number and the value; returns the value
                for the next.
        """
        inner = self._inner()
        number, going, carried = (f"{inner.prefix}/{name}" for name in ("number", "going", "carried"))
        changed = body(inner, number, carried)
        ends = (inner.op("Identity", going), changed)
        return self.op("Loop", rounds, "", start, body=OnnxBody((number, going, carried), inner.ops, ends))

    def constant(self, array: Array, hint: str = "constant") -> str:
        """Name of an initializer that holds this array."""
        for name, known in self.constants.items():
            if known.dtype == array.dtype and known.shape == array.shape and np.array_equal(known, array):
                return name
        name = f"{self.prefix}/{hint}_{len(self.constants)}"
        self.constants[name] = array
        return name

    def ints(self, values: Sequence[int], hint: str = "axes") -> str:
        """An int64 vector."""
        return self.constant(np.asarray([int(v) for v in values], dtype=np.int64), hint)

    def scalar(self, value: float, hint: str = "scalar") -> str:
        """A float32 scalar."""
        return self.constant(np.asarray(value, dtype=np.float32), hint)

    def weight(self, tensor: Tensor) -> str:
        """Name of the initializer that holds a weight."""
        self.weights[tensor.name] = tensor
        return tensor.name

    def reshape(self, x: str, before: Shape, after: Shape) -> str:
        """Reshape; a free dimension is copied where it keeps its place, and inferred where it is the only other one."""
        if tuple(before) == tuple(after) and not any(map(is_free, after)):
            return x
        return self.op("Reshape", x, self.ints(reshape_target(before, after), "shape"))

    def slice(self, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """`x[start:stop:step]` along one axis."""
        bounds = [self.ints([v], hint) for v, hint in ((start, "start"), (stop, "stop"), (axis, "axis"))]
        return self.op("Slice", x, *bounds, *([self.ints([step], "step")] if step != 1 else []))

    def places(self, condition: str) -> str:
        """Where a vector of truths is true, an int64 vector. With Gather it picks rows: OpenCV 5 has no Compress."""
        return self.op("Squeeze", self.op("NonZero", condition), self.ints([0]))

    def pick(self, x: str, condition: str) -> str:
        """The rows of `x` for which a vector of truths is true."""
        return self.op("Gather", x, self.places(condition), axis=0)

    def reduce(self, kind: str, x: str, axes: Sequence[int], keepdims: bool = True) -> str:
        """ReduceSum, ReduceMean, ReduceMax …: axes became an input in opset 13 for the sum, 18 for the others."""
        axes = list(axes)
        if (
            not keepdims
        ):  # OpenCV 5 takes a reduction of all axes for a vector; dropping them afterwards it understands.
            return self.op("Squeeze", self.reduce(kind, x, axes), self.ints(axes))
        if kind == "ReduceL1" and self.opset < 18:  # OpenVINO overlooks its axes where they are an attribute.
            return self.reduce("ReduceSum", self.op("Abs", x), axes)
        gap = next((i for i in range(len(axes) - 1, 0, -1) if axes[i] - axes[i - 1] > 1), 0)
        if gap and len(axes) > 2:  # OpenCV 5 mixes up what it reduces over three axes and more with one between them.
            part = self.reduce(kind, x, axes[gap:])
            return self.reduce("ReduceSum" if kind == "ReduceSumSquare" else kind, part, axes[:gap])
        if self.opset >= (13 if kind == "ReduceSum" else 18):
            return self.op(kind, x, self.ints(axes), keepdims=1)
        return self.op(kind, x, axes=axes, keepdims=1)

    def unsqueeze(self, x: str, axes: Sequence[int]) -> str:
        """Insert axes of size 1."""
        return self.op("Unsqueeze", x, self.ints(axes))


def reshape_target(before: Shape, after: Shape) -> list[int]:
    """The constant target of a reshape: 0 copies a free dimension in place, -1 infers the one that is left."""
    target = [
        0 if is_free(d) and i < len(before) and str(before[i]) == str(d) else (-1 if is_free(d) else int(d))
        for i, d in enumerate(after)
    ]
    if target.count(-1) > 1:
        raise UnsupportedError("a reshape with two free dimensions that move; give one of them a size by --input-shape")
    return target


class Verbatim(str):
    """A keyword argument's value that is Python source, not a literal."""


@dataclass(eq=False, repr=False)
class TorchModule:
    """One submodule to be: `self.<name> = <cls>(<arguments>)` and the state that fills it."""

    name: str
    cls: str
    arguments: list[Any]
    keywords: dict[str, Any]
    state: dict[str, Tensor | Array]

    def source(self) -> str:
        """The constructor call."""
        parts = [_literal(a) for a in self.arguments] + [f"{k}={_literal(v)}" for k, v in self.keywords.items()]
        return f"{self.cls}({', '.join(parts)})"


def _literal(value: Any) -> str:
    return str(value) if isinstance(value, Verbatim) else repr(value)


@dataclass(eq=False, repr=False)
class TorchOps:
    """Records the modules and statements of one node.

    Attributes:
        name: the node's identifier, unique in the net: attribute and state_dict prefix.
        fresh: gives a variable name that is not taken, from a wish.
        modules: what was recorded.
        helpers: source of functions and classes that the expressions use, by name.
        statements: `(variable, expression)` of intermediate results, run before the node's own.
    """

    name: str
    fresh: Callable[[str], str]
    modules: list[TorchModule] = field(default_factory=list)
    helpers: dict[str, str] = field(default_factory=dict)
    statements: list[tuple[str, str]] = field(default_factory=list)

    def module(self, cls: str, *arguments: Any, state: dict[str, Tensor | Array] | None = None, **keywords: Any) -> str:
        """Record a submodule and return `self.<name>`, to be called. A node's second one gets a number."""
        name = self.name if not self.modules else f"{self.name}_{len(self.modules) + 1}"
        self.modules.append(TorchModule(name, cls, list(arguments), keywords, dict(state or {})))
        return f"self.{name}"

    def helper(self, name: str, source: str) -> str:
        """Add a function or class to the generated file, once; returns its name."""
        self.helpers[name] = source.strip("\n")
        return name

    def let(self, variable: str, expression: str) -> str:
        """Name an intermediate result; returns the variable's unique name."""
        unique = self.fresh(f"{self.name}_{variable}")
        self.statements.append((unique, expression))
        return unique
