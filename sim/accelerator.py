"""Evaluate atoms on the simulated accelerator and compare every word with the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.hdl.core import ERROR_BITS, STATUS_BITS
from nvnmd.hdl.host.image import build_image
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.verify.stimulus import build_stimulus, expected_words
from nvnmd.hdl.verify.taps import STAGES
from nvnmd.quantize.formats import decode_flt
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import Trace, evaluate_atoms
from nvnmd.quantize.table_start import near_exponent
from nvnmd.quantize.widths import Widths
from nvnmd.sim.compare import Comparison, Difference, compare_outputs
from nvnmd.sim.play import Engine, evaluation_steps, play
from nvnmd.sim.stages import first_difference, stage_words, z_by_atom


@dataclass(frozen=True)
class RtlRun:
    """Results of the simulated hardware for `n` atoms.

    Attributes
    ----------
    energy : (n,) float64
        Energy words as numbers, without the atomic bias, in eV.
    deriv : (n, m, 4) float64
        dE/d[u,x,y,z]; zero in empty slots.
    comparison : Comparison
        Against the reference's words.
    cycles_per_atom : float
        Mean distance between energy words once the pipeline is full (the whole run for one atom).
    cycles, load_cycles : int
        Clock cycles of the whole run, and of loading the model.
    status : tuple of str
        Names of the error bits that are set at the end, and `too_near` where that bit is not what
        the reference's u say.
    too_near : bool
        A neighbour was nearer than where the tables begin (`nvnmd.quantize.table_start`).
    finished : bool
        All words came before patience ran out.
    """

    energy: NDArray[np.float64]
    deriv: NDArray[np.float64]
    comparison: Comparison
    cycles_per_atom: float
    cycles: int
    load_cycles: int
    status: tuple[str, ...]
    too_near: bool
    finished: bool


@dataclass(frozen=True)
class Atoms:
    """Atoms to evaluate: centre types (n,), displacements (n, m, 3), filled slots (n, m), and the
    neighbour type of each slot (n, m)."""

    center_types: NDArray[np.integer]
    rij: NDArray[np.float64]
    mask: NDArray[np.bool_]
    neighbor_types: NDArray[np.integer]

    def evaluate(self, model: Model) -> Trace:
        """Evaluate the same atoms with the integer reference, in the words of a machine."""
        return evaluate_atoms(
            model, self.center_types, self.rij, self.mask, self.neighbor_types, "machine"
        )


def run_accelerator(
    model: Model,
    cfg: AcceleratorConfig,
    atoms: Atoms,
    work_dir: Path,
    *,
    build_dir: Path | None = None,
    waves: bool = False,
    settings: Mapping[str, Any] | None = None,
    trace: Trace | None = None,
    engine: Engine = "cpp",
    verilog: str | None = None,
) -> RtlRun:
    """Simulate the accelerator on some atoms.

    Parameters
    ----------
    model : Model
        Loaded over the load stream.
    cfg : AcceleratorConfig
        Its Verilog is generated and built (once per text and `build_dir`).
    atoms : Atoms
        What to evaluate.
    work_dir : Path
        Gets job, results, logs (and waveforms).
    build_dir : Path, optional
        Where simulators are kept; by default in the user's cache, see `build_simulator`.
    waves : bool
        Record waveforms (`dump.vcd` in `work_dir`).
    settings : mapping, optional
        For the testbench: seed, idle_in, stall_out.
    trace : Trace, optional
        The reference's trace, if it is known already.
    engine : {"cpp", "cocotb"}
        What turns the clock, see `nvnmd.sim.play`.
    verilog : str, optional
        The same accelerator as a netlist, see `nvnmd.sim.play`.

    Raises
    ------
    NvnmdError
        If building or running fails.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    if trace is None:
        trace = atoms.evaluate(model)
    expected = expected_words(trace, atoms.mask, model.widths)
    result = _run(model, cfg, atoms, work_dir, build_dir, waves, dict(settings or {}), [], engine,
                  verilog)
    counts = atoms.mask.sum(axis=1)
    comparison = compare_outputs(
        expected, result["energy"], result["deriv"], result["deriv_last"], counts
    )
    deriv = np.zeros((*atoms.mask.shape, 4))
    words = np.zeros((int(counts.sum()), 4), dtype=np.uint32)
    words[: len(result["deriv"])] = result["deriv"][: len(words)]
    deriv[atoms.mask] = decode_flt(words, model.widths.flt)
    energy = np.full(len(counts), np.nan)
    energy[: len(result["energy"])] = result["energy"][: len(energy)] * 2.0**-cfg.fix_frac
    when = result["energy_cycle"]
    if len(when) > 2:
        per_atom = float(np.diff(when[1:]).mean())
    else:
        per_atom = float(result["cycles"] - result["load_cycles"]) / max(1, len(when))
    set_bits = {name for i, name in enumerate(STATUS_BITS) if int(result["status"]) >> i & 1}
    near = "too_near" in set_bits
    wrong = {"too_near"} if near != expects_near(model, trace, atoms.mask) else set()
    return RtlRun(
        energy=energy,
        deriv=deriv,
        comparison=comparison,
        cycles_per_atom=per_atom,
        cycles=int(result["cycles"]),
        load_cycles=int(result["load_cycles"]),
        status=tuple(name for name in STATUS_BITS
                     if name in (set_bits & set(ERROR_BITS)) | wrong),
        too_near=near,
        finished=bool(result["finished"]),
    )


def expects_near(model: Model, trace: Trace, mask: NDArray[np.bool_]) -> bool:
    """Whether the status bit `too_near` must be set after these atoms."""
    exponent = near_exponent(model)
    return bool(exponent and np.any(trace.u[mask] < 2.0**-exponent))


def find_first_difference(
    model: Model,
    cfg: AcceleratorConfig,
    atoms: Atoms,
    work_dir: Path,
    *,
    build_dir: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    fault: tuple[str, int] | None = None,
    trace: Trace | None = None,
    engine: Engine = "cpp",
) -> Difference | None:
    """Run a verification build of the same configuration and name the first differing stage.

    Parameters
    ----------
    fault : (stage, beat), optional
        Flip the last bits of one beat of a stage, to see that it is found.

    Returns
    -------
    Difference or None
        None if every tap agrees.
    """
    traced = replace(cfg, trace=True)
    if trace is None:
        trace = atoms.evaluate(model)
    options = dict(settings or {}) | {"taps": list(STAGES)}
    before = [] if fault is None else [fault_step(*fault)]
    result = _run(model, traced, atoms, work_dir, build_dir, False, options, before, engine)
    return compare_taps(trace, atoms.mask, traced, result)


def fault_step(stage: str, beat: int) -> dict[str, Any]:
    """The testbench step that falsifies one beat of a stage."""
    return {"op": "fault", "stage": 1 + STAGES.index(stage), "at": beat}


def compare_taps(
    trace: Trace, mask: NDArray[np.bool_], cfg: AcceleratorConfig, result: Mapping[str, NDArray]
) -> Difference | None:
    """Hold what the taps of one evaluation showed against the reference's trace."""
    taps = {name: result[f"tap_{name}"] for name in STAGES}
    if cfg.fit_atoms > 1:
        taps["z"] = z_by_atom(taps["z"], cfg)
    found = first_difference(stage_words(trace, mask, cfg, taps["z"].shape[1]), taps)
    bits = Widths(cfg.frac, cfg.data_bits, cfg.weight_bits, cfg.acc_bits)
    return None if found is None else replace(found, widths=bits)


def patience(cfg: AcceleratorConfig, slow: float = 1.0) -> int:
    """Cycles without any word after which a simulation is given up.

    An atom's neighbours, its fitting net and the pipelines, with ample room for stalls; `slow` is
    the share of cycles in which streams move.
    """
    return int(40 * (cfg.max_nnei * cfg.fold + 4096) / slow)


def _run(
    model: Model, cfg: AcceleratorConfig, atoms: Atoms, work_dir: Path, build_dir: Path | None,
    waves: bool, settings: dict[str, Any], before: list[dict[str, Any]], engine: Engine,
    verilog: str | None = None,
) -> dict[str, NDArray]:
    stimulus = build_stimulus(atoms.center_types, atoms.rij, atoms.mask, atoms.neighbor_types,
                              model.widths)
    slow = 1.0 - max(settings.get("idle_in", 0.0), settings.get("stall_out", 0.0))
    script = [*before, {"op": "load", "image": "image"},
              *evaluation_steps(stimulus, patience(cfg, slow))]
    arrays = {"image": build_image(model, cfg), "beats": stimulus.beats, "last": stimulus.last}
    found = play(cfg, work_dir, build_dir, script, arrays, settings, waves=waves,
                 engine=engine, verilog=verilog)
    return {name.removeprefix("run."): value for name, value in found.items()}
