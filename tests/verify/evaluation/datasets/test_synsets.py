"""The two orders of ImageNet's classes, and class lists as people have them."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prototxt.errors import RequestError
from verify.evaluation.datasets import matlab as synsets_mat
from verify.evaluation.datasets.synsets import (
    caffe_label,
    caffe_order,
    ilsvrc_to_caffe,
    names,
    read_synsets,
    wnids,
)

ROOT = Path(__file__).resolve().parents[4]

# The first images of the validation set: ILSVRC2012_validation_ground_truth.txt, and Caffe's val.txt.
GROUND_TRUTH = [490, 361, 171, 822, 297, 482, 13, 704, 599, 164, 649, 11, 73, 286, 554, 6, 648, 399, 749, 545]
GROUND_TRUTH += [13, 204, 318, 693, 399, 304, 102, 207, 480, 780, 644, 275, 14, 954, 249, 790, 501, 547, 809, 606]
GROUND_TRUTH += [297, 927, 424, 156, 60, 983, 256, 207, 281, 456, 413, 498, 561, 750, 182, 267, 118, 893, 597, 840]
GROUND_TRUTH += [836, 107, 647, 471, 945, 451, 214, 790, 291, 837, 707, 193, 397, 568, 401, 705, 200, 202, 31, 949]
GROUND_TRUTH += [361, 98, 709, 483, 563, 695, 122, 497, 914, 476, 102, 199, 104, 221, 138, 257, 188, 436, 229, 52]
VAL = [65, 970, 230, 809, 516, 57, 334, 415, 674, 332, 109, 286, 370, 757, 595, 147, 108, 23, 478, 517]
VAL += [334, 173, 948, 727, 23, 846, 270, 167, 55, 858, 324, 573, 150, 981, 586, 887, 32, 398, 777, 74]
VAL += [516, 756, 129, 198, 256, 725, 565, 167, 717, 394, 92, 29, 844, 591, 358, 468, 259, 994, 872, 588]
VAL += [474, 183, 107, 46, 842, 390, 101, 887, 870, 841, 467, 149, 21, 476, 80, 424, 159, 275, 175, 461]
VAL += [970, 160, 788, 58, 479, 498, 369, 28, 487, 50, 270, 383, 366, 780, 373, 705, 330, 142, 949, 349]


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "classes.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(RequestError) as caught:
        read_synsets(path)
    return str(caught.value)


def test_the_first_hundred_validation_images_have_the_same_class_in_both_orders() -> None:
    assert [caffe_label(each) for each in GROUND_TRUTH] == VAL


def test_both_orders_hold_the_same_thousand_classes() -> None:
    assert len(wnids()) == 1000
    assert set(wnids()) == set(caffe_order())
    assert list(caffe_order()) == sorted(set(wnids()))
    assert (wnids()[0], wnids()[999]) == ("n02119789", "n03255030")
    assert (caffe_order()[0], caffe_order()[999]) == ("n01440764", "n15075141")


def test_names_go_with_caffes_labels_and_are_all_different() -> None:
    known = {0: "tench", 281: "tabby", 285: "Egyptian cat", 340: "zebra", 517: "crane (machine)", 999: "toilet tissue"}
    assert {label: names()[label] for label in known} == known
    assert (names()[134], names()[638], names()[639]) == ("crane (bird)", "maillot", "tank suit")
    assert len(set(names())) == 1000


def test_the_permutation_cannot_be_spoilt() -> None:
    order = ilsvrc_to_caffe()
    assert sorted(order.tolist()) == list(range(1000))
    assert order[489] == 65
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 1


@pytest.mark.parametrize("wrong", [0, 1001, -1])
def test_an_id_out_of_range_is_refused(wrong: int) -> None:
    with pytest.raises(RequestError, match=f"the ID {wrong}; expected 1 to 1000"):
        caffe_label(wrong)


def test_a_list_of_wnids_shows_its_order(tmp_path: Path) -> None:
    by_id = read_synsets(write(tmp_path, "\n".join(wnids()) + "\n\n"))
    assert (by_id.wnids, by_id.names, by_id.order, len(by_id)) == (wnids(), (), "ilsvrc", 1000)
    assert read_synsets(write(tmp_path, "\r\n".join(caffe_order()))).order == "caffe"
    assert read_synsets(write(tmp_path, "n00000002\nn00000001\n")).order == "other"


def test_words_after_the_wnid_give_names(tmp_path: Path) -> None:
    text = "n02119789 kit fox, Vulpes macrotis\nn02012849\tcrane\nn03126707 crane\nn03710721 crane, tank suit\n"
    found = read_synsets(write(tmp_path, "\ufeff" + text))
    assert found.wnids == ("n02119789", "n02012849", "n03126707", "n03710721")
    assert found.names == ("kit fox", "crane", "crane", "crane, tank suit")
    assert found.order == "other"


def test_ilsvrcs_map_is_taken_in_the_order_of_its_ids(tmp_path: Path) -> None:
    found = read_synsets(
        write(tmp_path, "n02110185 3 Siberian_husky\nn02119789 1 kit_fox\nn02100735 2 English_setter\n")
    )
    assert found.wnids == ("n02119789", "n02100735", "n02110185")
    assert found.names == ("kit fox", "English setter", "Siberian husky")
    bare = read_synsets(write(tmp_path, "n02110185 3\nn02119789 1\nn02100735 2\n"))
    assert (bare.wnids, bare.names) == (found.wnids, ())


def test_numbers_that_are_no_ids_are_names(tmp_path: Path) -> None:
    found = read_synsets(write(tmp_path, "d00000000 0\nd00000001 1\n"))
    assert (found.wnids, found.names, found.order) == (("d00000000", "d00000001"), ("0", "1"), "caffe")


def test_the_example_reads_as_names() -> None:
    found = read_synsets(ROOT / "examples" / "digits" / "synset_words.txt")
    assert found.names == ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    assert found.order == "caffe"


def test_names_without_wnids_are_kept_whole(tmp_path: Path) -> None:
    found = read_synsets(write(tmp_path, "aeroplane\nbicycle, any\n fire engine \nn1\n"))
    assert (found.wnids, found.names) == ((), ("aeroplane", "bicycle, any", "fire engine", "n1"))
    assert (found.order, len(found)) == ("other", 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n00000001\nfox\n", ":2: error: expected a wnid such as n00000001 first, not 'fox'"),
        ("fox\nn00000001\n", ":1: error: expected a wnid such as n00000001 first, not 'fox'"),
        ("n00000001\nn00000002\nn00000001\n", ":3: error: n00000001 was on line 1 already"),
        ("n00000001 fox\nn00000002\n", ":2: error: expected words after the wnid, as on other lines"),
        ("n00000001 1 a\nn00000002 3 b\n", ":2: error: expected an ID from 1 to 2, the number of classes, not 3"),
        ("n00000001 2 a\nn00000002 2 b\n", ":2: error: the ID 2 was given to another class before"),
        ("cat\n\ndog\n", ":2: error: is blank: every line is a class"),
        ("cat\nd\x1b[31mog\n", ":2: error: has the control character '\\x1b'; expected a list of classes"),
        (b"cat\nd\xffog\n", ":2: error: is not UTF-8 text; expected a list of classes"),
        (b" \n\n", ": error: is empty; expected a list of classes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), ":1: error: is not UTF-8 text; expected a list of classes"),
        ("n00000001 999999999999 a\n", ""),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = write(tmp_path, text)
    if message:
        assert refusal(path) == f"{path}{message}"
    else:
        assert read_synsets(path).names == ("999999999999 a",)


def test_what_is_no_file_of_a_sane_size_is_refused(tmp_path: Path) -> None:
    assert "Is a directory; expected a list of classes" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "absent.txt")
    assert "null" in refusal(tmp_path / "a\0b")
    assert "is larger than 8 MiB" in refusal(write(tmp_path, b"cat\n" * (2 << 20) + b"x"))


def element(order: str, kind: int, data: bytes) -> bytes:
    """A piece of a MATLAB 5 file; short data beside its size, as MATLAB writes it."""
    if 0 < len(data) <= 4:
        return struct.pack(order + "I", len(data) << 16 | kind) + data.ljust(4, b"\0")
    return struct.pack(order + "II", kind, len(data)) + data + bytes(-len(data) % 8)


def array(order: str, kind: int, shape: tuple[int, int], name: bytes, *parts: tuple[int, bytes]) -> bytes:
    flags, sizes = struct.pack(order + "II", kind, 0), struct.pack(order + "ii", *shape)
    whole = b"".join(element(order, *part) for part in ((6, flags), (5, sizes), (1, name), *parts))
    return element(order, 14, whole)


def value(order: str, content: int | str) -> bytes:
    """A 1×1 double stored as a 16-bit integer, or 16-bit characters: what MATLAB makes of them."""
    if isinstance(content, int):
        return array(order, 6, (1, 1), b"", (4, struct.pack(order + "H", content)))
    text = content.encode("utf-16-le" if order == "<" else "utf-16-be")
    return array(order, 4, (1, len(content)), b"", (4, text))


def meta(
    *,
    order: str = "<",
    compress: bool = True,
    field: str = "ILSVRC2012_ID",
    name: bytes = b"synsets",
    **changed: int | str,
) -> bytes:
    """A file such as the development kit's, in a mixed order, with two synsets above the classes."""
    rows: list[tuple[int, str, str, int]] = [(k, wnid, f"{wnid} é, more", 0) for k, wnid in enumerate(wnids(), 1)]
    rows += [(1001, "n00000001", "thing", 7), (1002, "n00000002", "being", 7)]
    random.Random(7).shuffle(rows)
    fields = [field, "WNID", "words", "num_children"]
    content = [{**dict(zip(fields, row, strict=True)), **changed} for row in rows]
    table = b"".join(value(order, row[each]) for row in content for each in fields)
    widths, spelt = struct.pack(order + "i", 32), b"".join(each.encode().ljust(32, b"\0") for each in fields)
    start = array(order, 2, (len(rows), 1), name, (5, widths), (1, spelt))
    whole = struct.pack(order + "II", 14, len(start) - 8 + len(table)) + start[8:] + table
    if compress:
        packed = zlib.compress(whole)
        whole = struct.pack(order + "II", 15, len(packed)) + packed
    first = array(order, 6, (1, 1), b"other", (9, struct.pack(order + "d", 4.5)))
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(order + "HH", 0x0100, 0x4D49) + first + whole


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compress", [True, False])
def test_meta_mat_gives_the_classes_by_id(tmp_path: Path, order: str, compress: bool) -> None:
    found = read_synsets(write(tmp_path, meta(order=order, compress=compress)))
    assert (found.wnids, found.order) == (wnids(), "ilsvrc")
    assert found.names[:2] == ("n02119789 é", "n02100735 é")


def test_later_kits_name_the_id_after_their_year(tmp_path: Path) -> None:
    assert read_synsets(write(tmp_path, meta(field="ILSVRC2014_ID"))).order == "ilsvrc"


@pytest.mark.parametrize("compress", [True, False])
def test_meta_mat_reads_as_scipy_writes_it(tmp_path: Path, compress: bool) -> None:
    from scipy.io import savemat

    table = np.zeros((1000, 1), [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)])
    for k, wnid in enumerate(wnids()):
        table[k, 0] = (k + 1, wnid, f"{wnid} é")
    savemat(tmp_path / "meta.mat", {"synsets": table}, do_compression=compress)
    found = read_synsets(tmp_path / "meta.mat")
    assert (found.wnids, found.names[999]) == (wnids(), "n03255030 é")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": b"other"}, "has no struct array 'synsets'; expected ILSVRC's meta.mat"),
        ({"field": "ID"}, "its 'synsets' have the fields 'ID, WNID, words, num_children'; expected ILSVRC's"),
        ({"WNID": "fox"}, "has no wnid and words for ILSVRC2012_ID"),
        ({"words": "a\x1bb"}, "has no wnid and words for ILSVRC2012_ID"),
        ({"WNID": "n00000005"}, "or n00000005 twice"),
        ({"WNID": 5}, "is damaged or no MATLAB 5 file: the field WNID holds no text"),
        ({"ILSVRC2012_ID": 5}, "has ILSVRC2012_ID 5 or n"),
        ({"ILSVRC2012_ID": 2000}, "has no class with ILSVRC2012_ID 1; expected 1000 of them"),
    ],
)
def test_another_meta_mat_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in refusal(write(tmp_path, meta(**changes)))


@pytest.mark.parametrize("compress", [True, False])
def test_a_damaged_meta_mat_is_an_error_of_ours(tmp_path: Path, compress: bool) -> None:
    whole, chance = meta(compress=compress), random.Random(11)
    counts, messages = set(), []
    for _ in range(60):
        data = bytearray(whole[: chance.randrange(1, len(whole))] if chance.random() < 0.3 else whole)
        for _ in range(chance.randrange(5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = write(tmp_path, bytes(data))
        try:
            counts.add(len(read_synsets(path)))
        except RequestError as error:
            messages.append(str(error))
    assert counts <= {1000}
    assert len(messages) > 20
    assert all(message.startswith(f"{tmp_path}/classes.txt:") for message in messages)


def test_a_meta_mat_that_unpacks_to_more_than_anyone_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synsets_mat, "LARGEST", 1 << 20)
    packed = zlib.compress(bytes(8 << 20))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path = write(tmp_path, header + struct.pack("<II", 15, len(packed)) + packed)
    assert "a variable is cut short, or larger than 1 MiB" in refusal(path)


def test_matlabs_hdf5_form_is_named(tmp_path: Path) -> None:
    assert "is a MATLAB 7.3 file; save it again with -v7" in refusal(write(tmp_path, b"MATLAB 7.3 MAT-file, HDF5" * 9))
