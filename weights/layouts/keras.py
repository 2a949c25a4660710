"""keras.applications' ResNet50, ResNet101 and ResNet152: `conv1_conv/kernel`, `conv2_block1_0_bn/moving_mean`, ….

Kernels are height × width × inputs × outputs, the last layer's features × classes; every convolution has a bias, zero
where Caffe has none. In a `.weights.h5` the layers are numbered by class in the order of `model.layers`:
`layers/conv2d_3/vars/0`. Within a block with a projection that order is 1, 2, 0, 3.

Keras' v1 ResNets have the stride where MSRA's have it, in the first 1×1, and take BGR minus the mean
(`preprocess_input`, mode "caffe"). Two things differ:

    pool1      Keras pads by 1 all around before its 3×3 windows, Caffe's begin at the first pixel
    epsilon    Keras has 1.001e-5, Caffe 1e-5

`build` and `patch` change both in the model, so that the weights keep their bits.

Source: keras/src/applications/resnet.py, keras/src/saving/saving_lib.py of Keras 3.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

from prototxt.errors import RequestError
from prototxt.optional import need
from weights.hdf5_file import new_hdf5
from weights.layouts.arrays import Arrays, LazyArray
from weights.layouts.base import Layout, norm_names
from weights.layouts.family import EPS, Role, Unit, units
from weights.output import atomic_path

OWN_EPS: Final = 1.001e-5
_NUMBERS: Final = {"1": 0, "2a": 1, "2b": 2, "2c": 3}
_ORDER: Final = (1, 2, 0, 3)
_HEAD: Final = "predictions"
_NORM: Final = ("gamma", "beta", "moving_mean", "moving_variance")


def unit_names(depth: int, unit: Unit) -> dict[Role, str]:
    """The names of one unit: its layers' names, and the variables' behind a slash."""
    conv, norm = _layers(unit)
    names: dict[Role, str] = {"weight": f"{conv}/kernel", "bias": f"{conv}/bias"}
    return names | norm_names(f"{norm}/", "gamma", "beta", "moving_mean", "moving_variance")


def _layers(unit: Unit) -> tuple[str, str]:
    prefix = "conv1" if unit.stage == 1 else f"conv{unit.stage}_block{unit.block + 1}_{_NUMBERS[unit.branch]}"
    return f"{prefix}_conv", f"{prefix}_bn"


LAYOUT: Final = Layout(
    "keras",
    "Keras",
    unit_names,
    (f"{_HEAD}/kernel", f"{_HEAD}/bias"),
    channels_last=True,
    depths=(50, 101, 152),
    own_stride="1x1",
    own_eps=OWN_EPS,
    advice="fill the model of weights.layouts.keras.build({depth}), or one of yours after patch(model)",
    endings=(".weights.h5",),
)


def h5_groups(depth: int) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The groups of a `.weights.h5` that hold variables: the group, the layer's name, its variables' names in order."""
    ordered = sorted(units(depth), key=lambda unit: (unit.stage, unit.block, _place(unit)))
    for number, unit in enumerate(ordered):
        conv, norm = _layers(unit)
        suffix = f"_{number}" if number else ""
        yield f"layers/conv2d{suffix}", conv, ("kernel", "bias")
        yield f"layers/batch_normalization{suffix}", norm, _NORM
    yield "layers/dense", _HEAD, ("kernel", "bias")


def _place(unit: Unit) -> int:
    return _ORDER.index(_NUMBERS[unit.branch]) if unit.stage > 1 else 0


def write_h5(path: str | os.PathLike[str], arrays: Arrays) -> None:
    """Write a `.weights.h5` that `model.load_weights` of Keras 3 takes, one array in memory at a time.

    Args:
        path: the file to make or replace.
        arrays: what `LAYOUT.to` gave; without a head for a model with `include_top=False`.

    Raises:
        RequestError: arrays of another layout, or the file cannot be written.
        MissingDependencyError: h5py is not installed.
    """
    need("h5py", "h5py", "writing .weights.h5 files")
    depth = LAYOUT.depth_of(arrays)
    if depth is None:
        raise RequestError("a .weights.h5 file takes the arrays of Keras' layout")
    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        for group, layer, variables in h5_groups(depth):
            names = [f"{layer}/{variable}" for variable in variables]
            if names[0] not in arrays:
                continue
            made = file.create_group(f"{group}/vars")
            made.attrs["name"] = layer
            for number, name in enumerate(names):
                made.create_dataset(str(number), data=arrays[name].array(), track_times=False)


def named(datasets: Arrays) -> dict[str, LazyArray] | None:
    """The datasets of a file of Keras by this layout's names; None where they are not those of one of its nets.

    Args:
        datasets: by their paths in the file: `layers/conv2d/vars/0` in a `.weights.h5`, in older files and in a whole
            model's `conv1_conv/conv1_conv/kernel:0`, perhaps below `model_weights`.
    """
    older = {"/".join(path.split("/")[-2:]).removesuffix(":0"): array for path, array in datasets.items()}
    if LAYOUT.depth_of(older) is not None and len(older) == len(datasets):
        return older
    for depth in sorted(LAYOUT.depths, reverse=True):
        paths = {
            f"{group}/vars/{number}": f"{layer}/{variable}"
            for group, layer, variables in h5_groups(depth)
            for number, variable in enumerate(variables)
        }
        if paths.keys() - {"layers/dense/vars/0", "layers/dense/vars/1"} <= datasets.keys() <= paths.keys():
            return {paths[path]: array for path, array in datasets.items()}
    return None


def build(depth: int, classes: int = 1000, **options: Any) -> Any:
    """Keras' own model, patched, without weights.

    Args:
        depth: 50, 101 or 152.
        classes: width of the last layer.
        options: for the function of `keras.applications`: `input_shape`, `include_top`, `classifier_activation`, ….

    Raises:
        RequestError: a depth that Keras does not have.
        MissingDependencyError: Keras is not installed.
    """
    LAYOUT.names(depth)  # says so
    keras = need("keras", "keras", "building a Keras model")
    return patch(getattr(keras.applications, f"ResNet{depth}")(weights=None, classes=classes, **options))


def patch(model: Any) -> Any:
    """Give a ResNet of keras.applications Caffe's first pooling and eps, in place, before it is first run.

    Raises:
        RequestError: another model.
    """
    layers = {layer.name: layer for layer in model.layers}
    if "pool1_pad" not in layers or "conv1_bn" not in layers:
        raise RequestError("this is no v1 ResNet of keras.applications: it lacks pool1_pad or conv1_bn")
    layers["pool1_pad"].padding = ((0, 1), (0, 1))  # as many as Caffe's last window overhangs
    for name, layer in layers.items():
        if name.endswith("_bn"):
            layer.epsilon = EPS
    return model
