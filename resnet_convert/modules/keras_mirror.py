"""A Keras model as a PyTorch module of the same layers, for `port --into`; Keras runs on its torch backend.

The mirror has N×C×H×W maps where the model has N×H×W×C, and each of the model's weights in PyTorch's order of axes, so
that it is matched like any module. Called as a whole it has the model itself compute, with the mirror's weights in it:
what is compared in the end are Keras' own outputs. `give_back` puts the weights into the model.

A fully connected layer behind a Flatten reads height × width × channels, in the mirror too.

Imported only by those who have torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from prototxt.errors import UnsupportedError
from resnet_convert.modules.keras_layers import Mirrored, mirrored


class _Step(NamedTuple):
    """A layer's call: its name among the mirror's modules, numbers of the values that it reads, and of the one made."""

    name: str
    reads: tuple[int, ...]
    makes: int


class KerasMirror(nn.Module):
    """A functional or sequential Keras model of one input; its state dict has `LAYER.weight` and the like.

    Attributes:
        model: the Keras model.

    Raises:
        UnsupportedError: a layer without a counterpart here, or a model whose layers cannot be followed.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any
        object.__setattr__(self, "model", model)  # its weights are no parameters of the mirror
        self._held: list[Mirrored] = []
        self._steps: list[_Step] = []
        self._numbers: dict[int, int] = {}
        inputs, outputs = _tensors(model, "inputs"), _tensors(model, "outputs")
        if len(inputs) != 1:
            raise UnsupportedError(f"{model.name} has {len(inputs)} inputs; a Keras model of one input is expected")
        self._numbers[id(inputs[0])] = 0
        self._follow(outputs)
        self._outputs = [self._numbers[id(output)] for output in outputs]
        self.eval()

    def forward(self, x: Tensor) -> Any:
        """The model's outputs, maps as N×C×H×W: Keras' own, or the mirror's while `torch.export` looks on."""
        made = self._mirror(x) if torch.compiler.is_compiling() else self._keras(x)
        return made[0] if len(made) == 1 else tuple(made)

    def give_back(self) -> None:
        """Put the mirror's weights into the Keras model."""
        with torch.no_grad():
            for held in self._held:
                for variable, parameter, to_keras, _ in held.weights:
                    variable.assign(to_keras(parameter.detach()))

    def _mirror(self, x: Tensor) -> list[Tensor]:
        values = {0: x}
        for step in self._steps:
            values[step.makes] = self.get_submodule(step.name)(*(values[number] for number in step.reads))
        return [values[number] for number in self._outputs]

    def _keras(self, x: Tensor) -> list[Tensor]:
        import keras

        self.give_back()
        with keras.device("cpu"):
            made = self.model(_last(x), training=False)
        return [_first(value) for value in (made if isinstance(made, (list, tuple)) else [made])]

    def _follow(self, outputs: Sequence[Any]) -> None:
        """Enter the layers that outputs depend on, each behind those that it reads; nets are too deep for recursion."""
        waiting = list(outputs)
        while waiting:
            tensor = waiting[-1]
            if id(tensor) in self._numbers:
                waiting.pop()
                continue
            layer, place, _ = tensor._keras_history
            node = layer._inbound_nodes[place]
            absent = [each for each in node.input_tensors if id(each) not in self._numbers]
            if not node.input_tensors:
                raise UnsupportedError(
                    f"{layer.name} ({type(layer).__name__}) is an input that the model does not name"
                )
            waiting += absent
            if not absent:
                self._enter(layer, node, tensor)

    def _enter(self, layer: Any, node: Any, tensor: Any) -> None:
        name = layer.name.replace(".", "_")
        name = name if name in self._modules or not hasattr(self, name) else f"{name}_"
        if name not in self._modules:
            held = mirrored(layer, [tuple(each.shape) for each in node.input_tensors], tuple(tensor.shape))
            with torch.no_grad():
                for variable, parameter, _, to_torch in held.weights:
                    parameter.copy_(to_torch(variable.value))
            self.add_module(name, held.module)
            self._held.append(held)
        self._numbers[id(tensor)] = len(self._numbers)
        reads = tuple(self._numbers[id(each)] for each in node.input_tensors)
        self._steps.append(_Step(name, reads, self._numbers[id(tensor)]))


def _tensors(model: Any, what: str) -> list[Any]:
    try:
        return list(getattr(model, what))
    except (AttributeError, ValueError, TypeError) as error:
        raise UnsupportedError(
            f"{type(model).__name__} has no symbolic {what}; expected a functional or built sequential Keras model"
        ) from error


def _last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x
