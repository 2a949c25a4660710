"""model.yml of Open Model Zoo: what is read of it, of any age."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from prototxt.errors import CaffeModelError, ErrorGroup
from resnet_convert.zoo.card import check_sums
from resnet_convert.zoo.model_yml import read_model_yml

TEXT = """\
description: >-
  A net: of digits.
task_type: classification
files:
  - name: net.prototxt
    size: 3
    sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    source: https://example.org/deploy.prototxt
  - name: net.caffemodel
    size: 4
    checksum: {sum}
    source:
      $type: google_drive
      id: 1a2b3c
model_optimizer_args:
  - --input_shape=[1,3,224,224]
  - --input=data
  - --mean_values=data[104.0, 117.0,123.0]
  - --scale_values=data[127.5]
  - --output=prob
  - --input_model=$dl_dir/net.caffemodel
  - --input_proto=$dl_dir/net.prototxt
framework: caffe
quantizable: yes
license: https://example.org/LICENSE
""".replace("{sum}", hashlib.sha384(b"data").hexdigest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "net-of-digits"
    made.mkdir()
    (made / "net.prototxt").write_bytes(b"abc")
    (made / "net.caffemodel").write_bytes(b"data")
    return made


def card(folder: Path, text: str = TEXT):  # type: ignore[no-untyped-def]
    (folder / "model.yml").write_text(text)
    return read_model_yml(folder / "model.yml")


def test_files_sums_and_options(folder: Path) -> None:
    found = card(folder)
    assert (found.name, found.license, found.notes) == ("net-of-digits", "https://example.org/LICENSE", ())
    assert (found.net.name, found.weights.name) == ("net.prototxt", "net.caffemodel")
    assert found.net.digest.kind == "sha256"
    assert found.weights.digest.kind == "sha384"
    assert found.weights.source == "https://drive.google.com/uc?id=1a2b3c"
    assert found.options == {
        "input_shape": ("data=1,3,224,224",),
        "outputs": ("prob",),
        "mean": ("104.0,117.0,123.0",),
        "scale": (repr(1 / 127.5),),
    }
    check_sums(found)


def test_files_of_other_content_or_size_are_refused_all_at_once(folder: Path) -> None:
    found = card(folder)
    (folder / "net.prototxt").write_bytes(b"abd")
    (folder / "net.caffemodel").write_bytes(b"dat")
    with pytest.raises(ErrorGroup) as caught:
        check_sums(found)
    wrong, short = map(str, caught.value.errors)
    assert (
        "its sha256 is a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9, but model.yml states " in wrong
    )
    assert short == f"{folder}/net.caffemodel: error: has 3 bytes, but model.yml states 4 bytes"


def test_what_the_downloader_changed_has_another_sum(folder: Path) -> None:
    text = f"{TEXT}postprocessing:\n  - $type: regex_replace\n    file: net.prototxt\n    pattern: a\n"
    (folder / "net.prototxt").write_bytes(b"changed")
    with pytest.raises(CaffeModelError, match="has 7 bytes"):
        check_sums(card(folder, text))
    (folder / "net.prototxt.orig").write_bytes(b"abc")
    check_sums(card(folder, text))


@pytest.mark.parametrize(
    ("old", "new", "options"),
    [
        ("data[127.5]", "[2,2,2]", {"scale": ("0.5",)}),
        ("--scale_values=data[127.5]", "--scale=4", {"scale": ("0.25",)}),
        ("data[127.5]", "data(2)", {"scale": ("0.5",)}),
        ("data[104.0, 117.0,123.0]", "[1,2,3]", {"mean": ("1,2,3",)}),
        ("data[104.0, 117.0,123.0]", "other[50]", {"mean": ("50",)}),
        ("--output=prob", "--output=fc7,prob", {"outputs": ("fc7,prob",)}),
        ("--output=prob", "--reverse_input_channels", {"input_order": ("rgb",)}),
        ("[1,3,224,224]\n  - --input=data", "[1,3,9,8],[1,3]\n  - --input=data,im_info", {
            "input_shape": ("data=1,3,9,8", "im_info=1,3")
        }),
    ],
)  # fmt: skip
def test_other_ways_to_say_it(old: str, new: str, options: dict[str, tuple[str, ...]], folder: Path) -> None:
    assert old in TEXT
    found = card(folder, TEXT.replace(old, new))
    assert {key: found.options.get(key) for key in options} == options
    assert found.notes == ()


@pytest.mark.parametrize(
    ("old", "new", "note", "lost"),
    [
        ("data[127.5]", "data[1,2,3]", "--scale_values=data[1,2,3] is not followed: ", "scale"),
        ("data[127.5]", "data[0]", "--scale_values=data[0] is not followed: ", "scale"),
        ("data[104.0, 117.0,123.0]", "a[1],b[2]", "--mean_values=a[1],b[2] is not followed: ", "mean"),
        ("  - --input=data\n", "", "--input_shape=[1,3,224,224] is not followed: ", "input_shape"),
        ("--output=prob", "--keep_shape_ops", "--keep_shape_ops is not followed", "outputs"),
    ],
)
def test_what_a_conversion_cannot_do_is_noted(old: str, new: str, note: str, lost: str, folder: Path) -> None:
    assert old in TEXT
    found = card(folder, TEXT.replace(old, new))
    assert [each.startswith(note) for each in found.notes] == [True]
    assert lost not in found.options


def test_a_licence_that_is_no_text_is_none(folder: Path) -> None:
    lists = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 30))
    assert card(folder, f"l0: &l0 [x]\n{lists}" + TEXT.replace("https://example.org/LICENSE", "*l29")).license == ""


@pytest.mark.parametrize("framework", ["pytorch", "dldt", "tf"])
def test_nets_of_other_frameworks_are_none(framework: str, folder: Path) -> None:
    assert card(folder, TEXT.replace("framework: caffe", f"framework: {framework}")) is None


def test_the_oldest_form_names_the_framework_among_the_arguments(folder: Path) -> None:
    text = TEXT.replace("framework: caffe\n", "").replace("  - --input=data", "  - --framework=caffe\n  - --input=data")
    assert card(folder, text).weights.name == "net.caffemodel"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("files: [", "model.yml:1:9: error: is no YAML: "),
        ("- a\n- b\n", "model.yml: error: is no model.yml: it states no fields"),
        ("", "model.yml: error: is no model.yml: it states no fields"),
        (TEXT.replace("- name: net.prototxt", "- title: x"), "model.yml: error: is no model.yml: one of its files"),
        (TEXT.replace("name: net.prototxt", "name: ../net.prototxt"), "model.yml: error: '../net.prototxt' is no file"),
        (TEXT.replace("$dl_dir/net.caffemodel", "$dl_dir/../../x"), "model.yml: error: '../../x' is no file of"),
        ("a: !!python/object/apply:os.system ['touch /tmp/x']\n", ""),
        ("[" * 5000, "model.yml"),
    ],
)  # fmt: skip
def test_what_is_no_model_yml_is_refused_with_its_place(text: str, said: str, folder: Path) -> None:
    if not said:
        assert card(folder, text) is None
        return
    with pytest.raises(CaffeModelError) as caught:
        card(folder, text)
    assert str(caught.value).removeprefix(f"{folder}/").startswith(said)
