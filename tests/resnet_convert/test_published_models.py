"""`resnet-convert models`: what was published, as table and in full."""

from __future__ import annotations

import json

import pytest

import resnet_convert
from prototxt.errors import RequestError
from resnet_convert.cli.main import main
from verify.evaluation.published.known import published


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["models", *words]) == 0
    return capsys.readouterr().out


def test_resnet_50_has_the_errors_and_the_weights_of_its_authors(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures of github.com/KaimingHe/deep-residual-networks, size and digest of Open Model Zoo's model.yml."""
    assert printed(capsys, "ResNet50").splitlines() == [
        "resnet-50: ResNet-50 of MSRA",
        "  top-1 error: 24.7 %",
        "  top-5 error: 7.8 %",
        "  varies by: 0.15 points (what its authors say, and the last digit)",
        "  measured on: ImageNet 2012 validation, 50,000 images",
        "  protocol: centre crop 224×224 of shorter side 256",
        "  preprocessing: BGR, minus ResNet_mean.binaryproto (3×224×224)",
        "  source: https://github.com/KaimingHe/deep-residual-networks",
        "  weights: ResNet-50-model.caffemodel, 102,462,397 bytes",
        "    sha256: 44ee2b08816cede2b7aaa047888df07dcab52f73399aa1c8bef05a17bfdd4888",
    ]


def test_what_was_not_published_is_said_to_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "vgg-16-dense")
    assert "  top-1 error: – (none was published)\n  top-5 error: 8.1 %\n" in text
    assert "  note: the fully connected layers as convolutions\n" in text
    assert "  weights: not known\n" in printed(capsys, "resnet-18")


def test_the_table_is_that_of_expect_and_every_model_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    *table, last = printed(capsys).splitlines()
    assert main(["evaluate", "--expect", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == table
    assert [line.split()[0] for line in table] == ["name", *published()]
    assert last.startswith(f"{len(published())} models; ")
    for name, entry in published().items():
        assert printed(capsys, name).startswith(f"{name}: {entry.title}\n")
    assert printed(capsys, "-q") == ""


def test_python_gets_the_records() -> None:
    assert resnet_convert.models() == tuple(published().values())
    (found,) = resnet_convert.models("squeezenet_1.0")
    assert (found.top1, found.warp, found.weights.digests["sha1"]) == (
        0.425,
        (256, 256),
        "579d0beb658e43c45937bf8bb5e4034fea4e1f69",
    )


@pytest.mark.parametrize("name", ["resnet-51", "ResNet", "", "猫", "\x1b[1m" * 50])
def test_an_unknown_name_is_refused_with_those_that_come_near(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RequestError, match="no published errors go by the name"):
        resnet_convert.models(name)
    assert main(["models", name, "--json"]) == 2
    output = capsys.readouterr()
    assert "\x1b" not in output.err
    assert json.loads(output.out)["errors"][0]["kind"] == "RequestError"
    assert ("did you mean" in output.err) == (name == "resnet-51" or name == "ResNet")
