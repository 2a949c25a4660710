"""Which nets of a family the judge is shown, and what it takes for a fault; onnxsim itself is not needed."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.corpus_work import Entry
from benchmarks.emitted import REASONS, Verdict, best_in_turns, report, shortest_and_longest


def test_the_shortest_and_the_longest_come_first() -> None:
    entries = [Entry(f"prototxt/o+r/{size}", "v2", True, "x" * size) for size in (30, 10, 50, 20, 40)]
    assert [len(entry.text) for entry in shortest_and_longest(entries)] == [10, 50, 20, 40, 30]


def verdict(**removed: int) -> Verdict:
    return Verdict("net", "SSD", 10, 10 - sum(removed.values()), Counter(removed), Counter())


def test_what_goes_without_a_reason_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([verdict(), verdict(Pad=2)]) == 0
    assert REASONS["Pad"] in capsys.readouterr().out
    assert report([verdict(), verdict(Pad=2, Cast=1)]) == 1
    assert "1 without a reason" in capsys.readouterr().out


def test_the_first_round_is_not_counted_and_the_best_is() -> None:
    ticks = iter([0, 1, 1, 3, 10, 14, 20, 23])
    best = best_in_turns({"a": lambda: None}, 3, lambda: next(ticks))
    assert best == {"a": 2}
