"""Beside DeePMD-kit itself: frames whose neighbour lists are out of the ordinary (cases.py).

Three two-stage runs there: molecules with bonds of 1 Å at 128 neighbours, an alloy at 256, and,
where its data are present, water. About a minute and a half of one core each.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from case_data import load_cases
from support.golden_checks import (
    assert_same_bits,
    check_continuous,
    check_neighbours,
    check_quantized,
    check_tables,
    neighbours,
    neighbours_of,
)

import nvnmd
from nvnmd.quantize.reference import evaluate_atoms

LEAST_FORCE = 1e-3
"""Forces of a frame may cancel by symmetry; their bound then is that of forces of 1e-3 eV/Å."""

pytestmark = pytest.mark.peer


@pytest.fixture
def folders(made_by):
    """Folder of a run by name."""
    return lambda name, *after: made_by("case_run.py", name, after=after)


@pytest.fixture(params=["molecules", "metals", "water"])
def folder(request, folders):
    """A run's folder."""
    if request.param != "water":
        return folders(request.param)
    return folders("water", str(request.getfixturevalue("shared") / "data" / "water"))


@pytest.fixture
def run(folder):
    """The run and its frames."""
    return load_cases(folder)


def test_tables(run):
    check_tables(run)


def test_every_bit(run):
    """Neighbours, every slot of the quantized net, atomic energies, forces and virials."""
    for frame in run.frames:
        near = neighbours(run, frame, "truncate")
        try:
            check_neighbours(near, frame)
            check_quantized(run.model, frame, near)
            check_continuous(run, frame, "truncate", LEAST_FORCE)
        except AssertionError as error:
            raise AssertionError(f"frame {frame.name!r}: {error}") from error


def test_python_interface(run, folder):
    """Folders loaded and evaluated as users do: `fixed` bit by bit, the CNN to 1e-10."""
    potential, float_potential = nvnmd.load_model(folder), nvnmd.load_model(folder / "nvnmd_cnn")
    for frame in run.frames:
        coord, box = frame.coord[None], None if frame.box is None else frame.box[None]
        found = potential.evaluate(coord, box, frame.types, overflow="truncate")
        for what in ("atom_energy", "force", "virial"):
            assert_same_bits(getattr(found, what)[0], frame.qnn[what], f"{frame.name}: {what}")
        assert_same_bits(found.atom_virial[0], frame.qnn_atom_virial, f"{frame.name}: atom_virial")
        sum_of_parts = found.atom_virial[0].sum(axis=0)
        scale = np.abs(frame.qnn["virial"]).max()
        assert np.abs(sum_of_parts - frame.qnn["virial"]).max() <= 1e-9 * scale
        found = float_potential.evaluate(coord, box, frame.types, "float", overflow="truncate")
        expected = frame.cnn | {"atom_virial": frame.cnn_atom_virial}
        for what, value in expected.items():
            error = np.abs(getattr(found, what)[0] - value).max()
            assert error <= 1e-10 * max(np.abs(value).max(), LEAST_FORCE), (frame.name, what)


def check_tie(model, frame, near):
    """The farthest neighbour kept and the nearest left out are equally far, for atom 0 and type 0.

    Which of them stays is then a matter of DeePMD-kit's order.
    """
    wide = neighbours_of(replace(model, sel=(600, 600)), frame)
    kept = np.linalg.norm(near.rij[0, : model.sel[0]], axis=1)
    everything = np.linalg.norm(wide.rij[0, : wide.counts[0, 0]], axis=1)
    assert len(everything) > model.sel[0]
    assert abs(everything[model.sel[0]] - kept[-1]) < 1e-5


def test_frames_are_what_their_names_say(folders):
    """Each case occurs: short bonds, no neighbours, too many, nearly all, beyond the table."""
    for name, slots in (("molecules", 128), ("metals", 256)):
        run = load_cases(folders(name))
        model = run.model
        frames = {frame.name: frame for frame in run.frames}
        near = {k: neighbours(run, f, "truncate") for k, f in frames.items()}
        counts = {k: n.counts.sum(axis=1) for k, n in near.items()}
        assert sum(model.sel) == model.max_nnei == slots
        assert counts["alone"].min() == 0 and counts["alone"].max() == 1
        for case in ("overflow", "overflow lattice"):
            assert near[case].dropped > 0 and counts[case].max() == slots
        assert near["crowded"].dropped == 0
        assert counts["crowded"].max() > (120 if slots == 128 else 240)
        check_tie(model, frames["overflow lattice"], near["overflow lattice"])
        top = model.s_layout.x0 + sum(part.step * part.rows for part in model.s_layout.segments[1:])
        close = near["close"]
        trace = evaluate_atoms(model, close.center_types, close.rij, close.mask)
        assert trace.s[close.mask].max() > top
        for case in ("one atom", "slanted", "needle"):
            edges = np.linalg.norm(frames[case].box, axis=1)
            assert edges.min() < 0.7 * model.rcut
            own = near[case].index == np.arange(len(frames[case].types))[:, None]
            assert own.sum(axis=1).min() > 2
        assert frames["open"].box is None
    bonds = load_cases(folders("molecules")).frames[0]
    distance = np.linalg.norm(neighbours(run, bonds, "truncate").rij, axis=2)
    assert 0.8 < distance[distance > 0].min() < 1.1
