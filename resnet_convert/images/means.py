"""A mean in one form, whatever form it was given in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resnet_convert.requests.values import Mean
from weights.mean import read_mean


def mean_of(given: Mean | None) -> npt.NDArray[np.float32] | None:
    """A mean as C values or C×H×W, whatever form it was given in.

    Raises:
        RequestError, WeightsError: no values, or a file that is no mean.
    """
    if given is None or isinstance(given, np.ndarray):
        return None if given is None else given.astype(np.float32)
    if isinstance(given, Sequence) and not isinstance(given, str):
        return np.asarray(given, np.float32)
    return read_mean(str(given))
