"""XML annotations, as ILSVRC's development kit has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prototxt.errors import RequestError
from tests.verify.evaluation.datasets.test_sources import contain, labels, tar, write
from verify.evaluation.datasets.opening import open_source

__all__ = ["contain"]  # a fixture

WNIDS = ("n01440764", "n02119789", "n15075141")
"""Tench, kit fox and toilet tissue: labels 0, 278 and 999 in Caffe's order."""


def annotation(*wnids: str) -> str:
    objects = "".join(f"<object><name>{wnid}</name><bndbox/></object>" for wnid in wnids)
    return f"<annotation><folder>val</folder><filename>x</filename>{objects}</annotation>"


@pytest.mark.parametrize("as_archive", [False, True])
def test_annotations_label_the_images_of_their_name(
    as_archive: bool, contain: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = write(tmp_path / "val", ["a.JPEG", "b.JPEG", "c.JPEG", "d.JPEG"])
    notes = tmp_path / "Annotations" / "val"
    notes.mkdir(parents=True)
    (notes / "a.xml").write_text(annotation(WNIDS[2]))
    (notes / "b.xml").write_text(annotation(WNIDS[1], WNIDS[1]))
    (notes / "c.xml").write_text(annotation(WNIDS[0], WNIDS[1]))
    (notes / "other.xml").write_text(annotation(WNIDS[0]))
    where = tar(notes.parent, tmp_path / "bbox_val.tgz", "w:gz") if as_archive else notes.parent
    source = open_source(contain(folder), labels=where)
    assert labels(source) == [999, 278, 0, None]
    assert source.classes[0] == "tench"
    told = [note for note in source.notes if "compressed" not in note]
    assert told == [
        "1 image without an annotation, and so without a label",
        "1 annotation without an image",
        "1 annotation of several classes, the first of which counts",
    ]


BOMB = '<!DOCTYPE a [<!ENTITY x "' + "y" * 99 + '"><!ENTITY z "&x;&x;">]><annotation>&z;</annotation>'


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (BOMB.encode(), "has a DOCTYPE"),
        (b"<annotation><object>", "is no XML"),
        ("<annotation/>".encode("utf-16"), "is no XML"),
        (b"", "is no XML"),
        (b"<annotation><object><name> </name></object></annotation>", "names no class"),
        (b"<other><object><name>n01440764</name></object></other>", "names no class"),
        (annotation("n99999999").encode(), "'n99999999' is not among the 1000 classes"),
        (b"<a>" * 300_000, "is no XML"),
        (b" " * (2 << 20), "has 2 MB"),
    ],
)
def test_a_bad_annotation_is_an_error_that_names_it(content: bytes, why: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.JPEG"])
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "a.xml").write_bytes(content)
    with pytest.raises(RequestError, match=why) as caught:
        open_source(folder, labels=tmp_path / "xml")
    assert caught.value.position is not None
    assert caught.value.position.path == str(tmp_path / "xml" / "a.xml")


def test_annotations_of_other_images_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.JPEG"])
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "b.xml").write_text(annotation(WNIDS[0]))
    with pytest.raises(RequestError, match="none of its 1 annotations has the name of an image"):
        open_source(folder, labels=tmp_path / "xml")
