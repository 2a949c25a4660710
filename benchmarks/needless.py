"""What onnxsim leaves out of an ONNX file, operator by operator, and for each the reason why the file has it.

A reason holds for an operator in its surroundings: what makes its inputs, what reads its result, whether that is a blob
of Caffe's. No type of operator has one as such: an Add of 0 is a fault, also in a net that has an Add with a reason.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from converter.constants import ROOM

VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


class Surroundings:
    """A model as the patterns look at it."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.outputs = {value.name for value in model.graph.output}
        self.nodes = list(all_nodes(model.graph.node))
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}

    @cached_property
    def blobs(self) -> set[str]:
        """Values that are blobs of Caffe's."""
        metadata = {entry.key: entry.value for entry in self.model.metadata_props}
        return {name for name, *_ in json.loads(metadata.get("resnet_convert.tops", "[]"))}

    @cached_property
    def _shapes(self) -> dict[str, tuple[int | str, ...]]:
        graph = onnx.shape_inference.infer_shapes(self.model, data_prop=True).graph
        shapes: dict[str, tuple[int | str, ...]] = {name: tuple(t.dims) for name, t in self._constants.items()}
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.tensor_type.HasField("shape"):
                sizes = value.type.tensor_type.shape.dim
                shapes[value.name] = tuple(size.dim_param or size.dim_value for size in sizes)
        return shapes

    def shape(self, name: str) -> tuple[int | str, ...] | None:
        """A value's shape, None where it cannot be told without running the model."""
        return self._shapes.get(name)

    def constant(self, name: str) -> npt.NDArray[np.generic] | None:
        """An initializer's values, None for what is none."""
        return numpy_helper.to_array(self._constants[name]) if name in self._constants else None

    def factor(self, node: NodeProto, neutral: float) -> bool:
        """Whether an operator has a constant operand that is not `neutral` all over."""
        operands = [self.constant(name) for name in node.input]
        return any(values is not None and bool((values != neutral).any()) for values in operands)


def all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The operators, and those that a Loop runs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_nodes(attribute.g.node)


@dataclass(frozen=True)
class Reason:
    """Why an operator stays, and the pattern for which that is so."""

    why: str
    kinds: Collection[str]
    holds: Callable[[Surroundings, NodeProto], bool]


def _is_view_of_blob(model: Surroundings, node: NodeProto) -> bool:
    """It makes one of two blobs, the same but for their shape, or brings the second into the shape its reader takes."""
    bottom, top = node.input[0], node.output[0]
    before, after = model.shape(bottom), model.shape(top)
    if bottom not in model.blobs or before is None or after is None or before == after:
        return False
    maker = model.makers.get(bottom)
    return top in model.blobs or (maker is not None and maker.op_type in VIEWS)


def _reads_constant_blob(model: Surroundings, node: NodeProto) -> bool:
    if node.op_type == "Slice":
        maker = model.makers.get(node.input[0])
        return maker is not None and maker.op_type == "Reshape" and _reads_constant_blob(model, maker)
    return node.input[0] in model.blobs and model.constant(node.input[0]) is not None


def _is_product_of_three_axes(model: Surroundings, node: NodeProto) -> bool:
    """It is one, adds a bias to one, or gives what only such read the three axes."""
    if node.op_type == "Reshape":
        readers = model.readers[node.output[0]]
        changes = model.shape(node.input[0]) != model.shape(node.output[0])
        return changes and all(r.op_type == "MatMul" and _is_product_of_three_axes(model, r) for r in readers)
    if node.op_type == "Add":
        makers = [model.makers[name] for name in node.input if name in model.makers]
        products = [maker for maker in makers if maker.op_type == "MatMul" and model.factor(node, 0)]
        return any(_is_product_of_three_axes(model, product) for product in products)
    left, right = map(model.shape, node.input)
    return left is not None and len(left) == 3 and right is not None and len(right) == 2


def _follows_shared_weights(model: Surroundings, node: NodeProto) -> bool:
    """Only a BatchNormalization, or a Mul by what is not 1, stands between it and a convolution's shared weights."""
    if node.op_type == "Mul" and not model.factor(node, 1):
        return False
    makers = [model.makers[name] for name in node.input if name in model.makers]
    if len(makers) != 1:
        return False
    if makers[0].op_type == "Conv":
        return len(model.readers[makers[0].input[1]]) > 1
    return makers[0].op_type == "BatchNormalization" and _follows_shared_weights(model, makers[0])


def _is_blob_before_convolution(model: Surroundings, node: NodeProto) -> bool:
    readers = model.readers[node.output[0]]
    return node.output[0] in model.blobs and model.factor(node, 1) and all(r.op_type == "Conv" for r in readers)


def _is_large_table(model: Surroundings, node: NodeProto) -> bool:
    value, size = map(model.constant, node.input)
    return value is not None and size is not None and int(np.prod(size)) * value.itemsize > ROOM


def _pads_convolution_of_one(model: Surroundings, node: NodeProto) -> bool:
    readers, pads = model.readers[node.output[0]], model.constant(node.input[1])
    windows = [model.shape(reader.input[1]) for reader in readers if reader.op_type == "Conv"]
    return (
        pads is not None
        and bool(pads.any())
        and len(windows) == len(readers)
        and {window and window[2:] for window in windows} <= {(1, 1)}
    )


def _takes_last(model: Surroundings, node: NodeProto) -> bool:
    return any(attribute.name == "select_last_index" and attribute.i for attribute in node.attribute)


def _is_constant_output(model: Surroundings, node: NodeProto) -> bool:
    return node.output[0] in model.outputs and model.constant(node.input[0]) is not None


REASONS = (
    Reason(
        "a blob of Caffe's that is another in another shape: it costs nothing, and a check wants to see it",
        VIEWS,
        _is_view_of_blob,
    ),
    Reason(
        "reads prior boxes, a constant that is a blob of Caffe's: detections hang on it, and a check wants to see it",
        ("Reshape", "Slice"),
        _reads_constant_blob,
    ),
    Reason(
        "a product of three axes would become a Gemm between two Reshapes: no fewer",
        ("MatMul", "Add", "Reshape"),
        _is_product_of_three_axes,
    ),
    Reason(
        "weights that layers share are not rewritten for one of them",
        ("BatchNormalization", "Mul"),
        _follows_shared_weights,
    ),
    Reason(
        "a blob of Caffe's, which would be lost in the weights of the convolution behind it",
        ("Mul",),
        _is_blob_before_convolution,
    ),
    Reason(
        f"a table of one number of more than {ROOM >> 10} kB: as an operator it is shorter",
        ("Expand",),
        _is_large_table,
    ),
    Reason(
        "OpenCV 5.0 leaves the border of a padded 1×1 convolution unwritten: another operator pads",
        ("Pad",),
        _pads_convolution_of_one,
    ),
    Reason("the last of equals; without the attribute it takes three operators", ("ArgMax",), _takes_last),
    Reason("an output of the model that is a constant", ("Identity",), _is_constant_output),
)


def gone(model: ModelProto, simple: ModelProto) -> list[NodeProto]:
    """The operators that a simpler form of a model does without; those that stay keep their names."""
    kept = {(node.name, node.op_type) for node in all_nodes(simple.graph.node)}
    return [node for node in all_nodes(model.graph.node) if (node.name, node.op_type) not in kept]


def reason(surroundings: Surroundings, node: NodeProto) -> Reason | None:
    """The first that holds."""
    return next((r for r in REASONS if node.op_type in r.kinds and r.holds(surroundings, node)), None)


NEEDLESS = ("Add", "Mul", "Identity", "Reshape", "Transpose", "Pad", "Cast")


def with_needless(model: ModelProto, value: str, shape: Sequence[int], kind: str) -> ModelProto:
    """The model with an operator that changes nothing between a value and all that read it; its name is `needless`."""
    planted = ModelProto()
    planted.CopyFrom(model)
    operand = {
        "Add": np.zeros(1, np.float32),
        "Mul": np.ones(1, np.float32),
        "Reshape": np.asarray(shape, np.int64),
        "Pad": np.zeros(2 * len(shape), np.int64),
    }.get(kind)
    names = [value] if operand is None else [value, "needless/operand"]
    if operand is not None:
        planted.graph.initializer.append(numpy_helper.from_array(operand, names[1]))
    for node in all_nodes(planted.graph.node):
        node.input[:] = ["needless/value" if name == value else name for name in node.input]
    more = {"Transpose": {"perm": list(range(len(shape)))}, "Cast": {"to": onnx.TensorProto.FLOAT}}.get(kind, {})
    made = onnx.helper.make_node(kind, names, ["needless/value"], "needless", **more)
    behind = [place for place, node in enumerate(planted.graph.node) if value in node.output]
    planted.graph.node.insert(behind[0] + 1 if behind else 0, made)
    return planted
