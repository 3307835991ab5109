"""The backward units against their `compute`: every aligned column, tap and output word."""

from __future__ import annotations

import gc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import UnusedElaboratable
from amaranth.sim import Simulator
from support.backward_bench import Atom, check, fields, flt_values, make_atom, run_chain, small
from support.golden_checks import neighbours
from support.golden_data import load_fixture

from nvnmd.errors import InputError
from nvnmd.hdl.arith.flt import FltValue
from nvnmd.hdl.atom.gradient import GradDescriptor
from nvnmd.hdl.atom.gradient_sum import GradSum
from nvnmd.hdl.neighbor.backward import FAULTS, NeighborBackward
from nvnmd.hdl.pipeline.pending import Pending
from nvnmd.quantize import ops
from nvnmd.quantize.reference import evaluate_atoms


def mixed_atoms(rng, cfg):
    """Full, single, absent and degenerate neighbour lists."""
    full = cfg.max_nnei
    return [
        make_atom(rng, cfg, 2),
        make_atom(rng, cfg, 0),
        make_atom(rng, cfg, full, tiny=0.3),
        make_atom(rng, cfg, 1, kind="zero"),
        make_atom(rng, cfg, 0),
        make_atom(rng, cfg, 0),
        make_atom(rng, cfg, full, kind="row"),
        make_atom(rng, cfg, 3, kind="extreme"),
        make_atom(rng, cfg, 3, kind="steep"),
        make_atom(rng, cfg, 1, tiny=1.0),
    ]


@pytest.mark.parametrize("fold, version", [(1, 0), (2, 0), (8, 0), (1, 1), (2, 1), (8, 1),
                                           (1, 2), (2, 2), (8, 2)])
def test_chain(fold, version):
    """Version 2 stands for SUB_VERSION 2 of version 1."""
    cfg = small(fold=fold, version=min(version, 1), sub_version=max(version, 1),
                ntypes=4 if version else 1)
    atoms = mixed_atoms(np.random.default_rng(fold), cfg)
    out, taps, state = run_chain(cfg, atoms, seed=fold)
    check(cfg, atoms, out, taps)
    assert state["overflow"] == 0
    # every neighbour's place came back
    assert state["credits"] == cfg.store_neighbors


@pytest.mark.parametrize("idle, stall, gr_atoms", [(0.0, 0.8, 1), (0.8, 0.0, 3)])
def test_stalls(idle, stall, gr_atoms):
    cfg = small(fold=4, trace=False, version=1, ntypes=4)
    atoms = mixed_atoms(np.random.default_rng(7), cfg)
    out, taps, _ = run_chain(cfg, atoms, seed=5, idle=idle, stall=stall, gr_atoms=gr_atoms)
    check(cfg, atoms, out, taps)


def golden_atoms(cfg):
    """Atoms of a DeePMD-kit run, all their neighbours, with the reference's trace of them."""
    run = load_fixture(128)
    near = neighbours(run, run.frames[0])
    trace = evaluate_atoms(run.model, near.center_types, near.rij, near.mask)
    atoms = []
    for n in range(0, len(near.mask), 7):
        used = near.mask[n]
        atoms.append(
            Atom(
                np.round(trace.dd[n] * 2.0**cfg.fix_frac).astype(int), trace.gr[n], False,
                g=trace.g[n, used], slope=trace.gs[n, used], r=trace.r[n, used],
                h=trace.h[n, used], r4=trace.r4[n, used],
                slopes_u=np.stack([trace.su[n, used], trace.hu[n, used]], -1),
            )
        )
        dgr = GradDescriptor.compute(cfg, atoms[-1].dd, atoms[-1].gr, run.model.nix_shift).dgr
        assert np.array_equal(dgr, trace.dgr[n])
        grads = NeighborBackward.compute(cfg, dgr, *(getattr(atoms[-1], name) for name in (
            "g", "slope", "r", "h", "r4", "slopes_u")))
        for name in ("dr4", "dg", "ds", "dh", "deriv"):
            assert np.array_equal(getattr(grads, name), getattr(trace, name)[n, used])
    return run.model.nix_shift, atoms


def test_atoms_of_the_reference():
    """`compute` gives the reference's trace, and at full width so does the hardware."""
    cfg = small(m1=32, width=128, fold=16, max_nnei=8, store_neighbors=8)
    nix_shift, atoms = golden_atoms(cfg)
    assert sum(len(atom.g) for atom in atoms) > 100
    few = [take_neighbors(atom, n) for atom, n in zip(atoms, (3, 0, 2), strict=False)]
    out, taps, _ = run_chain(cfg, few, idle=0.0, stall=0.0, nix_shift=nix_shift)
    check(cfg, few, out, taps, nix_shift)


def take_neighbors(atom, n):
    """The atom with its first n neighbours; with none, an atom that is dropped."""
    part = {name: getattr(atom, name)[:n] for name in ("g", "slope", "r", "h", "r4", "slopes_u")}
    return replace(atom, none=n == 0, **part)


@pytest.mark.parametrize("frac, m2, mult_latency", [(8, 2, 1), (20, 8, 2)])
def test_other_sizes(frac, m2, mult_latency):
    cfg = small(frac=frac, m2=m2, width=8 * m2, mult_latency=mult_latency)
    rng = np.random.default_rng(frac)
    atoms = [make_atom(rng, cfg, 3, tiny=0.1), make_atom(rng, cfg, 2)]
    out, taps, _ = run_chain(cfg, atoms)
    check(cfg, atoms, out, taps)


@pytest.mark.parametrize("cycles", [9, 60, 131])
def test_reset_in_an_atom(cycles):
    cfg = small()
    rng = np.random.default_rng(cycles)
    atoms = [make_atom(rng, cfg, 2), make_atom(rng, cfg, 0), make_atom(rng, cfg, 3)]
    out, taps, _ = run_chain(cfg, atoms, seed=cycles, reset_after=cycles)
    check(cfg, atoms, out, taps)


@pytest.mark.parametrize("fold, neighbors, version", [(1, 30, 0), (8, 8, 0), (1, 30, 1)])
def test_throughput(fold, neighbors, version):
    """A neighbour in `fold` cycles without a gap, also from one atom to the next."""
    cfg = small(fold=fold, max_nnei=32, store_neighbors=64, trace=False, version=version)
    atoms = [make_atom(np.random.default_rng(n), cfg, neighbors) for n in range(2)]
    out, taps, state = run_chain(cfg, atoms, idle=0.0, stall=0.0)
    check(cfg, atoms, out, taps)
    gaps = np.diff(state["times"])
    assert set(gaps[: neighbors - 1]) == set(gaps[neighbors:]) == {fold}
    if neighbors * fold > 4 * cfg.m1 + 2 * cfg.m2:  # dE/dGR is the faster one
        assert gaps[neighbors - 1] == fold


def test_throughput_of_small_atoms():
    """With one neighbour each, dE/dGR decides: an atom in 4*m1 + 2*m2 - 1 cycles."""
    cfg = small(fold=1, trace=False)
    atoms = [make_atom(np.random.default_rng(n), cfg, 1) for n in range(7)]
    _, _, state = run_chain(cfg, atoms, idle=0.0, stall=0.0)
    assert set(np.diff(state["times"])[1:]) == {4 * cfg.m1 + 2 * cfg.m2 - 1}


def test_a_fault_shows_first_at_its_stage():
    cfg = small(fold=8)
    atom = make_atom(np.random.default_rng(1), cfg, 2)
    stages = ["dgr", *FAULTS]
    out, taps, _ = run_chain(
        cfg, [atom] * (1 + len(stages)), faults=[None, *stages], idle=0.0, stall=0.0
    )
    shares = {"dgr": cfg.m1, "dr4": 2, "dg": 2 * cfg.fold, "ds": 2, "dh": 2}
    check(cfg, [atom], out[:2], {name: taps[name][:n] for name, n in shares.items()})
    clean = {
        "dgr": (), "dr4": ("dgr", "dg"), "dg": ("dgr", "dr4", "dh"),
        "ds": ("dgr", "dr4", "dg", "dh"), "dh": ("dgr", "dr4", "dg", "ds"),
        "deriv": ("dgr", "dr4", "dg", "ds", "dh"),
    }
    for k, fault in enumerate(stages, start=1):
        def part(name, k):
            return taps[name][k * shares[name] : (k + 1) * shares[name]]

        for stage in clean[fault]:
            assert part(stage, k) == part(stage, 0)
        if fault == "deriv":
            assert out[2 * k : 2 * k + 2] != out[:2]
        else:
            assert part(fault, k) != part(fault, 0)


def test_overflow_of_a_word():
    cfg = small(fold=8)
    atom = make_atom(np.random.default_rng(2), cfg, 2)
    atom.h[1] = 2.0**127
    atom.dd[:] = (1 << 26) - 1
    atom.gr[:] = ops.trunc_flt(np.full_like(atom.gr, 7.9), cfg.frac)
    atom.g[:] = 1.0
    _, _, state = run_chain(cfg, [atom], idle=0.0, stall=0.0)
    assert state["overflow"] == 1


def test_overflow_of_the_accumulator():
    cfg = small(fold=8)
    atom = make_atom(np.random.default_rng(2), cfg, 1)
    atom.gr[0, 5] = 2.0**11
    atom.dd[:] = 1 << 24
    _, _, state = run_chain(cfg, [atom], idle=0.0, stall=0.0)
    assert state["overflow"] > 0


def test_grad_sum_cuts_each_part():
    """compute against the definition: products, sums and their sum lose bits separately."""
    cfg = small()
    a = np.zeros((2, 4))
    b = np.zeros((2, 4))
    a[0, :2] = 1.0
    b[0, :2] = [2.0, 2.0**-22 + 2.0**-23]  # the sum's lowest bits fall beyond 21
    a[1, :2] = [-(2.0**-12), 2.0**-12]
    b[1, :2] = 2.0**-12  # each product below 2^-23
    assert GradSum.compute(cfg, a, b, 0) == 2.0
    a[1, 2], b[1, 2] = 2.0**-10, 2.0**-9
    assert GradSum.compute(cfg, a, b, 1) == 1.0 + 2.0**-20


@pytest.mark.parametrize("nix_shift", [0, 7, 8])
def test_grad_sum(nix_shift):
    cfg = small(trace=False)
    unit = GradSum(cfg)
    rng = np.random.default_rng(nix_shift)
    cases = [flt_values(rng, cfg, (2, 2, 4), -26, 3) for _ in range(40)]
    cases[0][:] = 0.0
    cases[1][:, 1] = cases[1][:, 0] * np.array([1.0, -1.0])[:, None, None][:, 0]  # cancels

    async def bench(ctx):
        ctx.set(unit.nix_shift, nix_shift)
        for t in range(len(cases) + unit.latency):
            if t >= unit.latency:
                a, b = cases[t - unit.latency]
                got = FltValue.from_fields(ctx.get(unit.o)).to_float(cfg)
                assert got == GradSum.compute(cfg, a, b, nix_shift)
                assert ctx.get(unit.overflow) == 0
            if t < len(cases):
                for port, values in zip((unit.a, unit.b), cases[t], strict=True):
                    ctx.set(port, [[fields(cfg, x) for x in row] for row in values])
            await ctx.tick()

    sim = Simulator(unit)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_wrong_parameters():
    with warnings.catch_warnings():
        # what is refused is also never built
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(InputError, match="atoms is 0"):
            GradDescriptor(small(), atoms=0)
        with pytest.raises(InputError, match="depth is 0"):
            Pending(4, 0)
        gc.collect()
