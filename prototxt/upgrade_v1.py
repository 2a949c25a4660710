"""From Caffe's second form (2014, `layers { type: RELU }`) to the present one, V2 (`layer { type: "ReLU" }`).

Two steps, in Caffe's order. First scale, mean_file, crop_size and mirror move out of the data layers' own parameters
into `transform_param`, overruling what stands there. Then each entry becomes a `layer`: the type enum turns into a
name, and four parallel lists turn into `param` blocks:

    param[i].name, share_mode, lr_mult, decay_mult  =  param[i], blob_share_mode[i], blobs_lr[i], weight_decay[i]

A list shorter than the others leaves its field unset in the blocks beyond it.  (Source: behaviour of BVLC Caffe 1.0.)
"""

from __future__ import annotations

from prototxt import caffe_pb2
from prototxt.change import Change, Where, nowhere, refuse_mixture
from prototxt.upgrade_v0 import assign
from prototxt.words import plural

TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
    # Forks that added layers while V1 was current.
    "CROP": "AutoCrop",  # BVLC's Crop has offsets, and came after the form: this one is another layer
    "MCWINDOW_DATA": "MCWindowData",
    "CONVOLUTION3D": "Convolution3D",
    "POOLING3D": "Pooling3D",
    "DECONVOLUTION3D": "Deconvolution3D",
    "VIDEO_DATA": "VideoData",
    "BN": "BN",
    "DENSE_CRF": "DenseCRF",
    "ELTWISE_ACCURACY": "EltwiseAccuracy",
    "IMAGE_SEG_DATA": "ImageSegData",
    "INTERP": "Interp",
    "MAT_READ": "MatRead",
    "MAT_WRITE": "MatWrite",
    "SEG_ACCURACY": "SegAccuracy",
    "SELECT_SEG_BINARY": "SelectSegBinary",
    "UNPOOLING": "Unpooling",
    "WINDOW_SEG_DATA": "WindowSegData",
}
"""Name in V1's enum -> V2 type string."""

_DATA_PARAMS = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}
_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")
_PARAM_LISTS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}


def _type_name(entry: caffe_pb2.V1LayerParameter) -> str:
    return str(caffe_pb2.V1LayerParameter.LayerType.Name(entry.type))


def _old_transform_fields(entry: caffe_pb2.V1LayerParameter) -> list[str]:
    param = _DATA_PARAMS.get(_type_name(entry))
    return [field for field in _TRANSFORM_FIELDS if getattr(entry, param).HasField(field)] if param else []


def needs_data_upgrade(message: caffe_pb2.NetParameter) -> bool:
    """Whether a V1 data layer still holds scale, mean_file, crop_size or mirror in its own parameters.

    A V2 `layer` does not count: Caffe leaves such fields where they are, and ignores them.
    """
    return any(_old_transform_fields(entry) for entry in message.layers)


def upgrade_data(message: caffe_pb2.NetParameter, where: Where = nowhere) -> Change:
    """Move the data layers' transformation fields into `transform_param`, in place."""
    notes = []
    for entry in message.layers:
        fields = _old_transform_fields(entry)
        if not fields:
            continue
        param = getattr(entry, _DATA_PARAMS[_type_name(entry)])
        for field in fields:
            setattr(entry.transform_param, field, getattr(param, field))
            param.ClearField(field)
        notes.append(f"layer {entry.name!r}: {', '.join(fields)} moved to transform_param")
    return Change(list(range(len(message.layers))), tuple(notes))


def needs_v1_upgrade(message: caffe_pb2.NetParameter) -> bool:
    """Whether the net has `layers`."""
    return len(message.layers) > 0


def upgrade_v1(message: caffe_pb2.NetParameter, where: Where = nowhere) -> Change:
    """Turn every V1 `layers` entry into a `layer`, in place; blobs, if any, are copied once.

    Raises:
        NetError: the net holds `layer` too.
    """
    refuse_mixture(message, where)
    lost: list[str] = []
    count = plural(len(message.layers), "layer")
    for entry in message.layers:
        lost += _upgrade_entry(entry, message.layer.add())
    message.ClearField("layers")
    return Change(list(range(len(message.layer))), (f"V1 to V2: {count}", *lost), tuple(lost))


def _upgrade_entry(old: caffe_pb2.V1LayerParameter, new: caffe_pb2.LayerParameter) -> list[str]:
    lost = []
    for field, value in old.ListFields():
        if field.name == "type":
            new.type = TYPES[_type_name(old)]
        elif field.name in _PARAM_LISTS:
            _fill_params(new, _PARAM_LISTS[field.name], value)
        elif hasattr(new, field.name):
            assign(new, field.name, value)
        else:
            lost.append(field.name)
    return [f"layer {old.name!r}: {', '.join(lost)} dropped, V2 has no such field"] if lost else []


def _fill_params(layer: caffe_pb2.LayerParameter, field: str, values: list[object]) -> None:
    for index, value in enumerate(values):
        spec = layer.param[index] if index < len(layer.param) else layer.param.add()
        setattr(spec, field, value)
