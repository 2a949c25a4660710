"""Caffe's side of a port: a ResNet out of weights with MSRA's layer names, and back into a `.caffemodel`.

    mean = blob 0 / f, variance = blob 1 / f        f: BatchNorm's stored scale factor, blob 2; 0 counts as 1/f := 0

Divided in float64 and cast once; with f = 1, as MSRA's files have it, the numbers stay bit for bit. Where the file
holds the net's settings as well, an `eps` that is not 1e-5 goes into the variance (variance + eps - 1e-5) and the place
of the stride is read; a file without settings is taken to be MSRA's.

In 101 and 152 MSRA numbers the blocks of a long stage (`res3b1`); files that go on with letters are read as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from prototxt import caffe_pb2, resnet
from prototxt.errors import CaffeModelError, Position, WeightsError, raise_all
from prototxt.resnets import IMAGENET_BLOCKS
from prototxt.words import format_shape, listed, named, plural
from weights.layouts.arrays import LazyArray, held
from weights.layouts.family import (
    DEPTHS,
    EPS,
    Head,
    ResNet,
    Role,
    Stride,
    Unit,
    bias_of,
    features,
    parsed,
    units,
    without_bias,
)
from weights.layouts.settings import StoredSettings, read_settings
from weights.model import Blob, LayerRecord, LayerWeights, Shape, Weights

_Key = tuple[int, int, str]


def read(weights: Weights) -> ResNet:
    """The ResNet that a weight file holds under MSRA's layer names.

    Raises:
        WeightsError: it holds no such net, one of another depth, or layers that are absent or of another shape.
        ErrorGroup: several of these.
    """
    return _Reader(weights).resnet()


def is_msra(weights: Weights) -> bool:
    """Whether the layers are named like those of MSRA's ResNets."""
    return weights.get("res2a_branch2a") is not None and weights.get("bn2a_branch2a") is not None


class _Reader:
    """One look through a weight file, with every fault noted."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._errors: list[CaffeModelError] = []
        self._absent: list[str] = []

    def resnet(self) -> ResNet:
        convolutions = self._convolutions()
        depth = self._depth(convolutions)
        settings = read_settings(self._weights.path)
        known = {(unit.stage, unit.block, unit.branch): unit for unit in units(depth)}
        for key in convolutions.keys() - known.keys():
            self._fault(f"is of no layer of ResNet-{depth}, but the file has it", convolutions[key].name)
        found: dict[Unit, Mapping[Role, LazyArray]] = {}
        used = set()
        for key, unit in known.items():
            conv = convolutions.get(key)
            name = conv.name if conv is not None else unit.conv
            names = [name, *(f"{kind}{name.removeprefix('res')}" for kind in ("bn", "scale"))]
            if not key[2]:
                names = [unit.conv, unit.norm, unit.affine]
            used.update(names)
            roles = self._unit(unit, names, settings.eps.get(names[1], EPS))
            if roles is not None:
                found[unit] = roles
        head, name = self._head(depth, used)
        self._raise_faults()
        rest = tuple(layer.name for layer in self._weights.layers if layer.blobs and layer.name not in used | {name})
        return ResNet(depth, found, head, _stride(convolutions, settings), rest)

    def _convolutions(self) -> dict[_Key, LayerWeights]:
        found: dict[_Key, LayerWeights] = {}
        for layer in self._weights.layers:
            if not layer.blobs:
                continue
            try:
                key = parsed(layer.name)
            except ValueError:
                continue
            before = found.get(key, layer).name
            if before != layer.name:
                self._fault(f"names the same convolution as {before!r}", layer.name)
                continue
            found[key] = self._weights.get(layer.name) or layer
        return found

    def _depth(self, convolutions: Mapping[_Key, LayerWeights]) -> int:
        stages = {stage: {block for at, block, _ in convolutions if at == stage} for stage in (2, 3, 4, 5)}
        counts = tuple(len(blocks) for blocks in stages.values())
        if not any(counts):
            raise self._error("holds no ResNet with MSRA's layer names: it has no res2a_branch2a")
        bottleneck = any(branch == "2c" for *_, branch in convolutions)
        for depth in DEPTHS:
            if IMAGENET_BLOCKS[depth] == counts and (depth >= 50) == bottleneck:
                return depth
        kind = "bottleneck" if bottleneck else "basic"
        depths = listed(list(map(str, DEPTHS)), "or")
        raise self._error(
            f"has {', '.join(map(str, counts))} {kind} blocks in stages 2 to 5, as no ResNet of depth {depths} has"
        )

    def _unit(self, unit: Unit, names: Sequence[str], eps: float) -> dict[Role, LazyArray] | None:
        blobs = [self._blobs(name, counts) for name, counts in zip(names, ((1, 2), (3,), (2,)), strict=True)]
        if any(found is None for found in blobs):
            return None
        conv, norm, affine = (found or () for found in blobs)
        vector = (unit.outputs,)
        roles: dict[Role, LazyArray] = {"weight": self._array(names[0], conv[0], unit.shape)}
        if len(conv) > 1:
            roles["bias"] = self._array(names[0], conv[1], vector)
        mean, variance = (self._array(names[1], blob, vector) for blob in norm[:2])
        factor = self._array(names[1], norm[2], (1,))
        roles["mean"] = divided(mean, factor)
        roles["variance"] = divided(variance, factor, _shift_of(eps))
        roles["scale"], roles["shift"] = (self._array(names[2], blob, vector) for blob in affine)
        return roles

    def _blobs(self, name: str, counts: tuple[int, ...]) -> tuple[Blob, ...] | None:
        layer = self._weights.get(name)
        if layer is None or not layer.blobs:
            self._absent.append(name)
            return None
        if len(layer.blobs) not in counts or not all(blob.stored for blob in layer.blobs):
            wanted = listed(list(map(str, counts)), "or")
            self._fault(f"has {plural(sum(blob.stored for blob in layer.blobs), 'blob')}; expected {wanted}", name)
            return None
        return layer.blobs

    def _array(self, name: str, blob: Blob, shape: Shape) -> LazyArray:
        """A blob as `shape`; one of the old form may have 1s in front."""
        ones = len(blob.shape) - len(shape)
        if prod(blob.shape) != prod(shape) or blob.shape not in (shape, (1,) * ones + shape, shape + (1,) * ones):
            self._fault(f"a blob is {format_shape(blob.shape)}; expected {format_shape(shape)}", name)
        return LazyArray(shape, blob.read)

    def _head(self, depth: int, used: set[str]) -> tuple[Head | None, str]:
        """The one layer that reads the last block's channels, and its name; none where there are several or none."""
        width = features(depth)
        layers = [layer for layer in self._weights.layers if layer.name not in used and _is_head(layer, width)]
        if len({layer.name for layer in layers}) != 1:
            return None, ""
        layer = layers[-1]
        classes = prod(layer.blobs[0].shape) // width
        weight = self._array(layer.name, layer.blobs[0], (classes, width))
        if len(layer.blobs) > 1:
            bias = self._array(layer.name, layer.blobs[1], (classes,))
        else:
            bias = held(np.zeros(classes, np.float32))
        return Head(weight, bias), layer.name

    def _fault(self, message: str, layer: str) -> None:
        self._errors.append(WeightsError(message, position=Position(self._weights.path), layer=layer))

    def _error(self, message: str) -> WeightsError:
        return WeightsError(message, position=Position(self._weights.path))

    def _raise_faults(self) -> None:
        if self._absent:
            count, names = plural(len(self._absent), "layer"), named(self._absent, 8)
            self._errors.insert(0, self._error(f"has no weights for {count} of the net: {names}"))
        raise_all(self._errors)


def _is_head(layer: LayerWeights, width: int) -> bool:
    if layer.type not in ("", "InnerProduct") or len(layer.blobs) not in (1, 2):
        return False
    shape = layer.blobs[0].shape
    return len(shape) >= 2 and shape[-1] == width and all(dim == 1 for dim in shape[:-2])


def _stride(convolutions: Mapping[_Key, LayerWeights], settings: StoredSettings) -> Stride | None:
    """Where the first block of stage 3 has its stride; a basic block has no 1×1 to put it in."""
    first, second, third = (convolutions.get((3, 0, branch)) for branch in ("2a", "2b", "2c"))
    if first is None or second is None or third is None:
        return None
    return settings.stride(first.name, second.name)


def _shift_of(eps: float) -> float:
    """What makes a variance right for an eps of 1e-5; `eps` was stored in float32."""
    return 0.0 if np.float32(eps) == np.float32(EPS) else float(eps) - EPS


def divided(sums: LazyArray, factor: LazyArray, shift: float = 0.0) -> LazyArray:
    """BatchNorm's stored sums over its factor, in float64, plus `shift`; factor 0 gives 0, factor 1 the same bits."""

    def read() -> npt.NDArray[Any]:
        by = float(factor.array()[0])
        if by == 1 and not shift:
            return sums.array()
        return np.zeros(sums.shape) + shift if by == 0 else sums.wide() / by + shift

    return LazyArray(sums.shape, read)


def records(net: ResNet, message: caffe_pb2.NetParameter) -> Iterator[LayerRecord]:
    """The layers of a `.caffemodel` with the settings of a net that `caffe_net` gave; BatchNorm's factor is 1.

    A bias that MSRA's net has no place for goes into the mean. The first layer is an Input, so that the file is a net.
    """
    by_layer: dict[str, tuple[Blob, ...]] = {}
    one = Blob((1,), False, lambda: np.ones(1, np.float32))
    for unit, given in net.units.items():
        roles = dict(given) if unit.bias else without_bias(given)
        bias = (_blob(bias_of(roles, unit.outputs)),) if unit.bias else ()
        by_layer[unit.conv] = (_blob(roles["weight"]), *bias)
        by_layer[unit.norm] = (_blob(roles["mean"]), _blob(roles["variance"]), one)
        by_layer[unit.affine] = (_blob(roles["scale"]), _blob(roles["shift"]))
    if net.head is not None:
        by_layer[f"fc{net.classes}"] = (_blob(net.head.weight), _blob(net.head.bias))
    first = caffe_pb2.LayerParameter(name="data", type="Input", top=["data"])
    first.input_param.shape.add(dim=message.input_dim)
    for layer in (first, *message.layer):
        yield LayerRecord(layer.name, layer.type, by_layer.get(layer.name, ()), layer.SerializeToString())


def caffe_net(
    net: ResNet, *, stride: Stride = "1x1", padded_pool: bool = False, eps: float = EPS
) -> caffe_pb2.NetParameter:
    """The Caffe net for a ResNet, by default MSRA's; without a head it ends in `pool5`.

    Args:
        net: the parameters.
        stride: which convolution of a bottleneck has its stride; "3x3" in torchvision and timm.
        padded_pool: whether the first pooling is padded by 1 and rounds down, as in most frameworks.
        eps: BatchNorm's; 1.001e-5 in Keras.
    """
    message = resnet(net.depth, net.classes)
    if net.head is None:
        del message.layer[-2:]
    for layer in message.layer:
        if layer.name == "pool1" and padded_pool:
            layer.pooling_param.pad = 1
            layer.pooling_param.round_mode = caffe_pb2.PoolingParameter.FLOOR
        elif layer.type == "Convolution" and net.bottleneck and stride == "3x3":
            _move_stride(layer)
        elif layer.type == "BatchNorm" and eps != EPS:
            layer.batch_norm_param.eps = eps
    return message


def _move_stride(layer: caffe_pb2.LayerParameter) -> None:
    stage, block, branch = parsed(layer.name)
    if stage > 2 and block == 0 and branch in ("2a", "2b"):
        layer.convolution_param.stride[0] = 2 if branch == "2b" else 1


def _blob(array: LazyArray) -> Blob:
    return Blob(array.shape, False, array.array)
