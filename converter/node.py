"""A layer and its place in the net: what every layer class gives, and the nodes and values of the graph.

A layer reads its parameters from the prototxt, has a shape rule, learned blobs and two emissions. It knows Caffe and
both targets, and imports neither torch nor onnx: emission records data through `OnnxOps` and `TorchOps`. A value is
written once, so nothing after the builder knows about in-place layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from converter.dims import Shape, format_shape
from converter.emission import OnnxOps, TorchOps
from converter.matching.operation import Operation
from converter.tensor import Array, Tensor
from converter.traits import Traits
from prototxt import NetLayer, Position
from prototxt.caffe_pb2 import FillerParameter, LayerParameter
from prototxt.errors import CaffeModelError
from prototxt.sections import Default

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


class Origin(NamedTuple):
    """The Caffe layer that a node came from."""

    name: str
    type: str
    position: Position
    source: NetLayer | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.type})"


@dataclass(eq=False, repr=False, slots=True)
class Value:
    """One blob at one moment.

    Attributes:
        name: unique in the graph and in UTF-8; the last writer of a blob gives its value the blob's own name.
        shape: dimensions, some perhaps free.
        blob: the Caffe blob.
        tops: `(layer, top)` pairs that this value is the numbers of; empty for a value that Caffe does not have.
        producer: None for an input of the graph.
    """

    name: str
    shape: Shape
    blob: str
    tops: list[tuple[str, str]] = field(default_factory=list)
    producer: Node | None = None


@dataclass(eq=False, repr=False, slots=True)
class Node:
    """One layer at work: what it reads, what it writes, its constants by parameter name, and where it came from.

    A node without origins is no layer of the net: it gives the memory of a blob, in the blob's shape, once a layer in
    place on another blob has written there. `cautions` are for the user, as `Layer.caution` is.
    """

    layer: Layer
    inputs: list[Value]
    outputs: list[Value]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    origins: tuple[Origin, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the first Caffe layer that the node came from."""
        return self.origins[0].name if self.origins else self.outputs[0].name

    @property
    def shape(self) -> Shape:
        """Dimensions of the first input."""
        return self.inputs[0].shape

    def __str__(self) -> str:
        outs = ", ".join(f"{v.name}: {format_shape(v.shape)}" for v in self.outputs)
        ins = ", ".join(v.name for v in self.inputs)
        return f"{outs or '()'} = {self.layer}({ins})  # {' + '.join(map(str, self.origins))}"


def maker(node: Node) -> Origin:
    """The Caffe layer whose numbers a node's outputs are: its own, or the one that wrote the memory it gives again."""
    while not node.origins and node.inputs[0].producer is not None:
        node = node.inputs[0].producer
    return node.origins[0]


def placed(error: CaffeModelError, node: Node) -> CaffeModelError:
    """The error of an emission with the layer and the line that it is about."""
    if error.layer is None and node.origins:
        origin = node.origins[0]
        error.layer, error.layer_type, error.position = origin.name, origin.type, origin.position
    return error


class Parameter(NamedTuple):
    """One learnable blob of a layer: its name in the written files, its shape, and the filler the net states."""

    name: str
    shape: Shape
    filler: FillerParameter | None = None


Read = TypeVar("Read", bound=Callable[..., Any])


def by_message_alone(read: Read) -> Read:
    """Mark a `Layer.read` that looks at nothing but the message, the dialect, and how many bottoms and tops there are.

    What it gives then serves all layers that say the same under other names. The mark is the method's, not the class's:
    a subclass that reads otherwise has it only if it says so itself.
    """
    read.by_message_alone = True  # type: ignore[attr-defined]
    return read


def reads_message_alone(cls: type[Layer]) -> bool:
    """Whether a class's `read` is so marked."""
    return getattr(cls.read, "by_message_alone", False)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Layer(Traits):
    """Base of all layers; a subclass is a frozen dataclass of Caffe's own parameters.

    It becomes one when the first layer of it is made, since the code of a dataclass takes longer to generate than all
    else in a layer's file to load, and a net has layers of few types. It may say so itself as well.

    What others ask a layer whose type they don't know stands in `Traits`.

    Attributes:
        types: the Caffe type names that it serves.
        bottoms, tops: how many it takes, as (least, most).
        sections: of a plugin's layer: what stands in the prototxt that no known Caffe has (`prototxt.sections`).
        reads_first: whether Caffe's layer may work in place: it reads each value before it writes there.
        keeps_bottom: of a layer that `rereads`, whether in place it has the derivative all the same: it reads a copy of
            its own there. (Caffe's product of Eltwise loses the top's gradient in place, which is not followed.)
        tabulates: whether the model holds tables for it that grow with its bottoms and tops, or an operator for each
            step of them; these are made at once, so that such a layer has a limit (`LARGEST_TABULATED`). `tabulated`
            says which they grow with.
        writes_bottoms: whether Caffe's layer writes over its bottoms before it reads them; what, its `leader` says.
        leads: whether it is such a leader, no layer of a net itself.
        read_as: other classes that `read` may give a layer of, where the type has several forms.
        role: `layer`, or `input` for a layer that brings data in, or `loss` for one that is left out unless asked for.
    """

    types: ClassVar[tuple[str, ...]] = ()
    bottoms: ClassVar[tuple[int, int]] = (1, 1)
    tops: ClassVar[tuple[int, int]] = (1, 1)
    sections: ClassVar[Mapping[str, Mapping[str, Default]]] = {}
    reads_first: ClassVar[bool] = False
    keeps_bottom: ClassVar[bool] = False
    tabulates: ClassVar[bool] = False
    writes_bottoms: ClassVar[bool] = False
    leads: ClassVar[bool] = False
    read_as: ClassVar[tuple[type[Layer], ...]] = ()
    role: ClassVar[str] = "layer"

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for base in cls.__bases__:  # a dataclass by its own decorator looks for the fields of its bases at once
            _make_dataclass(base)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if cls not in _MADE:
            _make_dataclass(cls)
        return super().__new__(cls)

    # Made anew for each class, these are what a conversion would wait for the longest.

    def __eq__(self, other: object) -> bool:
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(_values(self))

    def __repr__(self) -> str:
        shown = ", ".join(f"{entry.name}={getattr(self, entry.name)!r}" for entry in _entries(self) if entry.repr)
        return f"{type(self).__qualname__}({shown})"

    @classmethod
    def read(cls, source: NetLayer) -> Layer:
        """The layer as the prototxt states it, as a rule of this class; NetError or UnsupportedError where it can't."""
        return cls()

    @property
    def caution(self) -> str:
        """What the user should know though nothing fails, to be read behind the layer's name; empty for nothing."""
        return ""

    def caution_at(self, inputs: Sequence[Shape]) -> str:
        """The same where the shapes of the bottoms matter to it."""
        return self.caution

    @property
    def in_place(self) -> str:
        """What to know of a top that is written over its bottom; empty where Caffe reads each value first."""
        return "" if self.reads_first else WRITES_FIRST

    @classmethod
    def memory(cls, source: NetLayer) -> Sequence[int]:
        """Where Caffe's layer puts each top: a place among its bottoms and, behind them, its tops; by default its own.

        Of a place that holds as many values as the top, the top has the memory; a layer in place there changes both.
        """
        return range(len(source.bottoms), len(source.bottoms) + len(source.tops))

    @property
    def untrainable(self) -> str:
        """Why a module with this layer can't be trained as Caffe trained it; empty where it can."""
        return ""

    @property
    def follower(self) -> LayerParameter | None:
        """A layer without parameters that runs on each top, and that a fork has as one with this."""
        return None

    @property
    def leader(self) -> Layer | None:
        """A layer without parameters that runs on each bottom before this one and writes over it."""
        return None

    def told_by(self, blobs: Sequence[Shape]) -> Layer:
        """The layer as its stored blobs show it to be, where the prototxt alone leaves several forms open."""
        return self

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        """Shapes of the tops; NetError where Caffe would refuse the bottoms. By default a top is as its bottom."""
        return list(inputs)

    def tabulated(self, inputs: Sequence[Shape], tops: Sequence[Shape]) -> Sequence[Shape]:
        """The shapes that its tables grow with: of all blobs, unless a layer knows better."""
        return [*inputs, *tops] if self.tabulates else []

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        """The learnable blobs, in the order of the caffemodel."""
        return ()

    def as_convolution(
        self, node: Node, source: NetLayer, param: LayerParameter, window: tuple[int, int, int]
    ) -> list[Tensor]:
        """Of a layer that `sums_from` the channels on, make its message that of a Convolution; weight and bias.

        Args:
            node: the layer at work in the net as it is.
            source: the same in the prototxt, for errors.
            param: its message, to be changed.
            window: channels, height and width of the map that it sums over.

        Raises:
            UnsupportedError: it sums over other axes.
        """
        raise NotImplementedError(f"{type(self).__name__} sums over no map")

    def known(self, node: Node, inputs: Sequence[Array | None]) -> Array | None:
        """The numbers of the one top where they hang on none that is fed; `inputs` has those of bottoms, if known."""
        return None

    def multiply_adds(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        """Multiplications with an addition each, for all items of the batch."""
        return 0

    def computes(self, node: Node) -> Operation:
        """What it computes, in words that frameworks share; by default in words of its own (`matching.operation`)."""
        if self.acts_on == "shape":
            return Operation("shape")
        own = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.repr}  # type: ignore[arg-type]
        return Operation(f"Caffe's {node.origins[0].type}", own)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str | list[str]:
        """Record ONNX operators that read the values `x`; returns the name of each top."""
        raise NotImplementedError(f"{type(self).__name__} has no ONNX form")

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str | list[str]:
        """The same for a module that is trained: in Caffe's phase TRAIN while `training` is on, with its gradients."""
        return self.torch(t, node, *x)

    @property
    def rereads(self) -> bool:
        """Whether the layer's backward pass in Caffe reads its bottoms again: its gradients are then the derivative at
        what lies there once the whole forward pass is over.
        """
        return False

    @property
    def gradient_reads(self) -> str:
        """What of memory the layer's backward pass in Caffe reads, of its bottom `x` and its top `y`.

        Of a layer that says so, `caffe_gradient` is emitted where something else lies there in the end than when the
        layer ran; without it, and elsewhere, the gradient is the derivative.
        """
        return ""

    @property
    def has_own_gradient(self) -> bool:
        """Whether `caffe_gradient` is never the derivative."""
        return False

    @property
    def squares_in_place(self) -> bool:
        """Whether the backward pass first writes its factor where the bottom's gradient goes, and multiplies then.

        In place the top's gradient lies there: it is lost, and the factor is multiplied by itself.
        """
        return False

    @property
    def keeps_gradient_in_place(self) -> bool:
        """Whether `caffe_gradient` is the derivative where only the layer itself has written over its bottom.

        Of a layer whose gradient reads `x` alone: whether it reads the sign alone.
        """
        return False

    def caffe_gradient(self, t: TorchOps, node: Node, bottom: str) -> str:
        """The bottom's gradient in Caffe, as an expression of the top's, `dy`, and of what `gradient_reads` names."""
        raise NotImplementedError(f"{type(self).__name__} reads memory, but gives no gradient")

    def torch_from_memory(self, t: TorchOps, node: Node, bottom: str, places: Sequence[str]) -> str | list[str]:
        """`torch_in_training` with `caffe_gradient`; `places` are the lists that will have what it reads."""
        top = self.torch_in_training(t, node, f"{bottom}.detach()")
        gradient = self.caffe_gradient(t, node, bottom)
        if self.squares_in_place and is_over(node):
            gradient = f"({gradient.replace('dy', 'torch.ones_like(dy)', 1)}) ** 2"
        gradient = f"lambda {', '.join(('dy', *self.gradient_reads))}: {gradient}"
        return f"FromMemory.apply({', '.join((bottom, str(top), gradient, *places))})"

    def torch(self, t: TorchOps, node: Node, *x: str) -> str | list[str]:
        """Record modules and buffers; returns a Python expression over the variables `x` for each top."""
        raise NotImplementedError(f"{type(self).__name__} has no PyTorch form")


_MAKING = RLock()
"""A class of which another thread makes half is none to use."""

_MADE: set[type] = set()


def _make_dataclass(cls: type) -> None:
    with _MAKING:
        if issubclass(cls, Layer) and cls is not Layer and "__dataclass_fields__" not in vars(cls):
            dataclass(frozen=True, eq=False, repr=False)(cls)
        _MADE.add(cls)


def _entries(layer: Any) -> tuple[Field[Any], ...]:
    return fields(layer)


def _values(layer: Layer) -> tuple[Any, ...]:
    """What two layers of a class are compared by."""
    return tuple(getattr(layer, entry.name) for entry in _entries(layer) if entry.compare)


def is_over(node: Node) -> bool:
    """Whether a layer works in place, its first top over its first bottom."""
    source = node.origins[0].source
    return source is not None and source.bottoms[:1] == source.tops[:1]


WRITES_FIRST = (
    "works in place, where Caffe's layer writes over what it has still to read, so that its answer is undefined; "
    "here it reads first"
)


REFUSED = "works in place, which Caffe's layer of this type refuses; here it reads first"
