"""Mean images: what a Caffe data layer subtracts, as `.binaryproto` (one BlobProto) or `.npy`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from tokenize import TokenError
from typing import Final

import numpy as np
import numpy.typing as npt

from prototxt.errors import Position, RequestError, WeightsError
from prototxt.words import format_shape
from weights.blobproto import BlobFault, BlobReader
from weights.model import FloatArray
from weights.pieces import PiecewiseFile
from weights.sniff import read_head, refuse_foreign
from weights.wire import Malformed

log = logging.getLogger(__name__)

_NPY: Final = b"\x93NUMPY"
_NPY_DAMAGE: Final = (OSError, ValueError, TypeError, EOFError, SyntaxError, OverflowError, MemoryError, TokenError)


def load_mean(path: str | os.PathLike[str]) -> FloatArray:
    """The mean as channels × height × width, float32, channels in the file's order (BGR for Caffe's image nets).

    A `.binaryproto` may hold floats or doubles and its shape in the old or the new form; a leading axis of 1 is
    dropped. A `.npy` may also be a vector of one value a channel, which gives channels × 1 × 1.

    Raises:
        WeightsError: the file cannot be read, is damaged or of another kind, has another rank, or holds NaN.

    Example:
        >>> mean = resnet_convert.load_mean("examples/digits/mean.binaryproto")
        >>> mean.shape, str(mean.dtype)
        ((1, 16, 16), 'float32')
    """
    name = os.fspath(path)
    head = read_head(name)
    mean = _from_npy(name) if head.startswith(_NPY) else _from_binaryproto(name, head)
    stored = mean.shape
    if mean.ndim == 4 and mean.shape[0] == 1:
        mean = mean[0]
    if mean.ndim != 3 or not mean.size:
        raise _fault(name, f"is {format_shape(stored)}; a mean is channels × height × width")
    if not np.isfinite(mean).all():
        raise _fault(name, "holds NaN or infinity")
    return np.require(mean, np.float32, ["C", "O"])


def _from_binaryproto(name: str, head: bytes) -> FloatArray:
    refuse_foreign(name, head)
    with PiecewiseFile(name) as file:
        reader = BlobReader(file.wire(), file.read)
        try:
            mean = np.array(reader.read(0, file.size).array())
        except BlobFault as fault:
            raise _fault(name, f"is no mean image: the blob {fault}") from fault
        except Malformed as fault:
            raise _fault(name, f"is damaged or cut short: {fault}") from fault
    for what in reader.left_out:
        log.warning("%s: warning: the blob has %s, which Caffe does not read: left out", name, what)
    return mean


def _from_npy(name: str) -> FloatArray:
    try:
        array = np.load(name, mmap_mode="r", allow_pickle=False)  # mapped, so that a header's lies allocate nothing
    except _NPY_DAMAGE as fault:
        raise _fault(name, "is a damaged .npy file") from fault
    if array.dtype.kind not in "fiu":
        raise _fault(name, f"holds {array.dtype} values; a mean is numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.array(array, np.float32)
    return values.reshape(-1, 1, 1) if values.ndim == 1 else values


def _fault(name: str, message: str) -> WeightsError:
    return WeightsError(message, position=Position(name))


def read_mean(text: str) -> npt.NDArray[np.float32]:
    """`104,117,123` as three values, anything else as a file (.binaryproto or .npy).

    Raises:
        RequestError: neither numbers nor a readable file.
        WeightsError: a file that holds no mean image.
    """
    parts = text.split(",")
    try:
        return np.asarray([float(p) for p in parts], dtype=np.float32)
    except ValueError:
        if len(parts) > 1 and not Path(text).exists():
            raise RequestError(f"--mean {text!r}; expected numbers like 104,117,123, or a mean file") from None
    return load_mean(text)
