"""A PyTorch module as a skeleton: the steps of one pass through it, in eval mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from converter.matching.aten import READINGS, Aten, StateEntry
from converter.matching.following import Followed, follow
from converter.matching.operation import ACROSS, Operation
from converter.matching.skeleton import NetPart, Skeleton, drop_unread


@dataclass
class Traced:
    """A module and what one pass through it does.

    Attributes:
        skeleton: its parts; their values are names of nodes in the program's graph.
        unused: keys of the state dict that the pass does not read.
        followed: the pass, and how it was followed.
    """

    skeleton: Skeleton
    unused: list[str]
    followed: Followed

    @property
    def program(self) -> Any:
        """The pass as `torch.export` writes it."""
        return self.followed.program


def trace(module: Any, shapes: Sequence[tuple[int, ...]]) -> Traced:
    """Follow one pass through a module; it is in the mode in which it was when this returns.

    Args:
        module: a `torch.nn.Module`.
        shapes: of its inputs.

    Raises:
        UnsupportedError: a module that fails on such inputs, or whose passes differ from each other.
        MissingDependencyError: torch is not installed.
    """
    with evaluating(module):
        followed = follow(module, shapes)
    return Traced(*_Reader(module, followed.program).read(), followed)


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Have a module, and those in it, in eval mode for a while."""
    training = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, was in training:
            each.training = was


AS_ONE = {
    "LocalResponseNorm": lambda owner: Operation(
        "response normalisation",
        {**{name: getattr(owner, name) for name in ("size", "alpha", "beta", "k")}, "region": ACROSS},
    )
}
"""PyTorch's own modules that are several operators of which none says what they are for."""


class _Reader:
    """The nodes of a program, one after the other."""

    def __init__(self, module: Any, program: Any) -> None:
        self._module, self._program = module, program
        signature = program.graph_signature
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        kept = module.state_dict().keys()  # what no state dict has can be given no weights
        self._held = {name: key for name, key in named.items() if key in kept}
        self._fed = set(signature.user_inputs)
        self._made: dict[str, Any] = {}
        self._modules = dict(module.named_modules())
        self._skeleton = Skeleton([], [], [])
        self._as_one: tuple[str, NetPart] | None = None  # the module call that is read as one part, and that part

    def read(self) -> tuple[Skeleton, list[str]]:
        """All of it, and the keys of the state dict that it does not read."""
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node)
            elif node.op == "call_function":
                self._made[node.name] = self._call(node)
            elif node.op == "output":
                self._skeleton.outputs = [part for part in self._given(node.args[0]) if isinstance(part, NetPart)]
        drop_unread(self._skeleton)
        used = {held.name for part in self._skeleton.parts for held in part.parameters.values()}
        keys = self._module.state_dict().keys()
        return self._skeleton, [key for key in keys if key not in used]

    def _placeholder(self, node: Any) -> None:
        if node.name in self._held:
            self._made[node.name] = StateEntry(self._held[node.name], tuple(map(int, node.meta["val"].shape)))
        elif node.name in self._fed:
            shape = tuple(map(int, node.meta["val"].shape))
            part = NetPart("input", {}, [], shape, label=node.name, type="input", values=[(node.name, shape)])
            self._skeleton.inputs.append(part)
            self._skeleton.parts.append(part)
            self._made[node.name] = part
        else:
            self._made[node.name] = None

    def _given(self, value: Any) -> Any:
        """An argument, with what made it in place of a node."""
        if isinstance(value, (list, tuple)):
            return [self._given(each) for each in value]
        return self._made[value.name] if hasattr(value, "meta") else value

    def _call(self, node: Any) -> Any:
        target = node.target
        if not hasattr(target, "_schema"):
            picked = self._given(node.args[0])  # operator.getitem
            return picked[node.args[1]] if isinstance(picked, list) else picked
        whole = self._whole(node)
        if whole is not None:
            return whole
        name = target._schema.name.removeprefix("aten::")  # another namespace's means something else by it
        made = node.meta.get("val")
        call = Aten(name.rstrip("_") or name, self._arguments(node), _shape(made))
        if name in ("chunk", "split", "split_with_sizes", "tensor_split", "unbind"):
            return self._pieces(node, call, made)
        reading = READINGS.get(call.name)
        part = reading(call) if reading is not None and _takes_parts(call) else None
        if isinstance(part, StateEntry):
            return part
        if part is None:
            part = self._of_its_own(call)
        return self._enter(node, part)

    def _whole(self, node: Any) -> NetPart | None:
        """The part that a whole module is, of which a node is one operator; its value is that of the last of them."""
        call, (path, _) = next(reversed((node.meta.get("nn_module_stack") or {"": ("", "")}).items()))
        owner = self._modules.get(path)
        describe = AS_ONE.get(type(owner).__name__)
        if describe is None or not type(owner).__module__.startswith("torch.nn."):
            self._as_one = None
            return None
        if self._as_one is None or self._as_one[0] != call:
            operation = describe(owner)
            sources = [each for each in _flat(self._given(node.args)) if isinstance(each, NetPart)]
            part = self._enter(node, NetPart(operation.kind, dict(operation.settings), sources[:1], ()))
            self._as_one = (call, part)
        part = self._as_one[1]
        part.shape = _shape(node.meta.get("val"))
        part.values = [(node.name, part.shape)]
        return part

    def _arguments(self, node: Any) -> dict[str, Any]:
        given = {}
        for place, argument in enumerate(node.target._schema.arguments):
            if place < len(node.args):
                given[argument.name] = self._given(node.args[place])
            elif argument.name in node.kwargs:
                given[argument.name] = self._given(node.kwargs[argument.name])
            else:
                given[argument.name] = argument.default_value
        return given

    def _of_its_own(self, call: Aten) -> NetPart:
        """What nobody here knows, in PyTorch's words."""
        values = [value for argument in call.given.values() for value in _flat(argument)]
        sources = [value for value in values if isinstance(value, NetPart)]
        held = {f"parameter {i}": v for i, v in enumerate(v for v in values if isinstance(v, StateEntry))}
        plain = {name: v for name, v in call.given.items() if isinstance(v, (bool, int, float, str))}
        return NetPart(f"PyTorch's {call.name}", plain, sources, call.shape, held)

    def _pieces(self, node: Any, call: Aten, made: Any) -> list[NetPart]:
        """The parts of a tensor that is cut; each is a slice."""
        axis = int(call.given.get("dim", 0))
        pieces, start = [], 0
        for place, value in enumerate(made):
            source = call.source
            stop = start + (1 if call.name == "unbind" else int(value.shape[axis]))
            settings = {"axis": axis % len(source.shape), "start": start, "stop": stop}
            piece = NetPart("slice", settings, [source], _shape(value))
            pieces.append(self._enter(node, piece, f"{node.name}[{place}]"))
            start = stop
        return pieces

    def _enter(self, node: Any, part: NetPart, value: str = "") -> NetPart:
        stack = node.meta.get("nn_module_stack") or {"": ("", "")}
        part.label = str(next(reversed(stack.values()))[0])
        owner = self._modules.get(part.label, self._module)
        part.type = type(owner).__name__
        if type(owner).__module__.startswith("torch.nn."):
            part.attributes = frozenset(vars(owner))
        else:
            part.type = f"{node.target._schema.name.rpartition('::')[2].rstrip('_')} in {part.type}"
        part.values = [(value or node.name, part.shape)]
        self._skeleton.parts.append(part)
        return part


def _takes_parts(call: Aten) -> bool:
    """Whether the first argument is a value of the pass, or a parameter, as the readings expect."""
    first = next(iter(call.given.values()), None)
    return isinstance(first, (NetPart, StateEntry, list))


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def _shape(made: Any) -> tuple[int, ...]:
    """Of a tensor, or of the first of several."""
    if isinstance(made, (list, tuple)) and made:
        made = made[0]
    return tuple(map(int, made.shape)) if hasattr(made, "shape") else ()
