"""Messages as text: Caffe's own layout, short floats, escapes; reading the text again gives an equal message."""

from __future__ import annotations

import json
import lzma
import math
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prototxt import format_net, parse_net, resnet
from prototxt.caffe_pb2 import TRAIN, BlobProto, LayerParameter, NetParameter, PoolingParameter, SolverParameter
from prototxt.parse import parse

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "upgrade"
SLOPE = "layer {\n  loss_weight: %s\n}\n"


def answers() -> list[Any]:
    """Caffe's own output of its upgrade tools."""
    if not GOLDEN.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip("../shared/golden/upgrade is not here"))]
    cases = [case for case in json.loads((GOLDEN / "index.json").read_text()) if case["after"]]
    files = [(case, GOLDEN / f"{case['n']:03d}" / "after.prototxt") for case in cases]
    return [pytest.param((case["kind"], file), id=f"{case['n']:03d}") for case, file in files if file.is_file()]


@pytest.mark.parametrize("case", answers())
def test_the_text_is_the_one_that_caffe_writes(case: tuple[str, Path]) -> None:
    kind, file = case
    written = file.read_text()
    message, _, _ = parse(written, SolverParameter if kind == "solver" else NetParameter)
    # Caffe of 2017 prints one digit more than it needs in some floats.
    assert format_net(message) == written.replace("0.00392156839", "0.0039215684")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1.0, "1"),
        (-0.0, "-0"),
        (0.0002, "0.0002"),
        (1e-05, "1e-05"),
        (16777216.0, "16777216"),
        (1.17549435e-38, "1.1754944e-38"),
        (3.4028234663852886e38, "3.4028235e+38"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
    ],
)
def test_a_float_has_the_fewest_digits_that_give_it_back(value: float, text: str) -> None:
    message = NetParameter()
    message.layer.add().loss_weight.append(value)
    assert format_net(message) == SLOPE % text


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1))
def test_every_float32_comes_back_bit_for_bit(bits: int) -> None:
    (value,) = struct.unpack("<f", struct.pack("<I", bits))
    message = NetParameter()
    message.layer.add().loss_weight.append(value)
    again, _, _ = parse(format_net(message), NetParameter)
    (back,) = again.layer[0].loss_weight
    assert struct.pack("<f", back) == struct.pack("<f", value) or (math.isnan(back) and math.isnan(value))


@settings(max_examples=200)
@given(st.floats())
def test_every_double_comes_back(value: float) -> None:
    again, _, _ = parse(format_net(BlobProto(double_data=[value])), BlobProto)
    assert again.double_data[0] == value or math.isnan(value)


@settings(max_examples=300)
@given(st.text(), st.binary())
def test_any_text_and_any_bytes_come_back(name: str, data: bytes) -> None:
    layer, _, _ = parse(format_net(LayerParameter(name=name)), LayerParameter)
    blob, _, _ = parse(format_net(BlobProto(raw_data=data)), BlobProto)
    assert (layer.name, blob.raw_data) == (name, data)


def test_text_stays_readable_and_what_would_break_it_is_escaped() -> None:
    text = format_net(LayerParameter(name='résolution "½"\\\n\t\x01\x7f9'))
    assert text == 'name: "résolution \\"½\\"\\\\\\n\\t\\001\\1779"\n'


def test_enums_booleans_and_messages_are_written_as_caffe_does() -> None:
    layer = LayerParameter(name="p", propagate_down=[True, False])
    layer.pooling_param.pool = PoolingParameter.AVE
    layer.include.add(phase=TRAIN).min_level = -3
    assert format_net(layer).splitlines() == [
        'name: "p"',
        "include {",
        "  phase: TRAIN",
        "  min_level: -3",
        "}",
        "propagate_down: true",
        "propagate_down: false",
        "pooling_param {",
        "  pool: AVE",
        "}",
    ]


def test_an_empty_message_is_empty_text_and_an_empty_field_keeps_its_brackets() -> None:
    layer = LayerParameter()
    assert format_net(layer) == ""
    layer.relu_param.SetInParent()
    assert format_net(layer) == "relu_param {\n}\n"


def test_the_builders_nets_come_back_equal() -> None:
    for depth in (18, 50, 20):
        net = resnet(depth)
        assert parse(format_net(net), NetParameter)[0] == net


def test_an_upgraded_net_can_be_written_and_loaded() -> None:
    entry = 'layers { name: "r" type: RELU bottom: "x" top: "y" }'
    old = f'input: "x" input_dim: 2 input_dim: 3 input_dim: 5 input_dim: 7 {entry}'
    net = parse_net(old)
    again = parse_net(format_net(net.message))
    assert again.message == net.message
    assert again.notes == ()


def test_files_from_the_wild_come_back_equal(shared: Path) -> None:
    archive = shared / "corpus" / "prototxt.tar.xz"
    if not archive.is_file():
        pytest.skip("../shared/corpus/prototxt.tar.xz is not here")
    with lzma.open(shared / "corpus" / "index.json.xz") as file:
        nets = {entry["file"] for entry in json.load(file) if entry["kind"] == "net"}
    chosen = set(sorted(nets)[::60])
    read = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name not in chosen:
                continue
            read += 1
            content = tar.extractfile(member)
            assert content is not None
            message, _, _ = parse(content.read().decode(), NetParameter, member.name, allow_unknown=True)
            assert parse(format_net(message), NetParameter)[0] == message, member.name
    assert read == len(chosen)
