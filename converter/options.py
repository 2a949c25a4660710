"""What may be asked of a conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from converter.building.inputs import InputShapes

Fold = Literal["none", "bn", "conv"]
Target = Literal["onnx", "torch", "safetensors", "npz", "hdf5", "caffe"]
SUFFIXES: dict[Target, str] = {
    "onnx": ".onnx",
    "torch": "_torch",
    "safetensors": ".safetensors",
    "npz": ".npz",
    "hdf5": ".h5",
    "caffe": "_caffe",
}
FOLDERS: dict[Target, tuple[str, ...]] = {
    "torch": ("model.py", "model.safetensors"),
    "caffe": ("deploy.prototxt", "model.caffemodel"),
}
"""The targets that are folders, and the files in them."""

File = str | PathLike[str]


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """What to do with an image before the net.

    Attributes:
        mean: what is subtracted: C values, or a C×H×W image, in the net's own channel order (BGR); None for nothing.
        scale: factor after the subtraction.
        rgb: whether the caller feeds RGB where the net was trained on BGR.
    """

    mean: npt.NDArray[np.float32] | None = None
    scale: float = 1.0
    rgb: bool = False

    @property
    def is_nothing(self) -> bool:
        """Whether it leaves the image as it is."""
        return self.mean is None and self.scale == 1 and not self.rgb

    def apply(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What the original net is fed for images N×C×H×W."""
        import numpy as np

        values = images[:, ::-1] if self.rgb else images
        if self.mean is not None:
            mean = self.mean if self.mean.ndim == 3 else self.mean[:, None, None]
            values = values - mean
        return np.ascontiguousarray(values * np.float32(self.scale), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Options:
    """How a net is read and rewritten; the same for every target.

    Attributes:
        fold: `none` keeps BatchNorm and Scale apart, `bn` merges them, `conv` folds both into the convolution before.
        outputs: blobs to give, in this order; by default those that no layer reads.
        input_shapes: sizes by input blob, in place of the prototxt's; a letter leaves an axis free.
        phase, level, stages: Caffe's net state.
        allow_unknown: leave out prototxt fields that the schema lacks.
        dialects: layer type -> fork whose meaning of it holds, where forks differ ("" for all types).
        random_weights: seed for the weights that no file gives; None refuses them.
        preprocessing: baked into the graph.
        train: make a module that trains as Caffe's net did: all losses, nothing folded (with `to="torch"`).
        metadata: what the written model carries besides, by key, where its form has a place for that.
    """

    fold: Fold = "bn"
    outputs: Sequence[str] = ()
    input_shapes: InputShapes = field(default_factory=dict)
    phase: str = "TEST"
    level: int = 0
    stages: Sequence[str] = ()
    allow_unknown: bool = False
    dialects: Mapping[str, str] = field(default_factory=dict)
    random_weights: int | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    train: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
