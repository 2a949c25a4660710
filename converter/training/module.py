"""A net as a PyTorch module that trains as Caffe's net did.

    made = trainable(load_net("train_val.prototxt", phase="TRAIN"), open_weights("init.caffemodel"))
    outputs = made.module(data, label)             a dict of blobs, the losses among them
    made.module.objective(outputs).backward()      gradients are Caffe's

In training mode the module is Caffe's phase TRAIN, in eval mode phase TEST of the same layers. Its parameters and
buffers are Caffe's own blobs in Caffe's own order of values, BatchNorm's sums and scale factor among them
(`learnables`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from converter.building.build import build
from converter.building.parameters import MakeParameter, StartingParameters
from converter.graph import Graph
from converter.node import placed
from converter.options import Options
from converter.targets.torch_model import EmittedModel, Training, emit_torch, learning_rates, live_module
from converter.training.learnable import Learnable
from converter.training.objective import loss_weights, scores_of, training_outputs
from prototxt import Net
from prototxt.errors import Position, RequestError, UnsupportedError
from weights import Weights

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Trainable:
    """A module and what Caffe calls its parts.

    Attributes:
        module: in training mode; `forward` takes the net's inputs in order and gives a dict of blobs.
        learnables: Caffe's learnable blobs, in its order.
        inputs: names of the blobs that `forward` takes.
        graph: the net behind it.
        started: layers that the weights lack, which begin with what the net's fillers say.
    """

    module: torch.nn.Module
    learnables: tuple[Learnable, ...]
    inputs: tuple[str, ...]
    graph: Graph
    started: tuple[str, ...] = ()

    def keys(self, net: Net) -> dict[tuple[str, int], str]:
        """The state_dict key of each layer's blob by (layer, index); a shared one stands under every sharer."""
        keys = {(each.layer, each.index): each.key for each in self.learnables}
        owners: dict[str, tuple[str, int]] = {}
        for layer in net.layers:
            for index, spec in enumerate(layer.param.param):
                owner = owners.setdefault(spec.name, (layer.name, index)) if spec.name else (layer.name, index)
                if owner in keys:
                    keys.setdefault((layer.name, index), keys[owner])
        return keys


def trainable(net: Net, weights: Weights | None, *, options: Options | None = None, seed: int = 0) -> Trainable:
    """The module of a training net.

    Args:
        net: loaded in phase TRAIN.
        weights: what it starts from, by layer name; layers that these lack start from the net's fillers, as in Caffe
            (where the net states none, 0).
        options: input shapes and outputs, which come beside every blob that no layer reads or that has a loss weight.
        seed: of the fillers' random numbers, which are numpy's.

    Raises:
        RequestError: the net has no loss, and no outputs are asked for.
        CaffeModelError: see `prototxt.errors` for the tree.
        MissingDependencyError: torch is not installed.

    Example:
        >>> import torch
        >>> net = resnet_convert.load_net("examples/digits/train_val.prototxt", phase="TRAIN")
        >>> shapes = resnet_convert.Options(input_shapes={"data": (8, 1, 16, 16), "label": (8,)})
        >>> made = resnet_convert.trainable(net, None, options=shapes)
        >>> made.inputs, len(made.learnables)
        (('data', 'label'), 74)
        >>> outputs = made.module(torch.zeros(8, 1, 16, 16), torch.zeros(8))
        >>> made.module.objective(outputs).backward()
    """
    options, training = options or Options(), training_of(net)
    check_has_loss(net, training, options.outputs)
    make = StartingParameters(seed)
    graph = training_graph(net, weights, options, make)
    model = emit_torch(graph, training=training)
    module = live_module(model).train()
    return Trainable(
        module, learnables(graph, model), tuple(value.blob for value in graph.inputs), graph, tuple(make.made)
    )


def training_of(net: Net) -> Training:
    """How the net is trained: by which losses, and whether gradients flow everywhere."""
    return Training(loss_weights(net), net.message.force_backward)


def check_has_loss(net: Net, training: Training, outputs: Sequence[str]) -> None:
    """Refuse a net whose training would lower nothing, and say how to go on.

    Raises:
        RequestError: no blob has a loss weight, and no outputs are asked for, on which the caller puts a loss.
    """
    if training.loss_weights or outputs:
        return
    found = scores_of(net)
    message = "the net has no loss to train by; is there a training net (train_val.prototxt)?"
    if found:
        loss = f"torch.nn.functional.cross_entropy(outputs[{found!r}], labels)"
        message += (
            f" Without one, put a loss on its scores in PyTorch: ask for them with --outputs {found} "
            f"(Options(outputs=[{found!r}])) and train by {loss}"
        )
    else:
        ends = ", ".join(training_outputs(net))
        message += " Without one, ask for what your own loss reads with --outputs"
        message += f" (the net ends in {ends})" if ends else ""
    raise RequestError(f"{message}; docs/training.md, 'From a deploy net', has an example", position=Position(net.path))


def training_graph(net: Net, weights: Weights | None, options: Options, make: MakeParameter) -> Graph:
    """The graph of a training net with all its losses and what is asked for beside them, nothing folded."""
    outputs = list(dict.fromkeys([*training_outputs(net), *options.outputs]))
    return build(net, weights, input_shapes=options.input_shapes, outputs=outputs, make=make, training=True)


def learnables(graph: Graph, model: EmittedModel) -> tuple[Learnable, ...]:
    """Caffe's learnable blobs in its order, a shared one once.

    Raises:
        UnsupportedError: a layer whose blobs the module has in another form than Caffe.
    """
    found: list[Learnable] = []
    seen: set[int] = set()
    rates = learning_rates(graph)
    for node in graph.nodes:
        for index, tensor in enumerate(node.tensors.values()):
            if id(tensor.root) in seen:
                continue
            seen.add(id(tensor.root))
            key = model.keys.get(id(tensor.root))
            if key is None:
                raise placed(UnsupportedError("its weights have another form in PyTorch: it can't be trained"), node)
            shape = tuple(map(int, tensor.root.shape))
            found.append(Learnable(node.name, index, shape, key, *rates[id(tensor.root)]))
    return tuple(found)
