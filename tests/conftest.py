"""What all tests share: the reference data that is not part of the project, seeds, and signals."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from sortedcontainers import SortedSet

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_configure(config: pytest.Config) -> None:
    """Drawn tests draw the same every time, unless `--hypothesis-seed=N` asks for other draws.

    Neither a deadline nor a file of earlier finds, nor the numbers and words that stand in the modules which happen to
    be loaded: what a test draws hangs neither on the machine's load nor on what ran before or runs beside it.
    """
    # Hypothesis has no setting for the last: its way to the modules' constants is replaced by one that finds none.
    none = providers.Constants(**{kind: SortedSet() for kind in ("integers", "floats", "bytes", "strings")})
    providers._get_local_constants = lambda: none
    settings.register_profile(
        "repeatable",
        derandomize=_fresh_seed(config) is None,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("repeatable")


def pytest_report_header(config: pytest.Config) -> str | None:
    return None if _fresh_seed(config) is None else f"drawn by --hypothesis-seed={_fresh_seed(config)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    seed = _fresh_seed(item.config)
    if report.failed and seed is not None and item.get_closest_marker("hypothesis"):
        report.sections.append(("Seed", f"drawn again by --hypothesis-seed={seed}"))
    return report


def _fresh_seed(config: pytest.Config) -> str | None:
    seed: str | None = config.getoption("--hypothesis-seed")
    return seed


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `../shared` beside the checkout; the test is skipped where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("../shared/golden (the original Caffe's answers) is not here")
    return SHARED


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as at a terminal, here and in the processes that are started: who runs the tests may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
