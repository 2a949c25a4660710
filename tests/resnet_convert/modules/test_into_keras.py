"""`port --into` a Keras model: the mirror computes what Keras does, and Keras' own outputs are Caffe's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
keras = pytest.importorskip("keras")

import resnet_convert  # noqa: E402
from prototxt import load_net  # noqa: E402
from prototxt.errors import CaffeModelError, RequestError, UnsupportedError  # noqa: E402
from resnet_convert.cli.main import main  # noqa: E402
from resnet_convert.modules.keras_mirror import KerasMirror  # noqa: E402
from tests.resnet_convert.test_outputs import FULL, files_of_at_most  # noqa: E402
from verify import run  # noqa: E402
from weights import open_weights  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
layers = keras.layers
HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 10 } } }'
RANDOM = 'bias_filler { type: "uniform" min: -1 max: 1 }'
SCALE = 'bias_term: true filler { type: "uniform" min: 0.5 max: 2 } bias_filler { type: "uniform" min: -1 max: 1 }'


def layer(name: str, kind: str, *bottoms: str, **sections: str) -> str:
    read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    inner = " ".join(f"{section} {{ {phrase} }}" for section, phrase in sections.items())
    return f'layer {{ name: "{name}" type: "{kind}" {read} top: "{name}" {inner} }}'


def conv(name: str, bottom: str, phrase: str) -> str:
    return layer(name, "Convolution", bottom, convolution_param=f"{phrase} {RANDOM}")


def norm(name: str, bottom: str) -> str:
    return layer(name, "BatchNorm", bottom) + layer(f"{name}s", "Scale", name, scale_param=SCALE)


BOTH = "\n".join(
    [
        conv("c1", "data", "num_output: 6 kernel_size: 3 pad: 1"),
        norm("n1", "c1"),
        layer("r1", "ReLU", "n1s"),
        conv("c2", "r1", "num_output: 6 kernel_size: 3 pad: 1 group: 6"),
        layer("sum", "Eltwise", "c2", "r1"),
        layer("p", "Pooling", "sum", pooling_param="pool: MAX kernel_size: 2 stride: 2"),
        conv("c3", "p", "num_output: 5 kernel_h: 1 kernel_w: 3 pad_w: 1"),
        layer("cat", "Concat", "p", "c3"),
        layer("ip", "InnerProduct", "cat", inner_product_param=f"num_output: 7 {RANDOM}"),
    ]
)


def both() -> Any:
    """The same net in Keras, with names of its own and a softmax less."""
    x = given = keras.Input((8, 10, 3), name="given")
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="add")(x)
    x = first = layers.ReLU(name="type")(layers.BatchNormalization(epsilon=1e-3, name="b_n")(x))
    x = layers.Add(name="whole")([layers.DepthwiseConv2D(3, padding="same", name="deep")(x), first])
    x = second = layers.MaxPooling2D(2, name="half")(x)
    x = layers.Concatenate()([second, layers.Conv2D(5, (1, 3), padding="same", name="wide")(x)])
    x = layers.Dense(7, name="scores")(layers.Dropout(0.5)(layers.Flatten()(x)))
    return keras.Model(given, x, name="both")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[str, str]]:
    """The files of a net with random weights, in the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(text: str) -> tuple[str, str]:
        Path("net.prototxt").write_text(f"{HEAD}\n{text}")
        resnet_convert.convert("net.prototxt", to="caffe", output="made", fold="none", random_weights=3, verify=False)
        return "net.prototxt", "made/model.caffemodel"

    return make


def shared_error(files: tuple[str, str], model: Any) -> float:
    """Between Caffe's last blob and what Keras itself computes, as a share of the largest value."""
    image = np.random.default_rng(5).standard_normal((1, 3, 8, 10)).astype(np.float32)
    with open_weights(files[1]) as weights:
        expected = list(run(load_net(files[0]), weights, {"data": image}).blobs.values())[-1]
    found = np.asarray(model.predict(image.transpose(0, 2, 3, 1), verbose=0))
    found = found.transpose(0, 3, 1, 2) if found.ndim == 4 else found
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_a_model_gets_caffes_numbers_and_its_file_brings_them(made: Callable[[str], tuple[str, str]]) -> None:
    files, model = made(BOTH), both()
    done = resnet_convert.port_into(*files, model, output="net.weights.h5")
    assert done.report is not None
    assert done.report.ok
    assert done.mismatches == []
    labels = {each.label for _, part, _ in done.layers for each in part.together}
    assert labels == {"add", "b_n", "deep", "wide", "scores"}
    assert shared_error(files, model) < 1e-5
    other = both()
    assert shared_error(files, other) > 1e-2
    other.load_weights("net.weights.h5")
    assert shared_error(files, other) < 1e-5


def test_the_command_line_writes_what_load_weights_takes(
    made: Callable[[str], tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    files = made(BOTH)
    source = Path(__file__).read_text(encoding="utf-8")
    start, end = source.index("def both()"), source.index("@pytest.fixture")
    head = "from __future__ import annotations\nimport keras\nfrom keras import layers\n\n"
    Path("model.py").write_text(head + source[start:end])
    assert main(["port", *files, "--into", "model.py:both", "-o", "net.weights.h5"]) == 0
    assert "layers paired" in capsys.readouterr().out
    model = both()
    model.load_weights("net.weights.h5")
    assert shared_error(files, model) < 1e-5


def test_padding_that_tensorflow_puts_behind_is_named(made: Callable[[str], tuple[str, str]]) -> None:
    files = made(conv("c", "data", "num_output: 6 kernel_size: 3 pad: 1 stride: 2"))
    given = keras.Input((8, 10, 3))
    done = resnet_convert.port_into(*files, keras.Model(given, layers.Conv2D(6, 3, 2, padding="same")(given)))
    assert done.report is not None
    assert not done.report.ok
    assert done.cause is not None
    assert "with other settings: padding 1, there" in str(done.cause)
    assert "no attribute of the module makes them equal" in str(done.cause)


MODELS: dict[str, Callable[[Any], Any]] = {
    "strided, same, odd": lambda x: layers.Conv2D(5, (3, 5), (2, 3), padding="same", activation="relu")(x),
    "strided, same, even kernel": lambda x: layers.Conv2D(5, (4, 2), (1, 2), padding="same", activation="tanh")(x),
    "dilated": lambda x: layers.Conv2D(5, 3, dilation_rate=(2, 1), padding="same", use_bias=False)(x),
    "valid": lambda x: layers.Conv2D(5, (2, 3), (3, 1), activation="silu")(x),
    "groups": lambda x: layers.Conv2D(6, 3, groups=3, activation="sigmoid")(x),
    "depthwise, several": lambda x: layers.DepthwiseConv2D((3, 2), depth_multiplier=2, padding="same")(x),
    "depthwise, strided": lambda x: layers.DepthwiseConv2D(3, 2, padding="same", activation="relu6")(x),
    "normalised": lambda x: layers.BatchNormalization(epsilon=0.02)(x),
    "normalised values": lambda x: layers.BatchNormalization()(layers.GlobalAveragePooling2D()(x)),
    "largest, same": lambda x: layers.MaxPooling2D((3, 2), (2, 1), padding="same")(x),
    "largest": lambda x: layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(((1, 2), (0, 3)))(x)),
    "average, same": lambda x: layers.AveragePooling2D(3, 1, padding="same")(x),
    "average": lambda x: layers.AveragePooling2D((2, 3), (1, 2))(x),
    "dense": lambda x: layers.Dense(4, activation="softmax")(layers.Flatten()(x)),
    "dense behind a mean": lambda x: layers.Dense(4)(layers.GlobalAveragePooling2D()(x)),
    "reshaped": lambda x: layers.Reshape((4,))(layers.Conv2D(4, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))),
    "gated": lambda x: layers.Multiply()(
        [x, layers.Dense(3, activation="sigmoid")(layers.Reshape((1, 1, 3))(layers.GlobalAveragePooling2D()(x)))]
    ),
    "gated by a convolution": lambda x: layers.Multiply()(
        [x, layers.Conv2D(3, 1)(layers.Reshape((1, 1, 3))(layers.GlobalAveragePooling2D()(x)))]
    ),
    "leaky": lambda x: layers.LeakyReLU(0.3)(layers.ReLU(6.0)(layers.Activation("elu")(x))),
    "slopes": lambda x: layers.PReLU(shared_axes=(1, 2))(x),
    "twice": lambda x: (shared := layers.Conv2D(3, 1, padding="same"))(shared(x)),
    "joined": lambda x: layers.Concatenate()([x, layers.Add()([x, x, x]), layers.Softmax()(x)]),
}
REFUSED = {
    "gated": "Dense) works along an axis of a map",
}


@pytest.mark.parametrize("name", MODELS)
def test_the_mirror_computes_what_keras_does(name: str) -> None:
    import torch

    given = keras.Input((9, 12, 3))
    model = keras.Model(given, MODELS[name](given))
    rng = np.random.default_rng(9)
    for variable in model.weights:
        variable.assign(rng.uniform(0.2, 1.5, variable.shape).astype(np.float32))
    if name in REFUSED:
        with pytest.raises(UnsupportedError, match=REFUSED[name].replace(")", r"\)")):
            KerasMirror(model)
        return
    mirror = KerasMirror(model)
    image = torch.from_numpy(rng.standard_normal((2, 3, 9, 12)).astype(np.float32))
    with torch.no_grad():
        [found], [expected] = mirror._mirror(image), mirror._keras(image)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert float(expected.abs().max()) > 1e-3
    before = [np.array(variable) for variable in model.weights]
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape, np.float32))
    mirror.give_back()
    assert all(np.array_equal(variable, was) for variable, was in zip(model.weights, before, strict=True))


class Own(keras.Model):  # type: ignore[misc, name-defined]
    """A model that is code."""

    def call(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x: layers.LayerNormalization(name="ln")(x),
            r"layer ln \(LayerNormalization\) is of a type, which has no",
        ),
        (lambda x: layers.BatchNormalization(scale=False, name="b")(x), r"layer b \(BatchNorm\w+\) has no scale or no"),
        (lambda x: layers.ReLU(3.0, name="r")(x), r"layer r \(ReLU\) rectifies with threshold 0"),
        (lambda x: layers.Activation("gelu", name="a")(x), "has the activation gelu"),
        (lambda x: layers.AveragePooling2D(2, 1, padding="same")(x), "pads more behind than before"),
        (lambda x: layers.Conv2D(2, 3, data_format="channels_first")(x), "has its channels first"),
        (lambda x: layers.Concatenate(1)([x, x]), "joins along axis 1"),
    ],
)
def test_a_layer_without_a_mirror_is_named(make: Callable[[Any], Any], message: str) -> None:
    given = keras.Input((9, 12, 3))
    with pytest.raises(UnsupportedError, match=message):
        KerasMirror(keras.Model(given, make(given)))


def test_models_that_cannot_be_followed_are_refused() -> None:
    two = [keras.Input((4, 4, 3)), keras.Input((4, 4, 3))]
    with pytest.raises(UnsupportedError, match="has 2 inputs; a Keras model of one input is expected"):
        KerasMirror(keras.Model(two, layers.Add()(two)))
    with pytest.raises(UnsupportedError, match="Own has no symbolic inputs; expected a functional or built sequential"):
        KerasMirror(Own())


def test_a_sequential_model_is_followed(made: Callable[[str], tuple[str, str]]) -> None:
    files = made(conv("c", "data", "num_output: 6 kernel_size: 3") + layer("r", "ReLU", "c"))
    model = keras.Sequential([keras.Input((8, 10, 3)), layers.Conv2D(6, 3, activation="relu")])
    assert resnet_convert.port_into(*files, model).report.ok  # type: ignore[union-attr]
    assert shared_error(files, model) < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": True}, "--patch sets attributes of PyTorch modules"),
        ({"output": "net.pth"}, r"net.pth: a Keras model's weights are written to a file that ends in \.weights\.h5"),
        ({"output": "net.safetensors"}, "are written to a file that ends in"),
        ({"output": "net.h5"}, "expected a name that ends in"),
    ],
)
def test_what_keras_has_no_use_for_is_refused(
    options: dict[str, Any], message: str, made: Callable[[str], tuple[str, str]]
) -> None:
    files = made(BOTH)
    with pytest.raises(RequestError, match=message):
        resnet_convert.port_into(*files, both(), **options)
    assert sorted(path.name for path in Path().iterdir()) == ["made", "net.prototxt"]


def test_a_torch_module_has_no_file_of_keras(made: Callable[[str], tuple[str, str]]) -> None:
    import torch

    files = made(conv("c", "data", "num_output: 6 kernel_size: 3"))
    with pytest.raises(RequestError, match=r"net\.weights\.h5: \.weights\.h5 is for Keras models; Conv2d is none"):
        resnet_convert.port_into(*files, torch.nn.Conv2d(3, 6, 3), output="net.weights.h5")


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_full_disk_leaves_no_file(size: int, made: Callable[[str], tuple[str, str]]) -> None:
    files, model = made(BOTH), both()
    with files_of_at_most(size), pytest.raises(RequestError, match=FULL):
        resnet_convert.port_into(*files, model, output="net.weights.h5", verify=False)
    assert sorted(path.name for path in Path().iterdir()) == ["made", "net.prototxt"]


def test_a_mistyped_application_is_named_with_the_nearest(made: Callable[[str], tuple[str, str]]) -> None:
    files = made(BOTH)
    with pytest.raises(CaffeModelError, match=r"keras\.applications has no model 'VGG17'; did you mean VGG1[69]\?"):
        resnet_convert.port_into(*files, "keras:VGG17")
