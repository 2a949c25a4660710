"""Region proposals: scores that all differ, offsets that move boxes about, images of which some boxes stick out."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.drawn.base import Array, Draw, Drawn, apart, drawn, fields, generator, layer, maybe, shape

RATIOS = st.lists(st.sampled_from((0.333, 0.5, 0.667, 1, 1.5, 2, 2.669, 3)), min_size=1, max_size=3, unique=True)
SCALES = st.lists(st.sampled_from((1, 2, 2.5, 0.7, 4, 8, 16)), min_size=1, max_size=3, unique=True)
COUNTS = st.sampled_from((1, 5, 20, 50, 6000))
LIMITS = st.sampled_from((0.0, 0.1, 0.3, 0.5, 0.7, 1.0))


def bottoms(draw: Draw, anchors: int, stride: int, numbers: int) -> dict[str, Array]:
    """Scores, offsets, and an image about as large as the features say, perhaps scaled."""
    h, w = shape(draw, 2, least=1, most=9)
    rng = generator(draw)
    offsets = rng.standard_normal((1, 4 * anchors, h, w)) * draw(st.sampled_from((0.1, 0.5, 1.5)))
    info = [h * stride * 0.9, w * stride * 1.1, *rng.uniform(0.4, 2.0, numbers - 2)]
    scores = apart(draw, 1, 2 * anchors, h, w)
    return {"scores": scores, "offsets": offsets.astype(np.float32), "info": np.asarray([info], np.float32)}


@drawn("Python rpn.proposal_layer.ProposalLayer")
@st.composite
def proposal_layer(draw: Draw) -> Drawn:
    """Everything in param_str, in either of its forms."""
    stride, ratios, scales = draw(st.sampled_from((4, 8, 16, 20))), draw(maybe(RATIOS)), draw(maybe(SCALES))
    said: dict[str, object] = {"feat_stride": stride}
    others = {
        "ratios": ratios,
        "scales": scales,
        "base_size": draw(maybe(st.sampled_from((7, 12, 16)))),
        "min_size": draw(maybe(st.sampled_from((1, 8, 30)))),
        "pre_nms_topN": draw(maybe(st.just(0) | COUNTS)),
        "post_nms_topN": draw(maybe(st.just(0) | COUNTS)),
        "nms_thresh": draw(maybe(LIMITS)),
    }
    said.update((name, value) for name, value in others.items() if value is not None)
    tag = draw(st.sampled_from(("", "!!python/tuple ")))
    pairs = [f"'{name}': {tag if isinstance(value, list) else ''}{value}" for name, value in said.items()]
    text = draw(st.sampled_from(("\\n".join(pairs), " \\n".join(pairs), f"{{{', '.join(pairs)}}}")))
    params = f'python_param {{ module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "{text}" }}'
    count = len(ratios or "abc") * len(scales or "abc")  # type: ignore[arg-type]
    feeds = bottoms(draw, count, stride, draw(st.integers(3, 4)))
    tops = draw(st.sampled_from(("rois", "rois probs")))
    return Drawn(layer("Python", params, " ".join(feeds), tops), feeds)


@drawn("Proposal")
@st.composite
def proposal(draw: Draw) -> Drawn:
    ratios, scales = draw(RATIOS), draw(SCALES)
    stride = draw(st.sampled_from((4, 8, 16, 20)))
    params = fields(
        ratio=ratios,
        scale=scales,
        feat_stride=stride,
        base_size=draw(maybe(st.sampled_from((7, 12, 16)))),
        min_size=draw(maybe(st.sampled_from((1, 8, 30)))),
        pre_nms_topn=draw(maybe(COUNTS)),
        post_nms_topn=draw(maybe(COUNTS)),
        nms_thresh=draw(maybe(LIMITS)),
    )
    feeds = bottoms(draw, len(ratios) * len(scales), stride, draw(st.integers(3, 6)))
    feeds["scores"] = np.abs(feeds["scores"]) + feeds["scores"] * np.float32(
        1e-3
    )  # nothing may sink below the 0 of small ones
    tops = draw(st.sampled_from(("rois", "rois probs")))
    return Drawn(layer("Proposal", f"proposal_param {{ {params} }}", " ".join(feeds), tops), feeds)


@drawn("RPROI")
@st.composite
def rproi(draw: Draw) -> Drawn:
    """TensorRT's plugin; features that no rounding of a corner moves to another bin would be rare, so they are flat."""
    ratios, scales = draw(RATIOS), draw(SCALES)
    stride, images = draw(st.sampled_from((4, 8, 16))), draw(st.integers(1, 2))
    anchors = len(ratios) * len(scales)
    h, w = shape(draw, 2, least=1, most=9)
    rng = generator(draw)
    scores = apart(draw, images, 2 * anchors, h, w)
    offsets = rng.standard_normal((images, 4 * anchors, h, w)) * draw(st.sampled_from((0.1, 0.5, 1.5)))
    info = [[h * stride * rng.uniform(0.7, 1), w * stride * rng.uniform(0.8, 1.1), rng.uniform(0.4, 2)]] * images
    features = np.broadcast_to(rng.standard_normal((images, 3, 1, 1)), (images, 3, h, w))
    feeds = {
        "scores": scores,
        "offsets": offsets.astype(np.float32),
        "features": np.ascontiguousarray(features, np.float32),
        "info": np.asarray(info, np.float32).reshape(images, 1, 1, 3),
    }
    pooled_h, pooled_w = shape(draw, 2, least=1, most=4)
    params = fields(
        feature_stride=stride,
        prenms_top=draw(COUNTS),
        nms_max_out=draw(st.sampled_from((1, 4, 30))),
        anchor_ratio_count=len(ratios),
        anchor_scale_count=len(scales),
        iou_threshold=draw(LIMITS),
        min_box_size=draw(maybe(st.sampled_from((1, 8, 30)))),
        anchor_ratio=ratios,
        anchor_scale=scales,
    )
    pool = fields(pooled_h=pooled_h, pooled_w=pooled_w, spatial_scale=1 / stride)
    text = f"region_proposal_param {{ {params} }} roi_pooling_param {{ {pool} }}"
    return Drawn(layer("RPROI", text, " ".join(feeds), "rois pooled"), feeds)
