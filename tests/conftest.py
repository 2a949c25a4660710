"""Where the tests find the reference data that is not part of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `../shared` beside the checkout; the test is skipped where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("../shared/golden (the original Caffe's answers) is not here")
    return SHARED
