"""Readmes of zoos, as they are found: fenced and not, with colons, blank lines and missing fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from prototxt.errors import RequestError
from resnet_convert.zoo.front_matter import read_front_matter

SHA1 = "405fc5acd08a3bb12de8ee5e23a96bec22f08204"
FENCED = f"""---
name: BVLC GoogleNet Model
caffemodel: bvlc_googlenet.caffemodel
caffemodel_url: http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel
license: unrestricted
sha1: {SHA1}
caffe_commit: bc614d1bd91896e3faceaf40b23b72dab47d44f5
---

license: this is text
"""
TITLED = """##Information

---
name: 19-layer model from the paper - "Very Deep"

caffemodel: VGG_19
caffemodel_url: http://www.robots.ox.ac.uk/~vgg/VGG_ILSVRC_19_layers.caffemodel

license: http://creativecommons.org/licenses/by-nc/4.0/ (non-commercial use only)
gist_id: 3785162f95cd2d5fee77
---

## Description

license: of the description
"""
PLAIN = """##Information

name: 16-layer model from the paper: "Very Deep"

caffemodel: VGG_16

license: see http://www.robots.ox.ac.uk/~vgg/research/very_deep/

## Description

sha1: 0000000000000000000000000000000000000000
"""


def card(folder: Path, text: str | bytes):  # type: ignore[no-untyped-def]
    path = folder / "readme.md"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_front_matter(path)


def test_the_fields_of_caffes_own_readmes(tmp_path: Path) -> None:
    found = card(tmp_path, FENCED)
    assert (found.name, found.license) == ("BVLC GoogleNet Model", "unrestricted")
    assert found.weights.name == "bvlc_googlenet.caffemodel"
    assert found.weights.source == "http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel"
    assert found.weights.digest[:2] == ("sha1", SHA1)
    assert found.weights.digest.position.line == 6


def test_fields_behind_a_title_and_with_a_dash(tmp_path: Path) -> None:
    found = card(tmp_path, TITLED)
    assert found.name == '19-layer model from the paper - "Very Deep"'
    assert found.license == "http://creativecommons.org/licenses/by-nc/4.0/ (non-commercial use only)"
    assert (found.weights.name, found.weights.digest) == ("VGG_19.caffemodel", None)


def test_fields_without_a_fence_end_at_the_next_heading(tmp_path: Path) -> None:
    found = card(tmp_path, PLAIN)
    assert found.name == '16-layer model from the paper: "Very Deep"'
    assert found.license == "see http://www.robots.ox.ac.uk/~vgg/research/very_deep/"
    assert (found.weights.name, found.weights.source, found.weights.digest) == ("VGG_16.caffemodel", "", None)


def test_a_file_is_found_under_the_name_that_its_address_ends_in(tmp_path: Path) -> None:
    (tmp_path / "VGG_ILSVRC_19_layers.caffemodel").touch()
    assert card(tmp_path, TITLED).weights.name == "VGG_ILSVRC_19_layers.caffemodel"
    (tmp_path / "VGG_19.caffemodel").touch()
    assert card(tmp_path, TITLED).weights.name == "VGG_19.caffemodel"


@pytest.mark.parametrize(
    ("change", "name", "license"),
    [
        (lambda text: text.replace("\n", "\r\n").encode(), "BVLC GoogleNet Model", "unrestricted"),
        (lambda text: b"\xef\xbb\xbf" + text.encode(), "BVLC GoogleNet Model", "unrestricted"),
        (lambda text: text.replace("\n", "\n   ").encode(), "BVLC GoogleNet Model", "unrestricted"),
        (lambda text: text.replace("unrestricted", "'CC: BY'").encode(), "BVLC GoogleNet Model", "CC: BY"),
        (lambda text: text.replace("license: unrestricted\n", "").encode(), "BVLC GoogleNet Model", ""),
        (lambda text: text.replace("unrestricted", "").encode(), "BVLC GoogleNet Model", ""),
        (lambda text: text.encode().replace(b"BVLC", b"\xb2\xe2"), "�� GoogleNet Model", "unrestricted"),
        (lambda text: text.replace("name:", "name: one\nname:").encode(), "one", "unrestricted"),
    ],
)
def test_how_else_readmes_are_written(change, name: str, license: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = card(tmp_path, change(FENCED))
    assert (found.name, found.license) == (name, license)
    assert found.weights.digest.value == SHA1


def test_a_sum_in_capitals_is_the_same(tmp_path: Path) -> None:
    assert card(tmp_path, FENCED.replace(SHA1, SHA1.upper())).weights.digest.value == SHA1


def test_a_sum_that_is_none_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert card(tmp_path, FENCED.replace(SHA1, "see website")).weights.digest is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/readme.md:6: warning: sha1 'see website' is no SHA-1; bvlc_googlenet.caffemodel is not held "
        "against it"
    ]


@pytest.mark.parametrize(
    "text", ["", "# A project\n\nIt does things.\n", "---\ntitle: x\n---\n", "---\n", "caffemodel:\n"]
)
def test_other_readmes_name_no_net(text: str, tmp_path: Path) -> None:
    assert card(tmp_path, text) is None


@pytest.mark.parametrize("name", ["../x.caffemodel", "/etc/passwd", "a/../../x.caffemodel", "\\\\host\\x.caffemodel"])
def test_a_file_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is no file of this folder") as caught:
        card(tmp_path, FENCED.replace("bvlc_googlenet.caffemodel\ncaffemodel_url", f"{name}\ncaffemodel_url"))
    assert caught.value.position.line == 3
