"""A graph run node by node in PyTorch, from whatever values are at hand to whatever values are wanted.

Each node is the live module of a graph that has only this node, so what runs is what `convert --to torch` writes. Only
what the wanted values depend on runs, and a value is let go of once nobody reads it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from converter.graph import Graph, format_shape
from converter.node import Node, Value, maker
from converter.targets.torch_model import emit_torch, live_module
from converter.tensor import Array
from prototxt.errors import RequestError
from prototxt.words import first_line

if TYPE_CHECKING:
    import torch

    Values = dict[int, torch.Tensor]

Precision = Literal["float32", "float64"]


class Steps:
    """The nodes of a graph as modules, made when they are first needed.

    Args:
        graph: what to run.
        device: of PyTorch.
        precision: what is computed in, whatever the module that is written computes in.
    """

    def __init__(self, graph: Graph, device: str, precision: Precision) -> None:
        import torch

        self._graph = graph
        self._device = device
        self._type: torch.dtype = getattr(torch, precision)
        self._modules: dict[int, torch.nn.Module] = {}

    def module(self, node: Node) -> torch.nn.Module:
        """The node by itself, on the device and in the precision, in eval mode."""
        if id(node) not in self._modules:
            names = [value.blob for value in node.outputs]
            alone = Graph(node.name, list(node.inputs), list(node.outputs), [node], names, self._graph.source)
            self._modules[id(node)] = live_module(emit_torch(alone)).to(self._device, self._type)
        return self._modules[id(node)]

    def tensor(self, array: Array) -> torch.Tensor:
        """An array on the device, in the precision."""
        import torch

        return torch.from_numpy(array).to(self._device, self._type)

    def forget(self, node: Node) -> None:
        """Make the node's module anew when it is next needed: its tensors have changed."""
        self._modules.pop(id(node), None)

    def ahead(self, wanted: Iterable[Value], have: Collection[int] = ()) -> list[Node]:
        """The nodes that have to run for the wanted values, in order, where the values `have` (by id) are at hand."""
        missing = {id(value) for value in wanted}.difference(have)
        nodes = []
        for node in reversed(self._graph.nodes):
            if any(id(value) in missing for value in node.outputs):
                nodes.append(node)
                missing.update(id(value) for value in node.inputs if id(value) not in have)
        return nodes[::-1]

    def run(self, nodes: Sequence[Node], values: Values, keep: Collection[int]) -> None:
        """Run nodes in order on `values` (by id), which then hold what is in `keep` and nothing else.

        Raises:
            RequestError: a layer fails: sizes that do not go together, or not enough memory.
        """
        last = {id(value): index for index, node in enumerate(nodes) for value in node.inputs}

        def let_go(index: int) -> None:
            for key in [k for k in values if last.get(k, -1) <= index and k not in keep]:
                del values[key]

        let_go(-1)
        for index, node in enumerate(nodes):
            results = self._results(node, [values[id(value)] for value in node.inputs])
            values.update(zip(map(id, node.outputs), results, strict=True))
            let_go(index)

    def _results(self, node: Node, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        try:
            made = self.module(node)(*inputs)
        except RuntimeError as error:
            shapes = ", ".join(format_shape(x.shape) for x in inputs)
            raise fault_of(node, f"PyTorch cannot run it on {shapes}: {first_line(error)}") from error
        results = [*made.values()] if isinstance(made, dict) else [made]
        return [x.to(self._type) if x.is_floating_point() else x for x in results]

    def input_of(self, node: Node, path: str, x: torch.Tensor, see: Callable[[torch.Tensor], None]) -> None:
        """Run a node of one bottom until the module at `path` inside of it is reached, and show what that is given."""

        def reached(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            see(inputs[0])
            raise _Reached

        (outer,) = self.module(node).children()
        handle = outer.get_submodule(path).register_forward_pre_hook(reached)
        try:
            self._results(node, [x])
        except _Reached:
            pass
        finally:
            handle.remove()


def fault_of(node: Node, message: str) -> RequestError:
    """An error about a layer, with its place."""
    origin = maker(node)
    return RequestError(message, position=origin.position, layer=origin.name, layer_type=origin.type)


class _Reached(Exception):  # noqa: N818 (no error: what stops a module once it has shown what was wanted)
    pass


@contextmanager
def full_float32() -> Iterator[None]:
    """Have CUDA compute in all 24 bits of float32: by default convolutions may run in TF32, which has 11."""
    import torch

    switches: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = False
        yield
    finally:
        for switch, setting in zip(switches, before, strict=True):
            switch.allow_tf32 = setting


def check_device(device: str) -> None:
    """See that float64 can be had on a device.

    Raises:
        RequestError: there is no such device, or it has no float64.
    """
    import torch

    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise RequestError(f"device {device!r} cannot be used: {first_line(error)}") from error
