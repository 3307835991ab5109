"""DeePMD-kit's own runs, reproduced: committed fixtures always, reference folders where they are.

Nothing quantized is compared with a tolerance: words and bits must be equal. The fixtures hold the
cases that decide bits (tests/peer/make_fixture.py): exactly full lists with positions whole cells
away, a perfect crystal's equal distances, an atom without neighbours, pairs just inside and outside
of the cutoff, an open boundary, too many neighbours, and 253 to 256 neighbours of one atom.
"""

from __future__ import annotations

import numpy as np
import pytest
from golden_data import COMMITTED, FIXTURES, Frame, GoldenRun, load_fixture, load_folder
from nvnmd.mapping.build import build_tables, effective_distance
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.reference import evaluate_atoms

from nvnmd.errors import NeighborOverflowError
from nvnmd.float_model import predict_float
from nvnmd.neighbors import Neighborhood, Overflow, build_neighborhood

EPS = np.finfo(np.float64).eps


def cases() -> list:
    """Every frame of every run, as parameters that load lazily."""
    names = {128: ("full", "crystal", "cluster", "droplet", "crushed"), 256: ("full", "crystal")}
    out = [
        pytest.param(capacity, f, id=f"ni{capacity}-{name}")
        for capacity in COMMITTED
        for f, name in enumerate(names[capacity])
    ]
    return out + [
        pytest.param("v0_ni128_gete", f, id=f"gete-{f}", marks=pytest.mark.shared) for f in (0, 1)
    ]


@pytest.fixture
def run(request: pytest.FixtureRequest) -> GoldenRun:
    """The run that the test's parameter names."""
    source = request.param
    if isinstance(source, int):
        return load_fixture(source)
    return load_folder(request.getfixturevalue("shared") / "golden" / source)


def neighbours(run: GoldenRun, frame: Frame) -> Neighborhood:
    """The project's own list; only the crushed frame has more neighbours than slots."""
    overflow: Overflow = "truncate" if frame.name == "crushed" else "error"
    model = run.model
    return build_neighborhood(
        frame.coord, frame.box, frame.types, model.sel, model.rcut, overflow=overflow
    )


def assert_same_bits(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    """No bit differs; -0 counts as +0."""
    found = np.asarray(found, dtype=np.float64) + 0.0
    expected = np.asarray(expected, dtype=np.float64) + 0.0
    assert found.shape == expected.shape, what
    differ = np.argwhere(found.view(np.int64) != expected.view(np.int64))
    if len(differ):
        first = tuple(int(i) for i in differ[0])
        raise AssertionError(
            f"{what}: {len(differ)} of {found.size} differ, first at {first}: "
            f"{found[first]!r}, expected {expected[first]!r}"
        )


def test_fixtures_are_small_and_cover_the_corners():
    assert sum(f.stat().st_size for f in FIXTURES.glob("*.npz")) < 2_000_000
    small, large = load_fixture(128), load_fixture(256)
    counts = {frame.name: neighbours(small, frame).counts for frame in small.frames}
    assert counts["full"].max(axis=0).tolist() == list(small.model.sel)
    assert (counts["cluster"].sum(axis=1) == 0).any()
    assert neighbours(small, small.frames[-1]).dropped > 0
    assert small.frames[3].box is None
    assert neighbours(large, large.frames[0]).counts.max() == 256 == large.model.max_nnei
    # The two stages differ in their fitting weights, and the second's need rounding at 23 bits.
    for run in (small, large):
        stage1, stage2 = run.cnn.fit_weights[1], run.model.fit_weights[1]
        assert (stage1 != stage2).mean() > 0.5
        assert (stage2 * 2.0**23 != np.rint(stage2 * 2.0**23)).mean() > 0.5


@pytest.mark.parametrize(("run", "f"), cases()[:-1], indirect=["run"])
def test_neighbour_list(run, f):
    """All frames but GeTe's second, whose slots the reference folder does not hold."""
    frame = run.frames[f]
    near = neighbours(run, frame)
    np.testing.assert_array_equal(near.index, frame.slots["nlist"])
    assert_same_bits(near.rij, frame.slots["rij"], "displacements")


@pytest.mark.parametrize(("run", "f"), cases(), indirect=["run"])
def test_quantized_network(run, f):
    frame = run.frames[f]
    near = neighbours(run, frame)
    trace = evaluate_atoms(run.model, near.center_types, near.rij, near.mask)
    if frame.slots:
        assert_same_bits(trace.u, frame.slots["env"][..., 0], "u")
        assert_same_bits(trace.r, frame.slots["env"][..., 1:], "truncated displacements")
        if "descriptor" in frame.slots:
            assert_same_bits(trace.d, frame.slots["descriptor"], "descriptor")
        assert_same_bits(trace.deriv, frame.slots["net_deriv"], "dE/d[u,x,y,z]")
    assert_same_bits(trace.atom_energy, frame.qnn["atom_energy"][near.order], "atomic energies")
    forces = assemble_forces(trace.deriv, near.rij, near.index)
    assert_same_bits(forces.force, frame.qnn["force"][near.order], "forces")
    assert_same_bits(forces.virial, frame.qnn["virial"], "virial")
    # The frame's energy is a sum whose order is the platform's.
    total = frame.qnn["energy"]
    assert abs(trace.atom_energy.sum() - total) <= 4 * EPS * np.abs(trace.atom_energy).sum()


@pytest.mark.parametrize(("run", "f"), cases(), indirect=["run"])
def test_continuous_network(run, f):
    """1e-10 of the largest value, of the frame for energies and forces."""
    frame, model = run.frames[f], run.model
    found = predict_float(
        run.cnn,
        frame.coord,
        frame.box,
        frame.types,
        sel=model.sel,
        rcut=model.rcut,
        rcut_smth=model.rcut_smth,
        overflow="truncate" if frame.name == "crushed" else "error",
    )
    for what in ("energy", "atom_energy", "force", "virial"):
        expected = frame.cnn[what]
        error = np.abs(getattr(found, what) - expected).max()
        scale = np.abs(expected).max()
        if frame.name == "crystal" and what == "force":
            scale = max(scale, 1.0)  # eV/Å, because symmetry lets the pair forces cancel
        assert error <= 1e-10 * scale, what


@pytest.mark.parametrize(
    "run",
    [*COMMITTED, pytest.param("v0_ni128_gete", marks=pytest.mark.shared)],
    indirect=True,
)
def test_tables_from_weights(run):
    """Tables built from the stored embedding nets against the tables that DeePMD-kit used.

    Nodes and slopes agree to 1e-12 of the table's largest; a and b to what four terms with one
    rounding each (16 eps in all) leave after the division by dx^3 and dx^2. A fixture holds flt
    words, so a coefficient may also be up to one part in 2^20 larger than its word.
    """
    model, cnn = run.model, run.cnn
    dmin = effective_distance(0.0, cnn.min_nbor_dist, model.rcut_smth)
    built = build_tables(cnn.embedding, cnn.davg, cnn.dstd, model.rcut, model.rcut_smth, dmin)
    assert built.u_layout == model.u_layout
    assert built.s_layout == model.s_layout
    for name, mine in (
        ("table_u", built.u),
        ("table_u_grad", built.u_grad),
        ("table_g", built.g),
        ("table_g_grad", built.g_grad),
    ):
        layout = built.s_layout if "_g" in name.removesuffix("_grad") else built.u_layout
        expected = getattr(model, name) if run.raw_tables is None else run.raw_tables[name]
        word = 0.0 if run.raw_tables else 2.0**-20
        c, d = np.abs(mine[..., 2]).max(), np.abs(mine[..., 3]).max()
        for t in range(model.ntypes):
            rows = np.arange(layout.rows)
            if run.g_rows is not None and name.startswith("table_g"):
                rows = run.g_rows[t]
                assert len(rows) > 20
            for out in range(mine.shape[2]):
                found, want = mine[t, rows, out], expected[t, rows, out]
                dx = layout.row_steps()[rows]
                noise = 16 * EPS * (d + dx * c)
                bound = np.stack(
                    [
                        noise / dx**3,
                        noise / dx**2,
                        np.full_like(dx, 1e-12 * c),
                        np.full_like(dx, 1e-12 * d),
                    ],
                    axis=1,
                ) + word * np.abs(want)
                assert (np.abs(found - want) <= bound).all(), (name, t, out)


def test_more_neighbours_than_slots_is_an_error():
    run = load_fixture(128)
    crushed = run.frames[-1]
    with pytest.raises(NeighborOverflowError, match=r"atom \d+ has \d+ neighbours"):
        build_neighborhood(crushed.coord, crushed.box, crushed.types, run.model.sel, run.model.rcut)
