"""The windows of a convolution as channels (Caffe: im2col_layer.cpp)."""

from __future__ import annotations

import math

from prototxt.words import format_shape
from verify.layers.convolution import fold_lead, positions
from verify.layers.registry import Array, Call, narrow, register
from verify.layers.shared.window import pad_wide, read_window


@register("Im2col")
def im2col(call: Call) -> list[Array]:
    """The columns themselves: channels × kernel positions, over output positions."""
    window, channel = read_window(call)
    call.require(len(window.kernel) > 0, f"{format_shape(call.x.shape)} has no axes behind the channels")
    out = positions(call, window, channel)
    view = window.view(pad_wide(fold_lead(call.x, channel), window))
    spatial = len(out)
    columns = view.transpose((0, 1, *range(2 + spatial, 2 + 2 * spatial), *range(2, 2 + spatial)))
    shape = (*call.x.shape[:channel], call.x.shape[channel] * math.prod(window.kernel), *out)
    return [narrow(columns.reshape(shape))]
