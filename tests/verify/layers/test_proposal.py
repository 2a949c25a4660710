"""Region proposals in the interpreter: what rounding within the layer may turn, and what an image is fed as."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prototxt import Net, parse_net
from verify.engines.engine import Answers, Array, Blobs
from verify.inputs import exact_inputs, input_shapes, seeded
from verify.interpreter import run
from verify.interpreter.steps import Trace
from verify.report.records import Row
from verify.walk import walk

INPUT = 'layer {{ name: "{0}" type: "Input" top: "{0}" input_param {{ shape {{ {1} }} }} }}\n'
PROPOSAL = (
    'layer {{ name: "it" type: "Proposal" bottom: "scores" bottom: "offsets" bottom: "info" top: "rois" top: "probs" '
    "proposal_param {{ ratio: 1 scale: 1 scale: 2 feat_stride: 16 min_size: {} nms_thresh: {} }} }}\n"
)
POOLED = 'layer { name: "twice" type: "Power" bottom: "rois" top: "twice" power_param { scale: 2 } }'


def net_of(feeds: dict[str, Array], limit: float, least: int = 4) -> Net:
    text = "".join(INPUT.format(name, " ".join(f"dim: {d}" for d in feed.shape)) for name, feed in feeds.items())
    return parse_net(text + PROPOSAL.format(least, limit) + POOLED, "net.prototxt")


def feeds_of(grow: float = 0.2) -> dict[str, Array]:
    """Two anchors at one place; the second, with `grow`, around the first."""
    scores, offsets = np.zeros((1, 4, 1, 1), np.float32), np.zeros((1, 8, 1, 1), np.float32)
    scores[0, 2:, 0, 0] = 0.9, 0.8
    offsets[0, 2:4, 0, 0] = grow
    return {"scores": scores, "offsets": offsets, "info": np.asarray([[999, 999, 1]], np.float32)}


def own_errors(trace: Trace) -> dict[str, float]:
    return {step.top: step.own for step in trace.steps}


def test_a_clear_choice_is_judged_and_the_corners_may_differ_by_their_rounding() -> None:
    own = own_errors(run(net_of(feeds_of(), 0.3), None, feeds_of()))
    assert 0 < own["rois"] < 1e-4
    assert own["probs"] == own["scores"] == 0


def test_an_overlap_beside_the_limit_leaves_the_layer_open() -> None:
    """The boxes' overlap is worked out in float64, and taken for the limit."""
    feeds = feeds_of()
    rois = run(net_of(feeds, 1.0), None, feeds).blobs["rois"].astype(np.float64)
    assert len(rois) == 2
    first, second = rois[:, 1:]
    size = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]) + 1
    areas = [(box[2:] - box[:2] + 1).prod() for box in (first, second)]
    share = size.prod() / (sum(areas) - size.prod())
    open_choice = own_errors(run(net_of(feeds, share), None, feeds))
    assert open_choice["rois"] == open_choice["probs"] == math.inf
    for other in (share - 1e-3, share + 1e-3):
        assert math.isfinite(own_errors(run(net_of(feeds, other), None, feeds))["rois"])


@pytest.mark.parametrize(("grow", "is_open"), [(0.0, True), (1e-3, False), (-1e-3, False)])
def test_a_size_beside_the_least_leaves_the_layer_open(grow: float, is_open: bool) -> None:
    """An anchor 16 wide gives a box 17 wide: half of 16 to each side of its centre, and both corners belong to it."""
    feeds = feeds_of(grow)
    feeds["offsets"][0, :2] = 1
    assert math.isinf(own_errors(run(net_of(feeds, 0.5, 17), None, feeds))["rois"]) == is_open


def test_clipped_corners_are_exact() -> None:
    feeds = feeds_of(9.0)
    feeds["offsets"][0, 6:] = 9
    assert own_errors(run(net_of(feeds, 0.5), None, feeds))["rois"] == 0


def test_an_open_choice_bounds_nothing_alone_and_the_next_layer_is_judged_on_the_models_rows() -> None:
    feeds = feeds_of(0.0)
    feeds["offsets"][0, :2] = 1
    net = net_of(feeds, 0.5, 17)
    trace = run(net, None, feeds)
    answers = {key: value[:1] if key[1] in ("rois", "probs") else value for key, value in trace.tops.items()}
    answers["twice", "twice"] = 2 * answers["it", "rois"]

    def rows() -> dict[tuple[str, str], Row]:
        found = walk(net, None, feeds, lambda: Blobs.of(Answers(answers, {})))
        return {(row.layer, row.top): row for row in found.rows.finished(found.outputs, {})[0]}

    right = rows()
    assert right["it", "rois"].own_bound == math.inf
    own_bound = right["twice", "twice"].own_bound
    assert own_bound is not None
    assert 0 < own_bound < 1e-3
    assert all(row.ok for row in right.values())
    answers["twice", "twice"] = answers["twice", "twice"] + 1
    assert [layer for (layer, _), row in rows().items() if not row.ok] == ["twice"]


def test_the_image_is_described_by_the_nets_input() -> None:
    text = INPUT.format("data", "dim: 1 dim: 3 dim: 40 dim: 56") + INPUT.format("info", "dim: 1 dim: 6")
    text += (
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "scores" '
        "convolution_param { num_output: 4 kernel_size: 1 } }\n"
        'layer { name: "deltas" type: "Convolution" bottom: "data" top: "offsets" '
        "convolution_param { num_output: 8 kernel_size: 1 } }\n"
    )
    net = parse_net(text + PROPOSAL.format(16, 0.7), "net.prototxt")
    feeds = seeded(net, input_shapes(net, ["data", "info"]))
    assert feeds["info"].tolist() == [[40, 56, 1, 1, 1, 1]]
    assert exact_inputs(net) == {"info"}


def test_without_an_image_its_size_follows_from_the_features() -> None:
    net = net_of(feeds_of(), 0.7)
    feeds = seeded(net, {"scores": (1, 4, 5, 7), "offsets": (1, 8, 5, 7), "info": (1, 3)})
    assert feeds["info"].tolist() == [[80, 112, 1]]
