"""Gradients that a training module takes from memory, as Caffe's backward passes do (`converter.building.backward`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from converter.emission import TorchOps
from converter.graph import Graph
from converter.node import Node, Value, is_over


@dataclass(eq=False, repr=False)
class MemoryPlaces:
    """Where the gradients of one module find what lies in memory once its pass is over: lists, filled on the way.

    Attributes:
        graph: of the net.
        waiting: by `id` of the value that lies there in the end, the variable of its list.
    """

    graph: Graph
    waiting: dict[int, str] = field(default_factory=dict)

    def emitted(self, t: TorchOps, node: Node, x: Sequence[str]) -> str | list[str]:
        """The expressions of a node's tops, with Caffe's gradient; `x` are the variables of its inputs."""
        if not node.origins:  # A blob's place, where another layer left something: the blob's gradient is its own.
            t.helper("FromMemory", FROM_MEMORY)
            return f"FromMemory.apply({x[1]}, {x[0]}.reshape({x[1]}.shape), lambda dy: dy)"
        if self._rereads(node):
            return self._from_bottoms(t, node, x)
        layer, values = node.layer, {"x": node.inputs[:1], "y": node.outputs[:1]}
        read = {name: values[name][0] for name in layer.gradient_reads}
        moved = any(self._moved(node, value) for value in read.values())
        if not (moved or (read and layer.has_own_gradient) or (layer.squares_in_place and is_over(node))):
            return layer.torch_in_training(t, node, *x)
        t.helper("FromMemory", FROM_MEMORY)
        own = node.outputs[0]
        places = [self._place(t, value, "" if value is own else x[0]) for value in read.values()]
        return layer.torch_from_memory(t, node, x[0], places)

    def _rereads(self, node: Node) -> bool:
        """Whether the node's gradients read bottoms that were written over."""
        kept = node.layer.keeps_bottom and is_over(node)
        moved = any(id(value) in self.graph.left for value in node.inputs)
        return node.layer.rereads and not kept and moved and len(node.outputs) == 1

    def _from_bottoms(self, t: TorchOps, node: Node, x: Sequence[str]) -> str:
        """The node's own expression as a function of its bottoms, to be run again at what lies there."""
        names = [f"x{i}" for i in range(len(x))]
        before = len(t.statements)
        made = node.layer.torch_in_training(t, node, *names)
        expression = made if isinstance(made, str) else made[0]
        while len(t.statements) > before:
            variable, inner = t.statements.pop()
            inlined = f"({inner})".replace("\\", r"\\")
            expression = re.sub(rf"\b{variable}\b", inlined, expression)
        t.helper("FromBottoms", FROM_BOTTOMS)
        places = [self._place(t, value, name) for value, name in zip(node.inputs, x, strict=True)]
        parameters = [f"*self.{module.name}.parameters()" for module in t.modules]
        function, found = f"lambda {', '.join(names)}: {expression}", f"[{', '.join(places)}]"
        return f"FromBottoms.apply({', '.join((function, found, *x, *parameters))})"

    def filled(self, value: Value, variable: str) -> tuple[str, str] | None:
        """The statement, `left`'s, that puts a value where gradients look for it, if any do: variable, expression."""
        name = self.waiting.get(id(value))
        return None if name is None else (name, f"left({name}, {variable})")

    def _moved(self, node: Node, value: Value) -> bool:
        """Whether something lies in a value's place in the end that gives the node another gradient.

        One that keeps signs changes none where a gradient comes through it, and nothing else is read of an `x` alone.
        """
        last = self.graph.left.get(id(value))
        if last is None or not node.layer.keeps_gradient_in_place:
            return last is not None
        while node.layer.gradient_reads == "x" and last.producer and last.producer.layer.keeps_signs:
            last = last.producer.inputs[0]
        return last is not node.outputs[0]

    def _place(self, t: TorchOps, value: Value, bottom: str) -> str:
        """A list's expression: of a bottom that stays, or of what will lie there."""
        last = self.graph.left.get(id(value), value)
        if last is value and bottom:
            return f"[{bottom}.detach()]"
        if id(last) not in self.waiting:
            self.waiting[id(last)] = t.let("memory", "[]")
        return self.waiting[id(last)]


FROM_MEMORY = '''
class FromMemory(torch.autograd.Function):
    """A layer's top, with the gradient that Caffe computes from what memory holds once the forward pass is over.

    `gradient` takes the top's gradient and what lies in each place: the tensor in a list that is filled by then.
    """

    @staticmethod
    def forward(ctx, bottom, top, gradient, *places):
        ctx.shape, ctx.gradient, ctx.places = bottom.shape, gradient, places
        return top.clone()

    @staticmethod
    def backward(ctx, dy):
        found = [place[0].reshape(dy.shape) for place in ctx.places]
        return (ctx.gradient(dy, *found).reshape(ctx.shape), *[None] * (2 + len(found)))
'''

FROM_BOTTOMS = '''
class FromBottoms(torch.autograd.Function):
    """A layer whose backward pass reads its bottoms again, in lists that are filled by then: the derivative there."""

    @staticmethod
    def forward(ctx, layer, places, *tensors):
        ctx.layer, ctx.places, ctx.parameters = layer, places, tensors[len(places) :]
        ctx.shapes = [tensor.shape for tensor in tensors[: len(places)]]
        return layer(*tensors[: len(places)])

    @staticmethod
    def backward(ctx, dy):
        learned = [p for p in ctx.parameters if p.requires_grad]
        with torch.enable_grad():
            found = [place[0].reshape(shape).detach().requires_grad_() for place, shape in zip(ctx.places, ctx.shapes)]
            made = torch.autograd.grad(ctx.layer(*found), [*found, *learned], dy, allow_unused=True)
        ofs = dict(zip(map(id, learned), made[len(found) :]))
        return (None, None, *made[: len(found)], *(ofs.get(id(p)) for p in ctx.parameters))
'''

LEFT = '''
def left(place, value):
    """Put a value where gradients look for it."""
    place.append(value.detach())
    return place
'''
