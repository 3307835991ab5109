"""`nvnmd simulate`: atoms of a system on the simulated accelerator, against both models."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.evaluation.modes import mode_difference, mode_notes
from nvnmd.neighbors.slots import Neighborhood
from nvnmd.network.model import NumpyMath, Shape, atomic_energies
from nvnmd.network.types import type_terms
from nvnmd.quantize.forces import Forces, assemble_forces

if TYPE_CHECKING:
    from nvnmd.hdl.params import AcceleratorConfig
    from nvnmd.quantize.model import Model
    from nvnmd.sim.accelerator import RtlRun
    from nvnmd.sim.play import Engine

Floats = NDArray[np.float64]
# The largest difference from the float model that passes, in eV/atom and eV/Å. Quantization costs
# 2e-5 eV/Å at most on GeTe and 1e-3 on water, whose short bonds meet the coarse rows of the tables.
MAX_FLOAT_ERROR = 2e-3


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Result of one simulation; `summary` is what `summary.json` holds.

    Attributes
    ----------
    atoms, compared, differing, expected : int
        Atoms simulated, words compared, words that differ, words the atoms imply.
    cycles_per_atom : float
        Clock cycles between two atoms' energies in a full pipeline.
    energy_max, energy_rms : float
        Difference of the RTL from the float model, eV/atom; not a number for a model without one.
    force_max, force_rms : float
        The same of forces, eV/Å: those that the simulated atoms' energies exert on all atoms.
    first : str or None
        The first difference from the reference, by stage, atom, neighbour and word.
    problems : tuple of str
        Why this simulation failed; empty if it did not.
    notes : tuple of str
        Whose words were compared, where a model has those of a graph and of a machine.
    """

    atoms: int
    compared: int
    differing: int
    expected: int
    cycles_per_atom: float
    energy_max: float
    energy_rms: float
    force_max: float
    force_rms: float
    first: str | None
    problems: tuple[str, ...]
    summary: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The line that scripts look for."""
        return f"RTL: {self.atoms} atoms, {self.compared} words compared, {self.differing} differ"

    def lines(self) -> list[str]:
        """All lines that are printed; `line` is the first."""
        lines = [self.line, f"cycles per atom: {self.cycles_per_atom:.1f}"]
        if math.isnan(self.energy_max):
            lines.append("the model holds no continuous network to compare with")
        else:
            lines += [f"RTL against the continuous network, energy: largest {self.energy_max:.3e}, "
                      f"RMS {self.energy_rms:.3e} eV/atom",
                      f"RTL against the continuous network, force:  largest {self.force_max:.3e}, "
                      f"RMS {self.force_rms:.3e} eV/Å"]
        if self.first is not None:
            lines.append(self.first)
        lines += self.notes
        return lines + [f"failed: {problem}" for problem in self.problems]


def choose_atoms(total: int, count: int | None) -> NDArray[np.int64]:
    """Positions of `count` atoms (all by default) spread evenly over atoms sorted by type."""
    if count is None or count >= total:
        return np.arange(total)
    return np.unique(np.linspace(0, total - 1, count).round().astype(np.int64))


def float_pairs(model: Model, center_types: NDArray[np.integer], rij: Floats,
                mask: NDArray[np.bool_], neighbor_types: NDArray[np.integer]
                ) -> tuple[Floats, Floats]:
    """Atomic energies (n,) and dE/d(rij) (n, m, 3) of the float model; centres sorted by type."""
    terms = None
    if model.tweight is not None:
        terms = type_terms(NumpyMath(), model.type_embedding, model.type_net, model.tweight,
                           model.sub_version == 2)
    layers = list(zip(model.fit_weights, model.fit_biases, strict=True))
    shape = Shape(
        atoms=tuple(int(np.sum(center_types == t)) for t in range(model.ntypes)),
        slots=model.sel, sel=model.sel, rcut=model.rcut, rcut_smth=model.rcut_smth,
        axis_neuron=model.axis_neuron)
    energy, pair = atomic_energies(
        NumpyMath(), shape, model.embedding,
        [[(w[t], b[t]) for w, b in layers] for t in range(len(layers[0][0]))],
        model.t_bias_atom_e, model.davg, model.dstd, rij, mask, terms,
        np.maximum(neighbor_types, 0))
    return energy, pair


def simulate_hood(
    model: Model,
    hood: Neighborhood,
    cfg: AcceleratorConfig,
    out_dir: Path,
    *,
    atoms: int | None = None,
    build_dir: Path | None = None,
    max_float_error: float = MAX_FLOAT_ERROR,
    waves: bool = False,
    engine: Engine = "cpp",
    log: Callable[[str], None] = print,
) -> Simulation:
    """Simulate atoms of one frame and write `summary.json`.

    Parameters
    ----------
    model : Model
        The frozen model.
    hood : Neighborhood
        The frame's neighbour lists.
    cfg : AcceleratorConfig
        The accelerator.
    out_dir : Path
        Gets the summary, the simulator's logs and, if wanted, waveforms.
    atoms : int, optional
        How many atoms (default: all).
    build_dir : Path, optional
        Where simulators are kept (default: the user's cache).
    max_float_error : float
        Largest difference from the float model that passes, eV/atom and eV/Å.
    waves : bool
        Record waveforms.
    engine : {"cpp", "cocotb"}
        What turns the clock, see `nvnmd.sim.play`.
    log : callable
        Takes lines of progress.

    Returns
    -------
    Simulation
    """
    from nvnmd.hdl.verify.stimulus import expected_words
    from nvnmd.sim.accelerator import Atoms, find_first_difference, run_accelerator

    chosen = choose_atoms(len(hood.center_types), atoms)
    some = Atoms(hood.center_types[chosen], hood.rij[chosen], hood.mask[chosen],
                 hood.neighbor_types[chosen])
    out_dir.mkdir(parents=True, exist_ok=True)
    trace = some.evaluate(model)
    expected = expected_words(trace, some.mask, model.widths).words
    log(f"building and running the accelerator (fold {cfg.fold}, {cfg.fit_cols * cfg.fit_rows} "
        f"fitting multipliers) on {len(chosen)} atoms")
    run = run_accelerator(model, cfg, some, out_dir, build_dir=build_dir, waves=waves, trace=trace,
                          engine=engine)
    first = None
    if not run.comparison.equal:
        log("words differ: running a build with taps to find the first stage")
        difference = find_first_difference(model, cfg, some, out_dir / "taps",
                                           build_dir=build_dir, trace=trace, engine=engine)
        found = difference or run.comparison.first
        if found is not None:
            first = f"{found} (atom {int(hood.order[chosen[found.atom]])} of the system)"
    return _judge(model, hood, chosen, run, expected, first, cfg, out_dir, max_float_error)


def _judge(model: Model, hood: Neighborhood, chosen: NDArray[np.int64], run: RtlRun, expected: int,
           first: str | None, cfg: AcceleratorConfig, out_dir: Path,
           max_float_error: float) -> Simulation:
    centers = hood.center_types[chosen]
    if model.embedding:
        float_energy, pair = float_pairs(model, centers, hood.rij[chosen], hood.mask[chosen],
                                     hood.neighbor_types[chosen])
        de = run.energy + model.t_bias_atom_e[centers] - float_energy
        df = _force_on_all(hood, chosen, run.deriv, model) - _pair_force(hood, chosen, pair)
        sizes = {
            "energy_max": float(np.abs(de).max()), "energy_rms": float(np.sqrt((de**2).mean())),
            "force_max": float(np.abs(df).max()), "force_rms": float(np.sqrt((df**2).mean()))}
    else:
        sizes = dict.fromkeys(("energy_max", "energy_rms", "force_max", "force_rms"), math.nan)
    comparison = run.comparison
    problems = []
    if comparison.differing or comparison.surplus:
        problems.append(f"{comparison.differing} words differ, {comparison.surplus} too many")
    if comparison.compared < expected:
        problems.append(f"{comparison.compared} words compared, the atoms imply {expected}")
    if run.status:
        problems.append(f"status {', '.join(run.status)}")
    if model.embedding and not max(sizes["energy_max"], sizes["force_max"]) <= max_float_error:
        problems.append(f"difference from the continuous network above {max_float_error:g}")
    modes: dict[str, Any] = {}
    if model.sub_version == 2:
        modes = {"mode": "machine"}
        if len(model.davg):
            modes["mode_difference"] = dict(
                zip(("energy", "force"), mode_difference(model, hood), strict=True))
    summary = {
        **modes, "atoms": len(chosen), "words_expected": expected,
        "words_compared": comparison.compared,
        "words_differing": comparison.differing, "first_difference": first,
        "cycles_per_atom": run.cycles_per_atom, "cycles": run.cycles,
        "load_cycles": run.load_cycles, "status": list(run.status), "too_near": run.too_near,
        "float_difference": sizes if model.embedding else None, "max_float_error": max_float_error,
        "parameters": cfg.to_dict(), "model_digest": model.digest, "problems": problems,
    }
    with atomic_write(out_dir / "summary.json") as file:
        file.write((json.dumps(summary, indent=1) + "\n").encode())
    return Simulation(atoms=len(chosen), compared=comparison.compared,
                      differing=comparison.differing, expected=expected,
                      cycles_per_atom=run.cycles_per_atom, first=first,
                      problems=tuple(problems), summary=summary,
                      notes=(*mode_notes(model, hood, "machine"), *_near_notes(model, run)),
                      **sizes)


def _near_notes(model: Model, run: RtlRun) -> tuple[str, ...]:
    from nvnmd.quantize.table_start import near_exponent

    if not run.too_near:
        return ()
    return (f"status too_near: a neighbour is nearer than {2.0 ** (-near_exponent(model) / 2):.3f} "
            "Å, where the tables begin: its forces mean nothing",)


def _force_on_all(hood: Neighborhood, chosen: NDArray[np.int64], deriv: Floats,
                  model: Model) -> Floats:
    """Forces on every atom from the derivatives of the chosen ones, as the host scatters them."""
    everyone = np.zeros((len(hood.center_types), *deriv.shape[1:]))
    everyone[chosen] = deriv
    index = np.full_like(hood.index, -1)
    index[chosen] = hood.index[chosen]
    return assemble_forces(everyone, hood.rij, index, frac=model.widths.flt_frac).force


def _pair_force(hood: Neighborhood, chosen: NDArray[np.int64], pair: Floats) -> Floats:
    """Forces on every atom from dE/d(rij) of the chosen ones."""
    force = np.zeros((len(hood.center_types), 3))
    force[chosen] = pair.sum(axis=1)
    filled = hood.mask[chosen]
    np.subtract.at(force, hood.index[chosen][filled], pair[filled])
    return force


def sim_evaluator(model: Model, cfg: AcceleratorConfig,
                  work_dir: Path) -> Callable[[Neighborhood], tuple[Floats, Forces]]:
    """Evaluate frames on the simulated accelerator (`--backend sim`).

    The results are the hardware's own; a word that differs from the reference is an error.
    """
    from nvnmd.errors import NvnmdError
    from nvnmd.sim.accelerator import Atoms, run_accelerator

    def evaluate(hood: Neighborhood) -> tuple[Floats, Forces]:
        everyone = Atoms(hood.center_types, hood.rij, hood.mask, hood.neighbor_types)
        run = run_accelerator(model, cfg, everyone, work_dir)
        if not run.comparison.equal or run.status:
            raise NvnmdError(
                f"RTL and reference differ: {run.comparison.first or ', '.join(run.status)}")
        forces = assemble_forces(run.deriv, hood.rij, hood.index, hood.ghosts,
                                 model.widths.flt_frac)
        energy = run.energy + model.t_bias_atom_e[hood.center_types]
        return energy, forces

    return evaluate
