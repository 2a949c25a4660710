"""The schema against facts about Caffe and its forks, and its loader."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from keyword import iskeyword
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor import FieldDescriptor

from prototxt import caffe_pb2, make_schema

FOLDER = Path(make_schema.__file__).parent

# message, field, number, default; from BVLC Caffe 1.0 unless a fork is named
FACTS: list[tuple[str, str, int, object]] = [
    ("BlobProto", "data", 5, []),
    ("BlobProto", "shape", 7, None),
    ("BlobProto", "double_data", 8, []),
    ("BlobProto", "raw_data_type", 10, 0),  # NVIDIA
    ("BlobProto", "raw_data", 12, b""),  # NVIDIA
    ("Datum", "float_data", 6, []),
    ("FillerParameter", "sparse", 7, -1),
    ("FillerParameter", "max", 4, 1.0),
    ("FillerParameter", "variance_norm", 8, 0),
    ("NetParameter", "layers", 2, []),
    ("NetParameter", "input_dim", 4, []),
    ("NetParameter", "input_shape", 8, []),
    ("NetParameter", "layer", 100, []),
    ("NetState", "phase", 1, 1),
    ("NetStateRule", "not_stage", 5, []),
    ("ParamSpec", "decay_mult", 4, 1.0),
    ("SolverParameter", "solver_mode", 17, 1),
    ("SolverParameter", "type", 40, "SGD"),
    ("SolverParameter", "momentum2", 39, pytest.approx(0.999)),
    ("SolverParameter", "rms_decay", 38, pytest.approx(0.99)),
    ("SolverParameter", "clip_gradients", 35, -1.0),
    ("SolverParameter", "snapshot_format", 37, 1),
    ("SolverParameter", "average_loss", 33, 1),
    ("SolverParameter", "warmup_start_lr", 49, 0.0),  # Intel
    ("SolverState", "current_step", 4, 0),
    ("LayerParameter", "phase", 10, 0),
    ("LayerParameter", "propagate_down", 11, []),
    ("LayerParameter", "batch_norm_param", 139, None),
    ("LayerParameter", "scale_param", 142, None),
    ("LayerParameter", "recurrent_param", 146, None),
    ("LayerParameter", "prior_box_param", 203, None),  # ssd
    ("LayerParameter", "roi_pooling_param", 8266711, None),  # Fast R-CNN
    ("LayerParameter", "detectnet_groundtruth_param", 6801, None),  # NVIDIA
    ("LayerParameter", "yolov3_param", 603, None),  # MobileNet-YOLO
    ("LayerParameter", "bn_param", 45, None),  # SegNet
    ("LayerParameter", "normalize_param", 214, None),  # happynear
    ("LayerParameter", "layer_norm_param", 277, None),  # Synopsys
    ("LayerParameter", "deformable_convolution_param", 999, None),  # unsky
    ("LayerParameter", "modulated_deformable_convolution_param", 9999999, None),  # zhanglonghao1992
    ("LayerParameter", "convolution3d_param", 6661, None),  # C3D 1.1
    ("LayerParameter", "pooling3d_param", 6662, None),  # C3D 1.1
    ("AccuracyParameter", "top_k", 1, 1),
    ("BatchNormParameter", "moving_average_fraction", 2, pytest.approx(0.999)),
    ("BatchNormParameter", "eps", 3, pytest.approx(1e-5)),
    ("BatchNormParameter", "scale_bias", 7, False),  # NVIDIA
    ("ConcatParameter", "axis", 2, 1),
    ("ConvolutionParameter", "group", 5, 1),
    ("ConvolutionParameter", "dilation", 18, []),
    ("ConvolutionParameter", "axis", 16, 1),
    ("CropParameter", "axis", 1, 2),
    ("DropoutParameter", "dropout_ratio", 1, 0.5),
    ("EltwiseParameter", "operation", 1, 1),
    ("ELUParameter", "alpha", 1, 1.0),
    ("ExpParameter", "base", 1, -1.0),
    ("FlattenParameter", "end_axis", 2, -1),
    ("InfogainLossParameter", "axis", 2, 1),
    ("InnerProductParameter", "transpose", 6, False),
    ("InnerProductParameter", "normalize", 7, False),  # happynear
    ("ConvolutionParameter", "kernel_shape", 7778, None),  # video-caffe
    ("PoolingParameter", "stride_shape", 7779, None),  # video-caffe
    ("MemoryDataParameter", "dim", 5, []),  # Greentea
    ("MergeCropParameter", "operation", 1, 0),  # Greentea
    ("Convolution3DParameter", "temporal_pad", 12, 0),  # C3D 1.1
    ("Pooling3DParameter", "kernel_depth", 5, 0),  # C3D 1.1
    ("DeformableConvolutionParameter", "dilation", 18, []),  # unsky
    ("GroupNormParameter", "group_num", 2, 32),  # GroupNorm-caffe
    ("LossParameter", "normalization", 3, 1),
    ("LRNParameter", "local_size", 1, 5),
    ("LRNParameter", "beta", 3, 0.75),
    ("MVNParameter", "eps", 3, pytest.approx(1e-9)),
    ("PoolingParameter", "global_pooling", 12, False),
    ("PoolingParameter", "round_mode", 13, 0),
    ("PriorBoxParameter", "flip", 4, True),  # ssd
    ("PriorBoxParameter", "clip", 5, False),  # ssd
    ("DetectionOutputParameter", "keep_top_k", 7, -1),  # ssd
    ("ReductionParameter", "operation", 1, 1),
    ("ReshapeParameter", "num_axes", 3, -1),
    ("ScaleParameter", "bias_term", 4, False),
    ("SliceParameter", "slice_point", 2, []),
    ("TransformationParameter", "scale", 1, 1.0),
    ("TransformationParameter", "mean_value", 5, []),
    ("V1LayerParameter", "layer", 1, None),
    ("V1LayerParameter", "blobs_lr", 7, []),
    ("V1LayerParameter", "blob_share_mode", 1002, []),
    ("V1LayerParameter", "loss_param", 42, None),
    ("V0LayerParameter", "kernelsize", 8, 0),
    ("V0LayerParameter", "det_crop_mode", 59, "warp"),
    ("V0LayerParameter", "hdf5_output_param", 1001, None),
]


def schema() -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto.FromString((FOLDER / "caffe.desc").read_bytes())


def fields() -> Iterator[tuple[str, FieldDescriptor]]:
    for message in schema().message_type:
        for field in getattr(caffe_pb2, message.name).DESCRIPTOR.fields:
            yield message.name, field


@pytest.mark.parametrize(("message", "name", "number", "default"), FACTS, ids=lambda value: str(value)[:40])
def test_a_field_has_the_number_and_default_that_its_program_gives_it(
    message: str, name: str, number: int, default: object
) -> None:
    made = getattr(caffe_pb2, message)()
    assert made.DESCRIPTOR.fields_by_name[name].number == number
    if default is not None:
        assert getattr(made, name) == default


def test_descriptor_and_stub_are_made_from_the_schema_beside_them() -> None:
    pytest.importorskip("grpc_tools")
    descriptor, stub = make_schema.compile_schema()
    assert descriptor == (FOLDER / "caffe.desc").read_bytes()
    assert stub == (FOLDER / "caffe_pb2.pyi").read_text(encoding="utf-8")


def test_nothing_is_required_since_caffes_own_files_are_read_before_they_are_judged() -> None:
    required = descriptor_pb2.FieldDescriptorProto.LABEL_REQUIRED
    assert [f.name for m in schema().message_type for f in m.field if f.label == required] == []


def test_the_stub_names_every_message_and_field() -> None:
    stub = (FOLDER / "caffe_pb2.pyi").read_text(encoding="utf-8")
    # A Python keyword can't be declared; its number can.
    wanted = [(f"{m}.{f.name}", f"{f.name.upper()}_FIELD_NUMBER" if iskeyword(f.name) else f.name) for m, f in fields()]
    assert [field for field, name in wanted if f"    {name}: " not in stub] == []


def test_every_number_of_our_own_lies_where_no_fork_has_one() -> None:
    # 8266710 is caffe_ocr's; 8266711 and 8266712 are Fast R-CNN's; 32768 and 32769 are OpenCV's.
    own = {f.number for _, f in fields() if f.number >= 20001} - {8266710, 8266711, 8266712, 32768, 32769, 9999999}
    assert own
    assert max(own) < 21000


@pytest.mark.parametrize(
    ("text", "rounds_up"),
    [("", True), ("round_mode: FLOOR", False), ("round_mode: CEIL", True), ("round_mode: 1", False),
     ("ceil_mode: false", False), ("ceil_mode: true", True)],
)  # fmt: skip
def test_text_tells_bvlcs_rounding_from_the_forks(text: str, rounds_up: bool) -> None:
    param = text_format.Parse(text, caffe_pb2.PoolingParameter())
    assert (param.round_mode == caffe_pb2.PoolingParameter.CEIL and param.ceil_mode) is rounds_up


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("BNParameter", "slope_filler { value: 1 } bias_filler {} frozen: true momentum: 0.95"),  # PSPNet
        ("BNParameter", "scale_filler {} shift_filler {} bn_mode: INFERENCE"),  # SegNet, ENet
        ("VideoDataParameter", "video_type: WEBCAM device_id: 0 skip_frames: 0"),  # ssd
        ("VideoDataParameter", 'source: "a" new_length: 5 modality: FLOW name_pattern: "%05d.jpg"'),  # TSN
        ("SolverParameter", "device_id: 3"),
        ("SolverParameter", "device_id: [0, 1, 2]"),  # yjxiong
        ("TransformationParameter", "resize_param { height: 300 } resize_param { height: 416 }"),  # MobileNet-YOLO
        ("LossParameter", "normalization: PRE_FIXED pre_fixed_normalizer: 128"),  # R-FCN
        ("ConvolutionParameter", "pad_l: 1 pad_t: 0 pad_type: 1 hole: 2 engine: MKLDNN"),
        ("DropoutParameter", "scale_train: false"),  # R-FCN
        ("FillerParameter", 'type: "msra" variance_norm: AVERAGE'),
    ],
)
def test_one_schema_reads_the_texts_of_forks_that_disagree(message: str, text: str) -> None:
    assert text_format.Parse(text, getattr(caffe_pb2, message)()).ListFields()


def test_enums_of_the_file_are_there_as_in_generated_code() -> None:
    assert caffe_pb2.Phase.keys() == ["TRAIN", "TEST"]
    assert caffe_pb2.Phase.Value("TEST") == caffe_pb2.TEST == 1
    assert caffe_pb2.FLOAT16 == 2
    assert caffe_pb2.V1LayerParameter.LayerType.Name(39) == "DECONVOLUTION"


def test_our_messages_live_beside_another_caffe_proto() -> None:
    """As after `import caffe`, whose generated code fills the default pool."""
    code = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
other = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
field = other.message_type.add(name="LayerParameter").field.add(name="name", number=7, type=5, label=1)
descriptor_pool.Default().AddSerializedFile(other.SerializeToString())
theirs = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName("caffe.LayerParameter"))
from prototxt import caffe_pb2
assert caffe_pb2.LayerParameter(name="a").SerializeToString() == b"\\x0a\\x01a"
assert theirs(name=3).SerializeToString() == b"\\x38\\x03"
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=FOLDER.parent)


def test_without_the_c_library_the_messages_are_the_same() -> None:
    code = (
        "from prototxt.caffe_pb2 import TEST, NetParameter, Phase, V1LayerParameter\n"
        "net = NetParameter(name='n', input=['x'])\n"
        "net.layer.add(name='c', type='Convolution', phase=TEST).convolution_param.kernel_size.append(3)\n"
        "net.layers.add(type=V1LayerParameter.RELU)\n"
        "assert NetParameter.FromString(net.SerializeToString()) == net\n"
        "print(net.SerializeToString().hex(), Phase.Name(TEST), type(net).__name__)\n"
    )
    run = [sys.executable, "-c", code]
    said = [
        subprocess.run(
            run,
            cwd=FOLDER.parent,
            env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": kind},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for kind in ("upb", "python")
    ]
    assert said[0] == said[1] != ""


def test_a_class_is_made_once_and_other_names_are_none() -> None:
    assert caffe_pb2.BlobShape is getattr(caffe_pb2, "BlobShape")  # noqa: B009
    assert type(caffe_pb2.LayerParameter().blobs.add().shape) is caffe_pb2.BlobShape
    with pytest.raises(AttributeError, match="no attribute 'NoSuchParameter'"):
        getattr(caffe_pb2, "NoSuchParameter")  # noqa: B009
