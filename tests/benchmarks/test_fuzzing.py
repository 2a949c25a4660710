"""What the fuzzing takes for a fault, and what it keeps of it; atheris itself is not needed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from benchmarks import fuzzing
from benchmarks.fuzzing_targets import TARGETS, Target
from prototxt.errors import NetError


def test_the_command_offers_every_target() -> None:
    assert tuple(TARGETS) == fuzzing.NAMES


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_reads_the_seeds_that_it_begins_from(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    seeds = list(islice(target.seeds(), 12))
    assert seeds
    assert all(len(seed) <= target.longest for seed in seeds)
    for seed in seeds:
        target.one_input(tmp_path / f"seed{target.suffix}", seed)


def test_a_targets_first_seed_is_read_to_its_end(tmp_path: Path) -> None:
    """Else all would be refused at once, and nothing behind the first line be reached."""
    for name, target in TARGETS.items():
        path = tmp_path / f"seed{target.suffix}"
        path.write_bytes(next(target.seeds()))
        if name != "caffemodel":  # the first of these is of a layer that stands alone
            target.check(path)


def raising(error: Exception) -> Target:
    def check(_: Path) -> None:
        raise error

    return Target(check, ".txt", lambda: iter(()))


def test_errors_of_ours_are_no_findings_unless_they_cannot_be_printed(tmp_path: Path) -> None:
    raising(NetError("wrong")).one_input(tmp_path / "a", b"")
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError()).one_input(tmp_path / "a", b"")
    unprintable = NetError("")
    unprintable.message = "\ud800"
    with pytest.raises(UnicodeEncodeError):
        raising(unprintable).one_input(tmp_path / "a", b"")


def test_the_smallest_content_of_a_fault_is_kept_under_its_place(tmp_path: Path) -> None:
    for data in (b"long", b"x", b"longer"):
        try:
            raising(ZeroDivisionError()).one_input(tmp_path / "input", data)
        except ZeroDivisionError as error:
            fuzzing.keep(tmp_path, error, data, ".txt")
    [found] = tmp_path.glob("ZeroDivisionError-test_fuzzing-*.txt")
    assert found.read_bytes() == b"x"
    assert "raise error" in found.with_name(f"{found.name}.trace").read_text()


def test_what_libfuzzer_says_is_added_up_over_restarts() -> None:
    outcome = fuzzing.Outcome()
    outcome.note("#2\tINITED cov: 10 ft: 10 corp: 1/1b exec/s: 0\n#900\tDONE   cov: 51 ft: 60 corp: 9/429b exec/s: 9")
    outcome.note("#100\tREDUCE cov: 50 ft: 60 corp: 8/42b lim: 4 exec/s: 9 rss: 70Mb L: 1/1 MS: 1 EraseBytes-")
    outcome.note("nothing begun")
    assert (outcome.runs, outcome.coverage, outcome.corpus) == (1000, 50, 8)
    assert outcome.said == "nothing begun"
