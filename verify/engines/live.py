"""A live PyTorch module: what it gives, and what each step of one pass through it makes.

The steps are those that `torch.export` wrote down of the module. They are run here one by one with the module's own
parameters, so that each blob can be seen; the outputs are the module's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from prototxt.errors import ModelError
from prototxt.optional import need_torch
from prototxt.words import first_line
from verify.engines.engine import Array, Blobs, ModelInput, OneByOne
from verify.keys import Key

Shaped = tuple[Key, tuple[int, ...]]
"""A top and the shape that Caffe has it in; the module may have the same values in another."""


class LiveModule(OneByOne):
    """A module in eval mode, on the CPU.

    Args:
        module: the `torch.nn.Module`.
        program: what `torch.export.export` made of it.
        inputs: the net's blobs that its inputs are, in order, with their shapes.
        blobs: by the name of a step in the program's graph, the tops that its value is.
        outputs: of each of its outputs in order, the top that it is; None for one that the net does not have.
    """

    def __init__(
        self,
        module: Any,
        program: Any,
        inputs: Sequence[tuple[str, tuple[int, ...]]],
        blobs: Mapping[str, Sequence[Shaped]],
        outputs: Sequence[Shaped | None],
    ) -> None:
        self._torch: Any = need_torch("running a module")
        self._module, self._program, self._blobs, self._outputs = module, program, blobs, outputs
        self.name = f"PyTorch {self._torch.__version__}"
        self.metadata: Mapping[str, str] = {}
        self.inputs = tuple(ModelInput(name, shape) for name, shape in inputs)
        self.blobs = tuple(key for keys in blobs.values() for key, _ in keys)
        self.outputs = tuple(output[0][1] for output in outputs if output is not None)

    def stream(self, feeds: Mapping[str, Array]) -> Blobs:
        """Run it step by step, and then as it is."""
        given = [self._torch.from_numpy(np.array(feeds[entry.name])) for entry in self.inputs]
        blobs = Blobs(iter(()))
        blobs.tops = self._run(given, blobs)
        return blobs

    def _run(self, given: Sequence[Any], blobs: Blobs) -> Iterator[tuple[Sequence[Key], Array]]:
        with self._torch.no_grad():
            yield from self._steps(given)
            made = self._module(*given)
        tensors = [made] if isinstance(made, self._torch.Tensor) else list(_tensors(made, self._torch.Tensor))
        for output, tensor in zip(self._outputs, tensors, strict=False):
            if output is not None:
                blobs.outputs[output[0][1]] = _array(tensor, output[1])

    def _steps(self, given: Sequence[Any]) -> Iterator[tuple[Sequence[Key], Array]]:
        known = dict(zip(self._program.graph_signature.user_inputs, given, strict=True))
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                known[node.name] = known.get(node.name, self._held(node.name))
            elif node.op == "call_function":
                known[node.name] = self._called(node, known)
            yield from self._told(node.name, known.get(node.name))
            for source in node.all_input_nodes:
                if next(reversed(source.users)) is node:
                    del known[source.name]

    def _held(self, name: str) -> Any:
        """A parameter or buffer of the module, as it is now, or a constant of the program."""
        signature = self._program.graph_signature
        path = signature.inputs_to_parameters.get(name) or signature.inputs_to_buffers.get(name)
        if path is not None:
            return reduce(getattr, path.split("."), self._module)  # a scripted one has no get_parameter
        constants = getattr(signature, "inputs_to_lifted_tensor_constants", {})
        return self._program.constants.get(constants.get(name))

    def _called(self, node: Any, known: Mapping[str, Any]) -> Any:
        def value(argument: Any) -> Any:
            return known[argument.name]

        arguments, keywords = (self._torch.fx.map_arg(each, value) for each in (node.args, node.kwargs))
        try:
            return node.target(*arguments, **keywords)
        except RuntimeError as error:
            name = type(self._module).__name__
            raise ModelError(f"{name} fails to run, at {node.target}: {first_line(error)}") from error

    def _told(self, name: str, value: Any) -> Iterator[tuple[Sequence[Key], Array]]:
        if name in self._blobs:
            first = value[0] if isinstance(value, (list, tuple)) else value
            for key, shape in self._blobs[name]:
                yield [key], _array(first, shape)
        elif isinstance(value, (list, tuple)):
            for place, each in enumerate(value):
                for key, shape in self._blobs.get(f"{name}[{place}]", ()):
                    yield [key], _array(each, shape)


def _array(tensor: Any, shape: tuple[int, ...]) -> Array:
    """A copy, since a later step may work in place."""
    array: Array = np.array(tensor.detach().cpu().numpy(), np.float32)
    fits = array.size == np.prod(shape, dtype=np.int64)
    return array.reshape(shape) if fits else array


def _tensors(made: Any, kind: type) -> Iterator[Any]:
    if isinstance(made, kind):
        yield made
    elif isinstance(made, Mapping):
        for each in made.values():
            yield from _tensors(each, kind)
    elif isinstance(made, (list, tuple)):
        for each in made:
            yield from _tensors(each, kind)
