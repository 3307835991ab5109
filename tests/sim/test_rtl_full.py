"""The accelerator at full width against DeePMD-kit's own runs, energies and forces, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.golden_data import load_fixture, load_folder
from support.random_type_models import random_type_model
from support.rtl_cases import check_lint, many_type_sizes, small_accelerator

from nvnmd.evaluation.potential import Potential
from nvnmd.evaluation.simulate import choose_atoms
from nvnmd.hdl.export import config_for
from nvnmd.hdl.verify.stimulus import expected_words
from nvnmd.neighbors.slots import build_neighborhood
from nvnmd.quantize.forces import assemble_forces
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.sim import simulators
from nvnmd.sim.accelerator import Atoms, run_accelerator


def hood_of(run, frame):
    return build_neighborhood(frame.coord, frame.box, frame.types, run.model.sel, run.model.rcut,
                              overflow="truncate")


def atoms_of(hood, chosen):
    return Atoms(hood.center_types[chosen], hood.rij[chosen], hood.mask[chosen],
                 hood.neighbor_types[chosen])


def check(run, cfg, atoms, work, engine="cpp"):
    trace = evaluate_atoms(run.model, atoms.center_types, atoms.rij, atoms.mask)
    rtl = run_accelerator(run.model, cfg, atoms, work, trace=trace, engine=engine)
    assert rtl.comparison.first is None, str(rtl.comparison.first)
    assert rtl.comparison.equal
    assert rtl.comparison.compared == expected_words(trace, atoms.mask).words
    assert rtl.status == ()
    return rtl


def check_sim_backend(run, work, monkeypatch):
    """`evaluate(backend="sim")` gives DeePMD-kit's bits; its simulator is built already."""
    monkeypatch.setattr(simulators, "_build", lambda *_: pytest.fail("a simulator is built anew"))
    model = Potential(run.model, work_dir=work)
    # one open frame and one with a cell
    for frame in {f.box is None: f for f in run.frames if f.name != "crushed"}.values():
        box = None if frame.box is None else frame.box[None]
        result = model.evaluate(frame.coord[None], box, frame.types, "sim")
        assert np.array_equal(result.atom_energy[0], frame.qnn["atom_energy"]), frame.name
        assert np.array_equal(result.force[0], frame.qnn["force"]), frame.name
        assert np.array_equal(result.virial[0], frame.qnn["virial"]), frame.name


@pytest.mark.parametrize("capacity, fold, cols, engine", [
    (128, 32, 32, "cpp"), (256, 8, 128, "cocotb")])
def test_fixture(capacity, fold, cols, engine, tmp_path, monkeypatch):
    """Every atom of every frame: words equal the reference, forces DeePMD-kit's, in two folds.

    One with each engine of the simulation. The frames hold atoms without neighbours, exactly full
    lists, pairs at the cut-off, and at 256 more than 200 neighbours.
    """
    if engine == "cocotb":
        pytest.importorskip("cocotb")
    run = load_fixture(capacity)
    cfg = config_for(run.model, fold=fold, fit_cols=cols)
    hoods = [hood_of(run, frame) for frame in run.frames]
    everyone = Atoms(
        *(np.concatenate([getattr(h, name) for h in hoods])
          for name in ("center_types", "rij", "mask", "neighbor_types")),
    )
    rtl = check(run, cfg, everyone, tmp_path, engine)
    assert everyone.mask.sum(axis=1).max() > (200 if capacity == 256 else 40)
    start = 0
    for hood, frame in zip(hoods, run.frames, strict=True):
        part = slice(start, start + len(hood.order))
        start += len(hood.order)
        energy = rtl.energy[part] + run.model.t_bias_atom_e[hood.center_types]
        forces = assemble_forces(rtl.deriv[part], hood.rij, hood.index)
        assert np.array_equal(energy, frame.qnn["atom_energy"][hood.order]), frame.name
        assert np.array_equal(forces.force, frame.qnn["force"][hood.order]), frame.name
    if cfg == config_for(run.model):
        check_sim_backend(run, tmp_path, monkeypatch)
    # neighbours, the fitting net or, for lists this short, the pipelines set the pace
    assert rtl.cycles_per_atom < 2 * max(everyone.mask.sum(axis=1).max() * fold, 98304 // cols)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["v0_ni128_gete"])
def test_gete(name, shared, tmp_path):
    """Atoms of GeTe with DeePMD-kit's weights of that run."""
    run = load_folder(shared / "golden" / name)
    frame = run.frames[0]
    hood = hood_of(run, frame)
    chosen = choose_atoms(len(hood.order), 24)
    rtl = check(run, config_for(run.model), atoms_of(hood, chosen), tmp_path)
    energy = rtl.energy + run.model.t_bias_atom_e[hood.center_types[chosen]]
    assert np.array_equal(energy, frame.qnn["atom_energy"][hood.order[chosen]])
    deriv = np.where(hood.mask[chosen][..., None], frame.slots["net_deriv"][chosen], 0.0)
    assert np.array_equal(rtl.deriv, deriv)


def many_types():
    """The accelerator of 32 types, with taps, that the tests of version 1 build."""
    model = random_type_model(np.random.default_rng(32), 32, nnei=24)
    return replace(small_accelerator(model, **many_type_sizes(1)), trace=True)


# accelerators that other tests build, too, so that their Verilog is written once
@pytest.mark.parametrize("accelerator", [
    lambda: config_for(load_fixture(128).model),
    lambda: config_for(load_fixture(256).model, fold=8, fit_cols=128),
    many_types,
], ids=["changes0", "changes1", "changes2"])
def test_lint(accelerator, tmp_path):
    """The generated Verilog is clean under every lint class but those named in the file."""
    check_lint(accelerator(), tmp_path)
