"""Types of the values that requests take, and what stands for none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from converter.options import File

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Integers: TypeAlias = npt.NDArray[np.integer[Any]]
    Floats: TypeAlias = npt.NDArray[np.floating[Any]]
    Float32: TypeAlias = npt.NDArray[np.float32]
    Values: TypeAlias = npt.ArrayLike
else:
    # Records are made before anything is computed: who only asks for --help does not wait for numpy.
    Bytes = Integers = Floats = Float32 = Values = Any

Mean: TypeAlias = File | Sequence[float] | Floats
"""A mean image (C×H×W, or its file) or a value for each channel (`B,G,R` as text), in the net's order of channels."""

Order: TypeAlias = Literal["bgr", "rgb"]
Interpolation: TypeAlias = Literal["nearest", "linear", "cubic", "area", "lanczos"]
Engine: TypeAlias = Literal["onnx", "onnxruntime", "torch", "interpreter", "opencv", "caffe"]
Runner: TypeAlias = Literal["local", "ray"]
Layout: TypeAlias = Literal["torchvision", "timm", "keras", "detectron2", "mmdet", "flax", "caffe"]

NO_SHAPES: Mapping[str, Sequence[int | str]] = {}
NO_DIALECTS: Mapping[str, str] = {}
NO_METADATA: Mapping[str, str] = {}
