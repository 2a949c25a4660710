"""Which Crop it is that states no offsets, BVLC's or that of FCN's branch, and that both sides cut alike."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

import resnet_convert
from converter.api import prepare
from converter.options import Options
from prototxt import Net, parse_net
from prototxt.coordinates import cut_off
from prototxt.errors import CaffeModelError
from tests.converter.layers.test_auto_crop import CUTS, X
from tests.converter.layers.test_rarer_agreement import net_of
from tests.golden import assert_close, run_onnx, run_torch
from verify import run

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "prototxt.tar.xz"
SHRUNK = """
input: "data" input_dim: 2 input_dim: 3 input_dim: 12 input_dim: 17
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" convolution_param { num_output: 2 kernel_size: 3 pad: 4 } }
layers { name: "p" type: POOLING bottom: "c" top: "p" pooling_param { kernel_size: 2 stride: 2 } }
layers { name: "u" type: DECONVOLUTION bottom: "p" top: "u"
  convolution_param { num_output: 2 kernel_size: 4 stride: 2 } }
layers { name: "y" type: CROP bottom: "u" bottom: "data" top: "y" }
"""
"""0.5 - 1.5 + 1 - 4: the fifth pixel is the first that is kept."""


def offsets_of(net: Net) -> list[tuple[int, ...]]:
    graph = prepare(net, None, Options(random_weights=1)).graph
    return [node.layer.offset for node in graph.nodes if hasattr(node.layer, "offset")]


def agree(net: Net, tmp_path: Path) -> None:
    """The interpreter's numbers, in both targets."""
    ready = prepare(net, None, Options(random_weights=1))
    feeds = {value.name: X for value in ready.graph.inputs}
    expected = run(net, ready.weights, feeds).blobs
    for answers in (run_onnx(ready.graph, feeds, tmp_path), run_torch(ready.graph, feeds)):
        for name, values in answers.items():
            assert_close(values, expected[name], name)


def test_the_crop_of_2014_lines_up(tmp_path: Path) -> None:
    net = parse_net(SHRUNK)
    assert offsets_of(net) == [(4, 4)]
    agree(net, tmp_path)


@pytest.mark.parametrize("case", CUTS)
def test_where_a_deconvolution_enlarges_a_silent_crop_lines_up(case: str, tmp_path: Path) -> None:
    text, cut = CUTS[case]
    net = net_of(text.replace('"AutoCrop"', '"Crop"'), {"x": X})
    assert {layer.dialect for layer in net.layers if layer.type == "Crop"} == {"fcn" if any(cut) else "bvlc"}
    assert offsets_of(net)[-1] == (cut if any(cut) else ())
    agree(net, tmp_path)
    assert len(net.readings) == any(cut)


@pytest.mark.parametrize("words", ["crop_param { }", "crop_param { offset: 1 }", "crop_param { axis: 3 }"])
def test_a_crop_that_states_something_is_bvlcs(words: str, tmp_path: Path) -> None:
    text = CUTS["0.5 - 1.5, as in HED"][0].replace('"AutoCrop"', '"Crop"')
    net = net_of(text.replace('top: "out"', f'top: "out" {words}'), {"x": X})
    assert (net.layers[-1].dialect, net.layers[-1].dialect_evidence) == ("bvlc", "")


def test_a_net_in_which_one_would_not_line_up_is_bvlcs(tmp_path: Path) -> None:
    """DSS has some at half pixels, where FCN's branch stops."""
    text = CUTS["0.5 - 1.5, as in HED"][0].replace('"AutoCrop"', '"Crop"')
    half = (
        'layer { name: "h" type: "Deconvolution" bottom: "a" top: "h" convolution_param { num_output: 2 kernel_size: 5 '
        'stride: 2 } } layer { name: "k" type: "Crop" bottom: "h" bottom: "x" top: "k" }'
    )
    net = net_of(text + half, {"x": X})
    assert offsets_of(net) == [(), ()]
    assert net.readings == []
    agree(net, tmp_path)


def test_a_net_with_a_scale_is_bvlcs_though_it_lines_up(tmp_path: Path) -> None:
    """DeeperCut's heads: 2·5 + 1 rows of which FCN's branch would leave out the first, and DeeperCut's the last."""
    text = (
        'layer { name: "a" type: "Convolution" bottom: "x" top: "a"'
        " convolution_param { num_output: 2 kernel_size: 3 stride: 2 pad: 1 } }"
        '{between} layer { name: "b" type: "Deconvolution" bottom: "a" top: "b"'
        " convolution_param { num_output: 2 kernel_size: 3 stride: 2 } }"
        'layer { name: "out" type: "Crop" bottom: "b" bottom: "x" top: "out" }'
    )
    scale = 'layer { name: "s" type: "Scale" bottom: "a" top: "a" scale_param { bias_term: true } }'
    assert offsets_of(net_of(text.replace("{between}", ""), {"x": X})) == [(1, 1)]
    net = net_of(text.replace("{between}", scale), {"x": X})
    assert offsets_of(net) == [()]
    (said,) = net.readings
    assert "read as bvlc's" in said
    agree(net, tmp_path)


def test_without_a_deconvolution_it_is_bvlcs_and_the_other_is_named(tmp_path: Path) -> None:
    text = (
        'layer { name: "c" type: "Convolution" bottom: "x" top: "c"'
        " convolution_param { num_output: 2 kernel_size: 3 } }"
        'layer { name: "out" type: "Crop" bottom: "x" bottom: "c" top: "out" }'
    )
    net = net_of(text, {"x": X})
    assert offsets_of(net) == [()]
    (said,) = net.readings
    assert said.endswith("Crop is read as bvlc's: nothing shows another fork's (--dialect Crop=fcn for another)")
    agree(net, tmp_path)
    inputs = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [2, 3, 12, 17] } } }\n'
    asked = parse_net(inputs + text, dialects={"Crop": "fcn"})
    assert offsets_of(asked) == [(1, 1)]
    agree(asked, tmp_path)


UPSTREAM: list[tuple[str, str, list[tuple[int, ...]]]] = [
    ("Crop", "fcn", [(1, 1), (1, 1)]),
    ("Crop", "bvlc", [(), ()]),
    ("AutoCrop", "fcn", [(1, 1), (1, 1)]),
    ("AutoCrop", "bvlc", [(), (2, 2)]),
]


@pytest.mark.parametrize(("last", "dialect", "cuts"), UPSTREAM)
def test_a_crop_upstream_counts_as_it_is_read(
    last: str, dialect: str, cuts: list[tuple[int, ...]], tmp_path: Path
) -> None:
    """What two convolutions of 3×3 leave begins at pixels 1 and 2; FCN's first Crop begins at 1, BVLC's at 0."""
    kernel = "convolution_param { num_output: 2 kernel_size: 3 }"
    net = parse_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [2, 3, 12, 17] } } }\n'
        f'layer {{ name: "c" type: "Convolution" bottom: "x" top: "c" {kernel} }}'
        'layer { name: "k" type: "Crop" bottom: "x" bottom: "c" top: "k" }'
        f'layer {{ name: "d" type: "Convolution" bottom: "c" top: "d" {kernel} }}'
        f'layer {{ name: "out" type: "{last}" bottom: "k" bottom: "d" top: "out" }}',
        dialects={"Crop": dialect},
    )
    assert offsets_of(net) == cuts
    agree(net, tmp_path)


def test_what_fcns_branch_stops_at_is_an_error_where_it_is_asked_for() -> None:
    text = CUTS["0.5 - 1.5, as in HED"][0].replace('"AutoCrop"', '"Crop"').replace("kernel_size: 4", "kernel_size: 5")
    inputs = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [2, 3, 12, 17] } } }\n'
    with pytest.raises(CaffeModelError, match="3/2 rows would be cut off; expected a whole number from 0 on"):
        prepare(parse_net(inputs + text, dialects={"Crop": "fcn"}), None, Options(random_weights=1))


def test_back_in_caffe_the_offsets_are_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(SHRUNK)
    done = resnet_convert.convert("net.prototxt", to="caffe", output="back", random_weights=1, verify=True)
    assert done.report is not None
    assert done.report.ok
    (text,) = (path.read_text() for path in done.files if path.suffix == ".prototxt")
    assert re.search(r'type: "Crop"[^}]*crop_param \{\s*axis: 2\s*offset: 4\s*offset: 4', text)


def test_an_upgraded_net_states_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(SHRUNK)
    done = resnet_convert.upgrade("net.prototxt")
    assert done.notes[-1] == "layer 'y': the layers before give its offsets, 4 and 4"
    net = parse_net(done.data.decode())
    assert (net.layers[-1].type, net.layers[-1].dialect, offsets_of(net)) == ("Crop", "bvlc", [(4, 4)])


@pytest.mark.skipif(not CORPUS.is_file(), reason="the corpus of public nets is not here")
def test_the_offsets_that_published_nets_state_are_those_of_their_layers() -> None:
    seen = 0
    with tarfile.open(CORPUS) as corpus:
        for member in corpus:
            if "shelhamer+fcn.berkeleyvision.org" not in member.name or not member.name.endswith(".prototxt"):
                continue
            file = corpus.extractfile(member)
            assert file is not None
            try:
                net = parse_net(file.read().decode(), member.name)
            except CaffeModelError:
                continue  # a solver
            for layer in net.layers:
                if layer.type == "Crop" and not _is_scaled(net):
                    assert [cut_off(layer)[0]] == list(layer.param.crop_param.offset), (member.name, layer.name)
                    seen += 1
    assert seen > 30


def _is_scaled(net: Net) -> bool:
    """Whether scores are scaled on their way: FCN's branch had no Scale, and these were made with BVLC's."""
    return any(layer.type == "Scale" for layer in net.layers)


def test_thousands_of_crops_on_each_other_take_no_recursion() -> None:
    text = CUTS["0.5 - 1.5, as in HED"][0]
    blob, layers = "out", []
    for number in range(1500):
        layers.append(f'layer {{ name: "n{number}" type: "AutoCrop" bottom: "{blob}" bottom: "x" top: "n{number}" }}')
        blob = f"n{number}"
    net = net_of(text + "".join(layers), {"x": X})
    assert offsets_of(net) == [(1, 1), *[(0, 0)] * 1500]
    ready = prepare(net, None, Options(random_weights=1))
    blobs = run(net, ready.weights, {"x": X}).blobs
    assert np.array_equal(blobs[blob], blobs["out"])
