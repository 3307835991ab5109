"""Molecular dynamics through ASE: trajectory, log, and a state from which a run goes on exactly.

A state is written after each frame of the trajectory, with the lengths of trajectory and log at
that moment. What came after it is cut off on restart, and the same steps are taken again: the files
of a run that was killed are those of one that was not, byte by byte.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.io.extxyz import write_extxyz
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet

from nvnmd.atomic_file import atomic_write
from nvnmd.errors import InputError, ModelFileError, NvnmdError, one_line
from nvnmd.evaluation.backends import FloatNetwork
from nvnmd.integrations.ase import NVNMD
from nvnmd.npy_archive import DAMAGED, digest_of, read_arrays, read_entries
from nvnmd.progress import InterruptFlag, Progress

BAR = 1e-4 * units.GPa
"""One bar in eV/Å³."""

COLUMNS = ("step", "time_ps", "potential_eV", "kinetic_eV", "total_eV", "temperature_K",
           "pressure_bar", "volume_A3")
ENSEMBLES = ("nve", "langevin", "npt")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a trajectory, besides structure and model.

    Attributes
    ----------
    ensemble : {"nve", "langevin", "npt"}
        Constant energy (velocity Verlet), constant temperature (Langevin), or constant pressure
        (Langevin for atoms and for the volume, shape kept; ASE's `LangevinBAOAB`).
    timestep : float
        Time step in fs.
    temperature : float or None
        Temperature in K, for which velocities are drawn at the start. None keeps those of the
        structure (`nve` only).
    pressure : float
        Pressure in bar, for `npt`.
    friction : float
        Friction of the Langevin thermostat in 1/ps.
    barostat_time : float
        Time constant of the volume in ps.
    every : int
        Steps between two frames of the trajectory.
    log_every : int
        Steps between two lines of the log.
    seed : int
        Seed of the random velocities and of the thermostat.
    """

    ensemble: str = "nve"
    timestep: float = 0.5
    temperature: float | None = None
    pressure: float = 0.0
    friction: float = 5.0
    barostat_time: float = 1.0
    every: int = 100
    log_every: int = 10
    seed: int = 1

    def check(self, atoms: Atoms) -> None:
        """Raise InputError where they do not fit the atoms or each other."""
        if self.ensemble not in ENSEMBLES:
            raise InputError(f"ensemble: got {self.ensemble!r}, expected {', '.join(ENSEMBLES)}")
        if self.ensemble != "nve" and not self.temperature:
            raise InputError(f"temperature: the ensemble {self.ensemble} needs one above 0 K")
        if self.temperature is not None and not (
                math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature: got {self.temperature:g}, expected 0 K or more")
        for name in ("timestep", "friction", "barostat_time"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name}: got {value:g}, expected a number above 0")
        if not math.isfinite(self.pressure):
            raise InputError(f"pressure: got {self.pressure}, expected a number")
        if self.ensemble == "npt" and not atoms.pbc.all():
            raise InputError("ensemble: npt needs a structure that is periodic in all directions")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is told at the end of a run.

    Attributes
    ----------
    steps, atoms : int
        Steps taken now, without those before a restart; atoms of the structure.
    seconds : float
        Wall time of these steps.
    outside : int
        Evaluations with an atom outside of what the training saw.
    drift, drift_error : float or None
        Slope of the total energy in meV/atom/ns by least squares over the log, and its standard
        error; `nve` with at least three lines of the log.
    """

    steps: int
    atoms: int
    seconds: float
    timestep: float
    drift: float | None
    drift_error: float | None
    outside: int = 0

    def lines(self) -> list[str]:
        """Speed and drift."""
        found = [speed_line(self.steps, self.atoms, self.seconds, self.timestep)]
        if self.outside:
            found.append(f"{self.outside} evaluations had atoms outside of what the training saw")
        if self.drift is not None:
            found.append(f"drift of the total energy: {self.drift:.3g} ± {self.drift_error:.2g} "
                         "meV/atom/ns")
        return found


def speed_line(steps: int, atoms: int, seconds: float, timestep: float) -> str:
    """ns/day and µs per atom and step."""
    if not steps or seconds <= 0:
        return "speed: no step was taken"
    each = seconds / steps
    return (f"{steps} steps in {seconds:.1f} s: {timestep * 1e-6 * 86400 / each:.3g} ns/day, "
            f"{each / atoms * 1e6:.1f} µs per atom and step")


class Files:
    """Trajectory, log and state of a run, PREFIX.extxyz, PREFIX.log, PREFIX.state."""

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        base = Path(prefix)
        self.trajectory = base.with_name(base.name + ".extxyz")
        self.log = base.with_name(base.name + ".log")
        self.state = base.with_name(base.name + ".state")

    def all(self) -> tuple[Path, Path, Path]:
        """All three."""
        return self.trajectory, self.log, self.state


def run_dynamics(
    atoms: Atoms,
    calculator: NVNMD,
    settings: Settings,
    steps: int,
    prefix: str | os.PathLike[str] = "md",
    *,
    restart: bool = False,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Run to step `steps`, counted from the start of the whole run.

    Parameters
    ----------
    atoms : Atoms
        The structure; it is moved. On restart its positions do not count, its elements do.
    calculator : NVNMD
        The model.
    settings : Settings
    steps : int
        Steps of the whole run.
    prefix : path-like
        Of the files; see `Files`.
    restart : bool
        Go on from PREFIX.state.
    say : callable
        Takes lines of progress.

    Raises
    ------
    NvnmdError
        A file of the run is there already, or cannot be used; an atom cannot be evaluated.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, with the state written.
    """
    settings.check(atoms)
    files = Files(prefix)
    identity = _identity(atoms, calculator, settings)
    rng = np.random.default_rng(settings.seed)
    atoms.calc = calculator
    if restart:
        state = _read_state(files.state, identity)
        _put_atoms(atoms, state)
        rng.bit_generator.state = json.loads(str(state["rng"]))
        first = int(state["step"])
        if first >= steps:
            raise InputError(f"steps: {files.state} is of step {first} already, expected more")
        for path, size in zip(files.all()[:2], state["sizes"], strict=True):
            _cut(path, int(size))
    else:
        for path in files.all():
            if path.exists():
                raise InputError(f"{path}: exists; name other files with --output, or go on with "
                                 "--restart")
        first, state = 0, None
        if settings.temperature is not None:
            thermalize_momenta(atoms, settings.temperature, rng=rng)
            Stationary(atoms)
    dynamics = _integrator(atoms, settings, rng)
    if state is not None:
        _put_integrator(dynamics, state)
    dynamics.nsteps = first
    return _Run(atoms, settings, files, identity, rng, dynamics, say).to(first, steps)


class _Run:
    """A run under way."""

    def __init__(self, atoms: Atoms, settings: Settings, files: Files, identity: str,
                 rng: np.random.Generator, dynamics: MolecularDynamics,
                 say: Callable[[str], None]) -> None:
        self.atoms, self.settings, self.files = atoms, settings, files
        self.identity, self.rng, self.dynamics, self.say = identity, rng, dynamics, say

    def to(self, first: int, steps: int) -> Outcome:
        """Take the steps after `first`."""
        atoms, settings = self.atoms, self.settings
        # compiled loops are loaded and the first list is made before the clock starts
        atoms.get_forces()
        if first == 0:
            head = "#" + " ".join(f"{name:>16s}" for name in COLUMNS) + "\n"
            self._append(self.files.log, head.encode())
            self._log_line(0)
            self._frame(0)
        begin = time.perf_counter()
        with InterruptFlag() as stop, Progress("md", steps, first) as bar:
            for step in range(first + 1, steps + 1):
                self.dynamics.step()
                self.dynamics.nsteps = step
                if step % settings.log_every == 0 or step == steps:
                    self._log_line(step)
                if step % settings.every == 0 or step == steps:
                    self._frame(step)
                bar.update(step)
                if stop.raised:
                    self._save(step)
                    raise stop.interrupt(f"stopped after step {step}; to go on: the same command "
                                         "with --restart")
        seconds = time.perf_counter() - begin
        drift, error = (None, None) if settings.ensemble != "nve" else drift_of(
            self.files.log, len(atoms))
        return Outcome(steps=steps - first, atoms=len(atoms), seconds=seconds,
                       timestep=settings.timestep, drift=drift, drift_error=error,
                       outside=atoms.calc.outside)

    def _log_line(self, step: int) -> None:
        atoms = self.atoms
        potential, kinetic = atoms.get_potential_energy(), atoms.get_kinetic_energy()
        pressure = volume = math.nan
        if atoms.pbc.all():
            volume = atoms.get_volume()
            pressure = -atoms.get_stress(include_ideal_gas=True)[:3].mean() / BAR
        values = (step * self.settings.timestep * 1e-3, potential, kinetic, potential + kinetic,
                  atoms.get_temperature(), pressure, volume)
        if not np.isfinite([potential, kinetic]).all():
            raise NvnmdError(f"step {step}: the energy is not finite")
        line = f" {step:16d} " + " ".join(f"{value:16.9g}" for value in values) + "\n"
        # all digits of the energy, of which the drift is some of the last
        line = line.replace(f"{values[3]:16.9g}", f"{values[3]:16.10f}", 1)
        self._append(self.files.log, line.encode())

    def _frame(self, step: int) -> None:
        text = io.StringIO()
        info = self.atoms.info
        self.atoms.info = {"step": step, "time_ps": step * self.settings.timestep * 1e-3}
        try:
            write_extxyz(text, [self.atoms], write_results=True)
        finally:
            self.atoms.info = info
        self._append(self.files.trajectory, text.getvalue().encode())
        self._save(step)

    def _append(self, path: Path, data: bytes) -> None:
        with open(path, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _save(self, step: int) -> None:
        atoms = self.atoms
        arrays: dict[str, Any] = {
            "identity": self.identity, "step": step, "positions": atoms.positions,
            "momenta": atoms.get_momenta(), "cell": atoms.cell[:],
            "rng": json.dumps(self.rng.bit_generator.state),
            "sizes": [path.stat().st_size for path in self.files.all()[:2]],
        }
        for name in _INNER.get(type(self.dynamics), ()):
            arrays[f"inner.{name}"] = getattr(self.dynamics, name)
        arrays = {name: np.asarray(value) for name, value in arrays.items()}
        arrays["digest"] = np.array(digest_of({}, arrays))
        with atomic_write(self.files.state) as file:
            np.savez(file, **arrays)


# what an integrator carries from step to step besides the atoms
_INNER: dict[type, tuple[str, ...]] = {
    LangevinBAOAB: ("p_eps", "force_eps", "gamma_mod", "accel")}


def _integrator(atoms: Atoms, settings: Settings, rng: np.random.Generator) -> MolecularDynamics:
    step = settings.timestep * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, step)
    assert settings.temperature is not None
    if settings.ensemble == "langevin":
        return Langevin(atoms, step, temperature_K=settings.temperature,
                        friction=settings.friction * 1e-3 / units.fs, rng=rng,
                        fixcm=False)
    tau = settings.barostat_time * 1e3 * units.fs
    # the heuristic of ASE for the mass, of which it would warn
    mass = (tau / 4.0 / (1.66 * units.fs) * len(atoms) ** (1.0 / 6.0)) ** 2
    # a stress is negative where the pressure is not
    return LangevinBAOAB(
        atoms, step, temperature_K=settings.temperature,
        externalstress=-settings.pressure * BAR, hydrostatic=True,
        T_tau=1e3 * units.fs / settings.friction, P_tau=tau, P_mass=mass, rng=rng)


def _identity(atoms: Atoms, calculator: NVNMD, settings: Settings) -> str:
    """What has to be the same for a run to go on."""
    network = calculator.potential.network
    if isinstance(network, FloatNetwork):
        summed = hashlib.sha256()
        for name, array in sorted(network.weights.arrays().items()):
            summed.update(name.encode() + np.ascontiguousarray(array).tobytes())
        digest = summed.hexdigest()
    else:
        digest = network.digest
    known = calculator.parameters
    return json.dumps({
        "model": digest, "elements": "".join(atoms.get_chemical_symbols()),
        "masses": hashlib.sha256(atoms.get_masses().tobytes()).hexdigest(),
        "pbc": atoms.pbc.tolist(), "settings": asdict(settings), "mode": known["mode"],
        "backend": known["backend"] if isinstance(known["backend"], str) else "object",
        "overflow": known["overflow"]}, sort_keys=True)


def _read_state(path: Path, identity: str) -> dict[str, Any]:
    try:
        state: dict[str, Any] = read_arrays(read_entries(path))
        if str(state.pop("digest")) != digest_of({}, state):
            raise ValueError("its digest does not match its contents")
        old, new = json.loads(str(state["identity"])), json.loads(identity)
        if not isinstance(old, dict) or not isinstance(old.get("settings", {}), dict):
            raise ValueError("its identity is no section")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected the state of a run to go on "
                         "with") from None
    except DAMAGED as error:
        raise ModelFileError(f"{path}: no state of a run: {one_line(error)}") from None
    for name in new:
        if old.get(name) != new[name]:
            if name == "settings":
                name = next(key for key in new[name] if old[name].get(key) != new[name][key])
                a, b = old["settings"].get(name), new["settings"][name]
            else:
                a, b = old.get(name), new[name]
            told = f": got {b}, expected {a}" if max(len(str(a)), len(str(b))) < 60 else ""
            raise InputError(f"{path}: the run had another {name}{told}")
    return state


def _put_atoms(atoms: Atoms, state: dict[str, Any]) -> None:
    atoms.set_cell(state["cell"])
    atoms.positions = state["positions"]
    atoms.set_momenta(state["momenta"])


def _put_integrator(dynamics: MolecularDynamics, state: dict[str, Any]) -> None:
    for name in _INNER.get(type(dynamics), ()):
        value = state[f"inner.{name}"]
        setattr(dynamics, name, value if value.ndim else float(value))


def _cut(path: Path, size: int) -> None:
    """Take off what was written after the state."""
    try:
        if path.stat().st_size < size:
            raise InputError(f"{path}: shorter than the run left it, expected {size} bytes")
        os.truncate(path, size)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected the one of the run to go on "
                         "with") from None


def drift_of(log: Path, atoms: int) -> tuple[float | None, float | None]:
    """Slope of the total energy over a log and its standard error, in meV/atom/ns."""
    table = np.loadtxt(log, ndmin=2)
    if len(table) < 3:
        return None, None
    t, energy = table[:, 1] * 1e-3, table[:, 4] * 1e3 / atoms
    t = t - t.mean()
    slope = float(t @ energy / (t @ t))
    rest = energy - energy.mean() - slope * t
    return slope, float(np.sqrt(rest @ rest / (len(t) - 2) / (t @ t)))
