"""What is known of fields that no layer reads: which change nothing and why, and which would change what.

A path is `section.field`, `*` stands for any name; `Type: path` is about layers of one type. What a layer ignores only
under a condition, it says itself (`NetLayer.without_effect`).
"""

from __future__ import annotations

from functools import cache

NONE: dict[str, tuple[str, ...]] = {
    "how fast it computes, not what": (
        "engine",
        "*.engine",
        "*convolution_param.force_nd_im2col",
        "convolution_param.conv_algorithm",
        "convolution_param.conv_mode",
        "convolution_param.mem_group_size",
        "inner_product_param.gemm_mode",
        "inner_product_param.spmdm_transpose_*",
        "batch_norm_param.icnet",
        "convolution_param.cudnn_convolution_algo_seeker",
        "convolution_param.conv_algos_override",
        "cudnn_math_override",
        "reshape_every_iter",
        "denseblock_param.gpuIdx",
        "denseblock_param.workspace_MB",
        "denseblock_param.BC_ultra_space_efficient",
    ),
    "of a backward pass": (
        "propagate_down",
        "eltwise_param.stable_prod_grad",
        "grn_param.dummy_backward",
        "channel_scale_param.do_backward_*",
        "lstm_param.clipping_threshold",
        "mergecrop_param.backward",
        "normalize_param.bp_norm",
        "normalize_param.fix_gradient",
        "quant_param.backward_func",
        "quant_param.clip_thr",
        "st_param.to_compute_dU",
    ),
    "read where the net is put together: names, wiring, phase rules, shared and frozen blobs": (
        "name",
        "type",
        "bottom",
        "top",
        "phase",
        "include.*",
        "exclude.*",
        "param.name",
        "param.share_mode",
        "param.lr_mult",
        "param.decay_mult",
        "python_param.module",
        "python_param.layer",
    ),
    "a part of the objective, read where a module is trained": ("loss_weight",),
    "what is printed or saved beside the answer": (
        "debug",
        "visualise",
        "visualise_channel",
        "*.dump_parameter",
        "*.dump_activation",
        "recurrent_param.debug_info",
        "detection_output_param.visualize",
        "detection_output_param.visualize_threshold",
        "detection_output_param.save_file",
        "detection_output_param.save_output_param.*",
        "frcnn_output_param.save_output_param.*",
        "hdf5_output_param.*",
        "writer_param.*",
        "augmentation_param.write_augmented",
        "augmentation_param.write_mean",
    ),
    "how stored blobs are held to the net's shapes, which is strict here": ("strict_dim",),
    "how precisely NVIDIA's fork computes, where all is float32 here": (
        "forward_type",
        "backward_type",
        "forward_math",
        "backward_math",
    ),
    "no layer of NVIDIA's fork reads it": ("pooling_param.torch_pooling",),
    "no layer of HWGQ's fork reads it": ("quant_param.thrs",),
    "no layer of OpenVINO's fork reads it": ("parameter_param.norm_axis",),
    "no layer of FlowNet's fork reads it": ("correlation_param.do_abs", "resample_param.factor"),
    "the fork that has it leaves it at 1": ("local_param.dilation",),
    "of FlowNet's layers that make numbers of random changes": (
        "augmentation_param.mode",
        "augmentation_param.bottomwidth",
        "augmentation_param.bottomheight",
        "augmentation_param.num",
    ),
    "of a correlation along the rows alone": ("Correlation: correlation_param.single_direction",),
    "of a ReLU inside, which relu asks for": (
        "*convolution_param.negative_slope",
        "inner_product_param.negative_slope",
    ),
    "of a suppression that soft_nms asks for": ("detection_output_param.nms_param.theta",),
    "of boxes by aspect ratio, which this layer has none of": ("PriorBoxClustered: prior_box_param.flip",),
    "of a sum that fusion_type asks for": ("convolution_param.coeff",),
    "any draw will do": ("dropout_param.random_seed",),
    "what the stored blobs tell": (
        "bn_param.icnet",
        "batch_norm_param.use_weight_bias",
        "batch_norm_param.bias_term",
    ),
    "the bottom's channels count, whatever is said": ("denseblock_param.initChannel",),
    "of a convolution, of which this is the windows": (
        "Im2col: convolution_param.num_output",
        "Im2col: convolution_param.group",
        "Im2col: convolution_param.bias_term",
    ),
    "C3D's code has no groups of channels": ("Convolution3D: *.group", "Deconvolution3D: *.group"),
    "its code leaves the first of two classes out": ("DetectionOutputExtended: *.background_label_id",),
    "its code never transposes": ("BinaryInnerProduct: inner_product_param.transpose",),
    "its code has no groups of filters": ("Deconvolution3D: *.filter_group",),
    "its code asks for phase TRAIN where it would count at test time": ("label_specific_add_param.transform_test",),
    "of training, which is refused for these layers": (
        "bn_param.momentum",
        "bn_param.decay",
        "bn_param.frozen",
        "denseblock_param.moving_average_fraction",
        "denseblock_param.dropout_amount",
        "denseblock_param.use_dropout",
        "DecodeBBox: decode_bbox_param.gt_iou_thr",
    ),
    "of a loss, which the layer is not": (
        "Softmax: loss_param.*",
        "Softmax: softmax_param.hard_*",
        "Softmax: softmax_param.class_weight",
        "Softmax: softmax_param.cutting_point",
        "Softmax: softmax_param.normalize_type",
        "Softmax: softmax_param.label_smooth_factor",
        "BoxGroupOutput: bbox_reg_param.cls_aware",
        "BoxOutput: bbox_reg_param.cls_aware",
        "DecodeBBox: bbox_reg_param.cls_aware",
    ),
}
"""Without effect in both phases, or read outside the layer."""

NONE_AT_TEST: dict[str, tuple[str, ...]] = {
    "of training": (
        "param.*",
        "connectivity_mode",
        "batch_norm_param.moving_average_fraction",
        "selu_dropout_param.*",
        "label_specific_add_param.*",
    ),
}
"""Without effect where a net is not trained."""

FED = ("*data_param.*", "transform_param.*", "python_param.*", "activations_compress*")
"""Of a layer that brings data in: the caller feeds its blobs, prepared as these fields say."""

SOME: dict[str, tuple[str, ...]] = {
    "it changes how a fork trains the blob": ("param.*",),
    "it keeps weights of 0 at 0 in training": ("connectivity_mode",),
    "it computes in whole numbers, not in floats": (
        "*.saturate",
        "*.input_scale",
        "*.output_scale",
        "*.output_shift_instead_division",
    ),
    "with it Intel's Caffe computes in 8-bit numbers, and here all are floats": ("quantization_param.*",),
    "with it happynear's fork holds the stored factors to a range": ("scale_param.min_value", "scale_param.max_value"),
    "with it the lowest scores are the best ones": ("accuracy_param.min_is_better",),
    "with it happynear's fork counts other losses, or weighs them otherwise": (
        "softmax_param.hard_*",
        "softmax_param.class_weight",
        "softmax_param.cutting_point",
        "softmax_param.normalize_type",
        "softmax_param.label_smooth_factor",
    ),
    "of another fork than SSD's": (
        "detection_output_param.normalized_bbox",
        "detection_output_param.clip",
        "detection_output_param.nms_threshold",
        "detection_output_param.top_k",
        "detection_output_param.nms_param.soft_nms",
    ),
}
"""What a field that no layer reads would change, in words for an error."""


@cache
def why_none(path: str, layer_type: str, *, training: bool, fed: bool) -> str:
    """Why a field does not change the answer; empty where it may.

    Args:
        path: `section.field`.
        layer_type: of the layer that states it.
        training: whether the net is trained.
        fed: whether the layer's tops are fed by the caller.
    """
    found = _reason(NONE, path, layer_type)
    if not found and not training:
        found = _reason(NONE_AT_TEST, path, layer_type)
    if not found and fed and any(_fits(path, pattern) for pattern in FED):
        found = "of what the caller feeds"
    return found


def effect(path: str) -> str:
    """What a field would change, where that is known."""
    return _reason(SOME, path, "")


def _reason(table: dict[str, tuple[str, ...]], path: str, layer_type: str) -> str:
    return next((why for why, patterns in table.items() if _matches(patterns, path, layer_type)), "")


@cache
def _matches(patterns: tuple[str, ...], path: str, layer_type: str) -> bool:
    paths = (path, f"{layer_type}: {path}")
    return any(_fits(each, pattern) for each in paths for pattern in patterns)


def _fits(path: str, pattern: str) -> bool:
    """Whether a path is of a pattern; a regular expression for each would take longer to make than all the looking."""
    first, *between = pattern.split("*")
    if not between:
        return path == pattern
    last = between.pop()
    if len(path) < len(first) + len(last) or not (path.startswith(first) and path.endswith(last)):
        return False
    rest = path[len(first) : len(path) - len(last)]
    for part in between:
        _, found, rest = rest.partition(part)
        if not found:
            return False
    return True
