"""What must hold of the project's numbers beside those of a DeePMD-kit run (golden_data.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.golden_data import Frame, GoldenRun

from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.tables import map_folder, tables_from_map
from nvnmd.mapping.build import build_tables, effective_distance
from nvnmd.neighbors.slots import Neighborhood, Overflow, build_neighborhood
from nvnmd.network.model import predict_float
from nvnmd.network.weights import FloatWeights
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms

EPS = np.finfo(np.float64).eps


def neighbours_of(model: Model, frame: Frame, overflow: Overflow = "error") -> Neighborhood:
    """The project's own neighbour list of a frame."""
    return build_neighborhood(
        frame.coord, frame.box, frame.types, model.sel, model.rcut, overflow=overflow,
        ntypes=model.shared_types,
    )


def neighbours(run: GoldenRun, frame: Frame, overflow: Overflow = "error") -> Neighborhood:
    """`neighbours_of` the run's model."""
    return neighbours_of(run.model, frame, overflow)


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


def check_neighbours(near: Neighborhood, frame: Frame) -> None:
    """The same neighbours in the same slots, displacements with no differing bit."""
    np.testing.assert_array_equal(near.index, frame.slots["nlist"])
    assert_same_bits(near.rij, frame.slots["rij"], "displacements")


def check_quantized(model: Model, frame: Frame, near: Neighborhood) -> None:
    """Slots (where known), atomic energies, forces and virial with no differing bit."""
    trace = evaluate_atoms(model, near.center_types, near.rij, near.mask, near.neighbor_types)
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
    error = abs(trace.atom_energy.sum() - frame.qnn["energy"])
    assert error <= 4 * EPS * np.abs(trace.atom_energy).sum()


def check_continuous(
    run: GoldenRun, frame: Frame, overflow: Overflow = "error", least_force: float = 0.0
) -> None:
    """1e-10 of the frame's largest value; forces of at least `least_force` (eV/Å)."""
    check_float(run.cnn, run.model, frame, overflow, least_force)


def check_float(
    weights: FloatWeights, model: Model, frame: Frame, overflow: Overflow = "error",
    least_force: float = 0.0,
) -> None:
    """The float model of `weights` with the settings of `model`, see `check_continuous`."""
    found = predict_float(
        weights,
        frame.coord,
        frame.box,
        frame.types,
        sel=model.sel,
        rcut=model.rcut,
        rcut_smth=model.rcut_smth,
        overflow=overflow,
    )
    for what in ("energy", "atom_energy", "force", "virial"):
        expected = frame.cnn[what]
        scale = np.abs(expected).max()
        if what == "force":
            scale = max(scale, least_force)
        assert np.abs(getattr(found, what) - expected).max() <= 1e-10 * scale, what


def check_tables(run: GoldenRun) -> None:
    """Tables built from the run's embedding nets against the tables that DeePMD-kit used.

    Nodes and slopes agree to 1e-12 of the table's largest. a and b are differences of nearly equal
    terms: where node values of up to 6 eps difference enter with weights of up to 6 in all, and
    four roundings of terms up to 3 max|y| add 12 eps, 48 eps (max|y| + dx max|y'|) remain, divided
    by dx^3 and dx^2 (seen: up to 21). A fixture holds flt words, so a coefficient may also be up to
    one part in 2^20 larger than its word.
    """
    model, cnn = run.model, run.cnn
    dmin = effective_distance(0.0, cnn.min_nbor_dist, model.rcut_smth)
    built = build_tables(cnn.embedding, cnn.davg, cnn.dstd, model.rcut, model.rcut_smth, dmin)
    assert built.u_layout == model.u_layout
    assert built.s_layout == model.s_layout
    tables = {
        "table_u": built.u,
        "table_u_grad": built.u_grad,
        "table_g": built.g,
        "table_g_grad": built.g_grad,
    }
    for name, mine in tables.items():
        of_g = name.startswith("table_g")
        steps = (built.s_layout if of_g else built.u_layout).row_steps()
        expected = getattr(model, name) if run.raw_tables is None else run.raw_tables[name]
        word = 2.0**-20 if run.raw_tables is None else 0.0
        c, d = np.abs(mine[..., 2]).max(), np.abs(mine[..., 3]).max()
        noise = 48 * EPS * (d + steps * c)
        bound = np.stack(
            [noise / steps**3, noise / steps**2, 1e-12 * c + 0 * steps, 1e-12 * d + 0 * steps],
            axis=1,
        )
        for t in range(model.ntypes):
            rows = run.g_rows[t] if of_g and run.g_rows else np.arange(len(steps))
            assert len(rows) > 20
            want = expected[t, rows]
            error = np.abs(mine[t, rows] - want)
            assert (error <= bound[rows, None] + word * np.abs(want)).all(), (name, t)


def check_shared_map(folder: Path, output: Path) -> None:
    """Version 1: `map.npy` built again from a CNN folder of DeePMD-kit, against the one there.

    Bounds as in `check_tables`; type vectors, gains and deviations agree to 1e-12.
    """
    found = read_dict(map_folder(folder, output))
    wanted = read_dict(folder / "map.npy")
    assert list(found) == list(wanted)
    for key in ("cfg_u2s", "cfg_s2g"):
        assert found[key] == wanted[key]
    for key in ("t_ebd", "gt", "davg_opp", "dstd_inv"):
        largest = max(np.abs(wanted[key]).max(), 1e-300)
        assert found[key].shape == wanted[key].shape
        assert np.abs(found[key] - wanted[key]).max() <= 1e-12 * largest, key
    layouts = tables_from_map(wanted)
    for key in ("s", "s_grad", "h", "h_grad", "g", "g_grad"):
        (mine,), (theirs,) = found[key], wanted[key]
        assert mine.shape == theirs.shape
        steps = (layouts.s_layout if key.startswith("g") else layouts.u_layout).row_steps()[:, None]
        error = np.abs(mine - theirs)
        c, d = np.abs(theirs[:, 2::4]).max(), np.abs(theirs[:, 3::4]).max()
        noise = 48 * EPS * (d + steps * c)
        assert error[:, 2::4].max() <= 1e-12 * c and error[:, 3::4].max() <= 1e-12 * d, key
        assert (error[:, 0::4] <= noise / steps**3).all(), key
        assert (error[:, 1::4] <= noise / steps**2).all(), key
