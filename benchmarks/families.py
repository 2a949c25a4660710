"""Which family of architectures a net is of: ordered rules over what its prototxt shows, the first that holds counts.

A detector or a net for segmentation counts as that, and not as the backbone that it stands on. A rule looks at three
things, and says in words which of them it takes as evidence:

    types    its layer types, lower case, with the number of layers of each
    layers   the names of its layers, lower case
    names    the words of its path within its repository and of its own name, lower case, parted at everything but
             letters and digits

The repository's own name says little (one of PSPNet holds the examples of Caffe, too). It is asked only for nets that
no rule knows by the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from benchmarks.corpus_work import Entry

OTHER = "other"
FILLERS = {"constant", "uniform", "gaussian", "positive_unitball", "xavier", "msra", "bilinear"}
TYPE = r"\btype\s*:\s*(?:[\"'](\w+)[\"']|([A-Z]\w+))"
NAME = r"\bname\s*:\s*[\"']([^\"'\n]*)"


@dataclass(frozen=True)
class Evidence:
    """What a rule looks at; read from the text, so that a file that does not parse has a family, too."""

    file: str
    text: str
    repository: bool = False

    @cached_property
    def types(self) -> Counter[str]:
        """Layers by type, fillers left out."""
        found = re.findall(TYPE, self.text)
        return Counter(name.lower() for pair in found for name in pair if name and name.lower() not in FILLERS)

    @cached_property
    def layers(self) -> str:
        """Names of layers, and of what is named within them, one a line."""
        return "\n".join(name.lower() for name in re.findall(NAME, self.text))

    @cached_property
    def names(self) -> str:
        """Words of path and net name, a blank before and after each."""
        own = re.search(NAME, self.text.partition("{")[0])
        repository, path = self.file.partition("/")[2].split("/", 1)
        path = f"{repository}/{path}" if self.repository else path
        return " " + " ".join(re.findall(r"[a-z0-9]+", f"{path} {own[1] if own else ''}".lower())) + " "

    def has(self, *types: str) -> bool:
        """Whether it has a layer of one of these types."""
        return any(name.lower() in self.types for name in types)

    def says(self, pattern: str) -> bool:
        """Whether its path or name has a word that begins so."""
        return re.search(rf"(?<= )(?:{pattern})", self.names) is not None

    def contains(self, pattern: str) -> bool:
        """Whether path or name has this anywhere within a word."""
        return re.search(pattern, self.names) is not None

    def calls(self, pattern: str) -> bool:
        """Whether a layer's name begins so."""
        return re.search(rf"^(?:{pattern})", self.layers, re.MULTILINE) is not None

    def groups(self) -> set[int]:
        """The `group` of its convolutions."""
        return {int(number) for number in re.findall(r"\bgroup\s*:\s*(\d+)", self.text)}

    def layer_names(self, pattern: str) -> int:
        """How many layers' names have this somewhere."""
        return len(re.findall(rf"^.*(?:{pattern}).*$", self.layers, re.MULTILINE))


@dataclass(frozen=True)
class Family:
    """A family, its evidence in words, and the rule."""

    name: str
    evidence: str
    holds: Callable[[Evidence], bool]


def _has_regions(e: Evidence) -> bool:
    return e.has("ROIPooling", "ROIAlign", "Proposal", "PSROIPooling", "RPROI", "ROIPool") or e.calls("rpn")


DETECTORS = (
    Family(
        "MTCNN",
        "named MTCNN, det1 to det4 or 48net, or PReLU and the heads of its stages (conv4-2, conv5-2, conv6-2)",
        lambda e: e.contains("mtcnn|48net| det[1-4] ") or (e.has("PReLU") and e.calls(r"(conv4-2|conv5-2|conv6-2)$")),
    ),
    Family(
        "R-FCN",
        "layers PSROIPooling, or named R-FCN",
        lambda e: e.has("PSROIPooling", "PSROIAlign") or e.contains("rfcn|r fcn"),
    ),
    Family(
        "Faster R-CNN",
        "layers ROIPooling, ROIAlign or Proposal, layers named rpn…; also Fast R-CNN and R-CNN, which are named so",
        lambda e: (_has_regions(e) and not e.contains("retina")) or e.contains("(?<= )r ?cnn"),
    ),
    Family(
        "SSD",
        "layers PriorBox, DetectionOutput or MultiBoxLoss, or named SSD",
        lambda e: e.has("PriorBox", "PriorBoxClustered", "DetectionOutput", "MultiBoxLoss") or e.says("ssd"),
    ),
    Family(
        "YOLO",
        "layers Yolo… or Region…, or named YOLO or Darknet",
        lambda e: any(re.match("yolo|region", kind) for kind in e.types) or e.contains("yolo|dark(ne|en)t"),
    ),
    Family(
        "RetinaNet, RetinaFace",
        "named so, or layers named face_rpn…",
        lambda e: e.contains("retina") or e.calls("face_rpn"),
    ),
    Family(
        "OpenPose",
        "named OpenPose, or stages of heat maps (Mconv…stage…)",
        lambda e: e.says("openpose") or e.calls("mconv.*stage"),
    ),
    Family(
        "FlowNet",
        "layers Correlation or FlowWarp, or named FlowNet, DispNet or SegFlow",
        lambda e: e.has("Correlation", "Correlation1D", "FlowWarp") or e.contains("flownet|segflow|dispnet"),
    ),
)
SEQUENCES = (
    Family(
        "CRNN",
        "layers of CTC, or named CRNN, OCR, captcha or licence plate",
        lambda e: any("ctc" in kind for kind in e.types) or e.contains("crnn|captcha|license plate| ocr"),
    ),
    Family("LSTM", "layers LSTM, RNN or LSTMUnit", lambda e: e.has("LSTM", "RNN", "LSTMUnit")),
)
SEGMENTATION = (
    Family("ENet", "named ENet or ERFNet", lambda e: e.says("enet|erfnet")),
    Family(
        "SegNet",
        "named SegNet, or Upsample with the places that a Pooling found",
        lambda e: e.contains("segnet") or (e.has("Upsample") and e.calls("upsample\\d")),
    ),
    Family(
        "PSPNet",
        "named PSPNet or ICNet, or the pyramid's layers (conv5_3_pool…)",
        lambda e: e.contains("pspnet|icnet| psp ") or e.calls("conv5_3_pool"),
    ),
    Family(
        "DeepLab", "named DeepLab, or a layer fc8_voc12", lambda e: e.contains("deeplab") or e.calls("fc8_voc12|aspp")
    ),
    Family("U-Net", "named U-Net or V-Net", lambda e: e.says("c?unet|u net|vnet|v net")),
    Family(
        "FCN",
        "named FCN, or scores that are upsampled (score_fr, upscore)",
        lambda e: e.says("fcn") or e.calls("score_fr|upscore"),
    ),
    Family(
        "other segmentation",
        "named segmentation, saliency or lanes",
        lambda e: e.contains("segmentation|saliency|dibco") or e.says("lane"),
    ),
    Family(
        "image to image",
        "super-resolution, noise, edges, generators: named SRCNN, VDSR, SRGAN, waifu2x, REDNet, DAN, HED, DCGAN, …",
        lambda e: (
            e.contains("waifu|upconv|upresnet|srgan|srres|vdsr|denois|rednet|dcgan|wgan|srcnn|fsrcnn|espcn")
            or e.says("(sr|hed|dan) ")
        ),
    ),
)
BACKBONES = (
    Family(
        "SENet",
        "named SE… or SENet, or layers Axpy: squeeze-and-excitation",
        lambda e: e.says("se |senet|seresne") or e.has("Axpy"),
    ),
    Family("DenseNet", "named DenseNet, or layers DenseBlock", lambda e: e.contains("densenet") or e.has("DenseBlock")),
    Family(
        "ShuffleNet",
        "layers ShuffleChannel, or named ShuffleNet",
        lambda e: e.has("ShuffleChannel") or e.contains("shufflenet"),
    ),
    Family(
        "SqueezeNet",
        "fire modules (layers named fire…squeeze…), or named SqueezeNet or SqueezeNext",
        lambda e: e.calls("fire\\d.*squeeze") or e.contains("squeezen|sqeezenet"),
    ),
    Family(
        "MobileNet",
        "named MobileNet or MNasNet, or depthwise layers (…/dw)",
        lambda e: e.contains("mobile|mnasnet") or e.layer_names("/dw$|_dw$|/dwise") > 4,
    ),
    Family(
        "ResNeXt",
        "named ResNeXt",
        lambda e: e.contains("resnext") or (e.contains("resne") and bool(e.groups() & {32, 64})),
    ),
    Family(
        "Inception",
        "named Inception (v2 and later) or Xception, or layers named inception… and BatchNorm",
        lambda e: (
            e.contains("inception|xception|googlenet bn|bn googlenet")
            or (e.has("BatchNorm", "BN") and e.calls("inception"))
        ),
    ),
    Family(
        "GoogLeNet",
        "named GoogLeNet, or layers named inception… without BatchNorm",
        lambda e: e.contains("googlenet") or e.says("goog ") or e.calls("inception"),
    ),
    Family(
        "ResNet",
        "named ResNet, or four residual sums (Eltwise) and more convolutions than that",
        lambda e: e.contains("resnet|res net|wrn") or 3 < e.types["eltwise"] < e.types["convolution"],
    ),
    Family(
        "VGG",
        "named VGG, or layers conv1_1 and conv5_1",
        lambda e: e.contains("vgg") or (e.calls("conv1_1") and e.calls("conv5_1")),
    ),
    Family(
        "Network in Network",
        "named NIN, or layers named cccp…",
        lambda e: e.says("nin ") or e.contains("networkinnetwork") or e.calls("cccp"),
    ),
    Family(
        "AlexNet",
        "named AlexNet or CaffeNet, or layers conv5 and fc6",
        lambda e: e.contains("alexnet|caffenet") or (e.calls("conv5") and e.calls("fc6")),
    ),
    Family(
        "perceptron",
        "InnerProduct and no convolution",
        lambda e: e.has("InnerProduct", "INNER_PRODUCT") and not e.has("Convolution") and not e.contains("layer inner"),
    ),
    Family(
        "LeNet, small nets",
        "named LeNet, MNIST or CIFAR, or one to five convolutions",
        lambda e: e.contains("lenet|mnist|cifar") or (0 < e.types["convolution"] < 6 and sum(e.types.values()) > 4),
    ),
    Family(
        "single layers", "four layers at most: examples and tests of one layer", lambda e: sum(e.types.values()) < 5
    ),
)
NONE = Family(OTHER, "none of these", lambda _: True)
FAMILIES = (*DETECTORS, *SEQUENCES, *SEGMENTATION, *BACKBONES, NONE)


def family(entry: Entry) -> Family:
    """The first of FAMILIES whose rule holds."""
    found = NONE
    for repository in (False, True):
        evidence = Evidence(entry.file, entry.text, repository)
        found = next(family for family in FAMILIES if family.holds(evidence))
        if found is not NONE:
            break
    return found
