"""DeePMD-kit's own runs, reproduced: committed fixtures always, reference folders where they are.

Nothing quantized is compared with a tolerance: words and bits must be equal. The fixtures hold the
cases that decide bits (tests/peer/make_fixture.py): exactly full lists with positions whole cells
away, a perfect crystal's equal distances, an atom without neighbours, pairs just inside and outside
of the cutoff, an open boundary, too many neighbours, and 253 to 256 neighbours of one atom.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.golden_checks import (
    assert_same_bits,
    check_continuous,
    check_neighbours,
    check_quantized,
    check_tables,
    neighbours,
)
from support.golden_data import COMMITTED, FIXTURES, Frame, GoldenRun, load_fixture, load_folder

from nvnmd.errors import NeighborOverflowError
from nvnmd.neighbors.slots import Overflow

FRAMES = {128: ("full", "crystal", "cluster", "droplet", "crushed"), 256: ("full", "crystal")}
GETE = "v0_ni128_gete"


def cases(gete: tuple[int, ...] = (0, 1)) -> list:
    """Every frame of every run, as parameters that load lazily."""
    out = [
        pytest.param(capacity, f, id=f"ni{capacity}-{name}")
        for capacity, names in FRAMES.items()
        for f, name in enumerate(names)
    ]
    return out + [pytest.param(GETE, f, id=f"gete-{f}", marks=pytest.mark.shared) for f in gete]


@pytest.fixture
def run(request: pytest.FixtureRequest) -> GoldenRun:
    """The run that the test's parameter names."""
    source = request.param
    if isinstance(source, int):
        return load_fixture(source)
    return load_folder(request.getfixturevalue("shared") / "golden" / source)


def overflow_of(frame: Frame) -> Overflow:
    """Only the crushed frame has more neighbours than slots."""
    return "truncate" if frame.name == "crushed" else "error"


def test_fixtures_are_small_and_cover_the_corners():
    assert sum(f.stat().st_size for f in FIXTURES.glob("*.npz")) < 2_000_000
    small, large = load_fixture(128), load_fixture(256)
    for capacity, run in ((128, small), (256, large)):
        assert tuple(f.name for f in run.frames) == FRAMES[capacity]
        assert run.model.max_nnei == capacity
    near = {f.name: neighbours(small, f, overflow_of(f)) for f in small.frames}
    assert near["full"].counts.max(axis=0).tolist() == list(small.model.sel)
    assert (near["cluster"].counts.sum(axis=1) == 0).any()
    assert near["crushed"].dropped > 0
    assert small.frames[3].box is None
    assert neighbours(large, large.frames[0]).counts.max() == 256
    # The stages differ in their fitting weights, and the second's need rounding at 23 bits.
    for run in (small, large):
        stage1, stage2 = run.cnn.fit_weights[1], run.model.fit_weights[1]
        assert (stage1 != stage2).mean() > 0.5
        assert (stage2 * 2.0**23 != np.rint(stage2 * 2.0**23)).mean() > 0.5


# the reference folder holds the slots of GeTe's first frame only
@pytest.mark.parametrize(("run", "f"), cases(gete=(0,)), indirect=["run"])
def test_neighbour_list(run, f):
    frame = run.frames[f]
    check_neighbours(neighbours(run, frame, overflow_of(frame)), frame)


@pytest.mark.parametrize(("run", "f"), cases(), indirect=["run"])
def test_quantized_network(run, f):
    frame = run.frames[f]
    check_quantized(run.model, frame, neighbours(run, frame, overflow_of(frame)))


@pytest.mark.parametrize(("run", "f"), cases(), indirect=["run"])
def test_continuous_network(run, f):
    frame = run.frames[f]
    # by symmetry the forces on a crystal's atoms cancel
    least_force = 1.0 if frame.name == "crystal" else 0.0
    check_continuous(run, frame, overflow_of(frame), least_force)


@pytest.mark.parametrize(
    "run", [*COMMITTED, pytest.param(GETE, marks=pytest.mark.shared)], indirect=True
)
def test_tables_from_weights(run):
    check_tables(run)


def test_more_neighbours_than_slots_is_an_error():
    run = load_fixture(128)
    with pytest.raises(NeighborOverflowError, match=r"atom \d+ has \d+ neighbours"):
        neighbours(run, run.frames[-1])


def test_a_differing_bit_is_found():
    expected = load_fixture(128).frames[0].qnn["force"]
    found = expected.copy()
    found[3, 1] = np.nextafter(found[3, 1], np.inf)
    with pytest.raises(AssertionError, match=r"forces: 1 of 24 differ, first at \(3, 1\)"):
        assert_same_bits(found, expected, "forces")
