"""Sections of a binary net under the numbers of forks: bytes written by hand, as each fork's `caffe.proto` has them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format

from converter.api import convert
from converter.options import Options
from prototxt import Net
from prototxt.caffe_pb2 import LayerParameter
from prototxt.errors import CaffeModelError, RequestError, UnsupportedError
from prototxt.fork_numbers import FORKS, READINGS
from prototxt.type_sections import SECTIONS
from resnet_convert.cli.main import main
from weights import load_structure
from weights.wire import FIXED32, encoded, prefixed


def whole(number: int, value: int) -> bytes:
    return encoded(number << 3) + encoded(value)


def real(number: int, value: float) -> bytes:
    return encoded(number << 3 | FIXED32) + struct.pack("<f", value)


def record(kind: str, *fields: bytes, name: str = "y", bottoms: Sequence[str] = ("data",)) -> bytes:
    """A layer of today's form: name 1, type 2, bottom 3, top 4."""
    head = prefixed(1, name.encode()) + prefixed(2, kind.encode())
    return head + b"".join(prefixed(3, b.encode()) for b in bottoms) + prefixed(4, name.encode()) + b"".join(fields)


INPUT = record("Input", prefixed(143, prefixed(1, prefixed(1, bytes([1, 4, 5, 6])))), name="data", bottoms=())


def write(folder: Path, *layers: bytes) -> Path:
    path = folder / "net.caffemodel"
    path.write_bytes(b"".join(prefixed(100, layer) for layer in (INPUT, *layers)))
    return path


def read(folder: Path, layer: bytes, **dialects: str) -> Net:
    return load_structure(write(folder, layer), dialects=dialects)


def fault_of(net: Net) -> str:
    fault = net.layers[-1].fault
    assert isinstance(fault, UnsupportedError), net.layers[-1].param
    return str(fault)


FILLER = prefixed(1, b"constant") + real(2, 1.0)
READ = [
    ("HardSigmoid", 501, real(1, 0.25) + real(2, 0.5), "hardsigmoid_param { alpha: 0.25 beta: 0.5 }"),
    ("HardSigmoid", 258, real(1, 0.25) + real(2, 0.5), "hardsigmoid_param { alpha: 0.25 beta: 0.5 }"),
    ("Upsample", 500, whole(1, 3) + whole(2, 4), "upsample_param { scale: 3 dims_num: 4 }"),
    ("Upsample", 500, b"", "upsample_param { scale: 1 }"),
    ("Upsample", 149, whole(1, 3), "upsample_param { scale: 3 }"),
    ("Upsample", 151, whole(3, 2) + whole(4, 3) + whole(5, 0),
     "upsample_param { height_scale: 2 width_scale: 3 mode: NEAREST }"),
    ("Upsample", 137, whole(1, 2) + whole(6, 9) + whole(7, 11),
     "upsample_param { scale: 2 upsample_h: 9 upsample_w: 11 }"),
    ("Upsample", 177, whole(1, 5), "upsample_param { scale: 5 }"),
    ("Upsample", 177, real(1, 2.5), "upsample_param { scale: 2.5 }"),
    ("PixelShuffle", 507, whole(1, 2), "pixelshuffle_param { upscale_factor: 2 }"),
    ("PixelShuffle", 888, b"", "pixelshuffle_param { upscale_factor: 2 }"),
    ("BReLU", 161, real(1, -1.0) + real(2, 2.0), "brelu_param { minval: -1 maxval: 2 }"),
    ("BReLU", 142, real(1, -1.0) + whole(3, 1), "brelu_param { minval: -1 maxval: 1 }"),
    ("BN", 123321, prefixed(1, FILLER) + whole(3, 1),
     'bn_param { scale_filler { type: "constant" value: 1 } bn_mode: INFERENCE }'),
    ("BN", 152, prefixed(1, FILLER) + real(3, 0.95) + real(4, 0.5) + whole(5, 1),
     'bn_param { slope_filler { type: "constant" value: 1 } momentum: 0.95 eps: 0.5 frozen: true }'),
    ("BinaryConvolution", 147, whole(1, 1) + whole(2, 0),
     "binary_convolution_param { use_alpha: true use_binarization: false }"),
    ("BinaryInnerProduct", 148, whole(1, 1), "binary_inner_product_param { use_alpha: true }"),
    ("ConvolutionRistretto", 149, whole(3, 8) + whole(6, 2**64 - 3) + whole(8, 7),
     "quantization_param { bw_layer_in: 8 fl_layer_in: -3 fl_params: 7 }"),
    ("FcRistretto", 149, whole(1, 1) + whole(9, 3) + whole(10, 4),
     "quantization_param { precision: MINIFLOAT mant_bits: 3 exp_bits: 4 }"),
    ("DeconvolutionRistretto", 149, whole(1, 2) + whole(11, 2**64 - 5) + whole(12, 1),
     "quantization_param { precision: INTEGER_POWER_OF_2_WEIGHTS exp_min: -5 exp_max: 1 }"),
    ("LRNRistretto", 149, whole(1, 1) + whole(2, 1) + whole(9, 7) + whole(10, 5),
     "quantization_param { precision: MINIFLOAT rounding_scheme: STOCHASTIC mant_bits: 7 exp_bits: 5 }"),
    ("CropCenter", 149, whole(2, 2) + whole(2, 3), "crop_center_param { crop_size: [2, 3] }"),
    ("CropCenter", 149, prefixed(2, bytes([2, 3])), "crop_center_param { crop_size: [2, 3] }"),
    ("UnPooling", 123322, whole(2, 2) + whole(3, 2) + whole(11, 1) + whole(13, 8) + whole(14, 6),
     "unpooling_param { kernel_size: 2 stride: 2 unpool_h: 8 unpool_w: 6 }"),
    ("BN", 202, prefixed(1, FILLER) + real(3, 0.5) + whole(4, 0) + real(5, 0.25),
     'bn_param { scale_filler { type: "constant" value: 1 } var_eps: 0.5 moving_average: false decay: 0.25 }'),
    ("BN", 150, real(3, 0.5) + whole(4, 0) + whole(7, 1) + whole(11, 1) + whole(13, 2),
     "bn_param { var_eps: 0.5 use_history_in_test: false frozen: true }"),
    ("Unpooling", 150, whole(1, 8) + whole(2, 6), "unpooling_param { output_h: 8 output_w: 6 }"),
    ("Unpooling", 150, whole(3, 2), "unpooling_param { scale: 2 }"),
    ("MergeCrop", 148, whole(1, 1) + whole(2, 1) + whole(2, 0),
     "mergecrop_param { operation: ADD forward: [true, false] }"),
    ("MergeCrop", 138, whole(3, 1) + whole(3, 1), "mergecrop_param { backward: [true, true] }"),
    ("Reorg", 159, whole(1, 3) + whole(2, 1), "reorg_param { stride: 3 reverse: true }"),
    ("Reorg", 155, whole(1, 1) + whole(2, 3), "reorg_param { reverse: true stride: 3 }"),
    ("Reorg", 303, whole(2, 1), "reorg_param { reverse: true stride: 2 }"),
    ("Interp", 143, whole(1, 7) + whole(2, 9), "interp_param { height: 7 width: 9 }"),
    ("Interp", 149, whole(3, 2) + whole(7, 1), "interp_param { zoom_factor: 2 use_blob_size: true }"),
    ("ShuffleChannel", 164, whole(1, 2), "shuffle_channel_param { group: 2 }"),
    ("ShuffleChannel", 145, whole(1, 2), "shuffle_channel_param { group: 2 }"),
    ("Permute", 224, whole(1, 0) + whole(1, 2) + whole(1, 1), "permute_param { order: [0, 2, 1] }"),
    ("Permute", 202, whole(1, 0) + whole(1, 2) + whole(1, 1), "permute_param { order: [0, 2, 1] }"),
    ("ReLU6", 100000, real(1, 0.5), "relu6_param { negative_slope: 0.5 }"),
    ("ReLU6", 211, real(1, 0.5) + whole(2, 1), "relu6_param { negative_slope: 0.5 }"),
    ("Clip", 148, real(1, -2.0) + real(2, 3.0), "clip_param { min: -2 max: 3 }"),
    ("Clip", 165, real(1, -2.0) + real(2, 3.0), "clip_param { min: -2 max: 3 }"),
    ("Pad", 504, whole(1, 2) + whole(2, 1) + real(6, 0.5), "pad_param { pad_type: REFLECT pad_u: 1 pad_value: 0.5 }"),
    ("Pad", 224, whole(1, 1) + whole(1, 2) + real(2, 0.5), "pad_param { paddings: [1, 2] constant_values: 0.5 }"),
    ("Normalize", 302, whole(1, 0) + real(4, 0.5) + whole(5, 1), "norm_param { across_spatial: false eps: 0.5 }"),
    ("Normalize", 206, whole(1, 0) + real(4, 0.5) + whole(5, 1),
     "norm_param { across_spatial: false eps: 0.5 add_eps_before_sqrt: true }"),
    ("BatchNorm", 144, real(3, 0.25), "batch_norm_param { eps: 0.25 }"),
    ("Scale", 148, whole(4, 1), "scale_param { bias_term: true }"),
    ("ELU", 149, real(1, 0.5), "elu_param { alpha: 0.5 }"),
    ("ROIPooling", 150, whole(1, 7) + whole(2, 6) + real(3, 0.5),
     "roi_pooling_param { pooled_h: 7 pooled_w: 6 spatial_scale: 0.5 }"),
    ("Convolution", 106, whole(1, 3) + whole(4, 3) + whole(18, 2),
     "convolution_param { num_output: 3 kernel_size: 3 dilation: 2 }"),
    ("BoxOutput", 151, real(2, 0.25) + whole(4, 5) + whole(5, 6) + whole(6, 8) + whole(10, 9),
     "box_output_param { iou_thr: 0.25 field_h: 5 field_w: 6 downsample_rate: 8 max_post_nms_num: 9 }"),
    ("BoxGroupOutput", 158, prefixed(4, whole(1, 5) + whole(2, 6) + whole(3, 8)) + real(9, 2.5),
     "box_group_output_param { box_group_param { field_h: 5 field_w: 6 stride: 8 } min_size: 2.5 }"),
    ("BoxGroupOutput", 150, real(1, 0.5) + real(2, 0.25), "bbox_reg_param { bbox_mean: 0.5 bbox_std: 0.25 }"),
    ("DecodeBBox", 154, real(1, 0.5) + real(2, 0.25), "bbox_reg_param { bbox_mean: 0.5 bbox_std: 0.25 }"),
    ("FrcnnOutput", 160, real(1, 0.5) + real(2, 0.25) + prefixed(3, b"IOFU") + whole(4, 9),
     'frcnn_output_param { conf_thr: 0.5 iou_thr: 0.25 nms_type: "IOFU" max_det_num: 9 }'),
    ("FrcnnOutput", 150, real(1, 0.5) + whole(3, 0), "bbox_reg_param { bbox_mean: 0.5 cls_aware: false }"),
    ("ScaleRoute", 154, real(1, 2.5) + real(2, 7.5), "scale_route_param { low_scale: 2.5 high_scale: 7.5 }"),
    ("GRN", 208, real(1, 0.5) + whole(2, 1), "grn_param { bias: 0.5 dummy_backward: true }"),
    ("Parameter", 145, prefixed(1, whole(1, 3)) + prefixed(2, FILLER) + whole(3, 2),
     'parameter_param { shape { dim: 3 } blob_filler { type: "constant" value: 1 } norm_axis: 2 }'),
    ("PReLU", 131, prefixed(1, FILLER + whole(99, 1)), 'prelu_param { filler { type: "constant" value: 1 } }'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "number", "section", "text"), READ, ids=lambda value: str(value)[:40])
def test_a_section_is_read_by_the_layers_type(
    kind: str, number: int, section: bytes, text: str, tmp_path: Path
) -> None:
    net = read(tmp_path, record(kind, prefixed(number, section)))
    layer = net.layers[-1]
    assert layer.fault is None
    wanted = text_format.Parse(f'name: "y" type: "{kind}" bottom: "data" top: "y" {text}', LayerParameter())
    if kind == "PReLU":  # A filler's own unknown fields stay with it; they say how training begins.
        layer.param.prelu_param.filler.DiscardUnknownFields()  # type: ignore[attr-defined]
    assert layer.param == wanted


def test_nothing_is_said_of_what_stands_where_the_schema_has_it(tmp_path: Path) -> None:
    assert read(tmp_path, record("Permute", prefixed(202, whole(1, 0)))).readings == []
    assert read(tmp_path, record("Clip", prefixed(148, real(1, -2.0)))).readings == []


def test_the_fork_and_the_evidence_are_said(tmp_path: Path) -> None:
    layers = [record("HardSigmoid", prefixed(501, real(1, 0.3)), name=name) for name in "xyz"]
    path = write(tmp_path, *layers)
    assert load_structure(path).readings == [
        f"{path}: layer 'x' (HardSigmoid) and 2 more: its settings stand under number 501, read as hardsigmoid_param "
        "as in inisis's fork (inisis/caffe, which inisis/brocolli writes)"
    ]


REFUSED = [
    ("HardSigmoid", prefixed(502, whole(1, 2)),
     "field 502 of its record is a section of other layers (unsqueeze_param)"),
    ("HardSigmoid", prefixed(777, real(1, 0.3)), "field 777 of its record is in no fork that we know"),
    ("HardSigmoid", prefixed(501, real(1, 0.3) + whole(3, 1)),
     "field 3 of its hardsigmoid_param (number 501) is of an unknown fork"),
    ("HardSigmoid", prefixed(501, whole(1, 1)), "field 1 (alpha in another form) of its hardsigmoid_param"),
    ("HardSigmoid", prefixed(501, b"\xff"), "the whole of its hardsigmoid_param (number 501) is of an unknown fork"),
    ("HardSwish", prefixed(164, whole(1, 1)),
     "field 164 of its record is a section of other layers (seg_accuracy_param)"),
    ("BReLU", prefixed(161, real(1, 0.0)) + prefixed(142, real(2, 1.0)),
     "number 142 is its brelu_param too, besides 161"),
    ("BN", prefixed(139, prefixed(1, FILLER)),
     "field 139 of its record is a section of other layers (batch_norm_param)"),
    ("ResizeBilinear", prefixed(226, whole(8, 1)), "says pytorch_half_pixel, as in"),
    ("Upsample", prefixed(150, b""), "--dialect Upsample=imistyrain, Upsample=yolo says which"),
    ("Pooling", prefixed(121, whole(2, 3) + whole(13, 0)), "--dialect Pooling=own, Pooling=inisis"),
    ("Pooling", prefixed(121, whole(2, 3) + whole(13, 1)), "--dialect Pooling=own, Pooling=inisis"),
    ("Pooling", prefixed(121, whole(2, 3) + whole(14, 1)), "--dialect Pooling=intel, Pooling=synopsys"),
    ("Convolution", prefixed(106, whole(1, 3) + whole(4, 3) + whole(19, 1)), "Convolution=intel, Convolution=nvidia"),
    ("Dropout", prefixed(108, whole(2, 0)), "--dialect Dropout=own"),
    ("BatchNorm", prefixed(139, whole(4, 0)), "--dialect BatchNorm=own"),
    ("Softmax", prefixed(125, whole(2, 1) + whole(9, 3)), "field 9 of its softmax_param (number 125)"),
    ("LRN", prefixed(118, whole(4, 7)), "field 4 (norm_region, which has no value 7) of its lrn_param"),
    ("InnerProduct", prefixed(117, whole(1, 3) + whole(2, 5)), "field 2 (bias_term, but 5 is no truth value)"),
    ("Convolution", prefixed(106, whole(1, 3)) + prefixed(158, whole(3, 8)), "field 158 of its record"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "why"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_no_fork_explains_or_two_do_is_refused(kind: str, fields: bytes, why: str, tmp_path: Path) -> None:
    said = fault_of(read(tmp_path, record(kind, fields)))
    assert why in said
    assert f"layer 'y' ({kind}): " in said
    assert "give the net's prototxt as well" in said


CHOSEN = [
    ("Upsample", 150, b"", "yolo", "upsample_param { scale: 1 }"),
    ("Upsample", 150, b"", "imistyrain", "upsample_param { }"),
    ("Pooling", 121, whole(2, 3) + whole(13, 0), "yolo9000", "pooling_param { kernel_size: 3 ceil_mode: false }"),
    ("Pooling", 121, whole(2, 3) + whole(14, 0), "synopsys", "pooling_param { kernel_size: 3 ceil_mode: false }"),
    ("Pooling", 121, whole(2, 1) + whole(2, 2) + whole(2, 3) + whole(3, 2) + whole(4, 0) + whole(4, 1) + whole(4, 1),
     "rc3d", "pooling_param { kernel_shape { dim: [1, 2, 3] } stride_shape { dim: 2 } pad_shape { dim: [0, 1, 1] } }"),
    ("Pooling", 121, whole(2, 1) + whole(3, 3) + whole(4, 2), "intel_1_1",
     "pooling_param { pad: 1 kernel_size: 3 stride: 2 }"),
    ("Convolution", 106, whole(4, 3) + whole(17, 2), "deeplab_v1", "convolution_param { kernel_size: 3 hole: 2 }"),
    ("Convolution", 106, whole(4, 3) + whole(19, 1), "nvidia", "convolution_param { kernel_size: 3 }"),
    ("Dropout", 108, whole(2, 0), "rfcn", "dropout_param { scale_train: false }"),
    ("Dropout", 108, whole(2, 1), "nvidia", "dropout_param { }"),
    ("BatchNorm", 139, whole(4, 0), "pspnet", "batch_norm_param { update_global_stats: false }"),
    ("BatchNorm", 139, whole(4, 0), "own", "batch_norm_param { add_eps_before_sqrt: false }"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "number", "section", "fork", "text"), CHOSEN, ids=lambda value: str(value)[:40])
def test_the_user_says_which_fork(kind: str, number: int, section: bytes, fork: str, text: str, tmp_path: Path) -> None:
    layer = read(tmp_path, record(kind, prefixed(number, section)), **{kind: fork}).layers[-1]
    assert layer.fault is None
    assert layer.param == text_format.Parse(
        f'name: "y" type: "{kind}" bottom: "data" top: "y" {text}', LayerParameter()
    )


def test_a_fork_that_does_not_have_the_layer_is_no_choice(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such fork of HardSigmoid; known are inisis, own, synopsys"):
        read(tmp_path, record("HardSigmoid"), HardSigmoid="segnet")


def test_fields_of_all_layers_are_warned_of_by_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nvidia = b"".join(whole(number, 1) for number in (145, 146, 147, 148))
    path = write(tmp_path, record("ReLU", nvidia), record("Sigmoid", nvidia, name="z", bottoms=("y",)))
    net = load_structure(path)
    assert not any(layer.fault for layer in net.layers)
    assert [m for m in caplog.messages if "field 145" in m] == [
        f"{path}: warning: layer 'y' (ReLU) and 1 more: field 145 (forward_type in NVIDIA's) of an unknown fork is "
        "left out"
    ]
    assert not net.layers[1].param.HasField("parameter_param")


def test_a_section_that_layers_of_several_types_have_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extra = prefixed(158, whole(3, 8))
    own = {"Convolution": prefixed(106, whole(1, 3)), "InnerProduct": prefixed(117, whole(1, 3)),
           "Pooling": prefixed(121, whole(2, 3))}  # fmt: skip
    net = load_structure(write(tmp_path, *(record(kind, section, extra, name=kind) for kind, section in own.items())))
    assert not any(layer.fault for layer in net.layers)
    assert any("field 158, which layers of other types have too, is left out" in m for m in caplog.messages)
    assert not any(layer.param.HasField("lpq_loss_param") for layer in net.layers)


def test_what_a_data_layer_says_otherwise_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = record("Data", prefixed(107, whole(4, 7) + whole(13, 1)), prefixed(900, whole(1, 1)), bottoms=())
    layer = load_structure(write(tmp_path, data, record("ReLU", name="z", bottoms=("y",)))).layers[1]
    assert layer.fault is None
    assert layer.param.data_param.batch_size == 7
    assert any(
        "field 900 of its record is in no fork that we know; what it says is left out" in m for m in caplog.messages
    )


def test_a_word_that_any_layer_may_have_is_no_section(tmp_path: Path) -> None:
    intels = record("ELU", prefixed(140, real(1, 0.5)), prefixed(149, b"MKL2017"))  # 149 is ELU's in happynear's.
    layer = read(tmp_path, intels).layers[-1]
    assert layer.fault is None
    assert (layer.param.elu_param.alpha, layer.param.engine) == (0.5, "MKL2017")


def test_a_stray_section_of_bvlc_is_left_to_the_nets_reader(tmp_path: Path) -> None:
    layer = read(tmp_path, record("ReLU", prefixed(121, whole(2, 3)))).layers[-1]
    assert layer.fault is None
    assert layer.param.pooling_param.kernel_size == 3


def old(kind: int, *fields: bytes, name: str = "y") -> bytes:
    """A layer of the form of 2014: bottom 2, top 3, name 4, type 5."""
    head = prefixed(2, b"data") + prefixed(3, name.encode()) + prefixed(4, name.encode())
    return head + whole(5, kind) + b"".join(fields)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (old(60, prefixed(44, whole(2, 2))), "its field 5 (type, which has no value 60) is of an unknown fork"),
        (old(18, prefixed(45, whole(3, 1))), "field 45 of its record is in no fork that we know"),
        (old(17, prefixed(19, whole(2, 3) + whole(77, 1))), "field 77 of its pooling_param (number 19)"),
        (old(4, prefixed(10, whole(1, 3) + whole(17, 2))), "--dialect Convolution=deeplab_v1, Convolution=tsn"),
    ],
)
def test_the_form_of_2014_is_held_to_its_types_as_well(layer: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(prefixed(3, b"data") + b"".join(whole(4, n) for n in (1, 4, 5, 6)) + prefixed(2, layer))
    assert why in fault_of(load_structure(path))
    with pytest.raises(CaffeModelError, match="prototxt"):
        convert(path, output=tmp_path / "m.onnx")


def test_a_layer_of_2014_that_its_type_explains_is_read(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(prefixed(3, b"data") + b"".join(whole(4, n) for n in (1, 4, 5, 6))
                     + prefixed(2, old(4, prefixed(10, whole(1, 3) + whole(4, 2) + whole(17, 2)))))  # fmt: skip
    layer = load_structure(path, dialects={"Convolution": "deeplab_v1"}).layers[-1]
    assert layer.param.convolution_param.hole == 2


def test_the_numbers_are_those_of_the_fork(tmp_path: Path) -> None:
    """alpha 0.25, beta 0.5: 0 at and below -2, 1 from 2 on, x / 4 + 1/2 between; alpha's default is 0.2."""
    path = write(tmp_path, record("HardSigmoid", prefixed(501, real(1, 0.25) + real(2, 0.5))))
    convert(path, output=tmp_path / "m.onnx")
    x = np.linspace(-3, 3, 120, dtype=np.float32).reshape(1, 4, 5, 6)
    (y,) = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"data": x})
    assert np.allclose(y, np.clip(x / 4 + 0.5, 0, 1), atol=1e-6)


def test_a_layer_that_is_not_asked_for_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    relu = record("ReLU", name="relu")
    path = write(tmp_path, relu, record("HardSigmoid", prefixed(777, real(1, 0.3)), bottoms=("relu",)))
    assert main([str(path), "-q", "-o", str(tmp_path / "m.onnx")]) == 1
    assert "layer 'y' (HardSigmoid): field 777" in capsys.readouterr().err
    assert load_structure(path).layers[1].fault is None


def test_the_interpreter_refuses_it_too(tmp_path: Path) -> None:
    from verify.interpreter import run

    net = read(tmp_path, record("HardSigmoid", prefixed(777, real(1, 0.3))))
    with pytest.raises(UnsupportedError, match="field 777"):
        run(net, None, {"data": np.ones((1, 4, 5, 6))})


@pytest.mark.parametrize(
    ("stored", "fork", "height"), [(1, "own", 2), (0, "own", 3), (1, "inisis", 3), (0, "inisis", 2)]
)
def test_rounding_is_as_the_user_says(stored: int, fork: str, height: int, tmp_path: Path) -> None:
    path = write(tmp_path, record("Pooling", prefixed(121, whole(2, 2) + whole(3, 2) + whole(13, stored))))
    done = convert(path, output=tmp_path / "m.onnx", options=Options(dialects={"Pooling": fork}))
    assert done.graph.outputs[0].shape == (1, 4, height, 3)


def pooled(folder: Path, stored: int, *, height: int = 5, columns: int = 0) -> Path:
    """4 channels of height × 6 pooled by 2, and with `columns` an InnerProduct of so many weights a value behind."""
    shape = prefixed(1, prefixed(1, bytes([1, 4, height, 6])))
    pooling = prefixed(121, b"".join(map(whole, (2, 3, 4, 13), (2, 2, 0, stored))))
    layers = [record("Input", prefixed(143, shape), name="data", bottoms=()), record("Pooling", pooling, name="pool")]
    if columns:
        weight = prefixed(7, prefixed(7, prefixed(1, bytes([2, columns]))) + prefixed(5, bytes(4 * 2 * columns)))
        settings = prefixed(117, whole(1, 2) + whole(2, 0))
        layers.append(record("InnerProduct", weight, settings, name="fc", bottoms=("pool",)))
    path = folder / "net.caffemodel"
    path.write_bytes(b"".join(prefixed(100, layer) for layer in layers))
    return path


@pytest.mark.parametrize("stored", [0, 1])
def test_rounding_does_not_matter_where_the_windows_fit(stored: int, tmp_path: Path) -> None:
    done = convert(pooled(tmp_path, stored, height=4), output=tmp_path / "m.onnx")
    assert done.graph.outputs[0].shape == (1, 4, 2, 3)


@pytest.mark.parametrize("stored", [0, 1])
@pytest.mark.parametrize("height", [2, 3])
def test_the_weights_behind_tell_how_a_layer_rounds(
    stored: int, height: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pooled(tmp_path, stored, columns=4 * height * 3)
    assert main([str(path), "-o", str(tmp_path / "m.onnx")]) == 0
    said = capsys.readouterr().out
    assert ("as inisis's fork has it" in said) is (height == 2 + stored)
    assert "3 of 3 blobs" in said or "2 of 2 blobs" in said
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert session.run(None, {"data": np.ones((1, 4, 5, 6), np.float32)})[0].shape == (1, 2)


@pytest.mark.parametrize("stored", [0, 1])
def test_where_nothing_tells_how_a_layer_rounds_it_is_refused(
    stored: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(pooled(tmp_path, stored)), "-o", str(tmp_path / "m.onnx")]) == 1
    assert "--dialect Pooling=own, Pooling=inisis, " in capsys.readouterr().err


@pytest.mark.parametrize("stored", [0, 1])
def test_the_files_other_layers_show_whose_it_is(stored: int, tmp_path: Path) -> None:
    pool = record("Pooling", prefixed(121, whole(2, 2) + whole(13, stored)), name="pool")
    path = write(tmp_path, pool, record("HardSigmoid", prefixed(501, real(1, 0.25)), bottoms=("pool",)))
    net = load_structure(path)
    assert not any(layer.fault for layer in net.layers)
    pooling = net.layers[1].param.pooling_param
    assert (pooling.ceil_mode, pooling.round_mode) == (bool(stored), pooling.CEIL)
    assert any("layer 'pool' (Pooling): its pooling_param is read as in inisis's fork" in said for said in net.readings)


def test_every_reading_is_of_a_named_fork_and_a_section_of_its_type() -> None:
    assert {fork for readings in READINGS.values() for reading in readings for fork in reading.forks} == set(FORKS)
    for kind, readings in READINGS.items():
        assert {reading.section for reading in readings} <= set(SECTIONS[kind]), kind


def test_every_supported_type_is_known_with_the_section_that_it_reads() -> None:
    from converter.layers.base import registry
    from converter.layers.data import DataLayer

    kinds = {
        kind for kind, cls in registry().items() if not kind.startswith("Python ") and not issubclass(cls, DataLayer)
    }
    unknown = {kind for kind in kinds - SECTIONS.keys() if not kind.endswith(("Loss", "Output"))}
    assert unknown == {"EvalDetection", "YoloSeg", "Yolov3"}  # All of them losses, of which nothing is converted.


def test_an_upgrade_does_not_lose_a_forks_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, new = tmp_path / "old.caffemodel", tmp_path / "new.caffemodel"
    path.write_bytes(prefixed(2, old(18, prefixed(45, whole(3, 1)))))
    assert main(["upgrade", str(path), "-o", str(new)]) == 1
    assert "layer 'y' (ReLU): field 45 of its record" in capsys.readouterr().err
    path.write_bytes(prefixed(100, record("HardSigmoid", prefixed(258, real(1, 0.25)))))
    assert main(["upgrade", str(path), "-o", str(new), "-q"]) == 0
    assert prefixed(258, real(1, 0.25)) in new.read_bytes()


def blobs(*counts: int) -> bytes:
    """Blobs 7: data 5, shape 7."""
    return b"".join(
        prefixed(7, prefixed(5, struct.pack(f"<{n}f", *range(1, n + 1))) + prefixed(7, prefixed(1, bytes([n]))))
        for n in counts
    )


@pytest.mark.parametrize("counts", [(4, 4, 1, 4, 4), (4, 4, 4, 4, 1)])
def test_five_blobs_tell_nvidias_scale_bias_from_what_others_have_there(counts: Sequence[int], tmp_path: Path) -> None:
    layer = read(tmp_path, record("BatchNorm", prefixed(139, whole(7, 1)), blobs(*counts))).layers[-1]
    assert layer.fault is None
    assert layer.param.batch_norm_param.scale_bias


def test_three_blobs_leave_it_open_whether_scale_and_bias_are_missing(tmp_path: Path) -> None:
    data = record("BatchNorm", prefixed(139, whole(7, 1)), blobs(4, 4, 1))
    message = fault_of(read(tmp_path, data))
    assert "synopsys" in message
    assert "intel" not in message  # There it is a filler, never a number.
    assert not read(tmp_path, data, BatchNorm="synopsys").layers[-1].param.batch_norm_param.scale_bias
