"""The ResNet builder against MSRA's published files, the published parameter counts, and the paper's table of sizes."""

from __future__ import annotations

import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from prototxt import caffe_pb2, net_from_message
from prototxt.errors import RequestError
from prototxt.resnets import resnet
from verify import run

MSRA = "prototxt/KaimingHe+deep-residual-networks/prototxt"

PUBLISHED = {
    # torchvision's counts; MSRA's 50 has 64 more, since its conv1 has a bias.
    18: 11_689_512,
    34: 21_797_672,
    50: 25_557_032 + 64,
    101: 44_549_160,
    152: 60_192_808,
    # Idelbayev's pytorch_resnet_cifar10, option A; the paper rounds to 0.27, 0.46, 0.66, 0.85, 1.7 and 19.4 M.
    20: 269_722,
    32: 464_154,
    44: 658_586,
    56: 853_018,
    110: 1_727_962,
    1202: 19_421_274,
}

Shape = tuple[int, ...]


def walk(net: caffe_pb2.NetParameter) -> tuple[dict[str, Shape], int]:
    """Each blob's (channels, height, width), and the number of learned values, by the textbook's formulas."""
    shapes: dict[str, Shape] = {"data": (3, net.input_dim[2], net.input_dim[3])}
    learned = 0
    for layer in net.layer:
        channels, height, width = shapes[layer.bottom[0]]
        assert height == width
        if layer.type == "Convolution":
            p = layer.convolution_param
            kernel, pad, stride = p.kernel_size[0], p.pad[0], p.stride[0]
            learned += p.num_output * (channels * kernel**2 + p.bias_term)
            side = (height + 2 * pad - kernel) // stride + 1
            channels, height, width = p.num_output, side, side
        elif layer.type == "Pooling":
            pool = layer.pooling_param
            rounded = math.floor if pool.round_mode == caffe_pb2.PoolingParameter.FLOOR else math.ceil
            height = width = rounded((height - pool.kernel_size) / pool.stride) + 1
        elif layer.type == "Scale":
            learned += 2 * channels
        elif layer.type == "InnerProduct":
            learned += layer.inner_product_param.num_output * (channels * height * width + 1)
            channels, height, width = layer.inner_product_param.num_output, 1, 1
        elif layer.type == "Concat":
            channels = sum(shapes[bottom][0] for bottom in layer.bottom)
        elif layer.type == "Eltwise":
            assert shapes[layer.bottom[0]] == shapes[layer.bottom[1]]
        shapes[layer.top[0]] = (channels, height, width)
    return shapes, learned


@pytest.fixture(scope="module")
def msra(shared: Path) -> dict[int, caffe_pb2.NetParameter]:
    archive = shared / "corpus" / "prototxt.tar.xz"
    if not archive.is_file():
        pytest.skip("../shared/corpus/prototxt.tar.xz is not here")
    wanted = {f"{MSRA}/ResNet-{depth}-deploy.prototxt": depth for depth in (50, 101, 152)}
    nets = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            depth = wanted.get(member.name.removeprefix("./"))
            if depth:
                file = tar.extractfile(member)
                assert file is not None
                nets[depth] = text_format.Parse(file.read(), caffe_pb2.NetParameter())
            if len(nets) == len(wanted):
                break
    return nets


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_the_three_published_nets_equal_msras_files_field_by_field(
    msra: dict[int, caffe_pb2.NetParameter], depth: int
) -> None:
    assert resnet(depth) == msra[depth]


@pytest.mark.parametrize("depth", PUBLISHED)
def test_the_learned_values_are_as_many_as_published(depth: int) -> None:
    assert walk(resnet(depth))[1] == PUBLISHED[depth]


@pytest.mark.parametrize("depth", PUBLISHED)
def test_the_depth_counts_convolutions_and_the_last_layer_without_projections(depth: int) -> None:
    counted = [
        layer.name
        for layer in resnet(depth).layer
        if layer.type in ("Convolution", "InnerProduct") and not layer.name.endswith("_branch1")
    ]
    assert len(counted) == depth


@pytest.mark.parametrize(
    ("depth", "blob", "shape"),
    [
        (18, "res2b", (64, 56, 56)),
        (18, "res5b", (512, 7, 7)),
        (34, "res3d", (128, 28, 28)),
        (34, "res4f", (256, 14, 14)),
        (50, "conv1", (64, 112, 112)),
        (50, "pool1", (64, 56, 56)),
        (50, "res2c", (256, 56, 56)),
        (50, "res3d", (512, 28, 28)),
        (101, "res4b22", (1024, 14, 14)),
        (152, "res3b7", (512, 28, 28)),
        (152, "res5c", (2048, 7, 7)),
        (152, "pool5", (2048, 1, 1)),
        (152, "fc1000", (1000, 1, 1)),
        (20, "res2c", (16, 32, 32)),
        (32, "res3e", (32, 16, 16)),
        (44, "res4g", (64, 8, 8)),
        (56, "res4i", (64, 8, 8)),
        (110, "res4r", (64, 8, 8)),
        (1202, "res4b199", (64, 8, 8)),
        (110, "fc10", (10, 1, 1)),
    ],
)
def test_blobs_have_the_sizes_of_the_papers_tables(depth: int, blob: str, shape: Shape) -> None:
    assert walk(resnet(depth))[0][blob] == shape


@pytest.mark.parametrize("depth", PUBLISHED)
def test_layer_names_are_unique_and_every_bottom_is_made_before(depth: int) -> None:
    net = resnet(depth)
    assert len({layer.name for layer in net.layer}) == len(net.layer)
    made = {"data"}
    for layer in net.layer:
        assert made.issuperset(layer.bottom)
        made.update(layer.top)


def test_the_cifar_shortcut_takes_every_second_pixel_and_appends_zero_channels() -> None:
    whole = resnet(20)
    part = caffe_pb2.NetParameter(input=["res2c"], input_dim=[2, 16, 32, 32])
    part.layer.extend(layer for layer in whole.layer if layer.name.startswith("res3a_branch1"))
    assert [layer.type for layer in part.layer] == ["Pooling", "Power", "Concat"]
    x = np.random.default_rng(20151210).standard_normal((2, 16, 32, 32)).astype(np.float32)
    y = run(net_from_message(part), None, {"res2c": x}).blobs["res3a_branch1"]
    assert np.array_equal(y[:, :16], x[:, :, ::2, ::2])
    assert y.shape == (2, 32, 16, 16)
    assert not y[:, 16:].any()


def test_the_last_layer_is_as_wide_as_there_are_classes_and_named_so() -> None:
    layer = next(layer for layer in resnet(18, 37).layer if layer.type == "InnerProduct")
    assert (layer.name, layer.inner_product_param.num_output) == ("fc37", 37)


def test_the_batch_is_the_first_dimension() -> None:
    assert list(resnet(34, batch=5).input_dim) == [5, 3, 224, 224]


def test_a_net_for_training_has_fillers_a_loss_and_no_fixed_statistics() -> None:
    net = resnet(32, phase="train", batch=7)
    assert [list(shape.dim) for shape in net.input_shape] == [[7, 3, 32, 32], [7]]
    assert [layer.type for layer in net.layer][-2:] == ["SoftmaxWithLoss", "Accuracy"]
    for layer in net.layer:
        assert not layer.batch_norm_param.use_global_stats
        assert layer.type != "Convolution" or layer.convolution_param.weight_filler.type == "msra"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 51}, "no ResNet-51 in the paper; expected a depth of " + ", ".join(map(str, sorted(PUBLISHED)))),
        ({"depth": 50, "classes": 0}, "classes is 0; expected 1 to 2147483647"),
        ({"depth": 50, "batch": 1 << 31}, "batch is 2147483648; expected 1 to 2147483647"),
        ({"depth": 50, "phase": "TEST"}, "unknown phase 'TEST' for a ResNet; expected 'deploy' or 'train'"),
    ],
)
def test_a_net_that_cannot_be_built_is_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        resnet(**arguments)  # type: ignore[arg-type]
    assert caught.value.message == message
