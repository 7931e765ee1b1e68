"""Fixtures that several parts share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_captures() -> Path:
    """The folder of real captures beside the checkout; tests that need it are skipped where it is missing."""
    folder = Path(__file__).resolve().parent.parent.parent / "shared" / "captures"
    if not (folder / "INDEX.tsv").is_file():
        pytest.skip(f"no captures in {folder}")
    return folder
