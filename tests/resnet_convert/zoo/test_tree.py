"""Whole trees: pairs by folder, name and fit, and what is ambiguous, missing or none of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resnet_convert.zoo.tree import Findings, find_nets
from tests.resnet_convert.zoo.folders import DATA, INPUT, LABELS, SOLVER, URL, net, readme, weights


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(root: str = ".", without: str = "") -> Findings:
    return find_nets(Path(root), without=[Path(without)] if without else [])


def pairs(findings: Findings) -> dict[str, str | None]:
    return {str(each.net): each.weights and str(each.weights) for each in findings.nets if not each.trouble}


def troubles(findings: Findings) -> dict[str, str]:
    return {str(each.net): f"{each.trouble}: {each.message}" for each in findings.nets if each.trouble}


def left(findings: Findings) -> dict[str, str]:
    return {str(each.path): each.why for each in findings.left}


def test_names_decide_between_nets_of_the_same_blobs() -> None:
    for name in ("one", "two"):
        net(Path(f"{name}_deploy.prototxt"))
        weights(Path(f"{name}_iter_500.caffemodel"))
    assert pairs(found()) == {
        "one_deploy.prototxt": "one_iter_500.caffemodel",
        "two_deploy.prototxt": "two_iter_500.caffemodel",
    }
    assert troubles(found()) == {}


def test_blobs_decide_where_names_say_nothing() -> None:
    for name, other, size in (("a", "x", 3), ("b", "y", 4), ("c", "z", 7)):
        net(Path(f"{name}.prototxt"), (size,))
        weights(Path(f"{other}.caffemodel"), (size,))
    findings = found()
    assert pairs(findings) == {
        "a.prototxt": "x.caffemodel",
        "b.prototxt": "y.caffemodel",
        "c.prototxt": "z.caffemodel",
    }
    assert {each.why for each in findings.nets} == {"its blobs fit, and no other's do"}


def test_a_name_that_the_blobs_contradict_does_not_count() -> None:
    net(Path("a.prototxt"), (3,))
    net(Path("b.prototxt"), (4,))
    weights(Path("a.caffemodel"), (4,))
    weights(Path("b.caffemodel"), (3,))
    assert pairs(found()) == {"a.prototxt": "b.caffemodel", "b.prototxt": "a.caffemodel"}


def test_what_is_left_over_goes_with_what_is_left_over() -> None:
    net(Path("a.prototxt"))
    net(Path("b.prototxt"))
    weights(Path("a.caffemodel"))
    weights(Path("other.caffemodel"))
    assert pairs(found()) == {"a.prototxt": "a.caffemodel", "b.prototxt": "other.caffemodel"}


def test_the_net_with_more_of_the_stored_layers_is_the_one() -> None:
    net(Path("whole.prototxt"), (3, 4, 6))
    net(Path("part.prototxt"), (3, 4))
    weights(Path("w.caffemodel"), (3, 4, 6))
    findings = found()
    assert pairs(findings) == {"whole.prototxt": "w.caffemodel"}
    assert left(findings) == {"part.prototxt": "w.caffemodel fits it as well, and goes with another net"}


def test_equals_are_ambiguous_and_listed() -> None:
    net(Path("m/one.prototxt"))
    net(Path("m/two.prototxt"))
    weights(Path("m/x.caffemodel"))
    weights(Path("m/y.caffemodel"))
    net(Path("n/net.prototxt"))
    weights(Path("n/x.caffemodel"), seed=1)
    weights(Path("n/y.caffemodel"), seed=2)
    net(Path("o/net.prototxt"))
    net(Path("o/net2.prototxt"))
    weights(Path("o/weights.caffemodel"))
    findings = found()
    assert pairs(findings) == {}
    fit = "alike; name the pair that is meant in a manifest"
    two = "x.caffemodel and y.caffemodel"
    assert troubles(findings) == {
        "m/one.prototxt": f"ambiguous: m: error: {two} fit one.prototxt and two.prototxt {fit}",
        "n/net.prototxt": f"ambiguous: n: error: {two} fit net.prototxt {fit}",
        "o/net.prototxt": f"ambiguous: o: error: weights.caffemodel fits net.prototxt and net2.prototxt {fit}",
    }  # fmt: skip


def test_solvers_labels_and_nets_for_training_are_not_taken_for_nets_to_deploy() -> None:
    net(Path("m/deploy.prototxt"))
    net(Path("m/train_val.prototxt"), start=DATA)
    Path("m/solver.prototxt").write_text(SOLVER)
    Path("m/labelmap.prototxt").write_text(LABELS)
    weights(Path("m/w.caffemodel"))
    findings = found()
    assert pairs(findings) == {"m/deploy.prototxt": "m/w.caffemodel"}
    assert left(findings) == {
        "m/labelmap.prototxt": "no net: it has no layers",
        "m/solver.prototxt": "a solver",
        "m/train_val.prototxt": "a net for training",
    }


def test_a_net_for_training_counts_where_there_is_no_other() -> None:
    net(Path("m/train_val.prototxt"), start=DATA)
    Path("m/solver.prototxt").write_text(SOLVER)
    weights(Path("m/m_iter_5.caffemodel"))
    net(Path("n/train_val.prototxt"), start=DATA)
    assert pairs(found()) == {"m/train_val.prototxt": "m/m_iter_5.caffemodel"}
    assert left(found()) == {"m/solver.prototxt": "a solver", "n/train_val.prototxt": "a net for training"}


def test_snapshots_formats_and_other_weights_of_a_net_are_left_out_with_the_reason() -> None:
    net(Path("m/m.prototxt"))
    for number in (1000, 900, 20000):
        weights(Path(f"m/m_iter_{number}.caffemodel"), seed=number)
    weights(Path("m/m_iter_20000.caffemodel.h5"), seed=20000)
    weights(Path("m/finetuned.caffemodel"), seed=7)
    findings = found()
    assert pairs(findings) == {"m/m.prototxt": "m/m_iter_20000.caffemodel"}
    assert left(findings) == {
        "m/finetuned.caffemodel": "fits m.prototxt, which goes with other weights",
        "m/m_iter_1000.caffemodel": "an earlier snapshot than m_iter_20000.caffemodel",
        "m/m_iter_20000.caffemodel.h5": "of the same name as m_iter_20000.caffemodel, in the other format",
        "m/m_iter_900.caffemodel": "an earlier snapshot than m_iter_20000.caffemodel",
    }


def test_hdf5_weights_are_paired() -> None:
    net(Path("a.prototxt"), (3,))
    net(Path("b.prototxt"), (4,))
    weights(Path("x.caffemodel.h5"), (4,))
    weights(Path("y.caffemodel"), (3,))
    assert pairs(found()) == {"a.prototxt": "y.caffemodel", "b.prototxt": "x.caffemodel.h5"}


def test_files_of_one_net_in_folders_beside_below_and_above() -> None:
    net(Path("ssd/prototxt/ssd300_deploy.prototxt"), (3,))
    net(Path("ssd/prototxt/ssd512_deploy.prototxt"), (3,))
    weights(Path("ssd/weights/ssd300.caffemodel"), (3,))
    weights(Path("ssd/weights/ssd512.caffemodel"), (3,), seed=1)
    net(Path("below/deploy.prototxt"), (4,))
    weights(Path("below/snapshots/x_iter_10.caffemodel"), (4,))
    net(Path("above/nets/deploy.prototxt"), (6,))
    weights(Path("above/x.caffemodel"), (6,))
    assert pairs(found()) == {
        "above/nets/deploy.prototxt": "above/x.caffemodel",
        "below/deploy.prototxt": "below/snapshots/x_iter_10.caffemodel",
        "ssd/prototxt/ssd300_deploy.prototxt": "ssd/weights/ssd300.caffemodel",
        "ssd/prototxt/ssd512_deploy.prototxt": "ssd/weights/ssd512.caffemodel",
    }


def test_neighbours_without_a_common_name_are_no_pair() -> None:
    net(Path("a/deploy.prototxt"))
    weights(Path("b/weights.caffemodel"))
    findings = found()
    assert pairs(findings) == {"b/weights.caffemodel": None}
    assert troubles(findings) == {"a/deploy.prototxt": "missing: a/deploy.prototxt: error: no weight file near it fits"}


def test_weights_that_fit_no_net_of_their_folder_are_told_why() -> None:
    net(Path("m/a.prototxt"), (3,))
    net(Path("m/b.prototxt"), (4,))
    weights(Path("m/b.caffemodel"), (4,))
    weights(Path("m/w.caffemodel"), (9,))
    findings = found()
    assert pairs(findings) == {"m/b.prototxt": "m/b.caffemodel"}
    said = troubles(findings)
    assert said["m/w.caffemodel"].startswith(
        "missing: m/w.caffemodel: error: is of none of the nets in its folder: a.pro"
    )
    assert "blob 0 is 9×5, but the prototxt (m/a.prototxt:2:1) makes it 3×5" in said["m/w.caffemodel"]
    assert said["m/a.prototxt"] == "missing: m/a.prototxt: error: no weight file near it fits"


def test_readmes_name_their_weights_and_where_they_are() -> None:
    net(Path("m/deploy.prototxt"))
    weights(Path("m/w.caffemodel"))
    weights(Path("m/x.caffemodel"), seed=1)
    readme(Path("m"), "w.caffemodel")
    net(Path("n/deploy.prototxt"))
    net(Path("n/train_val.prototxt"), start=DATA)
    readme(Path("n"), "w.caffemodel")
    findings = found()
    assert pairs(findings) == {"m/deploy.prototxt": "m/w.caffemodel"}
    assert [each.why for each in findings.nets if not each.trouble] == ["readme.md names it"]
    assert left(findings)["m/x.caffemodel"] == "fits deploy.prototxt, which goes with other weights"
    assert troubles(findings) == {
        "n/deploy.prototxt": "missing: n/w.caffemodel: error: no such file, which readme.md names; "
        f"it is published at {URL}"
    }


def test_links_loops_and_hidden_folders(tmp_path: Path) -> None:
    net(Path("m/deploy.prototxt"))
    weights(Path("store/blob123.caffemodel"))
    Path("m/net.caffemodel").symlink_to("../store/blob123.caffemodel")
    Path("m/latest.caffemodel").symlink_to("net.caffemodel")
    Path("m/up").symlink_to("..")
    Path("a").symlink_to("m")
    net(Path(".git/deploy.prototxt"))
    net(Path("m/.ipynb_checkpoints/deploy.prototxt"))
    net(Path("m/.hidden.prototxt"))
    findings = found()
    assert pairs(findings)["m/deploy.prototxt"] == "m/latest.caffemodel"
    assert set(pairs(findings)) == {"m/deploy.prototxt"}
    assert left(findings) == {
        "m/net.caffemodel": "the same file as latest.caffemodel",
        "store/blob123.caffemodel": "the same file as m/latest.caffemodel",
    }


def test_a_link_that_leads_nowhere_stays_for_its_reader() -> None:
    net(Path("m/deploy.prototxt"))
    Path("m/w.caffemodel").symlink_to("../annex/w")
    assert pairs(found()) == {"m/deploy.prototxt": "m/w.caffemodel"}


def test_what_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    net(Path("m/a.prototxt"))
    Path("m/b.prototxt").write_text("layer { name: ")
    weights(Path("m/a.caffemodel"))
    Path("m/b.caffemodel").write_bytes(b"\xff\xff\xff\xff\xff\xff")
    Path("locked").mkdir()
    listed = os.scandir

    def scandir(path):  # type: ignore[no-untyped-def]
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    findings = found()
    assert pairs(findings) == {"m/a.prototxt": "m/a.caffemodel"}
    said = troubles(findings)
    assert said["locked"] == "failed: locked: error: cannot be looked into: Permission denied"
    assert said["m/b.prototxt"] == "missing: m/b.prototxt: error: no weight file near it fits"
    assert said["m/b.caffemodel"].startswith("missing: m/b.caffemodel: error: is of none of the nets in its folder: ")


def test_a_net_that_cannot_be_built_is_paired_by_the_names_of_its_layers() -> None:
    net(Path("m/a.prototxt"), names="mine", start=INPUT + 'layer { name: "u" type: "Nope" bottom: "x" top: "u" }\n')
    net(Path("m/b.prototxt"), (4,))
    weights(Path("m/x.caffemodel"), names="mine")
    weights(Path("m/y.caffemodel"), (4,))
    findings = found()
    assert pairs(findings) == {"m/a.prototxt": "m/x.caffemodel", "m/b.prototxt": "m/y.caffemodel"}
    assert findings.nets[0].why == "its layers have the net's names, and no other's do"


def test_a_folder_can_be_passed_over() -> None:
    net(Path("m/deploy.prototxt"))
    weights(Path("m/w.caffemodel"))
    net(Path("out/m/model_caffe/deploy.prototxt"))
    weights(Path("out/m/model_caffe/model.caffemodel"))
    assert set(pairs(found(without="out"))) == {"m/deploy.prototxt"}
    assert len(pairs(found())) == 2


def test_names_with_blanks_other_scripts_and_line_breaks() -> None:
    for name in ("my net", "网络", "a\nb", "-x", "$(x)", "ü" * 40):
        net(Path(name) / "deploy.prototxt")
        weights(Path(name) / f"{name}.caffemodel")
    assert len(pairs(found())) == 6
    assert troubles(found()) == {}


def test_pipes_are_not_read() -> None:
    net(Path("m/deploy.prototxt"))
    weights(Path("m/w.caffemodel"))
    for name in ("p.prototxt", "p.caffemodel", "readme.md", "model.yml"):
        os.mkfifo(f"m/{name}")
    assert pairs(found()) == {"m/deploy.prototxt": "m/w.caffemodel"}


def test_a_suffix_in_capitals_and_one_behind_it() -> None:
    net(Path("m/MobileNetSSD_deploy.prototxt.txt"))
    weights(Path("m/MobileNetSSD_deploy.caffemodel"))
    net(Path("n/NET.PROTOTXT"))
    Path(weights(Path("n/w.caffemodel"))).rename("n/W.CAFFEMODEL")
    assert pairs(found()) == {
        "m/MobileNetSSD_deploy.prototxt.txt": "m/MobileNetSSD_deploy.caffemodel",
        "n/NET.PROTOTXT": "n/W.CAFFEMODEL",
    }


def test_a_readme_with_two_nets_that_are_as_good_is_ambiguous_once() -> None:
    net(Path("m/one.prototxt"))
    net(Path("m/two.prototxt"))
    weights(Path("m/w.caffemodel"))
    readme(Path("m"), "w.caffemodel")
    assert pairs(found()) == {}
    assert list(troubles(found()).values()) == [
        "ambiguous: m: error: w.caffemodel fits one.prototxt and two.prototxt alike; name the pair that is meant in a "
        "manifest"
    ]


def test_weights_that_a_readme_names_count_by_the_net_that_they_hold_where_there_is_no_prototxt() -> None:
    weights(Path("m/w.caffemodel"))
    readme(Path("m"), "w.caffemodel")
    (only,) = found().nets
    assert (str(only.net), only.weights, only.card is None) == ("m/w.caffemodel", None, False)


def test_of_many_files_of_one_form_few_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from converter.building import build as building

    built: list[str] = []
    build = building.build
    monkeypatch.setattr(building, "build", lambda net, stored: built.append(net.path) or build(net, stored))
    for number in range(12):
        net(Path(f"p{number}.prototxt"))
        weights(Path(f"w{number}.caffemodel"), seed=number)
        net(Path(f"same{number}.prototxt"), (4,))
        weights(Path(f"same{number}.caffemodel"), (4,), seed=number)
    findings = found()
    assert len(pairs(findings)) == 12
    assert [each.trouble for each in findings.nets if each.trouble] == ["ambiguous"]
    assert len(built) <= 12 + 2 * 12
