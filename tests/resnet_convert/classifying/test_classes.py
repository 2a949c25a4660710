"""`resnet-convert classify` of nets that give scores of classes, beside what the original Caffe gave."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import resnet_convert
from prototxt.errors import CaffeModelError, RequestError
from resnet_convert.classifying.images import images_of
from resnet_convert.classifying.naming import given_names
from resnet_convert.cli.main import main
from verify.evaluation.datasets.synsets import wnids
from weights import LayerWeights, blob_from_array, open_weights, write_caffemodel

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
NET, WEIGHTS = str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel")
MEAN = ["--mean", str(DIGITS / "mean.binaryproto")]
SYNSETS = ["--labels", str(DIGITS / "synset_words.txt")]
NAMES = [line.split()[0] for line in (DIGITS / "val.txt").read_text().splitlines()]
CAFFE = np.load(DIGITS / "caffe_scores.npy").reshape(len(NAMES), 10)
WORDS = "zero one two three four five six seven eight nine".split()

Found = Callable[..., dict[str, Any]]


def digit(index: int) -> str:
    return str(DIGITS / "val" / NAMES[index])


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def found(capsys: pytest.CaptureFixture[str]) -> Found:
    """What `--json` prints for the digits' net."""

    def run(*words: str, status: int = 0, pair: tuple[str, ...] = (NET, WEIGHTS)) -> dict[str, Any]:
        assert main(["classify", *pair, *words, "--json"]) == status
        made: dict[str, Any] = json.loads(capsys.readouterr().out)
        return made

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command line says that ends with a status."""

    def run(status: int, *words: str) -> str:
        assert main(["classify", *words]) == status
        return capsys.readouterr().err

    return run


def assert_caffes(made: dict[str, Any], indices: range | list[int], top: int = 5) -> None:
    """The classes of the original Caffe in its order, with its scores."""
    assert len(made["images"]) == len(indices)
    for seen, index in zip(made["images"], indices, strict=True):
        best = np.argsort(-CAFFE[index], kind="stable")[:top]
        assert [each["label"] for each in seen["classes"]] == best.tolist(), seen["image"]
        np.testing.assert_allclose([each["score"] for each in seen["classes"]], CAFFE[index][best], atol=1e-5)


@pytest.mark.parametrize("engine", ["onnx", "torch", "interpreter", "opencv"])
def test_the_best_classes_are_caffes_in_every_engine(engine: str, found: Found) -> None:
    made = found(*map(digit, range(40)), *MEAN, *SYNSETS, "--engine", engine)
    assert_caffes(made, range(40))
    assert (made["finds"], made["blob"], made["probabilities"]) == ("classes", "prob", True)


def test_all_digits_have_caffes_class_whatever_the_size_of_batches(found: Found) -> None:
    for size in ("1", "7", "500"):
        assert_caffes(found(str(DIGITS / "val"), *MEAN, "--batch-size", size, "--top", "1"), range(500), top=1)


def test_a_converted_model_gives_the_same_and_so_does_one_with_its_mean_baked_in(found: Found) -> None:
    assert main([NET, WEIGHTS, "-o", "m.onnx", "--no-verify", "-q"]) == 0
    assert main([NET, WEIGHTS, *MEAN, "-o", "baked.onnx", "--no-verify", "-q"]) == 0
    assert_caffes(found(*map(digit, range(9)), *MEAN, "--model", "m.onnx"), range(9))
    for words in ([], MEAN):
        baked = found(*map(digit, range(9)), "--model", "baked.onnx", *words)
        assert_caffes(baked, range(9))
    assert "mean, scale and order of channels are baked into the model" in baked["notes"]


@pytest.mark.slow
def test_a_folder_with_a_pytorch_module_gives_the_same(found: Found) -> None:
    assert main([NET, WEIGHTS, "-o", "m", "--to", "torch", "--no-verify", "-q"]) == 0
    assert_caffes(found(*map(digit, range(9)), *MEAN, "--model", "m"), range(9))


def test_folders_archives_patterns_and_files_are_taken_in_their_order(found: Found, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    for index in (4, 2):
        shutil.copy(digit(index), tmp_path / "some")
    with zipfile.ZipFile("more.zip", "w") as archive:
        archive.write(digit(7), "inner/seven.png")
    made = found(digit(11), "some", "more.zip", f"{DIGITS}/val/*0000001[0-2].png", *MEAN)
    assert_caffes(made, [11, 2, 4, 7, 9, 10, 11])
    names = [seen["image"] for seen in made["images"]]
    assert names[:4] == [digit(11), f"some/{NAMES[2]}", f"some/{NAMES[4]}", "more.zip/inner/seven.png"]


def test_an_image_is_told_by_its_content_and_a_name_may_look_like_a_pattern(found: Found) -> None:
    for name in ("seven", "photo.text", "odd[1].png", "图片 ①.png", "--top.png"):
        shutil.copy(digit(3), name)
    made = found("seven", "photo.text", "odd[1].png", "图片 ①.png", "./--top.png", *MEAN)
    assert_caffes(made, [3] * 5)


def test_class_folders_are_just_folders(found: Found) -> None:
    for index, folder in ((5, "b"), (6, "a")):
        Path("set", folder).mkdir(parents=True)
        shutil.copy(digit(index), Path("set", folder))
    made = found("set", *MEAN)
    assert_caffes(made, [6, 5])
    assert made["notes"] == []


def test_names_come_from_the_list_with_their_ids(found: Found) -> None:
    (seen,) = found(digit(0), *MEAN, *SYNSETS)["images"]
    best = seen["classes"][0]
    assert (best["label"], best["name"], best["wnid"]) == (8, "eight", "d00000008")
    Path("names.txt").write_text("\n".join(WORDS))
    Path("map.prototxt").write_text(
        "".join(f'item {{ name: "d{i}" label: {i} display_name: "{WORDS[i]}" }}\n' for i in reversed(range(10)))
    )
    for labels in ("names.txt", "map.prototxt"):
        (seen,) = found(digit(0), *MEAN, "--labels", labels)["images"]
        assert [each["name"] for each in seen["classes"]] == [WORDS[each["label"]] for each in seen["classes"]]
        assert seen["classes"][0]["wnid"] == ""
    assert found(digit(0), *MEAN)["images"][0]["classes"][0]["name"] == ""


def test_wide_names_keep_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Path("names.txt").write_text("零\n壹 one\n二\n三\n四\n五\n六\n七\n八\x20八\n九\n", encoding="utf-8")
    shutil.copy(digit(0), "八.png")
    assert main(["classify", NET, WEIGHTS, "八.png", *MEAN, "--labels", "names.txt", "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "八.png"
    assert lines[1].split(maxsplit=2)[1:] == ["8", "八 八"]
    assert lines[3].startswith("  grey, shorter side 16")


def test_control_characters_of_names_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(digit(0), "a\x1b[31mb\n.png")
    assert main(["classify", NET, WEIGHTS, "a\x1b[31mb\n.png", *MEAN]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("a\nb\n", 2, "labels.txt: error: names 2 classes, but the net gives 10 scores"),
        ("\n".join(map(str, range(11))), 2, "labels.txt: error: names 11 classes, but the net gives 10 scores"),
        ("", 2, "labels.txt: error: is empty; expected a list of classes"),
        ("a\n\nb\n", 2, "labels.txt:2: error: is blank: every line is a class"),
        ('item { name: "a" label: 0 }', 2, "labels.txt: error: has no name for class 1 of the net's 10"),
        ('item { name: "a" }', 1, "labels.txt:1:1: error: the item has no label from 0 on"),
        ("item { label: 3 }", 1, "labels.txt:1:1: error: the item has neither a name nor a display_name"),
        (
            'item { name: "a" label: 1 }\nitem { name: "b" label: 1 }',
            1,
            "labels.txt:2:1: error: the item has label 1, which 'a' has already",
        ),
        ('item { nam: "a" label: 1 }', 1, "labels.txt:1:8: error: unknown field 'nam' in item"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_their_place(
    text: str, status: int, said: str, refused: Callable[..., str]
) -> None:
    Path("labels.txt").write_text(text)
    assert refused(status, NET, WEIGHTS, digit(0), *MEAN, "--labels", "labels.txt").startswith(said)


def test_the_development_kits_list_is_taken_in_the_order_of_nets() -> None:
    """ILSVRC's ID 1 is the kit fox; class 0 of Caffe's nets is the tench, the first of the sorted IDs of WordNet."""
    lines = [f"{wnid} {number} name_{wnid}" for number, wnid in enumerate(wnids(), 1)]
    assert lines[0].startswith("n02119789 1 ")
    Path("map_clsloc.txt").write_text("\n".join(lines))
    made = given_names("map_clsloc.txt")
    assert made.of(0) == ("name n01440764", "n01440764")
    assert made.of(278) == ("name n02119789", "n02119789")
    assert made.listed == 1000


def test_a_list_of_ids_alone_shows_these(capsys: pytest.CaptureFixture[str]) -> None:
    Path("synsets.txt").write_text("".join(f"n{label:08}\n" for label in range(10)))
    assert main(["classify", NET, WEIGHTS, digit(0), *MEAN, "--labels", "synsets.txt", "--top", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["0.9997", "8", "n00000008"]


def test_many_files_take_no_time_for_their_names() -> None:
    """Counted in calls, since a machine's load is not: the places of the parts are worked out once."""
    images = images_of([digit(index % 500) for index in range(3000)])
    assert [Path(images.item(index).name).name for index in (0, 499, 500, 2999)] == [NAMES[i] for i in (0, 499, 0, 499)]
    before = sys.getprofile()
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "c_call"

    sys.setprofile(count)
    try:
        images.item(2999)
    finally:
        sys.setprofile(before)
    assert calls < 200


def test_a_labelmap_with_a_class_too_many_is_refused(refused: Callable[..., str]) -> None:
    Path("map.txt").write_text("".join(f'item {{ name: "n{i}" label: {i} }}\n' for i in range(12)))
    said = refused(2, NET, WEIGHTS, digit(0), *MEAN, "--labels", "map.txt")
    assert said == "map.txt: error: names class 11, but the net's classes end at 9\n"


def test_a_damaged_image_is_named_and_the_others_are_classified(
    found: Found, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("cut.png").write_bytes(Path(digit(1)).read_bytes()[:40])
    Path("text.jpg").write_text("no image")
    Path("empty.bmp").write_text("")
    words = [digit(0), "cut.png", "text.jpg", digit(2), "empty.bmp", *MEAN]
    made = found(*words, "--batch-size", "2", status=1)
    assert [bool(seen["problem"]) for seen in made["images"]] == [False, True, True, False, True]
    assert_caffes({"images": [made["images"][0], made["images"][3]]}, [0, 2])
    assert main(["classify", NET, WEIGHTS, *words]) == 1
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "cut.png: error: the PNG is damaged",
        "text.jpg: error: it is no image that OpenCV can read",
        "empty.bmp: error: the file is empty",
    ]
    assert printed.out.splitlines()[1].split()[1] == "8"


def test_all_images_that_are_missing_are_named_before_the_net_is_read(refused: Callable[..., str]) -> None:
    Path("bad.prototxt").write_text("nonsense")
    Path("empty").mkdir()
    said = refused(2, "bad.prototxt", WEIGHTS, "nowhere.jpg", digit(0), "no*.png", "empty").splitlines()
    assert said == [
        "nowhere.jpg: error: no such file or folder; expected an image",
        "no*.png: error: nothing fits this pattern; expected an image",
        "empty: error: holds no images",
    ]


@pytest.mark.parametrize("words", [(), (NET,), (NET, WEIGHTS)])
def test_a_line_without_images_says_so(words: tuple[str, ...], refused: Callable[..., str]) -> None:
    assert (
        refused(2, *words) == "error: no image is given; name files, folders or archives of images behind the weights\n"
    )


def test_a_net_inside_a_caffemodel_has_images_right_behind_it(found: Found) -> None:
    from prototxt import load_net

    net = load_net(NET)
    with open_weights(WEIGHTS) as weights:
        for layer in net.message.layer:
            for stored in weights.layers:
                if stored.name == layer.name:
                    for blob in stored.blobs:
                        layer.blobs.add().MergeFrom(blob_message(np.array(blob.array())))
    Path("own.caffemodel").write_bytes(net.message.SerializeToString())
    pair = ("own.caffemodel",)
    assert_caffes(found(digit(0), digit(1), *MEAN, pair=pair), [0, 1])
    assert_caffes(found(digit(0), *MEAN, pair=pair), [0])


def test_a_zoos_folder_has_images_right_behind_it(found: Found, refused: Callable[..., str]) -> None:
    Path("zoo").mkdir()
    shutil.copy(NET, "zoo")
    assert "zoo: error: has no weight file of a net" in refused(2, "zoo", digit(0))
    shutil.copy(WEIGHTS, "zoo")
    made = found(digit(0), digit(1), *MEAN, pair=("zoo",))
    assert_caffes(made, [0, 1])
    assert made["weights"] == "zoo/digits_resnet.caffemodel"


def blob_message(values: np.ndarray) -> Any:
    from prototxt.caffe_pb2 import BlobProto

    made = BlobProto(data=values.ravel().tolist())
    made.shape.dim.extend(values.shape)
    return made


def test_weights_that_do_not_fit_are_the_models_fault(refused: Callable[..., str]) -> None:
    write_caffemodel(
        "other.caffemodel",
        "",
        [LayerWeights("conv1", "Convolution", (blob_from_array(np.ones((2, 3, 5, 7), np.float32)),))],
    )
    assert "conv1" in refused(1, NET, "other.caffemodel", digit(0))
    assert "no such file" in refused(1, NET, "nowhere.caffemodel", digit(0))


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
def test_a_net_whose_output_is_no_class_scores_is_refused(layers: str, said: str, refused: Callable[..., str]) -> None:
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


def test_an_image_that_is_too_small_for_a_crop_is_named(refused: Callable[..., str]) -> None:
    cv2.imwrite("small.png", np.zeros((9, 30, 3), np.uint8))
    said = refused(2, NET, WEIGHTS, digit(0), "small.png", *MEAN, "--resize", "none")
    assert said.startswith("error: small.png: an image of 9×30 is smaller than the net's 16×16: give --resize")


def test_a_model_of_another_number_of_classes_is_refused(refused: Callable[..., str]) -> None:
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--threshold", "0.3"], "--threshold is for boxes, and 'prob' gives scores of classes"),
        (["-o", "out.png"], "-o is for boxes, and 'prob' gives scores of classes"),
        (["--top", "0"], "argument --top: '0' is no number above 0"),
        (["--threshold", "1.5"], "argument --threshold: '1.5' is no number from 0 to 1"),
        (["--expect", "resnet-50-multiscale"], "resnet-50-multiscale is measured on whole images of several sizes"),
        (["--expect", "resnet-51"], "no published errors go by the name 'resnet-51'; did you mean"),
    ],
)
def test_options_that_make_no_sense_are_refused(words: list[str], said: str, refused: Callable[..., str]) -> None:
    assert said in refused(2, NET, WEIGHTS, digit(0), *MEAN, *words)
    assert os.listdir() == []


def test_what_expect_knows_is_listed_without_a_net(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--expect", "list"]) == 0
    listed = capsys.readouterr().out
    assert main(["evaluate", "--expect", "list"]) == 0
    assert capsys.readouterr().out == listed
    assert "resnet-50 " in listed


def test_ten_crops_and_mirrors_are_averaged_as_in_an_evaluation(found: Found) -> None:
    for words in (["--crops", "10"], ["--mirror"]):
        data = ["--data", str(DIGITS / "val"), *MEAN, *words]
        assert main(["evaluate", NET, WEIGHTS, *data, "--scores", "s.npy", "-q"]) == 0
        made = found(*map(digit, range(6)), *MEAN, *words)
        for seen, scores in zip(made["images"], np.load("s.npy"), strict=False):
            np.testing.assert_allclose([e["score"] for e in seen["classes"]], np.sort(scores)[::-1][:5], rtol=1e-5)


def test_arrays_give_what_their_files_do() -> None:
    pixels = [cv2.imread(digit(index), cv2.IMREAD_GRAYSCALE)[..., None] for index in range(4)]
    mean = resnet_convert.load_mean(DIGITS / "mean.binaryproto")
    for images in (np.stack(pixels), pixels, [pixels[0], digit(1), *pixels[2:]]):
        made = resnet_convert.classify(NET, WEIGHTS, images, mean=mean, labels=WORDS)
        assert_caffes(made.to_json(), range(4))
        assert made.ok
        assert made.images[0].classes[0].name == "eight"
    assert [seen.image for seen in made.images] == ["image 0", digit(1), "image 2", "image 3"]
    (alone,) = resnet_convert.classify(NET, WEIGHTS, pixels[2], mean=mean, top=1).images
    assert len(alone.classes) == 1


def test_arrays_that_are_no_images_and_lists_of_another_length_are_refused() -> None:
    with pytest.raises(RequestError, match=r"images are 1×16×16×2 of uint8"):
        resnet_convert.classify(NET, WEIGHTS, np.zeros((16, 16, 2), np.uint8))
    with pytest.raises(RequestError, match="no image is given"):
        resnet_convert.classify(NET, WEIGHTS, [])
    with pytest.raises(RequestError, match="the list of labels names 2 classes, but the net gives 10 scores"):
        resnet_convert.classify(NET, WEIGHTS, digit(0), labels=["a", "b"])
    with pytest.raises(CaffeModelError, match="nowhere"):
        resnet_convert.classify("nowhere.prototxt", WEIGHTS, digit(0))


def squeezenet(shared: Path, *images: str) -> list[str]:
    folder = shared / "golden" / "models" / "squeezenet-imagenet"
    return [str(folder / "net.prototxt"), str(folder / "weights.caffemodel"), *images, "--expect", "squeezenet-1.0"]


def test_a_thousand_classes_have_imagenets_names(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = str(shared / "images" / "imagenet_val_300" / "ILSVRC2012_val_00000560.JPEG")
    assert main(["classify", *squeezenet(shared, image), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["images"][0]["classes"][0] | {"score": 0} == {
        "label": 705,
        "name": "passenger car",
        "wnid": "n03895866",
        "score": 0,
    }
    assert main(["classify", *squeezenet(shared, image)[:3], "--mean", "104,117,123", "--json"]) == 0
    unsaid = json.loads(capsys.readouterr().out)
    assert unsaid["images"][0]["classes"][0]["name"] == "passenger car"
    assert "the 1,000 classes are taken for ILSVRC 2012's in Caffe's order (--labels)" in unsaid["notes"]


@pytest.mark.slow
def test_three_hundred_photos_have_the_original_caffes_classes(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared / "images" / "imagenet_val_300"
    assert main(["classify", *squeezenet(shared, str(folder)), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["images"]
    names = [line.split()[0] for line in (folder / "val.txt").read_text().splitlines()]
    caffe = dict(zip(names, np.load(folder / "squeezenet_caffe_scores.npy"), strict=True))
    assert len(made) == 300
    for seen in made:
        scores = caffe[Path(seen["image"]).name]
        best = np.argsort(-scores, kind="stable")[:5]
        assert [each["label"] for each in seen["classes"]] == best.tolist(), seen["image"]
        np.testing.assert_allclose([each["score"] for each in seen["classes"]], scores[best], atol=1e-4)
