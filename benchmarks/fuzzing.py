#!/usr/bin/env python3
"""Coverage-guided fuzzing of what reads a file: only errors of ours may come out, in bounded time and memory.

    python3 -m venv .venv-fuzzing && .venv-fuzzing/bin/pip install -c constraints.txt -r benchmarks/fuzzing.txt
    .venv-fuzzing/bin/python -m benchmarks.fuzzing [--target prototxt] [--minutes 5]

atheris drives libFuzzer with the coverage of our own Python code (not of protobuf, numpy and h5py, which are compiled).
A finding is kept as a file: any other exception by its type and place, with the traceback; `timeout-*` for what took
longer than ten seconds, `oom-*` for what held more than 2 GB, `crash-*` for what ended the process. Exit status 1 when
there is one. A corpus folder that is kept makes the next run begin where this one ended.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

SECONDS_AN_INPUT = 10
MEGABYTES = 2048
ROOT = Path(__file__).resolve().parents[1]
NAMES = ("prototxt", "caffemodel", "hdf5", "mean", "solverstate", "journal")
_STATUS = re.compile(r"#(?P<runs>\d+)\s.*?cov: (?P<cov>\d+).*?corp: (?P<corpus>\d+)/")
_ENDED_BY = ("timeout-*", "oom-*", "crash-*")


@dataclass
class Outcome:
    """What became of one target.

    Attributes:
        runs: contents that were tried.
        corpus: contents that reached something new.
        coverage: edges of our code that were reached.
        restarts: how often the process ended before its time.
        findings: files.
        said: libFuzzer's last lines, for a process that never began.
    """

    runs: int = 0
    corpus: int = 0
    coverage: int = 0
    restarts: int = 0
    findings: list[Path] = field(default_factory=list)
    said: str = ""

    def note(self, output: str) -> None:
        """Take in what one process said."""
        lines = [match for match in map(_STATUS.search, output.splitlines()) if match]
        if lines:
            self.runs += int(lines[-1]["runs"])
            self.corpus, self.coverage = int(lines[-1]["corpus"]), int(lines[-1]["cov"])
        self.said = "\n".join(output.splitlines()[-15:])


def fuzz(name: str, minutes: float, corpus: Path, findings: Path) -> Outcome:
    """Fuzz one target for so long; a process that ends before is followed by another."""
    from benchmarks import fuzzing_targets

    target = fuzzing_targets.TARGETS[name]
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    words = corpus.with_name(f"{corpus.name}.dict")
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in dict.fromkeys(target.words())))
    outcome = Outcome()
    end = time.monotonic() + 60 * minutes
    while (left := end - time.monotonic()) > 1:
        command = [sys.executable, "-m", "benchmarks.fuzzing_child", name, findings, *_limits(left, target.longest)]
        command += [f"-artifact_prefix={findings}/", *([f"-dict={words}"] if words.stat().st_size else []), corpus]
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=False)
        outcome.note(done.stderr.decode(errors="replace"))
        if done.returncode == 0 or not outcome.runs:
            break
        outcome.restarts += 1
    kept = [path for pattern in ("*-*" + target.suffix, *_ENDED_BY) for path in findings.glob(pattern)]
    outcome.findings = sorted({*kept})
    return outcome


def keep(folder: Path, error: Exception, data: bytes, suffix: str) -> None:
    """The smallest content that led to an error at one place, and the traceback beside it."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(ROOT))]
    where = ours[-1] if ours else None
    place = f"{Path(where.filename).stem}-{where.lineno}" if where else "elsewhere"
    found = folder / f"{type(error).__name__}-{place}{suffix}"
    if not found.exists() or found.stat().st_size > len(data):
        found.write_bytes(data)
        found.with_name(f"{found.name}.trace").write_text("".join(traceback.format_exception(error)), errors="replace")


def _limits(seconds: float, longest: int) -> list[str]:
    return [
        f"-max_total_time={max(int(seconds), 1)}",
        f"-max_len={longest}",
        f"-timeout={SECONDS_AN_INPUT}",
        f"-rss_limit_mb={MEGABYTES}",
    ]


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace('"', r"\"")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", nargs="+", choices=NAMES, default=NAMES, help="which (all)")
    parser.add_argument("--minutes", type=float, default=5.0, help="of each (%(default)s)")
    parser.add_argument("--corpus", type=Path, help="a folder to keep what reached something new")
    parser.add_argument("--findings", type=Path, default=Path("fuzzing-findings"), help="a folder (%(default)s)")
    arguments = parser.parse_args()
    found = 0
    print(
        "| target | executions | corpus | coverage | restarts | findings |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    with tempfile.TemporaryDirectory() as passing:
        for name in arguments.target:
            corpus = (arguments.corpus or Path(passing)).resolve() / name
            outcome = fuzz(name, arguments.minutes, corpus, arguments.findings.resolve() / name)
            found += len(outcome.findings)
            row = (outcome.runs, outcome.corpus, outcome.coverage, outcome.restarts, len(outcome.findings))
            print(f"| {name} | {' | '.join(f'{number:,}' for number in row)} |", flush=True)
            if not outcome.runs:
                print(outcome.said, file=sys.stderr)
                return 1
            for path in outcome.findings:
                print(f"  {path}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
