"""Journals: only batches of the plan are taken over, and no other file is written over."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prototxt.errors import RequestError
from resnet_convert.cli.main import main
from verify.evaluation.records import Decoded, Item
from verify.evaluation.running.journal import Journal, refuse_other_files
from verify.evaluation.running.plan import Plan
from verify.evaluation.running.results import RESULT, BatchResult, assess
from verify.evaluation.running.transform import Transform

CLASSES = 6
RUN = {"net": "this"}
DIGITS = Path(__file__).resolve().parents[4] / "examples" / "digits"


class Images:
    """Ten images in five classes; the eighth cannot be read."""

    where = "made up"
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return 10

    def item(self, index: int) -> Item:
        return Item(f"{index}.png", None if index == 9 else index % 5)

    def read(self, index: int, *, color: bool) -> Decoded:
        raise AssertionError("nothing is read here")


PLAN = Plan(Images(), (Transform(3, (3, 4)),), np.arange(10), 4)


def batch(number: int) -> BatchResult:
    seen = [index for index in PLAN.images(number) if index != 7]
    scores = np.random.default_rng(number).random((len(seen), CLASSES), np.float32)
    skipped = ((7, "it is damaged"),) if number == 1 else ()
    return BatchResult(
        number, CLASSES, assess(seen, [PLAN.source.item(i).label for i in seen], scores), skipped, {"CMYK": 1}
    )


def same(one: BatchResult, other: BatchResult) -> bool:
    facts = [(each.batch, each.classes, each.results.tobytes(), each.skipped, each.kinds) for each in (one, other)]
    return facts[0] == facts[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The journal of a whole run."""
    made = tmp_path / "run.journal"
    with Journal(made, RUN, PLAN, resume=False) as journal:
        for number in (2, 0, 1):
            journal.add(batch(number))
    return made


def resumed(path: Path) -> dict[int, BatchResult]:
    with Journal(path, RUN, PLAN, resume=True) as journal:
        return journal.done


def test_what_was_written_is_taken_over(path: Path) -> None:
    done = resumed(path)
    assert sorted(done) == [0, 1, 2]
    assert all(same(done[number], batch(number)) for number in done)


def with_results(entry: dict[str, Any], change: Callable[[np.ndarray], None]) -> dict[str, Any]:
    results = np.frombuffer(base64.b64decode(entry["results"]), RESULT).copy()
    change(results)
    return {**entry, "results": base64.b64encode(results.tobytes()).decode()}


def field(name: str, value: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A change of one field of the batch's first image."""

    def change(results: np.ndarray) -> None:
        results[name][0] = value

    return lambda entry: with_results(entry, change)


def without_last(entry: dict[str, Any]) -> dict[str, Any]:
    results = np.frombuffer(base64.b64decode(entry["results"]), RESULT)
    return {**entry, "results": base64.b64encode(results[:-1].tobytes()).decode()}


def not_finite_nor_infinite(entry: dict[str, Any]) -> dict[str, Any]:
    data = bytearray(base64.b64decode(entry["results"]))
    data[-1] = 2
    return {**entry, "results": base64.b64encode(data).decode()}


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "beyond the plan": (lambda entry: {**entry, "batch": 3}, "3 is no batch"),
    "before the plan": (lambda entry: {**entry, "batch": -1}, "-1 is no batch"),
    "no number": (lambda entry: {**entry, "batch": True}, "True is no batch"),
    "a fraction": (lambda entry: {**entry, "batch": 1.0}, "1.0 is no batch"),
    "twice": (lambda entry: {**entry, "batch": 0} | batch_line(0), "batch 0 is there twice"),
    "another batch's images": (lambda entry: {**entry, **batch_line(0), "batch": 1}, "its images are not those of"),
    "another size": (without_last, "its images are not those of batch 1"),
    "an image of no batch": (field("index", 1 << 40), "its images are not those of batch 1"),
    "an image skipped twice": (lambda entry: {**entry, "skipped": [[7, "a"], [7, "b"]]}, "it skips other images"),
    "another image skipped": (lambda entry: {**entry, "skipped": [[1, "a"]]}, "it skips other images than those of"),
    "an image scored and skipped": (lambda entry: {**entry, "skipped": [[7, "a"], [6, "b"]]}, "its images are not"),
    "skips that are none": (lambda entry: {**entry, "skipped": [[7, 7]]}, "does not say which images were skipped"),
    "other labels": (field("label", 3), "its labels are not those of the images"),
    "classes beyond the net's": (field("best", CLASSES), f"in classes that are not among the {CLASSES}"),
    "ranks beyond the net's": (field("rank", CLASSES + 1), f"ranks that are not among the {CLASSES} classes"),
    "no rank with a label": (field("rank", -1), f"ranks that are not among the {CLASSES} classes"),
    "a truth that is none": (not_finite_nor_infinite, "its results cannot be read"),
    "more classes": (lambda entry: {**entry, "classes": 9}, "its scores are of 9 classes"),
    "no classes": (lambda entry: {**entry, "classes": 0}, "its scores are of 0 classes"),
    "too many classes": (lambda entry: {**entry, "classes": 1 << 60}, f"{1 << 60} is no number of classes"),
    "more special images than images": (lambda entry: {**entry, "kinds": {"CMYK": 4}}, "4 is no number of special"),
    "half a record": (lambda entry: {**entry, "results": "AAAA"}, "its results cannot be read"),
    "no base64": (lambda entry: {**entry, "results": "?"}, "its results cannot be read"),
    "a list": (lambda entry: [entry], "no line of a journal"),
}


def batch_line(number: int) -> dict[str, Any]:
    """The fields in which one batch's line differs from another's."""
    made = batch(number)
    return {"results": base64.b64encode(made.results.tobytes()).decode(), "skipped": [list(s) for s in made.skipped]}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_line_that_is_no_batch_of_the_plan_is_refused_and_the_file_left_alone(name: str, path: Path) -> None:
    change, message = HOSTILE[name]
    lines = path.read_text().splitlines()
    lines[3] = json.dumps(change(json.loads(lines[3])))
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    with pytest.raises(RequestError) as caught:
        resumed(path)
    assert caught.value.message.startswith("is damaged: ")
    assert message in caught.value.message
    assert caught.value.position == (str(path), 4, 0)
    assert path.read_bytes() == before


RAW = {
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a long number": b'{"batch": ' + b"9" * 100_000 + b"}",
    "a long line": b'{"batch": 1, "why": "' + b"x" * (3 << 20) + b'"}',
    "bytes that are no text": b"\xff\xfe\0",
    "nothing": b"",
}


@pytest.mark.parametrize("name", RAW)
def test_lines_that_are_no_json_of_ours_are_errors_of_ours(name: str, path: Path) -> None:
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], RAW[name], *lines[2:]]) + b"\n")
    with pytest.raises(RequestError, match=r"run\.journal:3: error: is damaged: no line of a journal; begin anew"):
        resumed(path)


def test_a_long_file_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    Journal(path, RUN, PLAN, resume=False).__exit__()
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a sparse terabyte
    with pytest.raises(RequestError, match="no line of a journal"):
        resumed(path)


@pytest.mark.parametrize("cut", [1, 2, 100])
def test_a_journal_cut_short_goes_on(cut: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(path, RUN, PLAN, resume=True) as journal:
        assert sorted(journal.done) == [0, 2]
        journal.add(batch(1))
    assert sorted(resumed(path)) == [0, 1, 2]


def test_a_journal_cut_in_its_first_line_begins_anew(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:35])
    assert resumed(path) == {}
    assert path.read_bytes() == b'{"resnet_convert_journal": 1, "net": "this"}\n'


def test_what_the_file_has_is_not_written_again(path: Path) -> None:
    before = path.read_bytes()
    with Journal(path, RUN, PLAN, resume=True) as journal:
        journal.add(batch(1))
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["name: 'net'\n", "{", "{}\n", ' {"resnet_convert_journal": 1}\n'])
@pytest.mark.parametrize("resume", [True, False])
def test_another_file_is_never_written_over(text: str, resume: bool, tmp_path: Path) -> None:
    path, link = tmp_path / "mine", tmp_path / "link"
    path.write_text(text)
    link.symlink_to(path)
    for place in (path, link, tmp_path):
        with pytest.raises(RequestError, match="is no journal of an evaluation"):
            Journal(place, RUN, PLAN, resume=resume)
    assert path.read_text() == text


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match="is no journal of an evaluation"):
        refuse_other_files(tmp_path / "pipe")


@pytest.mark.parametrize("text", ["", '{"resnet_convert_journal": 0, "of": "an older form"}\nwhatever'])
def test_an_empty_file_or_an_older_journal_is_begun_anew(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    path.write_text(text)
    with Journal(path, RUN, PLAN, resume=False):
        pass
    assert path.read_bytes() == b'{"resnet_convert_journal": 1, "net": "this"}\n'


OTHER = """
import sys, pathlib
sys.path.insert(0, {root!r})
from verify.evaluation.running.journal import _opened
file = _opened(pathlib.Path({path!r}))
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("resume", [True, False])
def test_a_journal_that_another_run_writes_is_left_to_it(resume: bool, path: Path) -> None:
    before = path.read_bytes()
    script = OTHER.format(root=str(DIGITS.parents[1]), path=str(path))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], **pipes) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(RequestError, match="another run writes there now"):
            Journal(path, RUN, PLAN, resume=resume)
        other.communicate()
    assert path.read_bytes() == before
    assert sorted(resumed(path)) == [0, 1, 2]


def test_a_net_named_as_the_journal_is_refused_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = tmp_path / "deploy.prototxt"
    net.write_text("no net at all")
    words = [str(net), "none.caffemodel", "--data", str(tmp_path / "none"), "--journal", str(net)]
    assert main(["evaluate", *words]) == 2
    assert capsys.readouterr().err == f"{net}: error: is a file that is read; name another file to write\n"
    assert net.read_text() == "no net at all"


def test_a_run_that_keeps_all_scores_leaves_a_journal_that_can_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel"), "--json"]
    words += ["--data", str(DIGITS / "val"), "--labels", str(DIGITS / "val.txt"), "--limit", "40"]
    words += ["--mean", str(DIGITS / "mean.binaryproto"), "--journal", str(tmp_path / "run.journal")]
    assert main(words) == 0
    assert main([*words, "--resume", "--scores", str(tmp_path / "scores.npy")]) == 0
    capsys.readouterr()
    assert main([*words, "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["resumed"] == 40
