"""Which layers share a box, what a block is, what repeats; what goes where, and where it stands."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from verify.picture.blocks import dominators
from verify.picture.dot import format_dot
from verify.picture.flows import BORDER, flows_of
from verify.picture.names import common_name
from verify.picture.records import DrawnLayer, DrawnNet, colour_of
from verify.picture.tree import DrawnPart, title_of, tree_of

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u202e\u2028層\n\x1b[31m"


def layer(name: str, *reads: int, kind: str = "Convolution", hint: str = "3×3", rides: bool = False) -> DrawnLayer:
    family = {"Convolution": "convolution", "Input": "input", "Concat": "join", "Eltwise": "join"}.get(
        kind, "activation"
    )
    return DrawnLayer(name, kind, tuple((read, 0) for read in reads), ((name, "1×8×5×7"),), family, hint, rides=rides)


def data() -> DrawnLayer:
    return layer("data", kind="Input", hint="")


def residual(count: int) -> DrawnNet:
    """Blocks of two convolutions and a sum, behind one convolution."""
    layers = [data(), layer("conv1", 0)]
    for number in range(count):
        before = len(layers) - 1
        layers.append(layer(f"res{number}_a", before))
        layers.append(layer(f"res{number}_b", before + 1))
        layers.append(layer(f"res{number}", before, before + 2, kind="Eltwise", hint="sum"))
    return DrawnNet("r", [*layers, layer("fc", len(layers) - 1, hint="1×1")])


def kinds(part: DrawnPart) -> list[str]:
    return [inner.kind for inner in part.inside]


def test_a_layer_that_only_touches_up_shares_the_box_of_what_it_alone_reads() -> None:
    relu = {"kind": "ReLU", "hint": "", "rides": True}
    net = DrawnNet(
        "n", [data(), layer("c", 0), layer("r", 1, **relu), layer("d", 2), layer("s", 3, **relu), layer("e", 3)]
    )
    assert [part.layers for part in tree_of(net).inside] == [[0], [1, 2], [3], [4], [5]]


def test_nothing_shares_the_box_of_an_input() -> None:
    net = DrawnNet("n", [data(), layer("scale", 0, rides=True), layer("c", 1)])
    assert [part.layers for part in tree_of(net).inside] == [[0], [1], [2]]


def test_residual_blocks_are_folded_together() -> None:
    root = tree_of(residual(5))
    assert kinds(root) == ["box", "box", "run", "box"]
    run = root.inside[2]
    assert run.times == 5
    assert kinds(run) == ["block"] * 5
    assert [part.layers for part in run.inside[1].inside] == [[5], [6], [7]]
    assert title_of(run, residual(5).layers) == "res0 … res4"


def test_one_residual_block_alone_stays_open() -> None:
    assert kinds(tree_of(residual(1))) == ["box"] * 6


def test_a_block_whose_inside_others_read_is_none() -> None:
    net = residual(3)
    tapped = DrawnNet("r", [*net.layers, layer("tap1", 2), layer("tap2", 5), layer("tap3", 8)])
    assert "block" not in {part.kind for part in tree_of(tapped).walk()}


def test_a_backbone_whose_blocks_feed_heads_has_its_blocks() -> None:
    net = residual(3)
    tapped = DrawnNet("r", [*net.layers, layer("head", 4, hint="5×5"), layer("head2", 7, hint="7×7")])
    assert [part.kind for part in tree_of(tapped).walk()].count("block") == 3


def test_stages_that_grow_are_no_repeats() -> None:
    stages = [data()]
    for channels in (64, 128, 256, 512):
        for name in ("a", "b", "c", "d", "e", "f", "g"):
            stages.append(layer(f"{name}{channels}", len(stages) - 1, hint=f"3×3, {channels}", kind=f"T{name}"))
    assert set(kinds(tree_of(DrawnNet("vgg", stages)))) == {"box"}


def test_the_steps_of_a_ladder_are_not_folded() -> None:
    down = [data()]
    for depth in range(4):
        down += [layer(f"c{depth}", len(down) - 1), layer(f"p{depth}", len(down), kind="Pooling", hint=f"max {depth}")]
    skips, layers = [1, 3, 5, 7], [*down]
    for skip in reversed(skips):
        before = len(layers) - 1
        layers += [
            layer(f"up{skip}", before, kind="Deconvolution"),
            layer(f"cat{skip}", before + 1, skip, kind="Concat"),
        ]
        layers += [layer(f"k{skip}", before + 2, hint="k"), layer(f"l{skip}", before + 3, hint="l")]
    assert "run" not in kinds(tree_of(DrawnNet("u", layers)))


def test_heads_that_do_not_read_each_other_are_folded() -> None:
    layers = [data(), *(layer(f"c{i}", i, hint=f"{i}×{i}") for i in range(4))]
    ends = []
    for i in range(4):
        loc = len(layers)
        layers += [layer(f"h{i}_loc", i + 1), layer(f"h{i}_perm", loc, kind="Permute"), layer(f"h{i}_conf", i + 1)]
        ends += [loc + 1, loc + 2]
    root = tree_of(DrawnNet("ssd", [*layers, layer("all", *ends, kind="Concat", hint="")]))
    assert [part.times for part in root.inside if part.kind == "run"] == [4]


def test_a_long_net_is_shown_in_sections() -> None:
    layers = [data(), *(layer(f"l{i}", i, hint=str(i * i % 977)) for i in range(3000))]
    root = tree_of(DrawnNet("long", layers))
    assert max(len(part.inside) for part in root.walk()) <= 240
    assert sorted(i for part in root.walk() if not part.inside for i in part.layers) == [*range(3001)]


def test_a_top_leaves_each_frame_and_enters_each_on_its_way() -> None:
    net = residual(3)
    root = tree_of(net)
    run = root.inside[2]
    flows = flows_of(net, root)
    first, second, _ = (part.number for part in run.inside)
    inner = flows[second]
    assert ((4, 0),) in [flow.tops for flow in inner if flow.source == BORDER]
    assert [(flow.source, flow.targets) for flow in flows[run.number]][:2] == [(BORDER, (first,)), (first, (second,))]
    assert any(flow.targets == (BORDER,) for flow in inner)


def test_dominators_are_those_of_a_naive_search() -> None:
    reads = [[], [0], [0], [1, 2], [3], [3], [4, 5], [6, 2], [7], []]

    def paths(box: int) -> list[set[int]]:
        return [{box}] if not reads[box] else [path | {box} for read in reads[box] for path in paths(read)]

    naive = [max(set.intersection(*paths(box)) - {box}, default=-1) for box in range(len(reads))]
    assert dominators(reads) == naive


@pytest.mark.parametrize(
    ("stem", "title"),
    [
        ("res", "res0 … res2"),
        ("inception_", "inception_0 … 2"),
        ("a_stage_of_block", "a_stage_of_block0 … block2"),
        ("withoutseparators", "withoutseparators0 … withoutseparators2"),
    ],
)
def test_a_long_title_of_a_run_says_what_its_names_share_once(stem: str, title: str) -> None:
    plain = residual(3).layers
    layers = [replace(each, name=each.name.replace("res", stem)) for each in plain]
    (run,) = (part for part in tree_of(DrawnNet("n", layers)).inside if part.kind == "run")
    assert title_of(run, layers) == title


@pytest.mark.parametrize(
    ("names", "common"),
    [
        (["res2b_branch2a", "res2b_branch2b", "res2b"], "res2b"),
        (["inception_3a/1x1", "inception_3a/3x3"], "inception_3a"),
        (["conv1", "conv2"], ""),
        (["fire2", "fire2"], "fire2"),
        (["a.b.c1", "a.b.c2"], "a.b"),
        (["", "x"], ""),
        (["層/一", "層/二"], "層"),
    ],
)
def test_what_names_have_in_common_ends_where_a_part_ends(names: list[str], common: str) -> None:
    assert common_name(names) == common


def test_what_joins_several_blobs_looks_like_it() -> None:
    assert [colour_of("shaping", bottoms) for bottoms in (2, 1)] == ["join", "shape"]
    assert [colour_of("arithmetic", bottoms) for bottoms in (2, 1)] == ["join", "normalization"]
    assert colour_of("detection.prior_box", 2) == "detection"
    assert colour_of("a plugin's", 1) == "other"


def test_dot_has_each_box_and_edge_once_and_hostile_names_as_text() -> None:
    net = DrawnNet(HOSTILE, [data(), layer(HOSTILE, 0), layer('back\\slash"', 1)])
    text = format_dot(net)
    assert text.count("->") == 2
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(re.findall(r"^ *b\d+ \[", text, re.M)) == 3
    for line in text.splitlines():  # quotes are balanced once escapes are gone
        assert re.sub(r"\\.", "", line).count('"') % 2 == 0
