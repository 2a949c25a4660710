"""A plan on this machine: threads that each read, decode, preprocess and score whole batches.

While one thread decodes, another scores; a scorer says how many may score at once. OpenCV and the runtimes work without
Python's lock. Where images are small a thread reads several batches, then scores them, then judges the scores: what
Python does between two runs of a net is several times as slow as when it follows its like.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import BoundedSemaphore, Lock, local
from typing import Final

from verify.evaluation.running.plan import Loaded, Plan, result, scores_of
from verify.evaluation.running.results import BatchResult
from verify.evaluation.running.scorers import Scorer
from verify.evaluation.running.transform import Room
from verify.machine import processors

TOGETHER: Final = 2 << 20
"""Bytes of inputs of the batches that a thread reads one after the other; of one batch they may be more."""

MOST_TOGETHER: Final = 8
"""Batches that progress may lag behind by, and that an interruption costs; more of them are no faster."""

PATIENCE: Final = 0.002
"""Seconds that a thread waits for another one to have read its batch.

Two that read small images hand Python's lock to and fro at each of them; large ones take longer than this, and are
decoded side by side.
"""


def run_local(plan: Plan, scorer: Scorer, *, done: Collection[int] = (), threads: int = 0) -> Iterator[BatchResult]:
    """The results of every batch that is not done, as they come.

    Args:
        plan: what to score.
        scorer: what scores it.
        done: numbers of batches to leave out.
        threads: that read and decode; by default as many as there are processors, one more where the scorer lets only
            one in at a time.

    Raises:
        RequestError: what the plan or the scorer raises; batches under way are finished first.
    """
    count = threads or processors() + (scorer.at_once == 1)
    most = min(MOST_TOGETHER, max(1, TOGETHER // max(1, plan.batch * plan.image_bytes)))
    gate, reading = BoundedSemaphore(scorer.at_once), Lock()
    own = local()

    def begin() -> None:
        own.rooms = [[Room() for _ in plan.transforms] for _ in range(most)]

    def read_one(batch: int, rooms: Sequence[Room]) -> Loaded:
        alone = reading.acquire(timeout=PATIENCE)
        try:
            return plan.read(batch, rooms)
        finally:
            if alone:
                reading.release()

    def work(batches: Sequence[int]) -> list[BatchResult]:
        read = [read_one(batch, rooms) for batch, rooms in zip(batches, own.rooms, strict=False)]
        with gate:
            scores = [scores_of(loaded, scorer) for loaded in read]
        return [result(*each, keep_scores=plan.keep_scores) for each in zip(read, scores, strict=True)]

    waiting = deque(batch for batch in range(len(plan)) if batch not in done)

    def following() -> list[int]:
        """Fewer towards the end, so that all threads end together."""
        size = min(most, max(1, len(waiting) // (4 * count)))
        return [waiting.popleft() for _ in range(min(size, len(waiting)))]

    running: set[Future[list[BatchResult]]] = set()
    with ThreadPoolExecutor(count, "evaluate", begin) as pool:
        for _ in range(min(count + 1, len(waiting))):
            running.add(pool.submit(work, following()))
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                if waiting and future.exception() is None:
                    running.add(pool.submit(work, following()))
                yield from future.result()
