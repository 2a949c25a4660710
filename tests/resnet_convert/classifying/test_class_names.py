"""`resnet-convert classify`: what classes are called, by lists of several forms."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from resnet_convert.classifying.naming import given_names
from resnet_convert.cli.main import main
from tests.resnet_convert.classifying.digits import MEAN, NET, SYNSETS, WEIGHTS, WORDS, Found, Refused, digit
from verify.evaluation.datasets.synsets import wnids

pytestmark = pytest.mark.usefixtures("in_a_folder")


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
    text: str, status: int, said: str, refused: Refused
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


def test_a_labelmap_with_a_class_too_many_is_refused(refused: Refused) -> None:
    Path("map.txt").write_text("".join(f'item {{ name: "n{i}" label: {i} }}\n' for i in range(12)))
    said = refused(2, NET, WEIGHTS, digit(0), *MEAN, "--labels", "map.txt")
    assert said == "map.txt: error: names class 11, but the net's classes end at 9\n"
