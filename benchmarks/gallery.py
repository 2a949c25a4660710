"""The page of the corpus: by family of architectures, how many nets come through, and why the others do not.

Everything on it follows from the corpus, the journal and the versions of the packages; it holds no date and no path of
the machine, so that two runs give the same page.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version

from benchmarks.corpus_inputs import GIVEN
from benchmarks.corpus_work import LARGE, SEED, STEPS, Entry, Finding
from benchmarks.families import FAMILIES, OTHER, Family, family

PACKAGES = ("numpy", "onnx", "onnxruntime", "torch", "protobuf")
HEAD = """\
# Gallery

What became of every network of the corpus: {count} prototxts of {sources} public repositories, of which {deploy} are
for deployment. None has weights here; they get random ones (`--random-weights {seed}`) and are fed seeded numbers.

- **converted**: `--to onnx` writes a file, and onnxruntime loads it.
- **onnxruntime**: every blob that onnxruntime computes is within its bound of what the interpreter computes, which
  shares no code with the converter ([how the bounds come about](../verify/bounds.py)).
- **torch**: the same for the PyTorch module of `--to torch`.
- **too large**: the blobs of the net take {large:.0f} GB or more in float32; it is converted and loaded, and not run.

A net is tried on one sample where its batch is no more than a batch. Inputs whose size the file does not state and its
owner does elsewhere have that; they stand at the end. Made by

    python -m benchmarks.corpus --run --journal corpus.jsonl --gallery docs/gallery.md

with Python {python}, {packages}.
"""
FAMILY_HEAD = """
## Families

The family is told by the prototxt alone, its layers, its name and its path; the first of these that holds counts, so
that a detector is none of its backbone's family.

| family | nets | for deployment | converted | onnxruntime | torch | too large | not through, and why |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
"""
KNOWN = (
    ("unfilled template", "A template, whose blanks a script fills in: no net yet."),
    (
        r"num_output is N; expected",
        "A template or a slip of the pen: the file states no number of outputs that is one.",
    ),
    (r"no spatial axes behind", "The file states the input's height and width as words, not as numbers."),
    (r"is out of range for a blob", "A template: the shape before this layer is left blank."),
    (
        r"doesn't give the shape",
        "The file does not say how large its input is; only the data that its owner fed it would.",
    ),
    (r"code that only its owner has", "A layer written in Python, whose code is no part of the net."),
    (
        r"include and exclude rules leave it out",
        "The file holds a net for training: its data layer is for that phase only.",
    ),
    (r"is made by no layer before", "The file reads a blob that no layer makes; Caffe refuses it, too."),
    (r"bottoms differ in shape", "The file adds blobs of different shapes; Caffe refuses it, too."),
    (r"can't fill rows", "The file reshapes a blob to rows whose size does not divide it; Caffe refuses it, too."),
    (
        r"sample_weights_test",
        "Dropout that draws at test time, too: no two runs agree, so that there is nothing to compare.",
    ),
    (r"whole numbers, not in floats", "The net computes in 8-bit numbers."),
    (r"has no outputs", "The net shows its result on the screen and gives none."),
)
"""What lies behind a reason, where its own words may not say it."""


def page(entries: Sequence[Entry], findings: Mapping[str, Finding]) -> str:
    """The whole page, in Markdown."""
    nets = [_Net(entry, findings[entry.file], family(entry)) for entry in entries if entry.file in findings]
    parts = [_head(entries), _totals(nets), FAMILY_HEAD, *_family_rows(nets), _evidence(nets), _reasons(nets)]
    return "".join(parts) + _failures(nets) + _given(nets)


@dataclass(frozen=True)
class _Net:
    entry: Entry
    finding: Finding
    family: Family

    @property
    def converted(self) -> bool:
        return self.finding.did("load")

    @property
    def why(self) -> list[str]:
        """Reasons in whichever of the two engines it does not come through, those of ONNX first."""
        torch = [f"torch: {reason}" for reason in self.finding.faults.get("torch", [])]
        onnx = self.finding.reasons
        return onnx + [reason for reason in torch if reason.removeprefix("torch: ") not in onnx]


def _head(entries: Sequence[Entry]) -> str:
    return HEAD.format(
        count=_number(len(entries)),
        sources=len({entry.file.split("/")[1] for entry in entries}),
        deploy=_number(sum(entry.deploy for entry in entries)),
        seed=SEED,
        large=LARGE / 1e9,
        python=python_version(),
        packages=", ".join(f"{name} {version(name)}" for name in PACKAGES),
    )


def _totals(nets: Sequence[_Net]) -> str:
    deploy = [net.finding for net in nets if net.entry.deploy]
    small = [found for found in deploy if not found.large]
    rows = [
        ("nets that parse", sum(net.finding.did("parse") for net in nets), len(nets)),
        ("deploy nets converted", sum(found.did("load") for found in deploy), len(deploy)),
        (
            f"of those below {LARGE / 1e9:.0f} GB, in onnxruntime as in the interpreter",
            _count(small, "run"),
            len(small),
        ),
        (f"of those below {LARGE / 1e9:.0f} GB, in torch as in the interpreter", _count(small, "torch"), len(small)),
        (
            "deploy nets that come through, those too large loaded only",
            sum(f.comes_through for f in deploy),
            len(deploy),
        ),
    ]
    lines = [f"| {what} | {_number(part)} of {_number(all_)} | {_percent(part, all_)} |" for what, part, all_ in rows]
    blobs, ties, unjudged = (_number(sum(getattr(f, name) for f in deploy)) for name in ("blobs", "ties", "unjudged"))
    behind = (
        f"\nIn onnxruntime {blobs} blobs were compared. {ties} of them follow a choice too close to call (two boxes of "
        "nearly one score, say); there each layer was compared alone, on what the model fed it. That says nothing for "
        f"{unjudged} of those, where the layer itself makes the choice.\n"
    )
    return "\n| | | |\n| --- | ---: | ---: |\n" + "\n".join(lines) + "\n" + behind


def _family_rows(nets: Sequence[_Net]) -> list[str]:
    rows = []
    for one in FAMILIES:
        own = [net for net in nets if net.family is one]
        if own:
            rows.append(_row(one.name, own))
    return [*rows, _row("**all**", nets)]


def _row(name: str, nets: Sequence[_Net]) -> str:
    deploy = [net for net in nets if net.entry.deploy]
    found = [net.finding for net in deploy]
    large = sum(f.large and f.did("load") for f in found)
    counts = [
        len(nets),
        len(deploy),
        sum(net.converted for net in deploy),
        _count(found, "run"),
        _count(found, "torch"),
        large,
    ]
    reasons = Counter(reason for net in deploy for reason in net.why)
    why = "" if name.startswith("**") else "; ".join(f"{_text(reason)} ({n})" for reason, n in _by_count(reasons))
    return f"| {name} | {' | '.join(map(_number, counts))} | {why} |\n"


def _evidence(nets: Sequence[_Net]) -> str:
    there = [one for one in FAMILIES if one.name != OTHER and any(net.family is one for net in nets)]
    lines = [f"| {one.name} | {_text(one.evidence)} |\n" for one in there]
    return "\n| family | told by |\n| --- | --- |\n" + "".join(lines)


def _reasons(nets: Sequence[_Net]) -> str:
    """A section for each reason, the most frequent first."""
    having: dict[str, list[_Net]] = defaultdict(list)
    for net in nets:
        for reason in net.why if net.entry.deploy else net.finding.reasons:
            having[reason].append(net)
    if not having:
        return "\n## Reasons\n\nEvery net comes through.\n"
    sections = [_section(reason, having[reason]) for reason, _ in _by_count({r: len(n) for r, n in having.items()})]
    return "\n## Reasons\n\nNames and numbers are left out here (…, N). A net may have several reasons.\n" + "".join(
        sections
    )


def _section(reason: str, nets: Sequence[_Net]) -> str:
    behind = next((f"{text}\n\n" for pattern, text in KNOWN if re.search(pattern, reason)), "")
    families = Counter(net.family.name for net in nets)
    counted = ", ".join(f"{name} {n}" for name, n in _by_count(families))
    plural = "net" if len(nets) == 1 else "nets"
    return f"\n### {_text(reason)}\n\n{behind}{len(nets)} {plural} ({counted}).\n"


def _failures(nets: Sequence[_Net]) -> str:
    """Every net that does not come through, with its first error of each step."""
    failed = [net for net in nets if net.finding.faults]
    if not failed:
        return ""
    lines = []
    for net in failed:
        lines.append(f"- {_code(net.entry.file.removeprefix('prototxt/'))} ({net.family.name})\n")
        for step in (step for step in STEPS if step in net.finding.faults):
            said = net.finding.messages.get(step) or "; ".join(net.finding.faults[step])
            lines.append(f"  - {step}: {_code(said.replace(net.entry.file, net.entry.file.rpartition('/')[2]))}\n")
    return f"\n## The {len(failed)} nets that do not come through\n\n" + "".join(lines)


def _given(nets: Sequence[_Net]) -> str:
    """Nets whose inputs have their size from elsewhere."""
    rows = []
    for net in nets:
        given = GIVEN.get(net.entry.file)
        if given is not None:
            shapes = "; ".join(f"{blob} {'×'.join(map(str, shape))}" for blob, shape in given.shapes.items())
            rows.append(
                f"| {_code(net.entry.file.removeprefix('prototxt/'))} | {_text(shapes)} | {_text(given.where)} |\n"
            )
    head = "\n## Inputs whose size stands elsewhere\n\n| net | inputs | who says so |\n| --- | --- | --- |\n"
    return head + "".join(rows) if rows else ""


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _count(found: Iterable[Finding], step: str) -> int:
    return sum(finding.did(step) for finding in found)


def _number(value: int) -> str:
    return f"{value:,}"


def _percent(part: int, whole: int) -> str:
    """Cut and not rounded, so that 100 % means all."""
    return f"{int(1000 * part / whole) / 10:.1f} %" if whole else ""


def _text(text: str) -> str:
    """As Markdown that shows the text itself; names in it come from strangers' files."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """As code, whatever backticks it holds."""
    flat = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    return f"{fence} {flat} {fence}" if "`" in flat else f"`{flat}`"
