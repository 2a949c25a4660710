"""A snapshot alone: the net for deployment inside the one that was trained, without copies, losses and labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from converter.layers.base import registry
from prototxt import Net, parse_net
from prototxt.caffe_pb2 import LayerParameter, NetParameter
from weights import load_structure
from weights.snapshot import measures

LEARNED = ("Convolution", "InnerProduct", "PReLU", "CenterLoss")


def snapshot(folder: Path, text: str) -> Path:
    """A net as Caffe writes it when it is trained: filtered, with copies for blobs read twice, blobs and phases."""
    message = NetParameter()
    message.CopyFrom(parse_net(text, phase="TRAIN", allow_unknown=False).message)
    with_copies(message)
    for layer in message.layer:
        layer.phase = 0
        if layer.type in LEARNED:
            layer.blobs.add(data=[1.0]).shape.dim.append(1)
    path = folder / "net.caffemodel"
    path.write_bytes(message.SerializeToString())
    return path


def with_copies(message: NetParameter) -> None:
    """Caffe's InsertSplits, in a naive form: a top with several readers (a loss weight is one) is copied for each."""
    layers = list(message.layer)
    made: dict[str, list[int]] = {}
    readers: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for index, layer in enumerate(layers):
        for place, bottom in enumerate(layer.bottom):
            readers.setdefault((made[bottom][0], made[bottom][1]), []).append((index, place))
        made.update((top, [index, place]) for place, top in enumerate(layer.top))
    result: list[LayerParameter] = []
    for index, layer in enumerate(layers):
        result.append(layer)
        weights = list(layer.loss_weight)
        for place, top in enumerate(layer.top):
            read = readers.get((index, place), [])
            weight = weights[place] if place < len(weights) else 0
            if not read or len(read) + bool(weight) < 2:
                continue
            name = f"{top}_{layer.name}_{place}_split"
            split = LayerParameter(name=name, type="Split", bottom=[top])
            if weight:
                split.loss_weight[:] = [weight] + [0] * len(read)
                split.top.append(f"{name}_0")
                layer.ClearField("loss_weight")
            for reader, bottom in read:
                split.top.append(f"{name}_{len(split.top)}")
                layers[reader].bottom[bottom] = split.top[-1]
            result.append(split)
    copied = [LayerParameter.FromString(layer.SerializeToString()) for layer in result]
    del message.layer[:]
    message.layer.extend(copied)


def wiring(net: Net) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(layer.name, layer.bottoms, layer.tops) for layer in net.layers]


def deployed(folder: Path, text: str) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return wiring(load_structure(snapshot(folder, text)))


IMAGES = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { batch_size: 4 } }'
CLASSIFIER = f"""{IMAGES}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 2 kernel_size: 3 }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool" }}
layer {{ name: "both" type: "Eltwise" bottom: "conv" bottom: "pool" top: "both" }}
layer {{ name: "fc" type: "InnerProduct" bottom: "both" top: "fc" inner_product_param {{ num_output: 4 }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" loss_weight: 1 }}
layer {{ name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" }}
layer {{ name: "acc5" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc5" accuracy_param {{ top_k: 5 }} }}
"""
MODEL = [
    ("d", (), ("data",)),
    ("conv", ("data",), ("conv",)),
    ("relu", ("conv",), ("conv",)),
    ("pool", ("conv",), ("pool",)),
    ("both", ("conv", "pool"), ("both",)),
    ("fc", ("both",), ("fc",)),
]


def test_copies_losses_and_labels_are_seen_through(tmp_path: Path) -> None:
    net = load_structure(snapshot(tmp_path, CLASSIFIER))
    assert wiring(net) == MODEL
    assert net.notes == (
        "3 Splits that Caffe had added taken out",
        "left out, as in a net for deployment: layers 'loss', 'acc', 'acc5'; inputs 'label'",
    )


def test_a_training_keeps_losses_and_labels_and_loses_only_the_copies(tmp_path: Path) -> None:
    net = load_structure(snapshot(tmp_path, CLASSIFIER), phase="TRAIN")
    assert wiring(net) == wiring(parse_net(CLASSIFIER, phase="TRAIN"))
    assert list(net.layers[6].param.loss_weight) == [1]


def test_copies_of_copies_are_seen_through(tmp_path: Path) -> None:
    path = snapshot(tmp_path, CLASSIFIER)
    message = NetParameter.FromString(path.read_bytes())
    more = message.layer.add(name="more", type="InnerProduct", bottom=["fc_fc_0_split_0"], top=["more"])
    more.blobs.add(data=[1.0]).shape.dim.append(1)
    with_copies(message)
    assert "fc_fc_0_split_0_fc_fc_0_split_0_split" in [layer.name for layer in message.layer]
    path.write_bytes(message.SerializeToString())
    assert wiring(load_structure(path)) == [*MODEL, ("more", ("fc",), ("more",))]


def test_copies_of_2014_whose_first_is_the_blob_itself(tmp_path: Path) -> None:
    path = snapshot(tmp_path, CLASSIFIER)
    message = NetParameter.FromString(path.read_bytes())
    for layer in message.layer:
        for names in (layer.bottom, layer.top):
            names[:] = ["fc" if name == "fc_fc_0_split_0" else name for name in names]
    path.write_bytes(message.SerializeToString())
    assert wiring(load_structure(path)) == MODEL


def test_a_snapshot_of_the_old_form(tmp_path: Path) -> None:
    """V1: types are numbers (5 data, 14 inner product, 21 softmax loss, 22 split), and no layer bears its phase."""
    message = NetParameter()
    message.layers.add(name="d", type=5, top=["data", "label"]).include.add(phase=0)
    message.layers.add(name="fc", type=14, bottom=["data"], top=["fc"]).blobs.add(num=1, data=[1.0])
    copies = ["fc_fc_0_split_0", "fc_fc_0_split_1"]
    message.layers.add(name="fc_fc_0_split", type=22, bottom=["fc"], top=copies)
    for copy in copies:
        message.layers.add(name=f"loss{copy[-1]}", type=21, bottom=[copy, "label"], top=[f"loss{copy[-1]}"])
    path = tmp_path / "net.caffemodel"
    path.write_bytes(message.SerializeToString())
    assert wiring(load_structure(path)) == [("d", (), ("data",)), FC]


def test_a_loss_weight_that_caffe_moved_to_a_copy_is_moved_back(tmp_path: Path) -> None:
    text = f"""{IMAGES}
layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "fc" loss_weight: 0.5 }}
layer {{ name: "l" type: "EuclideanLoss" bottom: "fc" bottom: "label" top: "l" loss_weight: 2 }}"""
    path = snapshot(tmp_path, text)
    split = NetParameter.FromString(path.read_bytes()).layer[2]
    assert (split.type, list(split.loss_weight)) == ("Split", [0.5, 0])
    net = load_structure(path, phase="TRAIN")
    assert [list(layer.param.loss_weight) for layer in net.layers] == [[], [0.5], [2]]
    assert wiring(load_structure(path)) == [("d", (), ("data",)), ("fc", ("data",), ("fc",))]


def test_other_splits_stay(tmp_path: Path) -> None:
    """A Split of the author's own, and one whose copy is worked on in place."""
    text = f"""{IMAGES}
layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "fc" }}
layer {{ name: "mine" type: "Split" bottom: "fc" top: "one" top: "two" }}
layer {{ name: "one_mine_0_split" type: "Split" bottom: "one" top: "one_mine_0_split_0" top: "one_mine_0_split_1" }}
layer {{ name: "relu" type: "ReLU" bottom: "one_mine_0_split_0" top: "one_mine_0_split_0" }}
layer {{ name: "tanh" type: "TanH" bottom: "one_mine_0_split_1" top: "tanh" }}"""
    assert deployed(tmp_path, text)[2:4] == [
        ("mine", ("fc",), ("one", "two")),
        ("one_mine_0_split", ("one",), ("one_mine_0_split_0", "one_mine_0_split_1")),
    ]


def test_a_copy_that_is_asked_for_stays(tmp_path: Path) -> None:
    net = load_structure(snapshot(tmp_path, CLASSIFIER), outputs=["fc_fc_0_split_1"])
    assert wiring(net) == [*MODEL, ("fc_fc_0_split", ("fc",), ("fc_fc_0_split_1",))]


def test_a_loss_that_is_asked_for_stays_with_its_label(tmp_path: Path) -> None:
    net = load_structure(snapshot(tmp_path, CLASSIFIER), outputs=["acc"])
    assert wiring(net) == [("d", (), ("data", "label")), *MODEL[1:], ("acc", ("fc", "label"), ("acc",))]


def test_a_label_that_is_asked_for_stays_without_its_losses(tmp_path: Path) -> None:
    net = load_structure(snapshot(tmp_path, CLASSIFIER), outputs=["label", "fc"])
    assert wiring(net) == [("d", (), ("data", "label")), *MODEL[1:]]


def learned(name: str, bottom: str, **more: str) -> str:
    return f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" }}\n'


def layer(kind: str, name: str, bottoms: Sequence[str], tops: Sequence[str], more: str = "") -> str:
    ends = " ".join([*(f'bottom: "{b}"' for b in bottoms), *(f'top: "{t}"' for t in tops)])
    return f'layer {{ name: "{name}" type: "{kind}" {ends} {more} }}\n'


def loss(name: str, *bottoms: str, kind: str = "SoftmaxWithLoss", tops: Sequence[str] = ()) -> str:
    return layer(kind, name, bottoms, tops or [name], "loss_weight: 1 " + "loss_weight: 0 " * (len(tops) - 1))


FC = ("fc", ("data",), ("fc",))
HDF5 = layer("HDF5Data", "h", [], ["data", "age", "sex"])
CASES = {
    "a label that is cut into two": (
        IMAGES
        + learned("fc", "data")
        + layer("Slice", "cut", ["label"], ["a", "b"])
        + loss("l1", "fc", "a")
        + loss("l2", "fc", "b"),
        [("d", (), ("data",)), FC],
    ),
    "a label worked on in place and silenced in part": (
        IMAGES
        + layer("Slice", "cut", ["label"], ["a", "b"])
        + layer("Power", "p", ["a"], ["a"])
        + layer("Silence", "s", ["b"], [])
        + learned("fc", "data")
        + loss("l1", "fc", "a", kind="EuclideanLoss"),
        [("d", (), ("data",)), FC],
    ),
    "several labels of HDF5": (
        HDF5 + learned("fc", "data") + loss("l1", "fc", "age", kind="EuclideanLoss") + loss("l2", "fc", "sex"),
        [("h", (), ("data",)), FC],
    ),
    "a label that stands before the images": (
        layer("HDF5Data", "h", [], ["label", "data"]) + learned("fc", "data") + loss("l", "fc", "label"),
        [("h", (), ("data",)), FC],
    ),
    "a siamese net": (
        layer(
            "Input",
            "i",
            [],
            ["data", "other", "sim"],
            "input_param { shape { dim: 3 dim: 4 } shape { dim: 3 dim: 4 } shape { dim: 3 } }",
        )
        + learned("fc", "data")
        + learned("fc2", "other")
        + loss("l", "fc", "fc2", "sim", kind="ContrastiveLoss"),
        [("i", (), ("data", "other")), FC, ("fc2", ("other",), ("fc2",))],
    ),
    "a pair in one blob": (
        layer("Data", "d", [], ["pair", "sim"])
        + layer("Slice", "cut", ["pair"], ["data", "other"])
        + learned("fc", "data")
        + learned("fc2", "other")
        + loss("l", "fc", "fc2", "sim", kind="ContrastiveLoss"),
        [
            ("d", (), ("pair",)),
            ("cut", ("pair",), ("data", "other")),
            FC,
            ("fc2", ("other",), ("fc2",)),
        ],
    ),
    "a loss made by hand": (
        IMAGES
        + learned("fc", "data")
        + layer("Eltwise", "minus", ["fc", "label"], ["minus"])
        + layer("Reduction", "sum", ["minus"], ["sum"], "loss_weight: 1"),
        [("d", (), ("data",)), FC],
    ),
    "a mask that only weighs the error": (
        layer("Data", "d", [], ["data", "label"])
        + layer("Data", "m", [], ["mask"])
        + learned("fc", "data")
        + layer("Eltwise", "times", ["fc", "mask"], ["times"])
        + loss("l", "times", "label", kind="EuclideanLoss"),
        [("d", (), ("data",)), FC],
    ),
    "probabilities that a loss gives beside": (
        IMAGES
        + learned("fc", "data")
        + loss("l", "fc", "label", tops=["l", "prob"])
        + layer("ArgMax", "best", ["prob"], ["best"])
        + layer("Silence", "s", ["best"], []),
        [("d", (), ("data",)), FC],
    ),
    "losses added up": (
        IMAGES
        + learned("fc", "data")
        + loss("l1", "fc", "label")
        + loss("l2", "fc", "label", kind="HingeLoss")
        + layer("Eltwise", "both", ["l1", "l2"], ["both"]),
        [("d", (), ("data",)), FC],
    ),
    "a loss with weights of its own": (
        IMAGES + learned("fc", "data") + loss("c", "fc", "label", kind="CenterLoss"),
        [("d", (), ("data",)), FC],
    ),
    "a second input that the model learns from": (
        layer("Data", "d", [], ["data", "label"])
        + learned("fc", "data")
        + layer("Concat", "with", ["fc", "label"], ["with"])
        + learned("last", "with")
        + loss("l", "last", "label"),
        [("d", (), ("data", "label")), FC, ("with", ("fc", "label"), ("with",)), ("last", ("with",), ("last",))],
    ),
    "a second input that the output hangs on": (
        layer("Data", "d", [], ["data", "scale"])
        + learned("fc", "data")
        + layer("Eltwise", "times", ["fc", "scale"], ["times"]),
        [("d", (), ("data", "scale")), FC, ("times", ("fc", "scale"), ("times",))],
    ),
    "an autoencoder": (
        layer("Data", "d", [], ["data"])
        + layer("Flatten", "flat", ["data"], ["flat"])
        + learned("fc", "flat")
        + loss("l", "fc", "flat", kind="EuclideanLoss")
        + loss("m", "fc", "flat", kind="SigmoidCrossEntropyLoss"),
        [("d", (), ("data",)), ("flat", ("data",), ("flat",)), ("fc", ("flat",), ("fc",))],
    ),
    "a score with a loss weight": (
        IMAGES + layer("InnerProduct", "fc", ["data"], ["fc"], "loss_weight: 1"),
        [("d", (), ("data", "label")), FC],
    ),
    "a Python loss": (
        IMAGES
        + learned("fc", "data")
        + layer("Python", "py", ["fc", "label"], ["py"], 'python_param { module: "m" layer: "MyLossLayer" }'),
        [("d", (), ("data",)), FC],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_net_for_deployment_of(case: str, tmp_path: Path) -> None:
    text, expected = CASES[case]
    assert deployed(tmp_path, text) == expected


def test_sizes_go_with_the_inputs_that_stay(tmp_path: Path) -> None:
    shapes = "shape { dim: 3 } shape { dim: 3 dim: 5 }"
    for kind, section in (("Input", "input_param"), ("DummyData", "dummy_data_param")):
        text = layer(kind, "i", [], ["label", "data"], f"{section} {{ {shapes} }}")
        net = load_structure(snapshot(tmp_path, text + learned("fc", "data") + loss("l", "fc", "label")))
        assert wiring(net)[0] == ("i", (), ("data",))
        assert [list(shape.dim) for shape in getattr(net.layers[0].param, section).shape] == [[3, 5]]


def test_a_net_of_nothing_but_losses_keeps_them(tmp_path: Path) -> None:
    text = IMAGES + loss("l", "data", "label") + loss("c", "data", "label", kind="CenterLoss")
    assert [layer.name for layer in load_structure(snapshot(tmp_path, text)).layers] == ["d", "l", "c"]


def test_every_layer_that_the_converter_leaves_out_is_a_measure_here_too() -> None:
    losses = [kind for kind, known in registry().items() if known.role == "loss" and not kind.startswith("Python")]
    assert len(losses) > 15
    assert [kind for kind in losses if not measures(LayerParameter(type=kind))] == []
    others = [kind for kind, known in registry().items() if known.role != "loss"]
    assert [kind for kind in others if measures(LayerParameter(type=kind))] == []


def test_what_caffe_did_not_write_keeps_its_rules_and_losses(tmp_path: Path) -> None:
    """A prototxt in binary form, with layers of both phases."""
    train = 'layer { name: "t" type: "Data" top: "data" top: "label" include { phase: TRAIN } }'
    test = train.replace("TRAIN", "TEST").replace('"t"', '"e"')
    both = parse_net(IMAGES + learned("fc", "data") + loss("l", "fc", "label")).message
    layers = [parse_net(train, phase="TRAIN").layers[0].param, parse_net(test).layers[0].param, *both.layer[1:]]
    message = NetParameter(name="both")
    message.layer.extend(layers)
    path = tmp_path / "net.bin"
    path.write_bytes(message.SerializeToString())
    assert [x.name for x in load_structure(path).layers] == ["e", "fc", "l"]
    assert [x.name for x in load_structure(path, phase="TRAIN").layers] == ["t", "fc", "l"]
    message.layer[2].blobs.add(data=[1.0]).shape.dim.append(1)
    path.write_bytes(message.SerializeToString())
    assert wiring(load_structure(path)) == [("e", (), ("data",)), FC]
