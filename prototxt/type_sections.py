"""Which sections of its message each layer type reads.

    SECTIONS["HardSigmoid"]    ("hardsigmoid_param",)

What stands in a layer under another name is not its own: in binary files, where a section has no name, it is another
fork's (`prototxt.fork_numbers`).
"""

from __future__ import annotations

_READERS = {
    "accuracy_param": "Accuracy",
    "argmax_param": "ArgMax",
    "au_mask_based_land_param": "AUMaskBasedLand",
    "batch_norm_param": "BatchNorm",
    "batch_to_space_nd_param": "BatchToSpaceND",
    "bbox_reg_param": "BoxGroupOutput BoxOutput DecodeBBox",
    "bias_param": "Bias",
    "bilinear_interpolate_param": "BilinearInterpolate",
    "bn_param": "BN",
    "box_group_output_param": "BoxGroupOutput",
    "box_output_param": "BoxOutput",
    "brelu_param": "BReLU",
    "channel_scale_param": "ChannelScale",
    "clip_param": "Clip",
    "combination_param": "Combination",
    "concat_param": "Concat",
    "continuation_indicator_param": "ContinuationIndicator",
    "convolution3d_param": "Convolution3D Deconvolution3D",
    "convolution_param": (
        "Convolution Convolution3D ConvolutionDepthwise Deconvolution Deconvolution3D DepthwiseConvolution Im2col "
        "NdConvolution"
    ),
    "correlation_param": "Correlation Correlation1D",
    "crop_center_param": "CropCenter",
    "crop_param": "Crop",
    "ctc_decoder_param": "CTCGreedyDecoder",
    "decode_bbox_param": "DecodeBBox",
    "deformable_convolution_param": "DeformableConvolution",
    "denseblock_param": "DenseBlock",
    "depth_to_space_param": "DepthToSpace",
    "detection_output_param": "DetectionOutput",
    "division_param": "Division",
    "downsample_param": "Downsample",
    "dropout_param": "Dropout",
    "eltwise_param": "Eltwise",
    "eltwise_accuracy_param": "EltwiseAccuracy",
    "elu_param": "ELU",
    "embed_param": "Embed",
    "exp_param": "Exp",
    "flatten_param": "Flatten",
    "flip_param": "Flip",
    "flow_warp_param": "FlowWarp",
    "group_norm_param": "GroupNorm",
    "hardsigmoid_param": "HardSigmoid",
    "inner_product_param": "InnerProduct",
    "input_param": "Input",
    "interp_param": "Interp",
    "label_specific_add_param": "LabelSpecificAdd",
    "largemargin_inner_product_param": "LargeMarginInnerProduct",
    "layer_norm_param": "LayerNorm",
    "log_param": "Log",
    "lrn_param": "LRN",
    "lstm_param": "Lstm",
    "max_unpool_param": "MaxUnPool",
    "mergecrop_param": "MergeCrop",
    "modulated_deformable_convolution_param": "ModulatedDeformableConvolution",
    "mvn_param": "MVN",
    "norm_param": "Normalize",
    "normalize_param": "Normalize",
    "pad_param": "Pad",
    "parameter_param": "Parameter",
    "permute_param": "Permute",
    "pixelshuffle_param": "PixelShuffle",
    "pooling3d_param": "Pooling3D",
    "pooling_param": "Pooling NdPooling Pooling3D",
    "power_param": "Power",
    "prelu_param": "PReLU",
    "prior_box_param": "PriorBox PriorBoxClustered",
    "proposal_param": "Proposal",
    "psroi_pooling_param": "PSROIPooling",
    "python_param": "Python",
    "recurrent_param": "LSTM RNN",
    "reduction_param": "Reduction",
    "region_proposal_param": "RPROI",
    "relu6_param": "ReLU6",
    "relu_param": "ReLU",
    "reorg_param": "Reorg",
    "resample_param": "Resample",
    "reshape_param": "Reshape",
    "resize_bilinear_param": "ResizeBilinear",
    "resize_nearest_neighbor_param": "ResizeNearestNeighbor",
    "retinaface_detection_param": "RetinaFaceDetection",
    "reverse_param": "Reverse",
    "roi_align_param": "ROIAlign",
    "roi_pooling_param": "ROIPooling ROIAlign RPROI",
    "scale_param": "Scale",
    "scale_route_param": "ScaleRoute",
    "selu_dropout_param": "SeLuDropout",
    "selu_param": "SeLu",
    "shuffle_channel_param": "ShuffleChannel",
    "sigmoid_param": "Sigmoid",
    "slice_param": "Slice",
    "smooth_l1_loss_param": "SmoothL1Loss SmoothL1LossOHEM",
    "softmax_param": "Softmax SoftmaxWithLoss SoftmaxWithLossOHEM",
    "space_to_batch_nd_param": "SpaceToBatchND",
    "spp_param": "SPP",
    "squeeze_param": "Squeeze",
    "st_param": "SpatialTransformer",
    "swish_param": "Swish",
    "tanh_param": "TanH",
    "threshold_param": "Threshold",
    "tile_param": "Tile",
    "transpose_param": "Transpose",
    "unpooling_param": "UnPooling Unpooling",
    "unsqueeze_param": "Unsqueeze",
    "upsample_darknet_param": "UpsampleDarknet",
    "upsample_param": "Upsample",
    "yolo_detection_output_param": "YoloDetectionOutput",
    "yolo_detection_param": "YoloDetection",
    "yolov3_detection_output_param": "Yolov3DetectionOutput",
}
_SECTIONLESS = (
    "AbsVal Add AutoCrop Axpy BNLL BatchReindex Filter HardSwish ICNetSubgraph InstanceNorm L2Normalize LSTMUnit "
    "Mish Mul Silence Split Warp"
)

SECTIONS: dict[str, tuple[str, ...]] = dict.fromkeys(_SECTIONLESS.split(), ()) | {
    kind: tuple(section for section, readers in _READERS.items() if kind in readers.split())
    for kinds in _READERS.values()
    for kind in kinds.split()
}
"""Layer type -> the sections that it reads; a type that is not here may read any that the schema knows."""
