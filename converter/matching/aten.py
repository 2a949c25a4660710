"""What PyTorch's operators compute, as `torch.export` writes them down, in the words that frameworks share.

Each function takes what is known of its call and gives the part, or None where the call is of a kind that only PyTorch
has; what nobody here knows becomes a part in PyTorch's words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

from converter.matching.operation import Operation, pooling
from converter.matching.skeleton import NetPart


@dataclass(frozen=True)
class StateEntry:
    """A parameter or buffer of a module.

    Attributes:
        name: its key in the state dict.
        shape: in the state dict.
        turned: whether the operator reads its transpose.
        pieces: what it is one below the other, where it is none by itself.
    """

    name: str
    shape: tuple[int, ...]
    turned: bool = False
    pieces: tuple[StateEntry, ...] = ()


@dataclass(frozen=True)
class Aten:
    """One call of an operator.

    Attributes:
        name: the operator's, without namespace, overload and the underscore of those that work in place.
        given: its arguments by name, defaults too; parts, parameters (`StateEntry`) and plain values.
        shape: of its result.
    """

    name: str
    given: Mapping[str, Any]
    shape: tuple[int, ...]

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    @property
    def source(self) -> NetPart:
        """The first argument."""
        first: NetPart = next(iter(self.given.values()))
        return first


ReadCall = Callable[[Aten], "NetPart | StateEntry | None"]
R = TypeVar("R", bound=ReadCall)
READINGS: dict[str, ReadCall] = {}


def reads(*names: str) -> Callable[[R], R]:
    """Register a reading for some operators."""

    def enter(reading: R) -> R:
        READINGS.update(dict.fromkeys(names, reading))
        return reading

    return enter


def _made(call: Aten, operation: Operation, *sources: NetPart, **parameters: StateEntry | None) -> NetPart:
    held = {role: parameter for role, parameter in parameters.items() if parameter is not None}
    return NetPart(operation.kind, dict(operation.settings), list(sources), call.shape, held)


def _each(value: Sequence[int], axes: int) -> tuple[int, ...]:
    """One entry an axis of what may have one for all."""
    entries = tuple(map(int, value if isinstance(value, (list, tuple)) else [value]))
    return entries * axes if len(entries) == 1 else entries


@reads("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _convolution(call: Aten) -> NetPart | None:
    x, weight = call["input"], call["weight"]
    if not isinstance(weight, StateEntry) or weight.turned or not isinstance(x, NetPart):
        return None
    axes = len(weight.shape) - 2
    transposed = "transpose" in call.name
    if transposed and any(_each(call["output_padding"], axes)):
        return None
    channels, groups = x.shape[1], int(call["groups"])
    kernel, dilation, stride = weight.shape[2:], _each(call["dilation"], axes), _each(call["stride"], axes)
    if call["padding"] == "same":
        spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        padding = tuple((span // 2, span - span // 2) for span in spans)
    elif call["padding"] == "valid":
        padding = ((0, 0),) * axes
    else:
        padding = tuple((p, p) for p in _each(call["padding"], axes))
    settings = {
        "channels": channels,
        "features": weight.shape[1] * groups if transposed else weight.shape[0],
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "transposed": transposed,
    }
    return _made(call, Operation("weighted sum", settings), x, weight=weight, bias=call["bias"])


@reads("convolution")
def _of_convolution(call: Aten) -> NetPart | None:
    """What older versions of PyTorch, and decompositions, write for all of them."""
    given = dict(call.given)
    name = "conv_transpose" if given.pop("transposed") else "conv"
    return _convolution(Aten(name, given, call.shape))


def _linear(call: Aten, x: NetPart, weight: Any, bias: Any = None) -> NetPart | None:
    """`weight` as features × inputs."""
    if not isinstance(weight, StateEntry) or not isinstance(x, NetPart) or len(weight.shape) != 2 or len(x.shape) != 2:
        return None
    features = weight.shape[1] if weight.turned else weight.shape[0]
    settings = {"features": features, **({"stored": "inputs first"} if weight.turned else {})}
    return _made(call, Operation("weighted sum", settings), x, weight=weight, bias=bias)


@reads("linear")
def _of_linear(call: Aten) -> NetPart | None:
    return _linear(call, call["input"], call["weight"], call["bias"])


@reads("addmm")
def _of_addmm(call: Aten) -> NetPart | None:
    if call["alpha"] != 1 or call["beta"] != 1 or not isinstance(call["self"], StateEntry):
        return None
    return _linear(call, call["mat1"], turned(call["mat2"]), call["self"])


@reads("mm", "matmul")
def _of_mm(call: Aten) -> NetPart | None:
    x, matrix = call.given.values()
    return _linear(call, x, turned(matrix))


def turned(value: Any) -> Any:
    """A matrix's transpose; anything else as it is."""
    is_matrix = isinstance(value, StateEntry) and len(value.shape) == 2
    return StateEntry(value.name, value.shape, not value.turned) if is_matrix else value


@reads("t", "numpy_T", "transpose", "permute")
def _turning(call: Aten) -> NetPart | StateEntry | None:
    value = next(iter(call.given.values()))
    if isinstance(value, StateEntry):
        return turned(value) if len(value.shape) == 2 else None
    if call.name == "permute":
        order = tuple(int(axis) % len(value.shape) for axis in call["dims"])
        return _made(call, Operation("permutation", {"order": order}), value)
    if call.name == "transpose":
        order_list = list(range(len(value.shape)))
        a, b = int(call["dim0"]) % len(order_list), int(call["dim1"]) % len(order_list)
        order_list[a], order_list[b] = order_list[b], order_list[a]
        return _made(call, Operation("permutation", {"order": tuple(order_list)}), value)
    return None


@reads("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(call: Aten) -> NetPart | None:
    if call.given.get("training") or not isinstance(call["running_mean"], StateEntry):
        return None
    return _made(
        call,
        Operation("normalisation", {"eps": float(call["eps"])}),
        call["input"],
        gamma=call["weight"],
        beta=call["bias"],
        mean=call["running_mean"],
        variance=call["running_var"],
    )


@reads("relu", "leaky_relu", "relu6", "hardtanh", "clamp", "clamp_min")
def _rectifier(call: Aten) -> NetPart | None:
    slope, least, most = 0.0, 0.0, None
    if call.name == "leaky_relu":
        slope = float(call["negative_slope"])
    elif call.name == "relu6":
        most = 6.0
    elif call.name == "hardtanh":
        least, most = float(call["min_val"]), float(call["max_val"])
    elif call.name.startswith("clamp"):
        least, most = call["min"], call.given.get("max")
    if least is None or float(least) != 0:
        return None
    settings = {"slope": slope, "lower bound": None, "upper bound": None if most is None else float(most)}
    return _made(call, Operation("rectifier", settings), call.source)


@reads("pow", "square", "sqrt", "rsqrt", "reciprocal")
def _power(call: Aten) -> NetPart | None:
    by = {"square": 2.0, "sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0}.get(call.name, call.given.get("exponent"))
    return _made(call, Operation("power", {"by": float(by)}), call.source) if isinstance(by, (int, float)) else None


@reads("prelu", "_prelu_kernel")
def _learned_rectifier(call: Aten) -> NetPart | None:
    weight = call["weight"]
    if not isinstance(weight, StateEntry):
        return None
    return _made(call, Operation("learned rectifier", {"slopes": prod(weight.shape)}), call.source, weight=weight)


@reads("max_pool2d_with_indices", "max_pool3d_with_indices")
def _pooling_with_indices(call: Aten) -> NetPart | None:
    return _pooling(Aten(call.name.removesuffix("_with_indices"), call.given, call.shape))


@reads("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d")
def _pooling(call: Aten) -> NetPart | None:
    axes = int(call.name[-2])
    size, windows = call.source.shape[-axes:], call.shape[-axes:]
    kernel = _each(call["kernel_size"], axes)
    average = call.name.startswith("avg")
    if average and call.given.get("divisor_override"):
        return None
    operation = pooling(
        "average" if average else "maximum",
        size,
        kernel,
        _each(call["stride"] or kernel, axes),
        tuple((p, p) for p in _each(call["padding"], axes)),
        windows,
        counts_padding=bool(call.given.get("count_include_pad", True)),
        dilation=() if average else _each(call["dilation"], axes),
    )
    made = _made(call, operation, call.source)
    made.settings["rounds up"] = bool(call["ceil_mode"])
    return made


@reads("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def _adaptive_pooling(call: Aten) -> NetPart | None:
    axes = int(call.name[-2])
    size, windows = call.source.shape[-axes:], call.shape[-axes:]
    if any(before % after for before, after in zip(size, windows, strict=True)):
        return None
    kernel = tuple(before // after for before, after in zip(size, windows, strict=True))
    operation = pooling("average", size, kernel, kernel, ((0, 0),) * axes, windows, counts_padding=True)
    return _made(call, operation, call.source)


@reads("mean")
def _mean(call: Aten) -> NetPart | None:
    x = call.source
    axes = sorted(int(axis) % len(x.shape) for axis in call.given.get("dim") or range(len(x.shape)))
    if len(x.shape) < 3 or axes != list(range(2, len(x.shape))):
        return None
    size = x.shape[2:]
    ones = (1,) * len(size)
    operation = pooling("average", size, size, ones, ((0, 0),) * len(size), ones, counts_padding=True)
    pooled = _made(call, operation, x)
    pooled.map = (*x.shape[:2], *ones)
    return pooled


@reads("cat", "concat")
def _concatenation(call: Aten) -> NetPart | None:
    sources = call["tensors"]
    if not all(isinstance(source, NetPart) for source in sources):
        return None
    return _made(call, Operation("concatenation", {"axis": int(call["dim"]) % len(call.shape)}), *sources)


@reads("add", "mul", "maximum", "sub", "div")
def _arithmetic(call: Aten) -> NetPart | None:
    a, b = call["self"], call["other"]
    if isinstance(a, StateEntry) and isinstance(b, NetPart) and call.name in ("add", "mul"):
        a, b = b, a
    if call.given.get("alpha", 1) != 1 or not isinstance(a, NetPart):
        return None
    if isinstance(b, NetPart):
        kind = {"add": "addition", "mul": "multiplication", "maximum": "maximum", "div": "division"}.get(call.name)
        return None if kind is None else _made(call, Operation(kind), a, b)
    if isinstance(b, StateEntry) and b.shape and call.name in ("add", "mul") and _is_per_channel(b.shape, a.shape):
        role = {"add": ("summand", "bias"), "mul": ("factor", "weight")}[call.name]
        return _made(call, Operation(role[0]), a, **{role[1]: b})
    if isinstance(b, (int, float)) and call.name in ("add", "sub", "mul", "div"):
        neutral = 0 if call.name in ("add", "sub") else 1
        return _made(call, Operation("identity") if b == neutral else Operation(call.name, {"by": float(b)}), a)
    return None


def _is_per_channel(own: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a tensor of one shape, lined up from the last axis, has a value for each channel of the other."""
    lined = (*[1] * (len(shape) - len(own)), *own)
    return len(shape) > 1 and len(lined) == len(shape) and lined == (1, shape[1], *[1] * (len(shape) - 2))


@reads("flatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze", "view_as", "unflatten")
def _shape(call: Aten) -> NetPart | StateEntry | None:
    value = next(iter(call.given.values()))
    if isinstance(value, StateEntry):
        return None if value.turned else StateEntry(value.name, call.shape)
    made = _made(call, Operation("shape"), value)
    if len(call.shape) == 2 and len(value.shape) > 2 and call.shape[0] == value.shape[0]:
        made.map = value.map or value.shape
    return made


@reads(
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "contiguous",
    "clone",
    "alias",
    "detach",
    "to",
    "lift_fresh",
    "lift_fresh_copy",
)
def _identity(call: Aten) -> NetPart | StateEntry | None:
    value = next(iter(call.given.values()))
    return value if isinstance(value, StateEntry) else _made(call, Operation("identity"), value)


@reads("select")
def _select(call: Aten) -> NetPart | None:
    """An axis of one place less."""
    alone = call.source.shape[int(call["dim"])] == 1
    return _made(call, Operation("shape"), call.source) if alone else None


@reads("slice", "narrow")
def _slice(call: Aten) -> NetPart | None:
    x, axis = call.source, int(call["dim"])
    size = x.shape[axis]
    start = int(call["start"] or 0)
    start = min(start + size if start < 0 else start, size)
    if call.given.get("step", 1) != 1:
        return None
    if call.shape == x.shape:
        return _made(call, Operation("identity"), x)
    bounds = {"axis": axis % len(x.shape), "start": start, "stop": start + call.shape[axis]}
    return _made(call, Operation("slice", bounds), x)


@reads("softmax", "_softmax", "log_softmax")
def _softmax(call: Aten) -> NetPart | None:
    name = "log softmax" if "log" in call.name else "softmax"
    return _made(call, Operation(name, {"axis": int(call["dim"]) % len(call.shape)}), call.source)


@reads("sigmoid", "tanh", "abs", "softplus")
def _same_name(call: Aten) -> NetPart | None:
    return _made(call, Operation(call.name), call.source)


@reads("constant_pad_nd", "pad")
def _padding(call: Aten) -> NetPart | None:
    if call.name == "pad" and call["mode"] != "constant":
        return None
    pads = list(map(int, call["pad"]))
    sides = tuple((pads[2 * i], pads[2 * i + 1]) for i in reversed(range(len(pads) // 2)))
    return _made(call, Operation("padding", {"sides": sides, "value": float(call["value"] or 0.0)}), call.source)
