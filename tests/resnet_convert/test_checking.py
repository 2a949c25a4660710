"""Faults of prototxts, each with its line, and silence where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import resnet_convert
from resnet_convert.cli.main import main
from tests.resnet_convert.test_json import DIGITS, check

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 7 } } }\n'
DATA = 'layer { name: "d" type: "Data" top: "x" top: "l" data_param { source: "db" batch_size: 2 } %s }\n'
FC = 'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 4 } }\n'
ONLY = "include { phase: %s }"


def conv(kernel: int, phase: str = "") -> str:
    rule = ONLY % phase if phase else ""
    name = f"c{phase}"
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "x" top: "{name}" {rule} '
        f"convolution_param {{ num_output: 2 kernel_size: {kernel} }} }}\n"
    )


GOOD = {
    "a deploy net": INPUT + FC,
    "a data base of unknown images": DATA % "" + FC,
    "data of one phase alone": DATA % (ONLY % "TRAIN") + FC,
    "data of the other phase alone": DATA % "exclude { phase: TEST }" + FC,
    "a solver": 'net: "nowhere.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 10\n',
    "an old net": 'input: "x" input_dim: 1 input_dim: 3 input_dim: 5 input_dim: 7\n'
    'layers { name: "r" type: RELU bottom: "x" top: "y" }\n',
    "a loss alone": DATA % "" + FC + 'layer { name: "s" type: "SoftmaxWithLoss" bottom: "fc" bottom: "l" top: "s" }\n',
    "comments and no name": f"# mine\n{INPUT}{conv(3)}",
}

BAD = {
    "no prototxt": ("layer layer\n", ":1:7: error:"),
    "a brace that is open": (INPUT + "layer {", ":2:1: error: 'layer {' is never closed"),
    "an unknown field": (INPUT + FC.replace("num_output", "nmu_output"), ":2:"),
    "an unknown type": (INPUT + FC.replace("InnerProduct", "InnerProdukt"), ":2:20: error: layer 'fc' (InnerProdukt)"),
    "a bottom that nobody makes": (INPUT + FC.replace('bottom: "x"', 'bottom: "y"'), ":2:1: error: layer 'fc'"),
    "a kernel that does not fit": (INPUT + conv(9), ":2:1: error: layer 'c' (Convolution): the kernel 9×9"),
    "a fault of the training phase": (INPUT + conv(3, "TEST") + conv(9, "TRAIN"), ":3:1: error: layer 'cTRAIN'"),
    "a fault of the test phase": (INPUT + conv(9, "TEST") + conv(3, "TRAIN"), ":2:1: error: layer 'cTEST'"),
    "a solver's unknown field": ('net: "n"\nbase_lr: 0.1\nmax_itre: 3\nlr_policy: "fixed"\n', ":3:"),
    "nothing": ("", ": error:"),
}


@pytest.mark.parametrize("case", GOOD)
def test_nothing_is_said_of_what_is_well(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (path := tmp_path / "n.prototxt").write_text(GOOD[case])
    assert main(["inspect", "--check", str(path)]) == 0
    assert tuple(capfd.readouterr()) == ("", "")
    assert resnet_convert.check(path) == ()


@pytest.mark.parametrize("case", BAD)
def test_a_fault_is_one_line_with_its_place(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text, said = BAD[case]
    (path := tmp_path / "n.prototxt").write_text(text)
    assert main(["inspect", "--check", str(path)]) == 1
    output, errors = capfd.readouterr()
    assert output == ""
    (line,) = errors.splitlines()
    assert line.startswith(f"{path}{said}")
    (fault,) = resnet_convert.check(path)
    assert str(fault) == line


def test_what_is_wrong_in_both_phases_counts_once(tmp_path: Path) -> None:
    (path := tmp_path / "n.prototxt").write_text(INPUT + conv(9) + conv(3, "TEST") + conv(3, "TRAIN"))
    assert len(resnet_convert.check(path)) == 1


def test_the_training_phase_can_be_asked_for_alone(tmp_path: Path) -> None:
    (path := tmp_path / "n.prototxt").write_text(INPUT + conv(9, "TEST") + conv(3, "TRAIN"))
    assert main(["inspect", "--check", str(path)]) == 1
    assert main(["inspect", "--check", str(path), "--phase", "TRAIN"]) == 0


def test_all_faults_of_all_files_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / f"{i}.prototxt" for i in range(3)]
    paths[0].write_text(INPUT + conv(9) + FC.replace('bottom: "x"', 'bottom: "y"'))
    paths[1].write_text(INPUT + FC)
    assert main(["inspect", "--check", *map(str, paths), str(DIGITS / "deploy.prototxt")]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(": error")[0] for line in lines] == [f"{paths[0]}:2:1", f"{paths[0]}:3:1", str(paths[2])]


def test_the_shape_that_is_missing_can_be_given(tmp_path: Path) -> None:
    (path := tmp_path / "n.prototxt").write_text(DATA % "" + conv(9))
    assert main(["inspect", "--check", str(path)]) == 0
    assert main(["inspect", "--check", str(path), "--input-shape", "x=1,3,5,5"]) == 1


def test_several_nets_go_with_check_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "a.prototxt", "b.prototxt", "c.prototxt"]) in (1, 2)
    net = str(DIGITS / "deploy.prototxt")
    assert main(["inspect", net, str(DIGITS / "digits_resnet.caffemodel"), net]) == 2
    assert "several nets go with --check alone" in capfd.readouterr().err


def test_json_names_what_was_checked_or_the_faults(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net = str(DIGITS / "deploy.prototxt")
    assert main(["inspect", "--check", net, net, "--json"]) == 0
    made = json.loads(capfd.readouterr().out)
    check("inspect", made)
    assert made["checked"] == [net, net]
    assert main(["inspect", "--check", str(tmp_path / "none.prototxt"), net, "--json"]) == 1
    made = json.loads(capfd.readouterr().out)
    check("inspect", made)
    assert [error["file"] for error in made["errors"]] == [str(tmp_path / "none.prototxt")]
