"""Ported weights in the frameworks themselves, where they are installed; see requirements.txt beside this file."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.weights.layouts.porting_nets import DEPTHS, Array, make_case, seeded_weights, worst
from weights.layouts import LazyArray, caffe_net, flax, keras, layout, read, timm, torchvision, units
from weights.layouts.files import open_arrays
from weights.layouts.forms.msgpack_file import write_msgpack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
KERAS_DEPTHS = (50, 101, 152)


@pytest.fixture(scope="module")
def keras_library() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def keras_scores(model: Any, images: Array) -> Array:
    return np.asarray(model.predict(images.transpose(0, 2, 3, 1), verbose=0))


def keras_model(depth: int, images: Array) -> Any:
    height, width = images.shape[2:]
    return keras.build(depth, input_shape=(height, width, 3), classifier_activation=None)


@pytest.mark.parametrize("depth", KERAS_DEPTHS)
def test_keras_gives_the_interpreters_numbers(keras_library: Any, depth: int, tmp_path: Path) -> None:
    case = make_case(depth)
    keras.write_h5(tmp_path / "net.weights.h5", layout("keras").to(case.weights))
    model = keras_model(depth, case.images)
    model.load_weights(tmp_path / "net.weights.h5")
    assert worst(keras_scores(model, case.images), case.scores) < 1e-5


def test_what_keras_itself_saves_comes_back(keras_library: Any, tmp_path: Path) -> None:
    model = keras_library.applications.ResNet50(weights=None)
    model.save_weights(tmp_path / "own.weights.h5")
    with open_arrays(tmp_path / "own.weights.h5") as arrays:
        assert set(arrays) == set(layout("keras").names(50))
        net = layout("keras").back(arrays)
        kernel = model.get_layer("conv2_block1_0_conv").get_weights()[0]
        unit = next(unit for unit in units(50) if unit.conv == "res2a_branch1")
        assert np.array_equal(net.units[unit]["weight"], kernel.transpose(3, 2, 0, 1))


def test_a_file_in_kerass_older_form_is_read(keras_library: Any, tmp_path: Path) -> None:
    model = keras_library.applications.ResNet50(weights=None, include_top=False)
    model.save(tmp_path / "whole.h5")
    with open_arrays(tmp_path / "whole.h5") as arrays:
        assert set(arrays) == set(layout("keras").names(50, None))
        for name in ("conv3_block2_1_conv", "conv1_bn"):
            values = model.get_layer(name).weights
            assert all(np.array_equal(arrays[f"{name}/{v.name}"], v.numpy()) for v in values)


def test_kerass_first_pooling_as_it_is_gives_wrong_numbers(keras_library: Any, tmp_path: Path) -> None:
    case = make_case(50)
    keras.write_h5(tmp_path / "net.weights.h5", layout("keras").to(case.weights))
    height, width = case.images.shape[2:]
    model = keras_library.applications.ResNet50(
        weights=None, input_shape=(height, width, 3), classifier_activation=None
    )
    model.load_weights(tmp_path / "net.weights.h5")
    assert worst(keras_scores(model, case.images), case.scores) > 0.03
    assert worst(keras_scores(keras.patch(model), case.images), case.scores) < 1e-5


@pytest.mark.parametrize("depth", DEPTHS)
def test_flax_gives_the_interpreters_numbers(depth: int) -> None:
    pytest.importorskip("flax")
    case = make_case(depth)
    arrays = {name: np.asarray(array) for name, array in layout("flax").to(case.weights).items()}
    found = flax.build(depth).apply(flax.tree(arrays), case.images.transpose(0, 2, 3, 1))
    assert worst(found, case.scores) < 1e-5


def test_a_written_msgpack_is_what_flax_restores_and_runs(tmp_path: Path) -> None:
    serialization = pytest.importorskip("flax.serialization")
    jax = pytest.importorskip("jax")
    case = make_case(18)
    write_msgpack(tmp_path / "net.msgpack", layout("flax").to(case.weights))
    data = (tmp_path / "net.msgpack").read_bytes()
    images = case.images.transpose(0, 2, 3, 1)
    made = flax.build(18).init(jax.random.key(0), images)
    for variables in (serialization.from_bytes(made, data), serialization.msgpack_restore(data)):
        assert worst(flax.build(18).apply(variables, images), case.scores) < 1e-5
    assert serialization.to_bytes(serialization.msgpack_restore(data)) == data


@pytest.mark.parametrize("depth", [34, 50])
def test_the_tree_is_the_one_that_flax_makes(depth: int) -> None:
    pytest.importorskip("flax")
    jax = pytest.importorskip("jax")
    made = flax.build(depth).init(jax.random.key(0), np.zeros((1, 33, 40, 3), np.float32))
    ported = flax.tree({name: np.asarray(array) for name, array in layout("flax").to(seeded_weights(depth)).items()})
    assert jax.tree.map(np.shape, made) == jax.tree.map(np.shape, ported)


def torch_scores(model: Any, arrays: dict[str, LazyArray], images: Array) -> Array:
    import torch

    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    with torch.inference_mode():
        found: Array = model.eval()(torch.from_numpy(images)).numpy()
    return found


@pytest.mark.parametrize("depth", DEPTHS)
def test_torchvisions_class_gives_the_interpreters_numbers(depth: int) -> None:
    _installed("torchvision")
    case = make_case(depth)
    model = torchvision.build(depth)
    assert type(model).__module__ == "torchvision.models.resnet"
    assert worst(torch_scores(model, layout("torchvision").to(case.weights), case.images), case.scores) < 1e-5


@pytest.mark.parametrize("depth", DEPTHS)
def test_timms_class_gives_the_interpreters_numbers(depth: int) -> None:
    _installed("torchvision")
    library = pytest.importorskip("timm")
    case = make_case(depth)
    model = timm.patch(library.create_model(f"resnet{depth}"))
    assert worst(torch_scores(model, layout("timm").to(case.weights), case.images), case.scores) < 1e-5


def test_torchvisions_own_model_as_it_is_gives_wrong_numbers() -> None:
    _installed("torchvision")
    from torchvision.models import resnet50

    case = make_case(50)
    assert worst(torch_scores(resnet50(), layout("torchvision").to(case.weights), case.images), case.scores) > 0.03


def _installed(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def test_a_net_for_keras_own_weights_has_its_eps() -> None:
    message = caffe_net(read(seeded_weights(50)), padded_pool=True, eps=layout("keras").own_eps)
    eps = {layer.batch_norm_param.eps for layer in message.layer if layer.type == "BatchNorm"}
    assert eps == {float(np.float32(1.001e-5))}
