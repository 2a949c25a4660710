"""Forks' InnerProduct: happynear's makes each row of its weights a unit vector, in OpenVINO's they are a bottom; and
bottom-up-attention's Embed.
"""

from __future__ import annotations

import math

import numpy as np

from tests.drawn.base import layer
from tests.naive.base import Naive, case, random


def unit(transpose: bool) -> Naive:
    """inner_product_layer.cpp, Forward_cpu: rows of K values from n·K on, whichever way round the matrix lies."""
    x, weight, bias = random(1, 2, 3, 5), random(2, 15 if transpose else 4, 4 if transpose else 15), random(3, 4)
    flat = [float(v) for v in weight.ravel()]
    for n in range(4):
        norm = math.sqrt(sum(v * v for v in flat[15 * n : 15 * n + 15]) + 1e-6)
        flat[15 * n : 15 * n + 15] = [v / norm for v in flat[15 * n : 15 * n + 15]]
    y = np.empty((2, 4), np.float32)
    for i, o in np.ndindex(2, 4):
        terms = (flat[k * 4 + o] if transpose else flat[o * 15 + k] for k in range(15))
        y[i, o] = sum(w * float(v) for w, v in zip(terms, x[i].ravel(), strict=True)) + float(bias[o])
    params = f"num_output: 4 normalize: true {'transpose: true' if transpose else ''}"
    text = layer("InnerProduct", f"inner_product_param {{ {params} }}")
    return Naive(text, {"x": x}, {("it", "out"): y}, {"it": [weight, bias]})


@case("inner_product_normalize")
def normalized() -> Naive:
    return unit(transpose=False)


@case("inner_product_normalize_transpose")
def transposed() -> Naive:
    return unit(transpose=True)


@case("embed_of_a_class")
def embedded() -> Naive:
    """bottom-up-attention's embed_layer.cpp: num_output takes the place of a last axis of 1, so that the rows fit."""
    x, weight, table = random(1, 3, 2), random(2, 5, 2), random(3, 5, 4)
    scores, rows = np.zeros((3, 5), np.float32), np.empty((3, 4), np.float32)
    for n, o, k in np.ndindex(3, 5, 2):
        scores[n, o] += weight[o, k] * x[n, k]
    for n, i in np.ndindex(3, 4):
        rows[n, i] = table[max(range(5), key=lambda o: scores[n, o]), i]
    text = """
layer { name: "scores" type: "InnerProduct" bottom: "x" top: "scores"
        inner_product_param { num_output: 5 bias_term: false } }
layer { name: "class" type: "ArgMax" bottom: "scores" top: "class" argmax_param { axis: 1 } }
layer { name: "row" type: "Embed" bottom: "class" top: "row"
        embed_param { input_dim: 5 num_output: 4 bias_term: false } }
layer { name: "both" type: "Concat" bottom: "scores" bottom: "row" top: "both" }
"""
    answers = {("row", "row"): rows, ("both", "both"): np.array([[*scores[n], *rows[n]] for n in range(3)])}
    return Naive(text, {"x": x}, answers, {"scores": [weight], "row": [table]})


def of_bottoms(transpose: bool, biased: bool) -> Naive:
    """OpenVINO's inner_product_layer.cpp: the second bottom's items are the outputs, its memory the matrix."""
    feeds = {"x": random(4, 2, 3, 5, 4), "weights": random(5, 6, 5, 4)}
    flat = [float(v) for v in feeds["weights"].ravel()]
    bias = [0.0] * 6
    if biased:
        feeds["bias"] = random(6, 6)
        bias = [float(v) for v in feeds["bias"]]
    y = np.empty((2, 3, 6), np.float32)
    for n, c, o in np.ndindex(2, 3, 6):
        x = [float(v) for v in feeds["x"][n, c].ravel()]
        y[n, c, o] = sum(x[k] * flat[k * 6 + o if transpose else o * 20 + k] for k in range(20)) + bias[o]
    params = f"axis: 2 {'transpose: true' if transpose else ''} {'' if biased else 'bias_term: false num_output: 6'}"
    text = layer("InnerProduct", f"inner_product_param {{ {params} }}", " ".join(feeds))
    return Naive(text, feeds, {("it", "out"): y})


@case("inner_product_of_bottoms")
def product_of_two() -> Naive:
    return of_bottoms(transpose=False, biased=False)


@case("inner_product_of_bottoms_transpose")
def product_of_three() -> Naive:
    return of_bottoms(transpose=True, biased=True)
