"""Manifests as spreadsheets and scripts write them, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from prototxt.errors import CaffeModelError, ErrorGroup, RequestError
from resnet_convert.batches.manifest import OPTIONS, Entry, read_manifest


def read(folder: Path, text: str | bytes) -> list[Entry]:
    path = folder / "zoo.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifest(str(path))


def names(folder: Path, *nets: str) -> list[str]:
    return [entry.name for entry in read(folder, "\n".join(["net", *nets]))]


def refused(folder: Path, text: str | bytes) -> str:
    """The errors' text, without the manifest's folder."""
    with pytest.raises(CaffeModelError) as caught:
        read(folder, text)
    assert isinstance(caught.value, (RequestError, ErrorGroup))
    return str(caught.value).replace(f"{folder}/", "")


def test_a_row_is_a_net_with_its_options(tmp_path: Path) -> None:
    (entry,) = read(
        tmp_path,
        "net,weights,name,to,input-shape,mean,allow_unknown\n"
        'a/net.prototxt,w.caffemodel,first,torch,"data=1,3,9,7; im_info = 1,5","104,117,123",TRUE\n',
    )
    assert (entry.name, entry.net, entry.weights) == ("first", "a/net.prototxt", "w.caffemodel")
    assert entry.folder == tmp_path
    assert entry.position == (str(tmp_path / "zoo.csv"), 2, 0)
    assert entry.options == {
        "to": ("torch",),
        "input_shape": ("data=1,3,9,7", "im_info = 1,5"),
        "mean": ("104,117,123",),
        "allow_unknown": ("true",),
    }


@pytest.mark.parametrize(
    "text",
    [
        'net,mean,weights\na.prototxt,"104,117,123",b.caffemodel\n',
        '\ufeffnet,mean,weights\r\na.prototxt,"104,117,123",b.caffemodel\r\n',
        "net;mean;weights\r\na.prototxt;104,117,123;b.caffemodel",
        "net\tmean\tweights\ra.prototxt\t104,117,123\tb.caffemodel\r",
        '\n ,,\nNet , MEAN, Weights,,\n\na.prototxt , "104,117,123", b.caffemodel,,\n,,,,\n',
        '"net";"mean";"weights"\n"a.prototxt";"104,117,123";"b.caffemodel"\n',
        'mean,net,weights\n"104,117,123",a.prototxt,b.caffemodel\n',
    ],
    ids=[
        "plain",
        "mark and CRLF",
        "semicolons",
        "tabs and CR",
        "blanks and empty columns",
        "all quoted",
        "other order",
    ],
)
def test_what_spreadsheets_write_reads_the_same(text: str, tmp_path: Path) -> None:
    (entry,) = read(tmp_path, text)
    assert (entry.net, entry.weights, entry.options) == ("a.prototxt", "b.caffemodel", {"mean": ("104,117,123",)})


def test_line_separators_of_unicode_are_no_ends_of_lines(tmp_path: Path) -> None:
    first, second = read(tmp_path, "net\na\u2028b\x0b\x85c.prototxt\nd.prototxt\n")
    assert first.net == "a\u2028b\x0b\x85c.prototxt"
    assert second.position.line == 3


def test_a_row_over_several_lines_goes_by_its_first(tmp_path: Path) -> None:
    text = 'net,stage\n"a.prototxt","one;\ntwo"\n,x\n'
    assert refused(tmp_path, text) == "zoo.csv:4: error: names no net"
    assert read(tmp_path, text.replace(",x\n", ""))[0].options == {"stage": ("one", "two")}


def test_nets_are_named_after_their_files_or_folders(tmp_path: Path) -> None:
    assert names(tmp_path, "resnet-50.prototxt", "alexnet/deploy.prototxt", "/zoo/nin/train_val.prototxt") == [
        "resnet-50",
        "alexnet",
        "nin",
    ]
    assert names(tmp_path, "deploy.prototxt", "../net.prototxt", "vgg.caffemodel", "a.caffemodel.h5") == [
        "deploy",
        "net",
        "vgg",
        "a",
    ]
    assert names(tmp_path, "ü ø/ä b:c?.prototxt", "...prototxt", "-x.prototxt", "層.prototxt") == [
        "ä_b_c",
        "net",
        "x",
        "層",
    ]


def test_names_that_would_collide_are_told_apart(tmp_path: Path) -> None:
    assert names(tmp_path, "a/x.prototxt", "b/x.prototxt", "c/b/x.prototxt", "d/X.prototxt") == [
        "x",
        "b-x",
        "c-b-x",
        "d-X",
    ]
    assert names(tmp_path, "a/net.prototxt", "a/net.prototxt", "a/net.prototxt") == ["a", "a-2", "a-3"]
    assert names(tmp_path, "a?.prototxt", "a*.prototxt", "a_.prototxt") == ["a", "a-2", "a-3"]
    assert names(tmp_path, "summary.html.prototxt", "summary.json.prototxt") == ["summary.html-2", "summary.json-2"]


def test_a_given_name_goes_before_the_made_ones(tmp_path: Path) -> None:
    entries = read(tmp_path, "net,name\nx.prototxt,\ny.prototxt,x\n")
    assert [entry.name for entry in entries] == ["x-2", "x"]


def test_rows_that_are_added_leave_the_names_before_them(tmp_path: Path) -> None:
    nets = ["a/deploy.prototxt", "a/deploy.prototxt", "b/a.prototxt", "a/net.prototxt"]
    whole = names(tmp_path, *nets)
    assert len(set(whole)) == 4
    for count in (1, 2, 3):
        assert names(tmp_path, *nets[:count]) == whole[:count]


def test_long_names_fit_a_file_system(tmp_path: Path) -> None:
    made = names(tmp_path, "層" * 300 + ".prototxt", "層" * 300 + "!.prototxt")
    assert len(set(made)) == 2
    for name in made:
        (tmp_path / name).mkdir()


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", ".hidden", "a\x1b[31m", "a:b", "é" * 101, "..", "con*"])
def test_names_that_cannot_be_folders_are_refused(name: str, tmp_path: Path) -> None:
    assert refused(tmp_path, f"net,name\na.prototxt,{name}\n") == (
        f"zoo.csv:2: error: name {name!r} cannot be a folder's"
    )


FAULTS = {
    "": "zoo.csv:1: error: has no column 'net'; its head line is empty",
    "a.prototxt,b.caffemodel\n": ("zoo.csv:1: error: has no column 'net'; its head line is a.prototxt, b.caffemodel"),
    "net,weigths\n": (
        "zoo.csv:1: error: unknown column 'weigths'; expected name, net, weights, to, fold, opset, input_shape, "
        "outputs, mean, scale, input_order, random_weights, dialect, plugin, allow_unknown, phase, stage, level"
    ),
    "net,mean,Mean\n": "zoo.csv:1: error: column 'mean' occurs twice",
    "net,name\n,,\n": "zoo.csv: error: lists no nets",
    "net,mean\na.prototxt,104,117,123\n": (
        "zoo.csv:2: error: has 4 cells for 2 columns; "
        'a value that holds the separator wants quotes, as in "104,117,123"'
    ),
    "net,,mean\na.prototxt,x,1\n": "zoo.csv:2: error: has 'x' in a column without a name",
    "net,to\na.prototxt,tflite\n": (
        "zoo.csv:2: error: to 'tflite'; expected onnx, torch, safetensors, npz, hdf5, caffe"
    ),
    "net,allow_unknown\na.prototxt,perhaps\n": "zoo.csv:2: error: allow_unknown 'perhaps'; expected true or false",
    'net,mean\na.prototxt,1\nb.prototxt,"1,2\nc.prototxt,3\n': "zoo.csv:3: error: is no CSV: a quote is never closed",
    'net\n"a"b.prototxt\n': "zoo.csv:2: error: is no CSV: ',' expected after '\"'",
    "net\na\0.prototxt\n": "zoo.csv:2: error: holds a NUL byte; a manifest is a CSV file",
    b"net\n\xe9.prototxt\n": "zoo.csv: error: is no text in UTF-8; a manifest is a CSV file",
    "net,name\na.prototxt,x\nb.prototxt,X\n": "zoo.csv:3: error: name 'X' is also that of line 2",
    "net,name\na.prototxt,Summary.HTML\n": "zoo.csv:2: error: name 'Summary.HTML' is that of the summary's file",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_named_with_its_line(text: str | bytes, tmp_path: Path) -> None:
    assert refused(tmp_path, text) == FAULTS[text]


def test_all_faults_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = 'net,name,to\na.prototxt,../x,\n,y,\nb.prototxt,z,tflite\nc.prototxt,w,onnx,1\n"d\n'
    lines = refused(tmp_path, text).splitlines()
    assert [line.split(" ")[0] for line in lines] == [f"zoo.csv:{n}:" for n in (2, 3, 4, 5, 6)]


def test_a_manifest_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for name, why in (("none.csv", "No such file or directory"), (".", "Is a directory")):
        with pytest.raises(RequestError) as caught:
            read_manifest(str(tmp_path / name))
        assert str(caught.value) == f"{tmp_path / name}: error: cannot be read: {why}"


def test_thousands_of_rows_are_read_at_once(tmp_path: Path) -> None:
    entries = read(tmp_path, "net\n" + "".join(f"z{n % 70}/deploy.prototxt\n" for n in range(5000)))
    assert len({entry.name.casefold() for entry in entries}) == 5000


def test_the_document_names_every_column_and_its_example_reads(tmp_path: Path) -> None:
    document = (Path(__file__).resolve().parents[3] / "docs" / "batch.md").read_text(encoding="utf-8")
    assert [name for name in ("net", "weights", "name", *OPTIONS) if f"`{name}`" not in document] == []
    example = next(block for block in document.split("```") if block.startswith("\nnet,"))
    entries = read(tmp_path, example.lstrip("\n"))
    assert [entry.name for entry in entries] == ["nsfw", "squeezenet", "plates", "resnet-20"]
    assert entries[1].options == {"mean": ("104,117,123",), "input_shape": ("data=N,3,227,227",)}
