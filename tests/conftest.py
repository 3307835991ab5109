"""Fixtures that several test files use."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.rtl_cases import Proof


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--quick`: skip what trains or builds gateware."""
    parser.addoption("--quick", action="store_true",
                     help="skip every test that imports TensorFlow or Amaranth")


class SkipHeavy(MetaPathFinder):
    """Skips the test, or the file, that imports what only training and gateware need.

    So no list of tests can be out of date.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Skip, or leave the search to the others."""
        if name in ("tensorflow", "amaranth"):
            pytest.skip(f"quick: needs {name}", allow_module_level=True)


def pytest_configure(config: pytest.Config) -> None:
    """Give a run of the tests a cache of its own, which its worker processes share."""
    # designs are hundreds of thousands of objects, and Python looks through them for cycles after
    # each 700 new ones: a tenth of the time of the tests in Amaranth's simulator
    gc.set_threshold(20_000, 10, 10)
    if config.getoption("quick"):
        sys.meta_path.insert(0, SkipHeavy())
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="nvnmd_tests_")
        config.add_cleanup(folder.cleanup)
        os.environ["NVNMD_CACHE"] = folder.name
        # a thread of OpenBLAS that waits turns round and round: with two workers on two cores it
        # takes the time from the other; the tests' matrices are small
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rooms of gateware first: a few files with long tests, which leave a worker alone at the end.

    Order within a room stays.
    """
    here = Path(__file__).resolve().parent
    first = ("sim", "boards", "hdl")

    def rank(item: pytest.Item) -> int:
        room = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        return first.index(room) if room in first else len(first)

    items.sort(key=rank)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what the simulations of a test file write."""
    return tmp_path_factory.mktemp("work")


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
