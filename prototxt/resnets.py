"""The networks of "Deep Residual Learning for Image Recognition" (He, Zhang, Ren, Sun 2015) as Caffe nets.

    ImageNet, 224×224   18, 34 basic blocks;  50, 101, 152 bottlenecks
    CIFAR, 32×32        20, 32, 44, 56, 110, 1202 = 6n + 2, basic blocks

Layer names are MSRA's: `res3b_branch2a` with `bn3b_branch2a` and `scale3b_branch2a`, `fc1000`. In 101 and 152 the
blocks of a stage longer than three are a, b1, b2, …; elsewhere a, b, c, … (but in 1202, where the letters run out). For
50, 101 and 152 the nets equal MSRA's published `ResNet-*-deploy.prototxt` field by field: the inputs are the old
`input_dim` fields, a stage's stride sits in its first 1×1 convolutions, and conv1 has a bias in 50 only.

MSRA published no others. Where the paper leaves a choice, it is made like this:

    18, 34   option B, as the published 11.69 M and 21.80 M parameters have it: a 1×1 projection where the width grows,
             so none in res2a; the stride sits in the block's first 3×3 convolution
    CIFAR    option A, without parameters: every second row and column, then as many channels of zeros. In Caffe's
             layers: a 1×1 MAX pooling of stride 2 (round_mode FLOOR, since Caffe would round 15.5 up; forks call it
             ceil_mode: false), a Power of scale 0 for the zeros, and a Concat named like the projection, res3a_branch1
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Literal

from prototxt import caffe_pb2
from prototxt.errors import RequestError

IMAGENET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Depth -> number of blocks of stages 2 to 5."""

CIFAR_DEPTHS = (20, 32, 44, 56, 110, 1202)
"""Depths 6n + 2 of the paper's CIFAR nets: n blocks in each of the stages 2 to 4."""

Phase = Literal["deploy", "train"]


def resnet(
    depth: int, classes: int | None = None, *, phase: Phase = "deploy", batch: int = 1
) -> caffe_pb2.NetParameter:
    """A net of the paper's family.

    Args:
        depth: 18, 34, 50, 101 or 152 for ImageNet; 20, 32, 44, 56, 110 or 1202 for CIFAR.
        classes: width of the last layer, `fc<classes>`; by default 1000 (ImageNet) or 10 (CIFAR).
        phase: "deploy" ends in `prob` and has fixed statistics, as MSRA's files. "train" takes `label` too, has msra
            fillers, statistics by phase, SoftmaxWithLoss and an Accuracy in TEST.
        batch: images at once; the input `data` is batch×3×224×224, or batch×3×32×32.

    Returns:
        The net in Caffe's present form, apart from the input fields.

    Raises:
        RequestError: a depth that the paper does not have, another phase, or a count below 1 or above 2³¹ - 1.

    Example:
        >>> net = resnet_convert.resnet(50)
        >>> net.name, len(net.layer)
        ('ResNet-50', 228)
    """
    if depth not in IMAGENET_BLOCKS and depth not in CIFAR_DEPTHS:
        known = ", ".join(map(str, sorted([*IMAGENET_BLOCKS, *CIFAR_DEPTHS])))
        raise RequestError(f"no ResNet-{depth} in the paper; expected a depth of {known}")
    cifar = depth in CIFAR_DEPTHS
    classes = (10 if cifar else 1000) if classes is None else classes
    for name, value in (("classes", classes), ("batch", batch)):
        if not 1 <= value < 1 << 31:
            raise RequestError(f"{name} is {value}; expected 1 to {(1 << 31) - 1}")
    if phase not in ("deploy", "train"):
        raise RequestError(f"unknown phase {phase!r} for a ResNet; expected 'deploy' or 'train'")
    builder = _Builder(caffe_pb2.NetParameter(name=f"ResNet-{depth}"), train=phase == "train")
    builder.inputs(batch, 32 if cifar else 224)
    features, window = _cifar_body(builder, depth) if cifar else _imagenet_body(builder, depth)
    builder.pool("pool5", features, caffe_pb2.PoolingParameter.AVE, window, 1)
    builder.head("pool5", classes)
    return builder.net


def _imagenet_body(builder: _Builder, depth: int) -> tuple[str, int]:
    """conv1 to stage 5; the last blob and its height."""
    builder.convolution("conv1", "data", 64, kernel=7, stride=2, bias=depth == 50)
    builder.add("ReLU", "conv1_relu", ["conv1"], "conv1")
    builder.pool("pool1", "conv1", caffe_pb2.PoolingParameter.MAX, 3, 2)
    blob, channels = "pool1", 64
    for block in _blocks(IMAGENET_BLOCKS[depth], 64, numbered=depth in (101, 152)):
        if depth >= 50:
            blob = _bottleneck(builder, block, blob, project=channels != 4 * block.width)
            channels = 4 * block.width
        else:
            shortcut = _projection(builder, block, blob, block.width) if channels != block.width else blob
            blob = _basic(builder, block, blob, shortcut)
            channels = block.width
    return blob, 7


def _cifar_body(builder: _Builder, depth: int) -> tuple[str, int]:
    """conv1 to stage 4; the last blob and its height."""
    builder.convolution("conv1", "data", 16, kernel=3)
    builder.add("ReLU", "conv1_relu", ["conv1"], "conv1")
    blob, n = "conv1", (depth - 2) // 6
    for block in _blocks((n, n, n), 16, numbered=n > len(ascii_lowercase)):
        shortcut = _zero_padded(builder, block, blob) if block.stride > 1 else blob
        blob = _basic(builder, block, blob, shortcut)
    return blob, 8


@dataclass(frozen=True)
class _Block:
    """A residual block: its name as in `res3b1`, the width of its 3×3 convolutions, the stride of its first layer."""

    name: str
    width: int
    stride: int


def _blocks(counts: Sequence[int], width: int, *, numbered: bool) -> Iterator[_Block]:
    for stage, count in enumerate(counts, 2):
        for index in range(count):
            if numbered and count > 3:
                suffix = f"b{index}" if index else "a"
            else:
                suffix = ascii_lowercase[index]
            stride = 2 if stage > 2 and index == 0 else 1
            yield _Block(f"res{stage}{suffix}", width << (stage - 2), stride)


def _bottleneck(builder: _Builder, block: _Block, blob: str, *, project: bool) -> str:
    shortcut = _projection(builder, block, blob, 4 * block.width) if project else blob
    a, b, c = (f"{block.name}_branch2{letter}" for letter in "abc")
    builder.convolution(a, blob, block.width, kernel=1, stride=block.stride)
    builder.add("ReLU", f"{a}_relu", [a], a)
    builder.convolution(b, a, block.width, kernel=3)
    builder.add("ReLU", f"{b}_relu", [b], b)
    builder.convolution(c, b, 4 * block.width, kernel=1)
    return builder.join(block.name, shortcut, c)


def _basic(builder: _Builder, block: _Block, blob: str, shortcut: str) -> str:
    a, b = (f"{block.name}_branch2{letter}" for letter in "ab")
    builder.convolution(a, blob, block.width, kernel=3, stride=block.stride)
    builder.add("ReLU", f"{a}_relu", [a], a)
    builder.convolution(b, a, block.width, kernel=3)
    return builder.join(block.name, shortcut, b)


def _projection(builder: _Builder, block: _Block, blob: str, channels: int) -> str:
    name = f"{block.name}_branch1"
    builder.convolution(name, blob, channels, kernel=1, stride=block.stride)
    return name


def _zero_padded(builder: _Builder, block: _Block, blob: str) -> str:
    """Every second row and column, and as many channels of zeros behind as there are."""
    name = f"{block.name}_branch1"
    pool = builder.pool(f"{name}_pool", blob, caffe_pb2.PoolingParameter.MAX, 1, block.stride)
    pool.pooling_param.round_mode = caffe_pb2.PoolingParameter.FLOOR
    builder.add("Power", f"{name}_zero", [f"{name}_pool"]).power_param.scale = 0.0
    builder.add("Concat", name, [f"{name}_pool", f"{name}_zero"])
    return name


@dataclass(frozen=True)
class _Builder:
    net: caffe_pb2.NetParameter
    train: bool

    def inputs(self, batch: int, size: int) -> None:
        self.net.input.append("data")
        if not self.train:
            self.net.input_dim.extend([batch, 3, size, size])
            return
        self.net.input_shape.add(dim=[batch, 3, size, size])
        self.net.input.append("label")
        self.net.input_shape.add(dim=[batch])

    def add(self, kind: str, name: str, bottoms: Sequence[str], top: str | None = None) -> caffe_pb2.LayerParameter:
        layer: caffe_pb2.LayerParameter = self.net.layer.add(name=name, type=kind, bottom=bottoms, top=[top or name])
        return layer

    def convolution(
        self, name: str, bottom: str, channels: int, *, kernel: int, stride: int = 1, bias: bool = False
    ) -> None:
        """A convolution that keeps the size (but for the stride), with its BatchNorm and Scale in place."""
        param = self.add("Convolution", name, [bottom]).convolution_param
        param.num_output = channels
        param.kernel_size.append(kernel)
        param.pad.append(kernel // 2)
        param.stride.append(stride)
        if not bias:
            param.bias_term = False
        if self.train:
            param.weight_filler.type = "msra"
        suffix = name.removeprefix("res") if name.startswith("res") else f"_{name}"
        norm = self.add("BatchNorm", f"bn{suffix}", [name], name)
        if not self.train:
            norm.batch_norm_param.use_global_stats = True
        self.add("Scale", f"scale{suffix}", [name], name).scale_param.bias_term = True

    def pool(
        self, name: str, bottom: str, method: caffe_pb2.PoolingParameter.PoolMethod, kernel: int, stride: int
    ) -> caffe_pb2.LayerParameter:
        layer = self.add("Pooling", name, [bottom])
        layer.pooling_param.pool = method
        layer.pooling_param.kernel_size = kernel
        layer.pooling_param.stride = stride
        return layer

    def join(self, name: str, shortcut: str, branch: str) -> str:
        self.add("Eltwise", name, [shortcut, branch])
        self.add("ReLU", f"{name}_relu", [name], name)
        return name

    def head(self, bottom: str, classes: int) -> None:
        scores = f"fc{classes}"
        layer = self.add("InnerProduct", scores, [bottom])
        layer.inner_product_param.num_output = classes
        if not self.train:
            self.add("Softmax", "prob", [scores])
            return
        layer.inner_product_param.weight_filler.type = "msra"
        self.add("SoftmaxWithLoss", "loss", [scores, "label"])
        self.add("Accuracy", "accuracy", [scores, "label"]).include.add(phase=caffe_pb2.TEST)
