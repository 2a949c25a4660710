"""Recurrent layers one step at a time, and SSD's boxes on a case small enough to follow."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prototxt.errors import NetError
from tests.verify.caffe_answers import run_layer


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_sequence_mark_of_zero_makes_lstm_forget() -> None:
    """One cell, one stream; the gates see i = f = o = x + h and g = 2 x."""
    blobs = [[[1], [1], [1], [2]], [0, 0, 0, 0], [[1], [1], [1], [0]]]
    x, cont = np.array([0.5, -1, 2]).reshape(3, 1, 1), np.array([[0], [1], [0]])
    (y,) = run_layer('type: "LSTM" recurrent_param { num_output: 1 }', x, cont, blobs=blobs)
    h = c = 0.0
    for t, (value, keep) in enumerate(zip(x.ravel(), cont.ravel(), strict=True)):
        gate = sigmoid(value + keep * h)
        c = keep * gate * c + gate * math.tanh(2 * value)
        h = gate * math.tanh(c)
        assert y[t, 0, 0] == pytest.approx(h, rel=1e-6)


def test_exposed_states_come_in_and_go_out() -> None:
    blobs = [[[1], [1], [1], [2]], [0, 0, 0, 0], [[1], [1], [1], [0]]]
    x = np.array([0.5, -1]).reshape(2, 1, 1)
    text = 'type: "LSTM" recurrent_param { num_output: 1 expose_hidden: true }'
    whole, last_h, last_c = run_layer(text, x, np.ones((2, 1)), [[[0.3]]], [[[0.7]]], blobs=blobs, tops=3)
    first, h, c = run_layer(text, x[:1], np.ones((1, 1)), [[[0.3]]], [[[0.7]]], blobs=blobs, tops=3)
    second, h, c = run_layer(text, x[1:], np.ones((1, 1)), h, c, blobs=blobs, tops=3)
    np.testing.assert_allclose(whole, np.concatenate([first, second]), rtol=1e-6)
    np.testing.assert_allclose(last_h, h, rtol=1e-6)
    np.testing.assert_allclose(last_c, c, rtol=1e-6)


def test_rnn_puts_a_second_tanh_on_its_output() -> None:
    text = 'type: "RNN" recurrent_param { num_output: 1 }'
    x, cont, static = np.array([[[0.1, 0.2]], [[-0.3, 0.1]]]), np.array([[0], [1]]), np.array([[0.2]])
    weight, bias, rest = [[1, 2]], [0.5], [[[3]], [[4]], [0.25]]
    (y,) = run_layer(text, x, cont, blobs=[weight, bias, *rest])
    h = math.tanh(0.1 + 0.4 + 0.5)
    assert y[0, 0, 0] == pytest.approx(math.tanh(4 * h + 0.25), rel=1e-6)
    h = math.tanh(-0.3 + 0.2 + 0.5 + 3 * h)
    assert y[1, 0, 0] == pytest.approx(math.tanh(4 * h + 0.25), rel=1e-6)
    (y,) = run_layer(text, x, cont, static, blobs=[weight, bias, [[5]], *rest])
    assert y[0, 0, 0] == pytest.approx(math.tanh(4 * math.tanh(1.0 + 5 * 0.2) + 0.25), rel=1e-6)


def test_bottoms_of_a_recurrent_layer_must_agree_on_time_and_streams() -> None:
    with pytest.raises(NetError, match="the second bottom is not time × streams"):
        run_layer('type: "LSTM" recurrent_param { num_output: 1 }', np.zeros((3, 2, 1)), np.zeros((2, 3)))


PRIOR = 'type: "PriorBox" prior_box_param {{ min_size: 4.9 max_size: 9 aspect_ratio: 1 aspect_ratio: 4 {} }}'
CELLS, IMAGE = np.zeros((1, 7, 1, 2)), np.zeros((1, 3, 10, 20))


def test_prior_boxes_truncate_sizes_and_skip_ratios_seen() -> None:
    (y,) = run_layer(PRIOR.format("clip: false variance: 0.5"), CELLS, IMAGE)
    assert y.shape == (1, 2, 2 * 4 * 4)
    boxes = y[0, 0].reshape(2, 4, 4) * [20, 10, 20, 10]
    sizes = boxes[:, :, 2:] - boxes[:, :, :2]
    np.testing.assert_allclose(sizes[0], [[4, 4], [6, 6], [8, 2], [2, 8]], rtol=1e-5)
    centres = (boxes[:, :, 2:] + boxes[:, :, :2]) / 2
    np.testing.assert_allclose(centres[:, 0], [[5, 5], [15, 5]], rtol=1e-5)
    assert set(y[0, 1]) == {np.float32(0.5)}


def test_prior_boxes_take_their_step_and_clip_to_the_image() -> None:
    (y,) = run_layer(
        PRIOR.format("clip: true flip: false step: 2 offset: 0 variance: 1 variance: 2 variance: 3 variance: 4"),
        CELLS,
        IMAGE,
    )
    boxes = y[0, 0].reshape(2, 3, 4) * [20, 10, 20, 10]
    np.testing.assert_allclose(boxes[0, 0], [0, 0, 2, 2], atol=1e-6)
    np.testing.assert_allclose(boxes[1, 0], [0, 0, 4, 2], atol=1e-6)
    assert y[0, 1, :8].tolist() == [1, 2, 3, 4, 1, 2, 3, 4]


PRIORS = np.array([[0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.4, 0.5], [0.5, 0.5, 0.9, 0.9]], np.float32)
VARIANCES = np.tile(np.array([0.1, 0.1, 0.2, 0.2], np.float32), (3, 1))
BOXES = np.stack([PRIORS.ravel(), VARIANCES.ravel()])[None]


def detect(fields: str, offsets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    text = f'type: "DetectionOutput" detection_output_param {{ {fields} }}'
    return run_layer(text, offsets.reshape(len(offsets), -1), scores.reshape(len(scores), -1), BOXES)[0][0, 0]


def test_detections_are_suppressed_by_class_and_sorted_by_score() -> None:
    scores = np.array([[[0.1, 0.6, 0.3], [0.1, 0.7, 0.2], [0.5, 0.1, 0.4]]], np.float32)
    fields = "num_classes: 3 nms_param { nms_threshold: 0.5 } confidence_threshold: 0.15"
    rows = detect(fields, np.zeros((1, 3, 4)), scores)
    # Class 1: prior 1 suppresses prior 0 (they share 0.8), prior 2 lies below the threshold. Class 2: prior 2, then 0.
    assert rows[:, :3] == pytest.approx(np.array([[0, 1, 0.7], [0, 2, 0.4], [0, 2, 0.3]]))
    np.testing.assert_allclose(rows[:, 3:], PRIORS[[1, 2, 0]])
    kept = detect(fields + " keep_top_k: 2", np.zeros((1, 3, 4)), scores)
    assert kept[:, :3] == pytest.approx(np.array([[0, 1, 0.7], [0, 2, 0.4]]))


def test_offsets_move_centres_and_scale_sizes() -> None:
    offsets = np.zeros((1, 3, 4))
    offsets[0, 2] = [1, -2, 5 * math.log(2), 0]
    scores = np.array([[[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]], np.float32)
    fields = "num_classes: 2 confidence_threshold: 0.5 code_type: CENTER_SIZE"
    (row,) = detect(fields, offsets, scores)
    centre, half = [0.7 + 0.1 * 0.4, 0.7 - 0.2 * 0.4], [0.4, 0.2]
    corners = [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
    np.testing.assert_allclose(row, [0, 1, 0.8, *corners], rtol=1e-5)
    (row,) = detect("num_classes: 2 confidence_threshold: 0.5 variance_encoded_in_target: true", offsets, scores)
    np.testing.assert_allclose(row[3:], PRIORS[2] + offsets[0, 2], rtol=1e-5)


def test_nothing_found_gives_a_row_of_minus_ones_for_each_image() -> None:
    scores = np.zeros((2, 3, 2), np.float32)
    rows = detect("num_classes: 2 confidence_threshold: 0.5", np.zeros((2, 3, 4)), scores)
    assert rows.tolist() == [[0, *[-1] * 6], [1, *[-1] * 6]]


def test_locations_may_differ_by_class() -> None:
    offsets = np.zeros((1, 3, 2, 4), np.float32)
    offsets[0, 2, 1] = 1
    scores = np.array([[[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]], np.float32)
    (row,) = detect("num_classes: 2 share_location: false confidence_threshold: 0.5", offsets, scores)
    np.testing.assert_allclose(row[3:], PRIORS[2] + [0.1, 0.1, 0.2, 0.2], rtol=1e-6)
