"""The numbers under which forks of Caffe store a layer type's section in binary files, where they are not the schema's.

    READINGS["HardSigmoid"]    (Reading(501, "hardsigmoid_param", ("inisis",)), Reading(258, ..., ("synopsys",)))

Every fork adds its layers' sections to LayerParameter under whatever number is free there, so one number is another
layer's section elsewhere, and only the layer's type tells what its bytes are. Within a section forks differ likewise.
The numbers are facts, looked up in the `caffe.proto` of the repository that `FORKS` names; what is known from published
files alone says so.

A layout maps numbers within the section to names: `#scale` is a whole number there and none in the schema,
`*kernel_shape` one number of a list that a BlobShape is in the schema, `-engine` has no effect on the answer, and a
name that the schema lacks stands for what that fork has and we cannot read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prototxt.caffe_pb2 import LayerParameter

FORKS: dict[str, str] = {
    "ascend": "Huawei's description of the layers that its Ascend tools add",
    "atlas": "futureisatyourhand/atlas_caffe",
    "bnkang": "bnkang/caffe-windows-for-fr",
    "caffe_lstm": "junhyukoh/caffe-lstm",
    "caffe_ocr": "senlinuc/caffe_ocr",
    "caffemex": "liuyuisanai/CaffeMex_v2",
    "cambricon": "Cambricon/caffe",
    "cascade_rcnn": "zhaoweicai/cascade-rcnn",
    "cc4": "dlunion/CC4.0",
    "chen": "the Upsample layer of ChenYingpeng/caffe-yolov3, as in PerfXLab/caffe",
    "chwick": "ChWick/caffe",
    "daerduo": "daerduoCarey/SpatialTransformerLayer",
    "deeplab": "xmyqsh/deeplab-v2",
    "deeplab_v1": "DeepLab's first, with hole in the place of dilation",
    "dehazenet": "the caffemodel of chaimi2013/FPCNet",
    "ducha": "ducha-aiki/caffe",
    "enet": "TimoSaemann/caffe-enet, and caffemodels of ENet",
    "farmingyard": "farmingyard/ShuffleNet",
    "fcn_ssd": "chuanqi305/ssd, branch fcn",
    "fusenet": "tum-vision/fusenet",
    "gait": "wj1tr0y/gait_extractor",
    "greentea": "naibaf7/caffe",
    "happynear": "happynear/caffe-windows",
    "houkai": "houkai/caffe",
    "hwgq": "zhaoweicai/hwgq",
    "imistyrain": "imistyrain/ssd",
    "inisis": "inisis/caffe, which inisis/brocolli writes",
    "intel": "intel/caffe",
    "intel_1_1": "intel/caffe, release 1.1 and before",
    "iresnet": "leonzfa/iResNet",
    "kendryte": "kendryte/caffe",
    "latte": "fireae/caffe_latte",
    "liteflownet": "twhui/LiteFlowNet",
    "lsoftmax": "wy1iu/LargeMargin_Softmax_Loss",
    "mobilenetv2": "the ReLU6 layer published for MobileNetV2",
    "mscnn": "zhaoweicai/mscnn",
    "mycaffe": "yanhuama/mycaffe",
    "ncnn": "Tencent/ncnn, tools/caffe",
    "nvidia": "NVIDIA/caffe",
    "openvino": "OpenVINO's Model Optimizer (mo/front/caffe/proto) and openvinotoolkit/training_toolbox_caffe",
    "perfxlab": "PerfXLab/caffe",
    "pspnet": "hszhao/PSPNet",
    "rc3d": "VisionLearningGroup/R-C3D and other forks for films and volumes",
    "rfcn": "py-R-FCN's Caffe, as in MhLiao/TextBoxes_plusplus",
    "ristretto": "pmgysel/caffe",
    "rmpe": "MVIG-SJTU/RMPE",
    "rrf_net": "yuLiu24/RRF-Net",
    "segnet": "alexgkendall/caffe-segnet",
    "segstereo": "yangguorun/SegStereo",
    "sophgo": "sophgo/caffe",
    "ssd_windows": "xuanyuyt/caffe-ssd-windows",
    "synopsys": "foss-for-synopsys-dwc-arc-processors/synopsys-caffe",
    "textboxes": "MhLiao/TextBoxes_plusplus",
    "tianzhi": "tianzhi0549/caffe",
    "tongcheng": "Tongcheng/caffe",
    "troyliu": "troyliu0105/caffe",
    "tsn": "yjxiong/caffe",
    "venkai": "venkai/caffe",
    "videocaffe": "zhzhong11/video-caffe",
    "vovnet": "youngwanLEE/VoVNet-RefineDet",
    "waifu2x": "lltcggie/caffe",
    "xieguotian": "xieguotian/caffe",
    "yolo": "eric612/MobileNet-YOLO",
    "yolo9000": "choasup/caffe-yolo9000",
    "yolov2": "gklz1982/caffe-yolov2",
    "yolov5": "Wulingtian/yolov5_caffe",
    "yutkin": "yutkin/caffe",
}
"""Name, as `--dialect` takes it, and where its numbers are from."""


@dataclass(frozen=True)
class Reading:
    """How some forks store the section of a layer type.

    Attributes:
        number: the section's in the layer's message.
        section: what the schema calls it.
        forks: names in `FORKS`.
        layout: number within the section -> field; None where it is the schema's.
        defaults: of fields that are not stored, where they are not the schema's.
        blobs: how many the layer stores there; 0 where that differs or does not matter.
    """

    number: int
    section: str
    forks: tuple[str, ...]
    layout: Mapping[int, str] | None = None
    defaults: Mapping[str, bool | float] = field(default_factory=dict)
    blobs: int = 0


def _same(
    section: str,
    layout: Mapping[int, str] | None = None,
    defaults: Mapping[str, bool | float] | None = None,
    **numbers: int,
) -> tuple[Reading, ...]:
    """Readings that differ in the section's number only, given fork by fork."""
    forks: dict[int, tuple[str, ...]] = {}
    for fork, number in numbers.items():
        forks[number] = (*forks.get(number, ()), fork)
    return tuple(Reading(number, section, names, layout, defaults or {}) for number, names in forks.items())


def _own(
    section: str, layout: Mapping[int, str], *forks: str, blobs: int = 0, **defaults: bool | float
) -> tuple[Reading, ...]:
    """Another layout under the section's number in the schema; what `layout` does not name stands as there."""
    fields = getattr(LayerParameter(), section).DESCRIPTOR.fields
    number = LayerParameter.DESCRIPTOR.fields_by_name[section].number
    return (Reading(number, section, forks, {f.number: f.name for f in fields} | dict(layout), defaults, blobs),)


_UPSAMPLE = {
    1: "#scale", 2: "scale_h", 3: "scale_w", 4: "pad_out_h", 5: "pad_out_w", 6: "upsample_h", 7: "upsample_w"
}  # fmt: skip
_SCALE = {1: "#scale"}
_SLOPE = {1: "slope_filler", 2: "bias_filler", 3: "momentum", 4: "eps", 5: "frozen", 6: "engine"}
_SCALE_SHIFT = {1: "scale_filler", 2: "shift_filler", 3: "var_eps", 5: "decay"}
_INTERP = {1: "height", 2: "width", 3: "zoom_factor", 4: "shrink_factor", 5: "pad_beg", 6: "pad_end"}
_ROI = {1: "pooled_h", 2: "pooled_w", 3: "spatial_scale"}
_LSTM = {1: "num_output", 2: "clipping_threshold", 3: "weight_filler", 4: "bias_filler", 5: "batch_size"}
_UNPOOL = {
    1: "unpool", 2: "kernel_size", 3: "stride", 4: "pad", 5: "kernel_h", 6: "kernel_w", 7: "stride_h", 8: "stride_w",
    9: "pad_h", 10: "pad_w", 11: "-engine", 12: "unpool_size", 13: "unpool_h", 14: "unpool_w",
}  # fmt: skip
_NORM = {1: "across_spatial", 2: "scale_filler", 3: "channel_shared", 4: "eps", 5: "-engine"}
_INTEL_1_1 = {
    1: "pool", 2: "#pad", 3: "#kernel_size", 4: "#stride", 5: "pad_h", 6: "pad_w", 7: "kernel_h", 8: "kernel_w",
    9: "stride_h", 10: "stride_w", 11: "engine", 12: "global_pooling", 13: "avg_include_pad", 14: "axis",
}  # fmt: skip

_CONVOLUTION = (
    *_own("convolution_param", {16: "", 17: "hole", 18: "hole_h", 19: "hole_w"}, "deeplab_v1"),
    *_own("convolution_param", {19: "relu", 20: "negative_slope", 21: "conv_algorithm"}, "intel"),
    *_own("convolution_param", {19: "-cudnn_convolution_algo_seeker", 20: "-conv_algos_override"}, "nvidia"),
    *_own("convolution_param", {16: "dilation", 17: "dilation_h", 18: "dilation_w"}, "tsn"),
)
_PRIOR_BOX = (
    *_own("prior_box_param", {14: "denser_prior_boxes"}, "textboxes"),
    *_own("prior_box_param", {14: "width", 15: "height"}, "openvino"),
    *_own("prior_box_param", {14: "use_default_aspect_ratio"}, "sophgo"),
)
_UNPOOLING = (
    *_same("unpooling_param", _UNPOOL, venkai=149, iresnet=246, caffemex=12155, enet=123322),
    *_same("unpooling_param", _UNPOOL, venkai=139),
    *_same("unpooling_param", {1: "output_h", 2: "output_w", 3: "scale"}, fusenet=150),
)
_RISTRETTO = _same("quantization_param", ristretto=149)
_SMOOTH_L1 = _same("smooth_l1_loss_param", intel=148, latte=151, cc4=163, openvino=209, xieguotian=8266719)
_RECURRENT = _same("recurrent_param", nvidia=151, xieguotian=8266717)

READINGS: dict[str, tuple[Reading, ...]] = {
    "BN": (
        *_same("bn_param", _SLOPE, tsn=137, pspnet=152, ssd_windows=152, inisis=1111),
        *_same("bn_param", _SLOPE | {7: "bn_mode", 8: "scale_filler", 9: "shift_filler"}, sophgo=162),
        *_same("bn_param", venkai=148, latte=203, enet=123321),
        *_same("bn_param", {1: "frozen", 2: "momentum", 3: "eps", 4: "-engine"}, cambricon=100015),
        *_same("bn_param", _SCALE_SHIFT | {4: "moving_average"}, ducha=202, bnkang=147),
        *_same("bn_param", _SCALE_SHIFT | {4: "use_history_in_test", 7: "-moving_average", 11: "frozen", 12: "-engine",
                                           13: "-multigpu_sync"}, segstereo=150),
    ),
    "BReLU": (
        *_same("brelu_param", dehazenet=161),
        *_same("brelu_param", {1: "minval", 2: "maxval", 3: "-engine"}, {"maxval": 1.0}, mycaffe=142),
    ),
    "BatchNorm": (
        *_same("batch_norm_param", {1: "use_global_stats", 2: "moving_average_fraction", 3: "eps"},
               happynear=144, tsn=249),
        *_own("batch_norm_param",
              {4: "-engine", 5: "use_weight_bias", 6: "bias_term", 7: "-filler", 8: "bias_filler",
               9: "-stats_batch_size", 10: "relu"}, "intel"),
        *_own("batch_norm_param", {4: "update_global_stats"}, "pspnet", "latte"),
        *_own("batch_norm_param", {4: "add_eps_before_sqrt", 6: "update_global_stats", 7: "-icnet"}, "synopsys",
              blobs=3),
        *_own("batch_norm_param", {4: "disable_mean", 5: "disable_variance", 7: "scale_filler", 8: "bias_filler"},
              "happynear"),
        *_own("batch_norm_param", {7: "weight_filler", 8: "bias_filler", 9: "use_alpha_beta"}, "inisis"),
        *_own("batch_norm_param", {4: "affine"}, "xieguotian"),
    ),
    "Bias": _same("bias_param", venkai=142, happynear=150, tsn=161),
    "BinaryConvolution": _same("binary_convolution_param", hwgq=147),
    "BinaryInnerProduct": _same("binary_inner_product_param", hwgq=148),
    "BoxGroupOutput": (
        *_same("box_group_output_param", cascade_rcnn=158),
        *_same("bbox_reg_param", cascade_rcnn=150),
    ),
    "BoxOutput": (
        *_same("box_output_param", mscnn=151),
        *_same("bbox_reg_param", mscnn=154),
    ),
    "CTCGreedyDecoder": (
        *_same("ctc_decoder_param", chwick=149, textboxes=149),
        *_same("ctc_decoder_param", None, {"blank_index": 0}, caffe_ocr=158, latte=158),
    ),
    "ChannelScale": _same("channel_scale_param", happynear=237),
    "Clip": _same("clip_param", sophgo=165, synopsys=248),
    "Concat": _own("concat_param", {3: "-engine", 4: "per_fla_fuse"}, "intel"),
    "ContinuationIndicator": (
        *_same("continuation_indicator_param", cc4=153, kendryte=201),
        *_same("continuation_indicator_param", {1: "time_step", 2: "batch_size", 3: "flag"}, {"batch_size": 1},
               videocaffe=160, sophgo=311),
    ),
    "Convolution": _CONVOLUTION,
    "ConvolutionDepthwise": _CONVOLUTION,
    "ConvolutionRistretto": _RISTRETTO,
    "Correlation": _same("correlation_param", segstereo=151),
    "Correlation1D": _same("correlation_param", segstereo=151),
    "Crop": _same("crop_param", happynear=152),
    "CropCenter": _same("crop_center_param", waifu2x=149),
    "DecodeBBox": (
        *_same("bbox_reg_param", cascade_rcnn=150, mscnn=154),
        *_same("decode_bbox_param", cascade_rcnn=155, mscnn=155),
    ),
    "Deconvolution": _CONVOLUTION,
    "DeconvolutionRistretto": _RISTRETTO,
    "DenseBlock": _same("denseblock_param", tongcheng=147, caffe_ocr=147, latte=148),
    "DepthwiseConvolution": _CONVOLUTION,
    "DetectionOutput": (
        *_same("detection_output_param", cambricon=304),
        *_same("detection_output_param",
               {1: "num_classes", 2: "share_location", 3: "background_label_id", 4: "nms_param",
                5: "save_output_param", 6: "code_type", 7: "keep_top_k", 8: "variance_encoded_in_target",
                9: "confidence_threshold", 10: "visualize", 11: "visualize_threshold", 12: "save_file",
                13: "input_width", 14: "input_height", 15: "normalized"},
               {"normalized": True, "input_width": -1, "input_height": -1}, openvino=211),
    ),
    "Dropout": (
        *_own("dropout_param", {2: "scale_train", 3: ""}, "rfcn", "imistyrain", "ncnn", "perfxlab"),
        *_own("dropout_param", {2: "-engine", 3: "-random_seed"}, "nvidia"),
        *_own("dropout_param", {2: "sqrt_scale", 3: ""}, "happynear"),
    ),
    "ELU": _same("elu_param", happynear=149),
    "Eltwise": _own("eltwise_param", {4: "-engine"}, "intel"),
    "ExpMax": _same("expmax_param", liteflownet=158),
    "FcRistretto": _RISTRETTO,
    "Flip": _same("flip_param", happynear=212),
    "FrcnnOutput": (
        *_same("frcnn_output_param", cascade_rcnn=160),
        *_same("bbox_reg_param", cascade_rcnn=150),
    ),
    "GRN": _same("grn_param", openvino=208),
    "HardSigmoid": _same("hardsigmoid_param", synopsys=258, inisis=501),
    "Im2col": _CONVOLUTION,
    "InnerProduct": _own("inner_product_param", {7: "-engine"}, "intel"),
    "Input": _same("input_param", happynear=153),
    "Insanity": _same("insanity_param", happynear=202),
    "Interp": (
        *_same("interp_param", _INTERP, pspnet=143, ssd_windows=147, deeplab=153, sophgo=161, latte=162, caffe_ocr=162,
               cc4=166, ncnn=205, openvino=217, tsn=301),
        *_same("interp_param", _INTERP | {7: "use_blob_size"}, imistyrain=149),
        *_same("interp_param", _INTERP | {7: "align_corners", 8: "-engine"}, cambricon=100016),
    ),
    "LRNRistretto": _RISTRETTO,
    "LSTM": _RECURRENT,
    "LargeMarginInnerProduct": _same("largemargin_inner_product_param", lsoftmax=202, happynear=227),
    "Local": _same("local_param", bnkang=148, rrf_net=150, happynear=201),
    "Lstm": _same("lstm_param", _LSTM, cc4=148, yutkin=148, caffe_lstm=201, latte=201, sophgo=310, caffe_ocr=8266711),
    "MaxUnPool": _same("max_unpool_param", inisis=506),
    "MergeCrop": tuple(
        Reading(number, "mergecrop_param", ("greentea",))
        for number in (138, 139, 141, 143, 144, 145, 146, 147, 148)  # it moved whenever Caffe took its number
    ),
    "Normalize": (
        *_same("norm_param", _NORM, openvino=204, cambricon=302),
        *_same("norm_param", _NORM | {4: "fix_scale", 5: "eps"}, fcn_ssd=134),
    ),
    "PSROIPooling": _same("psroi_pooling_param", cascade_rcnn=148, ncnn=149, inisis=149, intel=153, latte=171,
                          openvino=207, ascend=207, happynear=220),
    "Pad": _same("pad_param",
                 {1: "pad_type", 2: "pad_u", 3: "pad_d", 4: "pad_l", 5: "pad_r", 6: "pad_value"}, inisis=504),
    "Permute": (
        *_same("permute_param", yolov5=150, atlas=151, openvino=154, happynear=224),
        *_same("permute_param", {1: "order", 2: "-engine"}, cambricon=303),
    ),
    "PixelShuffle": (
        *_same("pixelshuffle_param", inisis=507),
        *_same("pixelshuffle_param", None, {"upscale_factor": 2}, gait=888),
    ),
    "Pooling": (
        *_own("pooling_param", {13: "ceil_mode", 14: ""}, "inisis", "yolo9000", "imistyrain", "latte", "openvino",
              "xieguotian"),
        *_own("pooling_param", {13: "avg_include_pad", 14: "axis", 15: "pad_3d", 16: "kernel_size_3d", 17: "stride_3d"},
              "intel"),
        *_own("pooling_param", {13: "pad_type", 14: "ceil_mode", 15: "round_mode"}, "synopsys"),
        *_own("pooling_param", {11: "", 13: "engine", 14: "ceil_mode"}, "cambricon"),
        Reading(121, "pooling_param", ("intel_1_1",), _INTEL_1_1),
        *_own("pooling_param", {2: "*kernel_shape", 3: "*stride_shape", 4: "*pad_shape", 13: ""}, "rc3d"),
    ),
    "PriorBox": _PRIOR_BOX,
    "PriorBoxClustered": _PRIOR_BOX,
    "Proposal": _same("proposal_param", houkai=151, openvino=201, happynear=219, inisis=1000),
    "Quant": _same("quant_param", hwgq=149),
    "RNN": _RECURRENT,
    "ROIPooling": (
        *_same("roi_pooling_param", mscnn=147, cascade_rcnn=147),
        *_same("roi_pooling_param", _ROI, happynear=143, tsn=150, textboxes=150, latte=150, houkai=152, cc4=164,
               openvino=208),
        *_same("roi_pooling_param", _ROI, happynear=204),
        *_same("roi_pooling_param", _ROI | {4: "pooled_size"}, intel=154),
        *_same("roi_pooling_param", _ROI | {4: "spatial_scale_h", 5: "spatial_scale_w"}, {"spatial_scale": 0.0625},
               ascend=161),
    ),
    "ReLU": _own("relu_param", {3: "-fuse"}, "intel"),
    "ReLU6": (
        *_same("relu6_param", {1: "negative_slope", 2: "-engine"}, imistyrain=208, perfxlab=208, yolo=211, troyliu=211),
        *_same("relu6_param", {1: "negative_slope", 2: "-engine", 3: "-fuse"}, sophgo=167),
        *_same("relu6_param", {1: "n"}, openvino=216),
        *_same("relu6_param", inisis=503),
        *_same("relu6_param", {1: "negative_slope"}, ssd_windows=300, ascend=2060, mobilenetv2=100000),
    ),
    "Reorg": (
        *_same("reorg_param", yolov2=147, ncnn=147, yolo=149, troyliu=149, atlas=150, yolov5=152, intel=159),
        *_same("reorg_param", {1: "stride", 2: "reverse", 3: "-engine"}, cambricon=157),
        *_same("reorg_param", {1: "reverse", 2: "stride"}, {"stride": 2}, ascend=155),
        *_same("reorg_param", None, {"stride": 2}, yolo9000=303),
    ),
    "Reshape": (
        *_same("reshape_param", fcn_ssd=136),
        *_own("reshape_param", {4: "default_insert"}, "caffemex"),
    ),
    "ResizeBilinear": _own("resize_bilinear_param", {8: "pytorch_half_pixel"}, "synopsys"),
    "Reverse": _same("reverse_param", chwick=147, textboxes=147, yutkin=149, cc4=151, ascend=157, caffe_ocr=160,
                     latte=160, kendryte=204, sophgo=309),
    "Scale": _same("scale_param", venkai=143, happynear=148, tsn=160),
    "ScaleRoute": _same("scale_route_param", cascade_rcnn=154),
    "SeLu": _same("selu_param", latte=184),
    "SeLuDropout": _same("selu_dropout_param", latte=185),
    "ShuffleChannel": (
        *_same("shuffle_channel_param", ncnn=145, troyliu=152, ascend=159, farmingyard=164, sophgo=164, latte=164,
               imistyrain=164, xieguotian=8266730),
        *_same("shuffle_channel_param", {1: "group", 2: "-engine"}, cambricon=162),
    ),
    "SmoothL1Loss": _SMOOTH_L1,
    "SmoothL1LossOHEM": _SMOOTH_L1,
    "SpatialTransformer": _same("st_param", daerduo=148, cc4=156, rmpe=212, iresnet=247),
    "Tile": _same("tile_param", fcn_ssd=135),
    "Transpose": _same("transpose_param", tianzhi=145, yutkin=147, cc4=150, houkai=150, latte=200),
    "UnPooling": _UNPOOLING,
    "Unpooling": _UNPOOLING,
    "Unsqueeze": _same("unsqueeze_param", inisis=502),
    "Upsample": (
        *_same("upsample_param", _UPSAMPLE, segnet=137, enet=147, imistyrain=150, synopsys=177, latte=202,
               caffemex=12345),
        *_same("upsample_param", _SCALE, {"scale": 1.0}, vovnet=148, chen=149, yolo=150, troyliu=150),
        *_same("upsample_param", _UPSAMPLE, {"scale": 1.0}, sophgo=160),
        *_same("upsample_param", {1: "#scale", 2: "dims_num"}, {"scale": 1.0}, inisis=500),
        *_same("upsample_param", {1: "height", 2: "width", 3: "height_scale", 4: "width_scale", 5: "mode"}, yolov5=151),
        *_same("upsample_param", {1: "scale", 2: "stride", 3: "stride_h", 4: "stride_w"}, {"scale": 1.0}, ascend=160),
    ),
}  # fmt: skip
"""Layer type -> the forks' readings of its section; the schema's own stands beside them."""

BVLC: dict[str, int] = {
    "batch_norm_param": 3,
    "concat_param": 2,
    "convolution_param": 18,
    "dropout_param": 1,
    "eltwise_param": 3,
    "inner_product_param": 6,
    "pooling_param": 12,
    "relu_param": 2,
    "reshape_param": 3,
}
"""Section -> the number in it up to which BVLC's meaning goes first. Pooling's 13 is BVLC's round_mode and ceil_mode of
several forks, and one is as likely as the other."""


def fork_names(kind: str) -> set[str]:
    """The forks whose reading of a layer type is known, `own` being the schema's."""
    return {fork for reading in READINGS.get(kind, ()) for fork in (*reading.forks, "own")}
