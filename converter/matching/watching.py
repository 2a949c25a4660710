"""What a module does, written down while it runs: for modules that `torch.export` cannot follow.

Each operator that PyTorch is asked for during a pass is a step, in the form in which `torch.export` writes it. Two ways
lead to the same steps:

    torch.fx    the module is traced symbolically, so that nothing it decides hangs on numbers, and that graph is run
    hooks       the module itself is run; forward hooks say which of its parts is at work

Either runs twice, on numbers and on others of the other sign. Where the steps, what they are given or a constant differ
between the two, what the module does hangs on what it is fed: no one graph is what it computes, and it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import getitem
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class HangsOnNumbersError(Exception):
    """A module does something else for other numbers; the message says where."""


@dataclass(frozen=True)
class Watched:
    """Steps of a pass, with what else `torch.export` says of a program.

    Attributes:
        graph: an `fx.Graph` of operators; what a node made has its shape in `meta["val"]`.
        graph_signature: which of its inputs are parameters, buffers, constants, or fed.
        constants: by the names that the signature gives them.
    """

    graph: Any
    graph_signature: Any
    constants: Mapping[str, Any]


def by_fx(module: Any, feeds: Sequence[Any]) -> Watched:
    """Trace symbolically, and watch that graph run."""
    traced = torch.fx.symbolic_trace(module)

    def run(watch: _Watch, given: Sequence[Any]) -> Any:
        class Run(torch.fx.Interpreter):
            """Says whose code each step is."""

            def run_node(self, n: Any) -> Any:
                watch.around = n.meta.get("nn_module_stack") or {}
                return super().run_node(n)

        return Run(traced).run(*given)

    return _twice(module, feeds, run)


def by_hooks(module: Any, feeds: Sequence[Any]) -> Watched:
    """Watch the module itself."""
    return _twice(module, feeds, lambda _, given: module(*given))


def _twice(module: Any, feeds: Sequence[Any], run: Callable[[_Watch, Sequence[Any]], Any]) -> Watched:
    passes = []
    for given in (list(feeds), [-2 * each for each in feeds]):
        watch = _Watch(module, given)
        with torch.no_grad(), watch.hooked(), watch:
            made = run(watch, given)
        passes.append(watch.ended(made))
    first, second = passes
    for one, other in zip(first, second, strict=False):
        if one != other:
            what = f"{one}, or {other}" if str(one) != str(other) else f"{one} is given other values"
            raise HangsOnNumbersError(what)
    if len(first) != len(second):
        raise HangsOnNumbersError(f"{len(first)} steps, or {len(second)}")
    return _program(first)


@dataclass(eq=False)
class _Step:
    """An operator that ran, or a value that was there before.

    Attributes:
        call: the operator; of a value what it is: parameter, buffer, fed, constant, output.
        given: its arguments, steps in the place of what they made; of a value its name, or its numbers.
        shape: of what it made; a list of them where it made several values.
        stack: the parts of the module that were at work, as `torch.export` has them.
        number: its place in the pass.
    """

    call: Any
    given: Any
    shape: Any = None
    stack: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0

    def __eq__(self, other: object) -> bool:
        """As steps of two passes: what they read is told by its number."""
        if not isinstance(other, _Step) or self.call != other.call or str(self.shape) != str(other.shape):
            return False
        mine, others = tree_leaves(self.given), tree_leaves(other.given)
        return len(mine) == len(others) and all(map(_same, mine, others))

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        if isinstance(self.call, str):
            return {"constant": "a constant that is made on the way", "output": "the end"}.get(self.call, self.call)
        where = next((str(path) for path, _ in reversed(list(self.stack.values())) if path), "")
        name = str(self.call).removeprefix("aten.").partition(".")[0]
        return f"{name} in {where}" if where else name


@dataclass(frozen=True, eq=False)
class _Made:
    """What a step made; `place` is that of one among several."""

    step: _Step
    place: int | None = None


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, _Made) and isinstance(other, _Made):
        return (one.step.number, one.place) == (other.step.number, other.place)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    return type(one) is type(other) and bool(one == other)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """All operators of one pass."""

    def __init__(self, module: Any, feeds: Sequence[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._module = module
        self._steps: list[_Step] = []
        self._of: dict[int, _Made] = {}  # by `id` of the tensor
        self._alive: list[Any] = []  # so that no other tensor gets such an `id`
        self._stack: dict[str, Any] = {}
        self._calls = 0
        self.around: Mapping[str, Any] = {}
        for name, parameter in module.named_parameters():
            self._enter(parameter, _Step("parameter", name))
        for name, buffer in module.named_buffers():
            self._enter(buffer, _Step("buffer", name))
        for place, fed in enumerate(feeds):
            self._enter(fed, _Step("fed", place))

    def _enter(self, tensor: Any, step: _Step, place: int | None = None) -> _Made:
        if not self._steps or self._steps[-1] is not step:
            step.number = len(self._steps)
            self._steps.append(step)
        if step.shape is None:
            step.shape = tuple(tensor.shape)
        made = _Made(step, place)
        self._of[id(tensor)] = made
        self._alive.append(tensor)
        return made

    def _known(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        known = self._of.get(id(value))
        return known or self._enter(value, _Step("constant", value.clone()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = tree_map(self._known, (tuple(args), kwargs or {}))
        made = func(*args, **(kwargs or {}))
        several = isinstance(made, (list, tuple))
        if not any(isinstance(each, torch.Tensor) for each in tree_leaves(made)):
            return made  # a number for Python; where it leads to shows in the steps behind
        shape = [tuple(each.shape) for each in made] if several else tuple(made.shape)
        step = _Step(func, given, shape, dict(self._stack or self.around))
        for place, each in enumerate(made if several else [made]):
            self._enter(each, step, place if several else None)
        return made

    def ended(self, made: Any) -> list[_Step]:
        """All steps, and last what the pass gave."""
        outputs = [self._known(each) for each in tree_leaves(made) if isinstance(each, torch.Tensor)]
        return [*self._steps, _Step("output", outputs)]

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Know which part of the module is at work."""
        handles = []
        for path, part in self._module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                continue  # takes no hooks
            handles.append(part.register_forward_pre_hook(self._begins(path)))
            handles.append(part.register_forward_hook(self._ends, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _begins(self, path: str) -> Callable[[Any, Any], None]:
        def begin(part: Any, _: Any) -> None:
            self._calls += 1
            self._stack[f"{path}@{self._calls}"] = (path, type(part))

        return begin

    def _ends(self, *_: Any) -> None:
        self._stack.popitem()


class _Writer:
    """Steps as a graph."""

    def __init__(self) -> None:
        self.graph = torch.fx.Graph()
        self.fed: list[str] = []
        self.held: dict[str, dict[str, str]] = {"parameter": {}, "buffer": {}, "constant": {}}
        self.constants: dict[str, Any] = {}
        self._nodes: dict[tuple[int, int | None], Any] = {}

    def write(self, step: _Step) -> None:
        if step.call == "output":
            self.graph.output(tuple(self._node(value) for value in step.given))
            return
        node = self._held(step) if isinstance(step.call, str) else self._called(step)
        several = isinstance(step.shape, list)
        shapes = [SimpleNamespace(shape=each) for each in (step.shape if several else [step.shape])]
        node.meta.update(val=shapes if several else shapes[0], nn_module_stack=step.stack)
        self._nodes[step.number, None] = node

    def _held(self, step: _Step) -> Any:
        node = self.graph.placeholder(step.call)
        if step.call == "fed":
            self.fed.append(node.name)
        elif step.call == "constant":
            self.held["constant"][node.name] = node.name
            self.constants[node.name] = step.given
        else:
            self.held[step.call][node.name] = step.given
        return node

    def _called(self, step: _Step) -> Any:
        args, kwargs = tree_map(self._node, step.given)
        return self.graph.call_function(step.call, args, kwargs)

    def _node(self, value: Any) -> Any:
        if not isinstance(value, _Made):
            return value
        key = (value.step.number, value.place)
        if key not in self._nodes:
            source = self._nodes[value.step.number, None]
            self._nodes[key] = self.graph.call_function(getitem, (source, value.place))
            self._nodes[key].meta.update(source.meta, val=source.meta["val"][value.place])
        return self._nodes[key]


def _program(steps: Sequence[_Step]) -> Watched:
    writer = _Writer()
    for step in steps:
        writer.write(step)
    held = writer.held
    signature = SimpleNamespace(
        user_inputs=tuple(writer.fed),
        inputs_to_parameters=held["parameter"],
        inputs_to_buffers=held["buffer"],
        inputs_to_lifted_tensor_constants=held["constant"],
    )
    return Watched(writer.graph, signature, writer.constants)
