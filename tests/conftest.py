"""Fixtures that several test files use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rtl_cases import Proof


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the simulators that a test file builds; the same design is built once."""
    return tmp_path_factory.mktemp("builds")


@pytest.fixture(scope="module")
def faulty(proof: Proof) -> dict:
    """A clean evaluation, and one with a fault in each stage, of a test file's own `proof`."""
    return proof.with_faults()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the repository; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no shared reference data at {folder}")
    return folder
