"""A plan on this machine: threads that each read, decode, preprocess and score whole batches.

While one thread decodes, another scores; a scorer says how many may score at once. OpenCV and the runtimes work without
Python's lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import BoundedSemaphore

from verify.evaluation.running.plan import Plan, score
from verify.evaluation.running.results import BatchResult
from verify.evaluation.running.scorers import Scorer
from verify.machine import processors


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
    gate = BoundedSemaphore(scorer.at_once)

    def work(batch: int) -> BatchResult:
        loaded = plan.read(batch)
        with gate:
            return score(loaded, scorer, keep_scores=plan.keep_scores)

    waiting = iter(batch for batch in range(len(plan)) if batch not in done)
    running: set[Future[BatchResult]] = set()
    with ThreadPoolExecutor(count, "evaluate") as pool:
        for batch in islice(waiting, count + 1):
            running.add(pool.submit(work, batch))
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                following = next(waiting, None)
                if following is not None and future.exception() is None:
                    running.add(pool.submit(work, following))
                yield future.result()
