"""Drawn nets of every layer kind in phase TRAIN: the training module and the interpreter agree."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tests.drawn  # noqa: F401 (registers the strategies)
from converter.building.parameters import RandomParameters
from converter.options import Options
from converter.targets.torch_model import Training, emit_torch, live_module
from converter.training.module import training_graph
from prototxt import Net, parse_net
from prototxt.caffe_pb2 import UnpoolingParameter
from prototxt.errors import UnsupportedError
from tests.drawn.base import Drawn, net_text, strategies
from tests.drawn.conditioning import assert_close_as_conditioned
from tests.golden import Array
from verify import run
from verify.interpreter.steps import Trace
from weights import ArrayWeights, Weights

DRAWS = frozenset(("Dropout", "SeLuDropout"))
"""Kinds that draw at random in training; `test_module` looks at their rule."""

NEVER = {
    *("BN", "BilinearInterpolate", "DataAugmentation", "DecodeBBox", "DenseBlock", "Downsample", "FlowWarp", "Mean"),
    *("ConvolutionRistretto", "DeconvolutionRistretto", "FcRistretto", "LRNRistretto", "Quant", "Resample", "Warp"),
}
KINDS = sorted(set(strategies()) - DRAWS)
EXAMPLES = settings(suppress_health_check=list(HealthCheck))

OF_TRAINING = "(frozen|momentum|moving_average_fraction|use_dropout|dropout_amount).*: not read"
"""What forks' layers that can't be trained state of their training."""


def trained(case: Drawn, net: Net) -> tuple[dict[str, Array], Weights]:
    """Tops of a training module's forward pass, and the weights that it had."""
    outputs = list(case.outputs or net.layers[-1].tops)
    sizes = {name: case.feeds[name].shape for name in case.sized}
    given_weights = ArrayWeights(case.blobs) if case.blobs else None
    make = RandomParameters(5)
    graph = training_graph(net, given_weights, Options(outputs=outputs, input_shapes=sizes), make)
    module = live_module(emit_torch(graph, training=Training({}))).train()
    with torch.no_grad():
        made = module(*(torch.from_numpy(np.array(case.feeds[value.blob], np.float32)) for value in graph.inputs))
    return {top: made[top].numpy() for top in outputs}, make.with_file(given_weights)


def untrainable(net: Net) -> bool:
    """Whether a layer draws at random, or keeps statistics whose rule is not known, by what its net says."""
    layer = net.layers[-1]
    pools = (layer.param.pooling_param, layer.param.spp_param)
    stochastic = any(pool.pool == pool.STOCHASTIC for pool in pools)
    behind = layer.param.batch_norm_param.HasField("add_eps_before_sqrt")
    odd = layer.type == "BatchNorm" and behind and not layer.param.batch_norm_param.add_eps_before_sqrt
    odd |= layer.type == "ELU" and getattr(layer.param.elu_param, "lambda") != 1
    odd |= layer.type == "Insanity"
    odd |= layer.type == "InnerProduct" and len(layer.bottoms) > 1
    odd |= layer.type == "BinaryConvolution" and layer.param.binary_convolution_param.use_binarization
    odd |= layer.type == "BinaryInnerProduct" and layer.param.binary_inner_product_param.use_binarization
    odd |= layer.param.grn_param.dummy_backward
    odd |= layer.param.unpooling_param.unpool == UnpoolingParameter.TILE
    scale, merge = layer.param.channel_scale_param, layer.param.mergecrop_param
    odd |= not (scale.do_forward and scale.do_backward_feature and scale.do_backward_scale)
    fore, back = (*merge.forward, True, True), (*merge.backward, *(True, False)[len(merge.backward) :])
    odd |= any(b and not f for f, b in zip(fore, back, strict=False))
    odd |= layer.type == "SpatialTransformer" and not layer.param.st_param.to_compute_dU
    return stochastic or odd or layer.type in NEVER


def assert_agree(case: Drawn) -> None:
    net = parse_net(net_text(case), "net.prototxt", phase="TRAIN", dialects=case.dialects)
    if untrainable(net):
        with pytest.raises(UnsupportedError, match=f"can't be trained|{OF_TRAINING}"):
            trained(case, net)
        return
    got, weights = trained(case, net)

    def again(feeds: Mapping[str, Array]) -> Trace:
        return run(net, weights, feeds, train=True)

    for top, values in got.items():
        where = f"{top} of\n{net_text(case)}"
        assert_close_as_conditioned(values, top, net, where, case.tolerance, case.feeds, again, case.scale)


@pytest.mark.parametrize("kind", KINDS)
@settings(EXAMPLES, max_examples=5)
@given(data=st.data())
def test_training_runs_forward_as_caffes_phase_train(kind: str, data: st.DataObject) -> None:
    assert_agree(data.draw(strategies()[kind]()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(EXAMPLES, max_examples=30)
@given(data=st.data())
def test_training_runs_forward_as_caffes_phase_train_on_more_nets(kind: str, data: st.DataObject) -> None:
    assert_agree(data.draw(strategies()[kind]()))
