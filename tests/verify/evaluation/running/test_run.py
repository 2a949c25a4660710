"""Runs: interrupted and resumed, in threads, with images that cannot be read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prototxt.errors import RequestError
from verify.evaluation.datasets.synsets import ilsvrc_to_caffe
from verify.evaluation.evaluate import Progress, Setting, evaluate
from verify.evaluation.orders import suspect_order
from verify.evaluation.records import Decoded, Evaluation, ImageFault, Item
from verify.evaluation.running.local import run_local
from verify.evaluation.running.plan import Plan, choose
from verify.evaluation.running.results import assess, merge
from verify.evaluation.running.scorers import ScorerSpec
from verify.evaluation.running.transform import Transform

ROOT = Path(__file__).resolve().parents[4]
CLASSES = 7


class Images:
    """Images made of their own numbers; each seventh cannot be read, each fifth is special."""

    where = "made up"
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return 60

    def item(self, index: int) -> Item:
        return Item(f"{index}.png", index % CLASSES)

    def read(self, index: int, *, color: bool) -> Decoded:
        if index % 7 == 3:
            raise ImageFault("it is damaged")
        assert color
        return Decoded(np.full((3, 4, 3), index, np.uint8), ("CMYK",) if index % 5 == 0 else ())


class Remainders:
    """A model that is right but for each ninth image."""

    name = "remainders"
    at_once = 2

    def __init__(self, stop: int | None = None) -> None:
        self.batches, self._stop = 0, stop

    def scores(self, images: np.ndarray) -> np.ndarray:
        self.batches += 1
        if self.batches == self._stop:
            raise RequestError("out of order")
        numbers = images[:, 0, 0, 0].astype(int)
        scores = np.full((len(images), CLASSES), 0.1, np.float32)
        scores[np.arange(len(images)), (numbers + (numbers % 9 == 0)) % CLASSES] = 0.9
        return scores


class Spec(ScorerSpec):
    """Opens a scorer that is there already."""

    def __new__(cls, scorer: Remainders) -> Spec:
        return object.__new__(cls)

    def __init__(self, scorer: Remainders) -> None:
        object.__setattr__(self, "scorer", scorer)

    def open(self) -> Remainders:  # type: ignore[override]
        return self.scorer  # type: ignore[attr-defined,no-any-return]


def plan(batch: int = 8, limit: int | None = None) -> Plan:
    return Plan(Images(), (Transform(3, (3, 4)),), choose(60, limit, 0), batch)


def setting(tmp_path: Path, **more: object) -> Setting:
    made = Setting("net", "weights", "made up", {"run": "this"}, journal=tmp_path / "run.journal")
    return replace(made, **more)  # type: ignore[arg-type]


def numbers(found: Evaluation) -> dict[str, object]:
    """An evaluation without what a clock gives."""
    made = dict(found.to_json())
    for name in ("seconds", "rate", "resumed", "notes"):
        made.pop(name)
    return made


def test_every_image_is_scored_or_named_as_skipped(tmp_path: Path) -> None:
    found = evaluate(plan(), Spec(Remainders()), setting(tmp_path))
    assert found.images == 60 - 9
    assert [name for name, _ in found.skipped] == [f"{n}.png" for n in range(3, 60, 7)]
    assert found.top1 is not None
    assert found.top1.wrong == sum(n % 9 == 0 and n % 7 != 3 for n in range(60))
    assert found.kinds == {"CMYK": sum(n % 5 == 0 and n % 7 != 3 for n in range(60))}
    assert [result.label for result in found.by_class] == [0, 1, 2, 4, 5, 6]  # 3 cannot be read
    assert sum(result.images for result in found.by_class) == found.images


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 8, 60, 100])
def test_threads_and_batches_change_nothing(threads: int, batch: int) -> None:
    one = merge(run_local(plan(), Remainders()))
    other = merge(run_local(plan(batch), Remainders(), threads=threads))
    assert one[0].tobytes() == other[0].tobytes()
    assert one[1:] == other[1:]


@pytest.mark.parametrize("limit", [None, 1, 5])
@pytest.mark.parametrize("done", [(), (0, 2, 3), range(59), range(60)], ids=str)
def test_each_batch_is_scored_once_however_many_are_read_together(done: Collection[int], limit: int | None) -> None:
    left = [result.batch for result in run_local(plan(1, limit), Remainders(), done=done)]
    assert sorted(left) == [batch for batch in range(limit or 60) if batch not in done]


def test_kept_scores_stay_when_the_model_gives_its_input_again() -> None:
    class Same(Remainders):
        def scores(self, images: np.ndarray) -> np.ndarray:
            return images[:, 0, 0, :]

    kept = {each.batch: each.scores for each in run_local(replace(plan(1), keep_scores=True), Same(), threads=1)}
    assert all(scores is None or (scores == batch).all() for batch, scores in kept.items())
    assert sum(scores is not None for scores in kept.values()) == 60 - 9


@pytest.mark.parametrize("stop", [1, 2, 5, 8])
def test_a_run_that_failed_goes_on_where_it_was(stop: int, tmp_path: Path) -> None:
    whole = evaluate(plan(), Spec(Remainders()), setting(tmp_path, journal=tmp_path / "other.journal"))
    with pytest.raises(RequestError, match="out of order"):
        evaluate(plan(), Spec(Remainders(stop)), setting(tmp_path))
    again = Remainders()
    found = evaluate(plan(), Spec(again), setting(tmp_path, resume=True))
    assert numbers(found) == numbers(whole)
    assert again.batches < 8 or stop <= 2  # two batches are under way at once


def test_a_journal_cut_short_loses_only_its_last_batch(tmp_path: Path) -> None:
    whole = evaluate(plan(), Spec(Remainders()), setting(tmp_path))
    journal = tmp_path / "run.journal"
    for cut in (1, 40, 500):
        data = journal.read_bytes()
        journal.write_bytes(data[:-cut])
        again = Remainders()
        found = evaluate(plan(), Spec(again), setting(tmp_path, resume=True))
        assert numbers(found) == numbers(whole)
        assert 0 < again.batches < 4
        assert len(journal.read_bytes()) == len(data)


def test_a_journal_of_another_run_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    evaluate(plan(), Spec(Remainders()), setting(tmp_path))
    with pytest.raises(RequestError, match="belongs to another run: its run was this, not that"):
        evaluate(plan(), Spec(Remainders()), setting(tmp_path, resume=True, run={"run": "that"}))


@pytest.mark.parametrize("text", ["hello\n", "{}\n", '{"resnet_convert_journal": 2}\n'])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.journal").write_text(text)
    with pytest.raises(RequestError, match="is no journal of an evaluation"):
        evaluate(plan(), Spec(Remainders()), setting(tmp_path, resume=True))
    assert (tmp_path / "run.journal").read_text() == text


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    evaluate(plan(), Spec(Remainders()), setting(tmp_path))
    journal = tmp_path / "run.journal"
    lines = journal.read_text().splitlines()
    lines[3] = json.dumps({"batch": 2, "results": "?"})
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(RequestError, match=r"run\.journal:4: error: is damaged"):
        evaluate(plan(), Spec(Remainders()), setting(tmp_path, resume=True))


def test_the_default_journal_is_gone_when_the_run_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(RequestError, match="out of order"):
        evaluate(plan(), Spec(Remainders(4)), setting(tmp_path, journal=None))
    assert len(list((tmp_path / "state" / "resnet-convert").iterdir())) == 1
    found = evaluate(plan(), Spec(Remainders()), setting(tmp_path, journal=None, resume=True))
    assert found.resumed > 0
    assert list((tmp_path / "state" / "resnet-convert").iterdir()) == []


def test_progress_counts_every_image_and_knows_the_error(tmp_path: Path) -> None:
    seen: list[Progress] = []
    found = evaluate(plan(), Spec(Remainders()), setting(tmp_path, progress=seen.append))
    assert [progress.images for progress in seen] == sorted(progress.images for progress in seen)
    assert (seen[-1].images, seen[-1].total) == (60, 60)
    assert seen[-1].top1 == found.top1


def test_a_data_set_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    one = replace(plan(), indices=np.array([3, 10]))
    with pytest.raises(RequestError, match=r"not one of 2 images could be read; 3\.png: it is damaged"):
        evaluate(one, Spec(Remainders()), setting(tmp_path))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.verify.evaluation.running.test_run import Images, Remainders, Spec, plan, setting
from verify.evaluation.evaluate import evaluate
def tell(progress):
    if progress.images >= {at}:
        os.kill(os.getpid(), signal.SIGKILL)
evaluate(plan(2), Spec(Remainders()), setting(Path({folder!r}), progress=tell))
"""


@pytest.mark.parametrize("at", np.random.default_rng(7).choice(np.arange(1, 60), 5, replace=False).tolist())
def test_a_run_that_was_killed_gives_the_same_numbers_in_the_end(at: int, tmp_path: Path) -> None:
    whole = evaluate(plan(2), Spec(Remainders()), setting(tmp_path, journal=tmp_path / "whole.journal"))
    script = KILLED.format(root=str(ROOT), at=at, folder=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    found = evaluate(plan(2), Spec(Remainders()), setting(tmp_path, resume=True))
    assert numbers(found) == numbers(whole)
    assert 0 < found.resumed <= found.images


def results(labels: np.ndarray, seen: np.ndarray, classes: int) -> np.ndarray:
    scores = np.eye(classes, dtype=np.float32)[seen]
    return assess(range(len(labels)), labels.tolist(), scores)


def test_ilsvrcs_own_order_is_recognised() -> None:
    rng = np.random.default_rng(1)
    ids = rng.integers(1, 1001, 300)
    seen = ilsvrc_to_caffe()[ids - 1].astype(int)
    seen[:60] = rng.integers(0, 1000, 60)  # a model with 20 % of errors
    text = suspect_order(results(ids, seen, 1000), 1000)
    assert text is not None
    assert "taken as ILSVRC's IDs, whose order is not Caffe's, the top-1 error would be" in str(text)


def test_folders_sorted_as_text_are_recognised() -> None:
    labels = np.random.default_rng(2).integers(0, 40, 200)
    seen = np.array(sorted(range(40), key=str))[labels]
    text = suspect_order(results(labels, seen, 40), 40)
    assert text is not None
    assert "sorted as text" in str(text)


def test_any_other_order_is_recognised_when_there_are_enough_images() -> None:
    rng = np.random.default_rng(3)
    order = rng.permutation(9)
    labels = rng.integers(0, 9, 400)
    text = suspect_order(results(labels, order[labels], 9), 9)
    assert text is not None
    assert "each class named as what it is most often taken for" in str(text)


def test_a_net_that_is_merely_bad_is_not_suspected() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 10, 1000)
    assert suspect_order(results(labels, rng.integers(0, 10, 1000), 10), 10) is None
    assert suspect_order(results(labels, np.zeros(1000, int), 10), 10) is None
    assert suspect_order(results(labels, labels, 10), 10) is None


def test_a_sample_has_no_image_twice_and_keeps_the_order() -> None:
    chosen = choose(1000, 300, 5)
    assert len(set(chosen.tolist())) == 300
    assert chosen.tolist() == sorted(chosen.tolist())
    assert chosen[:5].tolist() != [0, 1, 2, 3, 4]
    assert choose(7, 10, 0).tolist() == list(range(7))
