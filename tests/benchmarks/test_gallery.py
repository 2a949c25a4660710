"""The page of the corpus: families by evidence, counts, reasons, and names that cannot break it."""

from __future__ import annotations

import pytest

from benchmarks.corpus_work import LARGE, STEPS, Entry, Finding
from benchmarks.families import FAMILIES, family
from benchmarks.gallery import page


def net(file: str, *types: str, name: str = "", layers: tuple[str, ...] = (), more: str = "") -> Entry:
    """A prototxt with layers of these types, of these names as far as there are any."""
    names = (*layers, *(f"l{number}" for number in range(len(layers), len(types))))
    made = [f'layer {{ name: "{own}" type: "{kind}" {more} }}' for own, kind in zip(names, types, strict=False)]
    return Entry(f"prototxt/{file}", "V2", True, "\n".join([f'name: "{name}"', *made]))


CONVOLUTIONS = ("Convolution",) * 8


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (net("who+x/deploy.prototxt", "PriorBox", *CONVOLUTIONS, name="MobileNet-SSD"), "SSD"),
        (net("who+x/resnet50_rpn.prototxt", "Proposal", *CONVOLUTIONS), "Faster R-CNN"),
        (net("who+x/a.prototxt", "PSROIPooling", "ROIPooling"), "R-FCN"),
        (net("who+x/srcnn.prototxt", *CONVOLUTIONS), "image to image"),
        (net("who+x/enet.prototxt", *CONVOLUTIONS), "ENet"),
        (net("who+x/densenet/enet_like.prototxt", *CONVOLUTIONS), "ENet"),
        (net("who+x/densenet.prototxt", *CONVOLUTIONS), "DenseNet"),
        (net("who+x/segment.prototxt", *CONVOLUTIONS, name="resnet"), "ResNet"),
        (net("who+x/se_resnet.prototxt", *CONVOLUTIONS), "SENet"),
        (net("who+x/a.prototxt", *CONVOLUTIONS, *["Eltwise"] * 4), "ResNet"),
        (net("who+x/a.prototxt", *CONVOLUTIONS, *["BatchNorm"], layers=("inception_3a",)), "Inception"),
        (net("who+x/a.prototxt", *CONVOLUTIONS, layers=("inception_3a",)), "GoogLeNet"),
        (net("who+PSPNet/examples/cifar10/quick.prototxt", *CONVOLUTIONS), "LeNet, small nets"),
        (net("who+PSPNet/a.prototxt", *CONVOLUTIONS), "PSPNet"),
        (
            net(
                "who+x/a.prototxt",
                *["InnerProduct"] * 5,
                more='inner_product_param { weight_filler { type: "xavier" } }',
            ),
            "perceptron",
        ),
        (net("who+x/a.prototxt", "Softmax"), "single layers"),
        (net("who+x/a.prototxt", *CONVOLUTIONS), "other"),
        (Entry("prototxt/who+x/lenet.template", "V2", True, "layer { {{ name"), "LeNet, small nets"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.file.rpartition("/")[2],
)
def test_a_family_is_told_by_evidence_in_a_fixed_order(entry: Entry, expected: str) -> None:
    assert family(entry).name == expected


def test_old_types_count_as_well() -> None:
    text = 'layers { name: "a" type: CONVOLUTION } layers { name: "b" type: INNER_PRODUCT }'
    assert family(Entry("prototxt/who+x/a.prototxt", "V1", True, text)).name == "single layers"


def test_every_family_says_what_tells_it() -> None:
    names = [one.name for one in FAMILIES]
    assert len(set(names)) == len(names)
    assert all(one.evidence for one in FAMILIES)


def gallery() -> str:
    """Of six nets, one of them for training."""
    vgg = [net(f"who+x/vgg_{name}.prototxt", *CONVOLUTIONS) for name in ("good", "torch", "large", "bad|<b>`x`")]
    yolo = net("other+y/yolo.prototxt", *CONVOLUTIONS)
    train = Entry("prototxt/other+y/vgg_train.prototxt", "V2", False, vgg[0].text)
    good, torch, large, bad = (entry.file for entry in vgg)
    reason = "layer type <img>|`x`"
    found = [
        Finding(good, STEPS, list(STEPS), blobs=1000, ties=3, unjudged=1),
        Finding(torch, STEPS, list(STEPS[:4]), "torch", {"torch": ["numbers: ReLU: N"]}, {"torch": "relu: 0 where 1"}),
        Finding(large, STEPS, list(STEPS[:3]), "load", activations=LARGE),
        Finding(bad, STEPS, ["parse"], "convert", {"convert": [reason, "odd"]}, {"convert": f"{bad}:1:2: error: `no`"}),
        Finding(yolo.file, STEPS, list(STEPS[:3]), "run", {"run": ["crashed: SIGSEGV"], "torch": ["crashed: SIGSEGV"]}),
        Finding(train.file, STEPS[:1], ["parse"]),
    ]
    return page([*vgg, yolo, train], {finding.file: finding for finding in found})


def test_the_gallery_counts_by_family() -> None:
    text = gallery()
    assert "6 prototxts of 2 public repositories, of which 5 are" in text
    vgg = next(line for line in text.splitlines() if line.startswith("| VGG | 5"))
    assert vgg.startswith("| VGG | 5 | 4 | 3 | 2 | 1 | 1 | ")
    assert "torch: numbers: ReLU: N (1)" in vgg
    assert "| YOLO | 1 | 1 | 1 | 0 | 0 | 0 | crashed: SIGSEGV (1) |" in text
    assert "| **all** | 6 | 5 | 4 | 2 | 1 | 1 |  |" in text
    assert "| deploy nets that come through, those too large loaded only | 3 of 5 | 60.0 % |" in text
    assert "1,000 blobs were compared. 3 of them follow" in text
    assert "says nothing for 1 of those" in text


def test_the_gallery_names_each_reason_and_each_net() -> None:
    text = gallery()
    assert "### crashed: SIGSEGV\n\n1 net (YOLO 1).\n" in text
    assert "## The 3 nets that do not come through" in text
    assert "- `other+y/yolo.prototxt` (YOLO)\n  - run: `crashed: SIGSEGV`\n" in text


def test_names_from_strangers_cannot_break_the_gallery() -> None:
    text = gallery()
    assert "<img>" not in text.replace("\\<img\\>", "")
    assert "### layer type \\<img\\>\\|\\`x\\`\n" in text
    assert "- `` who+x/vgg_bad|<b>`x`.prototxt `` (VGG)\n" in text
    rows = [line for line in text.splitlines() if line.startswith("| VGG | 5")]
    assert all(row.replace("\\|", "").count("|") == 9 for row in rows)


def test_inputs_whose_size_stands_elsewhere_are_named_with_who_says_so() -> None:
    file = "prototxt/arrybn+opencv_extra/testdata/dnn/layers/reshape_and_slice_routines.prototxt"
    entry = Entry(file, "V2", True, 'layer { name: "r" type: "ReLU" bottom: "input" top: "r" }')
    text = page([entry], {file: Finding(file, STEPS, list(STEPS))})
    assert "## Inputs whose size stands elsewhere" in text
    assert (
        "| `arrybn+opencv_extra/testdata/dnn/layers/reshape_and_slice_routines.prototxt` | input 6×12 | opencv: "
        in text
    )
    assert "## Inputs whose size stands elsewhere" not in gallery()
