"""Layers of inisis' fork, and LSTMUnit: what can not be is refused with its place."""

from __future__ import annotations

import numpy as np
import pytest

from tests.converter.layers.test_rarer_agreement import layer, random, refusal

X = random(1, 2, 3, 4, 5)
REFUSED = {
    layer("Pad", "\npad_param { pad_u: 1 pad_d: -1 }"): (
        "2:1: error: layer 'it' (Pad): pad_u, pad_d, pad_l, pad_r are 1, -1, 0, 0; expected all of them below 0, "
        "or none"
    ),
    layer("Pad", "\npad_param { paddings: 1 pad_u: 1 }"): (
        "2:1: error: layer 'it' (Pad): both paddings and pad_u, pad_d, pad_l, pad_r; expected one of them"
    ),
    layer("Pad", "pad_param { pad_u: -2 pad_d: -2 pad_l: -1 pad_r: -1 }"): (
        "1:1: error: layer 'it' (Pad): cutting leaves nothing of 2×3×4×5"
    ),
    layer("Pad", "pad_param { pad_type: REFLECT pad_u: 4 }"): (
        "1:1: error: layer 'it' (Pad): 4 pixels can't be mirrored in 4; expected fewer"
    ),
    layer("Unsqueeze", "\nunsqueeze_param { }"): (
        "2:1: error: layer 'it' (Unsqueeze): no dim; expected the place of the new axis"
    ),
    layer("Unsqueeze", "unsqueeze_param { dim: 5 }"): (
        "1:1: error: layer 'it' (Unsqueeze): axis 5 is out of range for a blob of 5 axes"
    ),
    layer("MaxUnPool", "\nmax_unpool_param { dst_h: 9 }", "x x"): (
        "2:1: error: layer 'it' (MaxUnPool): dst_h and dst_w are 9 and 0; expected both, at least 1"
    ),
    layer("Upsample", "\nupsample_param { dims_num: 5 }"): (
        "2:18: error: layer 'it' (Upsample): dims_num is 5; expected 4, or 3 without a mask"
    ),
    layer("LSTMUnit", "", "x x x", "c h"): (
        "1:1: error: layer 'it' (LSTMUnit): c is 2×3×4×5 and the gates are 2×3×4×5; expected 1×N×D and 1×N×4D"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_can_not_be_is_refused(text: str) -> None:
    line, _, rest = REFUSED[text].partition(":")
    assert refusal(text, {"x": np.asarray(X)}) == f"net.prototxt:{int(line) + 1}:{rest}"
