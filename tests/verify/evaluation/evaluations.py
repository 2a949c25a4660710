"""Evaluations to show: one that passes, one with labels in the wrong order, and one with hostile names."""

from __future__ import annotations

from dataclasses import replace

from verify.evaluation.records import (
    Agreement,
    ClassResult,
    Counted,
    Evaluation,
    Expected,
    Flip,
    Misjudged,
    Point,
    Verdict,
)

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u2028層\n\x1b[31m\x00" + "x" * 80
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
"""The smallest of GIFs."""
DIGITS = tuple("zero one two three four five six seven eight nine".split())
PUBLISHED = Expected(
    "digits-resnet", "Digits ResNet", "as it is", "RESULT.json", top1=0.02, top5=0.002, variation=0.0005, images=500
)
CURVE = (
    Point(100, Counted(3, 100, 0.010, 0.085), Counted(0, 100, 0.0, 0.037)),
    Point(200, Counted(5, 200, 0.011, 0.057), Counted(0, 200, 0.0, 0.019)),
    Point(350, Counted(8, 350, 0.012, 0.044), Counted(1, 350, 0.0005, 0.016)),
    Point(500, Counted(10, 500, 0.0109, 0.0364), Counted(1, 500, 0.0004, 0.0112)),
)
BY_CLASS = tuple(
    ClassResult(label, name, 50, wrong, confused)
    for label, name, wrong, confused in (
        (0, "zero", 0, ()),
        (1, "one", 1, ((7, 1),)),
        (2, "two", 0, ()),
        (3, "three", 2, ((5, 2),)),
        (4, "four", 0, ()),
        (5, "five", 4, ((3, 3), (6, 1))),
        (6, "six", 0, ()),
        (7, "seven", 0, ()),
        (8, "eight", 3, ((3, 2), (0, 1))),
        (9, "nine", 0, ()),
    )
)
MISJUDGED = (
    Misjudged("5_007.png", 5, (3, 5, 8), 0.98765, 0.0123, PIXEL),
    Misjudged("8_021.png", 8, (0, 8, 3), 0.75, 0.2, PIXEL),
    Misjudged("5_033.png", 5, (6, 5, 0), 0.5, 0.00001, ""),
)

PASSED = Evaluation(
    net="digits/deploy.prototxt",
    weights="digits/digits_resnet.caffemodel",
    data="digits/val",
    engine="onnxruntime 1.23.2",
    preprocessing="greyscale; minus mean.binaryproto",
    images=500,
    available=503,
    confidence=0.95,
    labelled=True,
    top1=CURVE[-1].top1,
    top5=CURVE[-1].top5,
    verdict=Verdict("pass", ("top-1 error 2.0 % [1.1, 3.6] agrees with the published 2.0 %",)),
    expected=PUBLISHED,
    agreement=Agreement(
        "interpreter (numpy 2.3.1)",
        500,
        498,
        2.5e-6,
        (Flip("8_021.png", 8, 8, 0, 2.5e-6), Flip("5_007.png", 5, 3, 5, 3.1e-7)),
        0.98,
    ),
    skipped=(("a.png", "no image"), ("b.png", "the file ends early"), ("c.png", "no image")),
    kinds={"CMYK": 2, "greyscale": 11},
    classes=DIGITS,
    curve=CURVE,
    by_class=BY_CLASS,
    misjudged=MISJUDGED,
    notes=("labels are from val.txt",),
    seconds=1.25,
    rate=400.0,
)
WRONG_TOP1 = Counted(495, 500, 0.97681, 0.99572)
FAILED = replace(
    PASSED,
    top1=WRONG_TOP1,
    verdict=Verdict(
        "fail",
        (
            "top-1 error 99.0 % [97.7, 99.6] is 97.0 points above the published 2.0 %",
            "with every label one higher the error would be 2.0 %",
        ),
    ),
    curve=(Point(500, WRONG_TOP1, PASSED.top5),),
    agreement=None,
    skipped=(),
    kinds={},
)
UNLABELLED = replace(
    PASSED,
    labelled=False,
    top1=None,
    top5=None,
    verdict=Verdict("none"),
    expected=None,
    curve=(),
    by_class=(),
    misjudged=(),
)
NAMED_BY_AN_ENEMY = replace(
    PASSED,
    net=HOSTILE,
    weights=HOSTILE,
    data=HOSTILE,
    engine=HOSTILE,
    preprocessing=HOSTILE,
    verdict=Verdict("too few", (HOSTILE,)),
    expected=replace(PUBLISHED, name=HOSTILE, title=HOSTILE, protocol=HOSTILE, source=HOSTILE, other=(HOSTILE,)),
    agreement=Agreement(HOSTILE, 500, 499, float("nan"), (Flip(HOSTILE, None, 10**9, -1, float("nan")),)),
    skipped=((HOSTILE, HOSTILE), ("\udcff.png", "no image")),
    kinds={HOSTILE: 1},
    classes=(HOSTILE,) * 10,
    by_class=tuple(replace(result, name=HOSTILE) for result in BY_CLASS),
    misjudged=(
        Misjudged(HOSTILE, 3, (4,), float("nan"), 0.1, "javascript:alert(1)"),
        Misjudged(HOSTILE, 3, (), float("inf"), 0.1, "https://example.com/x.png"),
    ),
    notes=(HOSTILE,),
)


def big(classes: int = 1000, images_each: int = 50) -> Evaluation:
    """As many classes as ImageNet has: class k has k % 7 wrong images, all taken for the class after it."""
    names = tuple(f"n{label:08d} name {label}, synonym, another" for label in range(classes))
    by_class = tuple(
        ClassResult(k, names[k], images_each, k % 7, (((k + 1) % classes, k % 7),) if k % 7 else ())
        for k in range(classes)
    )
    wrong, images = sum(result.wrong for result in by_class), classes * images_each
    share = wrong / images
    curve = tuple(
        Point(images * i // 200, Counted(wrong * i // 200, images * i // 200, share - 0.01, share + 0.01), None)
        for i in range(1, 201)
    )
    return replace(
        PASSED,
        images=images,
        available=images,
        skipped=(),
        top1=Counted(wrong, images, share - 0.002, share + 0.002),
        top5=None,
        expected=replace(PUBLISHED, top1=share, top5=None),
        agreement=None,
        classes=names,
        by_class=by_class,
        curve=curve,
        misjudged=tuple(replace(MISJUDGED[0], name=f"{i}.JPEG", label=i % 20) for i in range(60)),
    )
