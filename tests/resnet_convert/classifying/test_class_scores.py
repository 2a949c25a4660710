"""`resnet-convert classify`: which output holds scores of classes, and nets and models without such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resnet_convert.cli.main import main
from tests.resnet_convert.classifying.digits import MEAN, NET, WEIGHTS, Found, Refused, digit
from weights import LayerWeights, blob_from_array, open_weights, write_caffemodel

pytestmark = pytest.mark.usefixtures("in_a_folder")

HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 8 } } }\n'
CONV = (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 5 kernel_size: 3 } }'
)
FLAT = 'layer { name: "r" type: "Reshape" bottom: "data" top: "r" reshape_param { shape { dim: 1 dim: 9 dim: -1 } } }'


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (CONV, "'c' is 1×5×4×6: values for each place, no scores of classes for an image"),
        (FLAT, "'r' is 1×9×16, no scores of classes for an image"),
        (
            'layer { name: "f" type: "InnerProduct" bottom: "data" top: "f" inner_product_param { num_output: 1 } }',
            "'f' is 1×1: one value, no scores of classes",
        ),
        (
            'layer { name: "r" type: "Reshape" bottom: "data" top: "r" reshape_param { shape { dim: -1 dim: 8 } } }',
            "'r' is 18×8, no scores of classes for an image",
        ),
    ],
)
def test_a_net_whose_output_is_no_class_scores_is_refused(layers: str, said: str, refused: Refused) -> None:
    Path("net.prototxt").write_text(HEAD + layers)
    assert main(["net.prototxt", "--random-weights", "1", "--to", "caffe", "-o", "made", "--no-verify", "-q"]) == 0
    text = refused(2, "made/deploy.prototxt", "made/model.caffemodel", digit(0))
    assert text == f"made/deploy.prototxt: error: {said}; --outputs names another blob\n"


def test_probabilities_come_before_other_outputs_and_values_without_softmax_are_said_to_be_none(
    found: Found, tmp_path: Path
) -> None:
    text = HEAD + "\n".join(
        [
            'layer { name: "f" type: "InnerProduct" bottom: "data" top: "f" inner_product_param { num_output: 7 } }',
            'layer { name: "p" type: "Softmax" bottom: "f" top: "p" }',
            'layer { name: "b" type: "InnerProduct" bottom: "data" top: "box" inner_product_param { num_output: 4 } }',
        ]
    )
    (tmp_path / "net.prototxt").write_text(text)
    assert main(["net.prototxt", "--random-weights", "1", "--to", "caffe", "-o", "made", "--no-verify", "-q"]) == 0
    pair = ("made/deploy.prototxt", "made/model.caffemodel")
    image = [digit(0), "--resize", "6x8"]
    made = found(*image, pair=pair)
    assert (made["blob"], made["probabilities"], len(made["images"][0]["classes"])) == ("p", True, 5)
    assert sum(
        each["score"] for each in found(*image, "--top", "9", pair=pair)["images"][0]["classes"]
    ) == pytest.approx(1)
    other = found(*image, "--outputs", "box", pair=pair)
    assert (other["blob"], other["probabilities"], len(other["images"][0]["classes"])) == ("box", False, 4)
    assert any("no Softmax is at the end" in note for note in other["notes"])


def test_a_model_of_another_number_of_classes_is_refused(refused: Refused) -> None:
    Path("net.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 16 dim: 16 } } }\n'
        'layer { name: "f" type: "InnerProduct" bottom: "data" top: "f" inner_product_param { num_output: 7 } }\n'
    )
    assert main(["net.prototxt", "--random-weights", "1", "-o", "seven.onnx", "--no-verify", "-q"]) == 0
    assert "the model gives 7 scores, the net 10" in refused(2, NET, WEIGHTS, digit(0), "--model", "seven.onnx")


def test_scores_that_are_no_numbers_are_a_problem_of_their_image(found: Found) -> None:
    with open_weights(WEIGHTS) as weights:
        layers = []
        for stored in weights.layers:
            blobs = [np.array(blob.array()) for blob in stored.blobs]
            if stored.name == "fc10":
                blobs[1][3] = np.nan
            layers.append(LayerWeights(stored.name, stored.type, tuple(map(blob_from_array, blobs))))
        write_caffemodel("nan.caffemodel", "", layers)
    made = found(digit(0), *MEAN, pair=(NET, "nan.caffemodel"), status=1)
    assert made["images"][0]["problem"] == "its scores are no numbers (NaN or infinity)"


def test_weights_that_do_not_fit_are_the_models_fault(refused: Refused) -> None:
    write_caffemodel(
        "other.caffemodel",
        "",
        [LayerWeights("conv1", "Convolution", (blob_from_array(np.ones((2, 3, 5, 7), np.float32)),))],
    )
    assert "conv1" in refused(1, NET, "other.caffemodel", digit(0))
    assert "no such file" in refused(1, NET, "nowhere.caffemodel", digit(0))
