"""Flax: the tree of the ImageNet example's ResNet (flax.linen), flattened with slashes for safetensors.

    params/conv_init/kernel   params/bn_init/scale   batch_stats/bn_init/mean
    params/BottleneckResNetBlock_3/Conv_0/kernel   .../BatchNorm_0/bias   .../conv_proj/kernel   .../norm_proj/scale
    params/Dense_0/kernel

Blocks count through all stages; those of 18 and 34 are `ResNetBlock_N`. Kernels are height × width × inputs × outputs.

The example's own module does not compute MSRA's numbers: its bottleneck has the stride in the 3×3, and `SAME` puts the
padding of a 3×3 of stride 2 behind only, where Caffe has one pixel on each side. `build` gives a module with the same
tree that does; it takes images N×H×W×C. A .msgpack is the nested dictionary itself, as `flax.serialization` writes it;
`tree` makes it of a safetensors file's arrays:

    variables = flax.serialization.msgpack_restore(open("resnet50.msgpack", "rb").read())
    variables = tree(safetensors.numpy.load_file("resnet50.safetensors"))
    scores = build(50).apply(variables, images)

Source: flax/examples/imagenet/models.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from prototxt.optional import need
from prototxt.resnets import IMAGENET_BLOCKS
from weights.layouts.base import Layout, norm_names
from weights.layouts.family import Role, Stride, Unit, units

T = TypeVar("T")


def unit_names(depth: int, unit: Unit) -> dict[Role, str]:
    """The names of one unit, statistics under `batch_stats`, all else under `params`."""
    conv, norm = _modules(depth, unit)
    names: dict[Role, str] = {"weight": f"params/{conv}/kernel"}
    given = norm_names(f"params/{norm}/", "scale", "bias", "mean", "var")
    for role in ("mean", "variance"):
        given[role] = given[role].replace("params/", "batch_stats/", 1)
    return names | given


def _modules(depth: int, unit: Unit) -> tuple[str, str]:
    if unit.stage == 1:
        return "conv_init", "bn_init"
    before = sum(IMAGENET_BLOCKS[depth][: unit.stage - 2])
    kind = "BottleneckResNetBlock" if depth >= 50 else "ResNetBlock"
    block = f"{kind}_{before + unit.block}"
    if unit.branch == "1":
        return f"{block}/conv_proj", f"{block}/norm_proj"
    number = "abc".index(unit.branch[1])
    return f"{block}/Conv_{number}", f"{block}/BatchNorm_{number}"


LAYOUT: Final = Layout(
    "flax",
    "Flax",
    unit_names,
    ("params/Dense_0/kernel", "params/Dense_0/bias"),
    channels_last=True,
    own_net=False,
    trap="the 3×3 convolutions of stride 2 in Flax's example are padded behind only",
    advice="apply them with weights.layouts.flax.build({depth})",
    endings=(".msgpack",),
)


def tree(arrays: Mapping[str, T]) -> dict[str, Any]:
    """The nested dictionary that a module's `apply` takes, of arrays by names with slashes."""
    root: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, last = name.split("/")
        place = root
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = array
    return root


def build(depth: int, classes: int = 1000, *, stride: Stride = "1x1") -> Any:
    """A flax.linen module with the example's tree that computes what MSRA's net computes, statistics fixed.

    Args:
        depth: 18, 34, 50, 101 or 152.
        classes: width of the last layer.
        stride: which convolution of a bottleneck has its stride.

    Raises:
        RequestError: a depth that the paper does not have.
        MissingDependencyError: Flax is not installed.
    """
    units(depth)  # says so
    need("flax", "flax", "building a Flax model")
    from weights.layouts.flax_resnet import ResNet

    return ResNet(IMAGENET_BLOCKS[depth], classes, depth >= 50, stride == "1x1")
