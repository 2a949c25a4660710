#!/usr/bin/env python3
"""Parse every net of the corpus, convert its deploy nets with random weights, run them, and say what stands in the way.

    python -m benchmarks.corpus [--corpus ../shared/corpus] [--parse-only | --run] [--journal FILE [--retry]]
    python -m benchmarks.corpus --run --journal FILE --gallery docs/gallery.md

Each net has a process of its own with a limit of time and of memory, so that none can stop the rest; what a limit
stopped is tried once more at the end, alone and with the limits of all. What is known of a net is appended to the
journal at once; a run that was cut short goes on from there. With --run every converted net is also run in onnxruntime
and, as a PyTorch module, in torch, and compared, blob by blob, with the independent interpreter.

Exit status 1 when fewer than 99 % of the nets parse or, with --run, fewer than 95 % of the deploy nets come through:
convert, load in onnxruntime and agree with the interpreter, which those of 3 GB of blobs and more are not asked to.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.corpus_pool import FRAMEWORKS, Journal, Pool, Progress, is_limit, work
from benchmarks.corpus_work import LARGE, STEPS, Entry, Finding

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
PARSE_BAR = 0.99
RUN_BAR = 0.95
VERBS = {
    "convert": "convert to ONNX with --random-weights",
    "load": "load in onnxruntime",
    "run": "give the interpreter's numbers in onnxruntime",
    "torch": "give the interpreter's numbers in torch",
}


def read_corpus(folder: Path) -> list[Entry]:
    """The nets, read in place from the archive in one pass."""
    with lzma.open(folder / "index.json.xz") as file:
        nets = {entry["file"]: entry for entry in json.load(file) if entry["kind"] == "net"}
    found = []
    with tarfile.open(folder / "prototxt.tar.xz") as archive:
        for member in archive:
            if member.name in nets:
                stream = archive.extractfile(member)
                assert stream is not None
                entry, text = nets[member.name], stream.read().decode("utf-8", "surrogateescape")
                found.append(Entry(member.name, entry["format"], entry["phase"] == "deploy", text))
    return sorted(found, key=lambda entry: entry.file)


def summary(entries: Sequence[Entry], findings: Mapping[str, Finding], steps: tuple[str, ...]) -> str:
    """The counts, the nets that do not parse, and why others stop where they do; after a run, each with its reason."""
    known = [(entry, findings[entry.file]) for entry in entries if entry.file in findings]
    parsed = [f for _, f in known if f.did("parse")]
    lenient = sum(f.lenient for f in parsed)
    lines = [
        f"{len(parsed)} of {len(known)} nets parse ({share(len(parsed), len(known))}), "
        f"{len(parsed) - lenient} as they are and {lenient} with --allow-unknown",
        *(f"  {f.message or f'{f.file}: {f.reasons[0]}'}" for _, f in known if not f.did("parse")),
    ]
    deploy = [f for entry, f in known if entry.deploy]
    for step in (step for step in steps if step in VERBS):
        before = "convert" if step == "torch" else STEPS[STEPS.index(step) - 1]
        tried = [
            f for f in deploy if (step == "convert" or f.did(before)) and not (f.large and step in ("run", "torch"))
        ]
        good = sum(f.did(step) for f in tried)
        lines.append(f"{good} of {len(tried)} deploy nets {VERBS[step]} ({share(good, len(tried))})")
        lines += _grouped([f for f in tried if not f.did(step)], step)
    if "run" in steps:
        lines += _outcome(deploy)
    return "\n".join(lines)


def _outcome(deploy: Sequence[Finding]) -> list[str]:
    through = [f for f in deploy if f.comes_through]
    large = sum(f.large for f in through)
    lines = [
        f"{len(through)} of {len(deploy)} deploy nets come through ({share(len(through), len(deploy))}), "
        f"of them {large} loaded and not run, for their blobs take {LARGE / 1e9:.0f} GB or more"
    ]
    failed = [f for f in deploy if not f.comes_through or "torch" in f.faults]
    return lines + [f"  {f.file}: {why}" for f in failed for why in whys(f)]


def whys(finding: Finding) -> list[str]:
    """Each step that did not hold, with its first error or its reasons."""
    return [
        f"{step}: {finding.messages.get(step) or '; '.join(finding.faults[step])}"
        for step in STEPS
        if step in finding.faults
    ]


def share(part: int, whole: int) -> str:
    """In percent."""
    return f"{100 * part / whole:.1f} %" if whole else "none"


def _grouped(failed: Sequence[Finding], step: str) -> list[str]:
    """Reasons by how many nets have them; how many have no other; an example."""
    reasons = {f.file: f.faults.get(step, ["not tried"]) for f in failed}
    count = Counter(reason for found in reasons.values() for reason in found)
    alone = Counter(found[0] for found in reasons.values() if len(found) == 1)
    example = {reason: file for file, found in reversed(reasons.items()) for reason in found}
    order = sorted(count, key=lambda reason: (-count[reason], -alone[reason], reason))
    return [f"  {count[r]:4} ({alone[r]:3} for this alone)  {r}   e.g. {example[r]}" for r in order]


def bars_missed(entries: Sequence[Entry], findings: Mapping[str, Finding], steps: tuple[str, ...]) -> list[str]:
    """Which bars the findings miss, in words; a net without one counts as failed."""
    found = [findings.get(entry.file, Finding(entry.file, steps)) for entry in entries]
    deploy = [f for entry, f in zip(entries, found, strict=True) if entry.deploy]
    parse, through = sum(f.did("parse") for f in found), sum(f.comes_through for f in deploy)
    missed = []
    if parse < PARSE_BAR * len(found):
        missed.append(f"{share(parse, len(found))} parse, at least {100 * PARSE_BAR:.0f} % have to")
    if "run" in steps and through < RUN_BAR * len(deploy):
        good = share(through, len(deploy))
        missed.append(f"{good} of the deploy nets come through, at least {100 * RUN_BAR:.0f} % have to")
    return missed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    how_far = parser.add_mutually_exclusive_group()
    how_far.add_argument("--parse-only", action="store_true", help="convert nothing")
    how_far.add_argument(
        "--run", action="store_true", help="also run what converts, in onnxruntime and torch, and compare"
    )
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="nets with one of these in their path")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=600, help="for each net (%(default)s)")
    parser.add_argument("--memory", type=float, default=9, metavar="GB", help="for each net (%(default)s)")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="go on from here, and keep what is found")
    parser.add_argument("--retry", action="store_true", help="try again what the journal says failed")
    parser.add_argument("--gallery", type=Path, metavar="FILE", help="write the page of families (Markdown)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings")
    return parser


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.gallery and not arguments.run:
        parser.error("--gallery goes with --run")
    steps = STEPS[:1] if arguments.parse_only else STEPS if arguments.run else STEPS[:2]
    entries = [entry for entry in read_corpus(arguments.corpus) if any(word in entry.file for word in arguments.only)]
    journal = Journal(arguments.journal)
    if journal.passed_over:
        print(f"{arguments.journal}: {journal.passed_over} lines of another form are passed over", file=sys.stderr)
    if arguments.retry:
        journal.forget_failures()
    try:
        examine_all(entries, steps, journal, arguments)
    except KeyboardInterrupt:
        print("\ninterrupted; the journal has what was found", file=sys.stderr)
        return 130
    print(summary(entries, journal.findings, steps))
    if arguments.json:
        found = [asdict(journal.findings[entry.file]) for entry in entries]
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if arguments.gallery:
        from benchmarks.gallery import page

        arguments.gallery.write_text(page(entries, journal.findings), encoding="utf-8")
    missed = bars_missed(entries, journal.findings, steps)
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


def examine_all(
    entries: Sequence[Entry], steps: tuple[str, ...], journal: Journal, arguments: argparse.Namespace
) -> None:
    """What the journal does not know yet; then, one by one, what a limit stopped while it shared the machine."""
    wanted = {entry.file: steps if entry.deploy else STEPS[:1] for entry in entries}
    todo = [entry for entry in entries if not journal.knows(entry.file, wanted[entry.file])]
    jobs, preload = arguments.jobs, FRAMEWORKS if arguments.run else []
    memory = int(arguments.memory * 2**30)
    work(Pool(jobs, arguments.seconds, memory, preload), journal, todo, wanted, Progress(len(todo)))
    again = [entry for entry in todo if jobs > 1 and is_limit(journal.findings[entry.file])]
    if again:
        print(f"once more, each alone: {len(again)}", file=sys.stderr)
        work(Pool(1, jobs * arguments.seconds, jobs * memory), journal, again, wanted, Progress(len(again)))


if __name__ == "__main__":
    sys.exit(main())
