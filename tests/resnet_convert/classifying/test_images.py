"""`resnet-convert classify`: which images a command line names, in which order, and those that can't be read."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import resnet_convert
from prototxt.errors import CaffeModelError, RequestError
from resnet_convert.classifying.images import images_of
from resnet_convert.cli.main import main
from tests.resnet_convert.classifying.digits import (
    DIGITS,
    MEAN,
    NAMES,
    NET,
    WEIGHTS,
    WORDS,
    Found,
    Refused,
    assert_caffes,
    digit,
)
from weights import open_weights

pytestmark = pytest.mark.usefixtures("in_a_folder")


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


def test_all_images_that_are_missing_are_named_before_the_net_is_read(refused: Refused) -> None:
    Path("bad.prototxt").write_text("nonsense")
    Path("empty").mkdir()
    said = refused(2, "bad.prototxt", WEIGHTS, "nowhere.jpg", digit(0), "no*.png", "empty").splitlines()
    assert said == [
        "nowhere.jpg: error: no such file or folder; expected an image",
        "no*.png: error: nothing fits this pattern; expected an image",
        "empty: error: holds no images",
    ]


@pytest.mark.parametrize("words", [(), (NET,), (NET, WEIGHTS)])
def test_a_line_without_images_says_so(words: tuple[str, ...], refused: Refused) -> None:
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


def blob_message(values: np.ndarray) -> Any:
    from prototxt.caffe_pb2 import BlobProto

    made = BlobProto(data=values.ravel().tolist())
    made.shape.dim.extend(values.shape)
    return made


def test_a_zoos_folder_has_images_right_behind_it(found: Found, refused: Refused) -> None:
    Path("zoo").mkdir()
    shutil.copy(NET, "zoo")
    assert "zoo: error: has no weight file of a net" in refused(2, "zoo", digit(0))
    shutil.copy(WEIGHTS, "zoo")
    made = found(digit(0), digit(1), *MEAN, pair=("zoo",))
    assert_caffes(made, [0, 1])
    assert made["weights"] == "zoo/digits_resnet.caffemodel"


def test_an_image_that_is_too_small_for_a_crop_is_named(refused: Refused) -> None:
    cv2.imwrite("small.png", np.zeros((9, 30, 3), np.uint8))
    said = refused(2, NET, WEIGHTS, digit(0), "small.png", *MEAN, "--resize", "none")
    assert said.startswith("error: small.png: an image of 9×30 is smaller than the net's 16×16: give --resize")


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
