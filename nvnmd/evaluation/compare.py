"""The first word in which two evaluations differ, found stage by stage and atom by atom.

Models are compared by the reference's traces; backends by what they hand out (the simulated
hardware by its taps too, when a word of its results differs).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError
from nvnmd.evaluation.modes import mode_notes
from nvnmd.neighbors.slots import Neighborhood
from nvnmd.quantize.formats import DATA, FIX, encode_flt, to_fix
from nvnmd.quantize.normalize import Mode, chosen_mode
from nvnmd.quantize.reference import Trace, evaluate_atoms

if TYPE_CHECKING:
    from nvnmd.quantize.model import Model

Floats = NDArray[np.float64]
BACKENDS = ("float", "reference", "fixed", "sim")

# in the order of the data flow: name in the trace, format, one per neighbour or per atom
_STAGES = (
    ("r", "flt", True), ("u", "flt", True), ("s", "flt", True), ("h", "flt", True),
    ("su", "flt", True), ("hu", "flt", True), ("k", "flt", True),
    ("ku", "flt", True), ("r4", "flt", True), ("g", "flt", True),
    ("gs", "flt", True), ("gr", "flt", False), ("d", "data", False), ("z", "data", False),
    ("out", "fix", False), ("atom_energy", "binary64", False), ("dd", "fix", False),
    ("dgr", "flt", False), ("dr4", "flt", True), ("dg", "flt", True), ("ds", "flt", True),
    ("dh", "flt", True), ("dk", "flt", True), ("deriv", "flt", True),
)
_AXES = {"r": ("x", "y", "z"), "r4": ("s", "hx", "hy", "hz"), "dr4": ("s", "hx", "hy", "hz"),
         "deriv": ("dE/du", "dE/dx", "dE/dy", "dE/dz"), "force": ("x", "y", "z")}


@dataclass(frozen=True)
class Part:
    """The first word that differs.

    Attributes
    ----------
    stage : str
        Stage whose result it is.
    atom : int
        Atom of the system, in its order.
    neighbor : int or None
        Neighbour of that atom, counted over its filled slots.
    word : str
        Which word of the stage.
    values : (float, float)
        Both values.
    words : (int, int)
        Both words in the stage's format; bit patterns of binary64 where it has none.
    """

    stage: str
    atom: int
    neighbor: int | None
    word: str
    values: tuple[float, float]
    words: tuple[int, int]

    def __str__(self) -> str:
        where = f"atom {self.atom}"
        if self.neighbor is not None:
            where += f", neighbour {self.neighbor}"
        a, b = (f"{v!r} ({w:#x})" for v, w in zip(self.values, self.words, strict=True))
        return f"first difference: stage {self.stage}, {where}, word {self.word}: A {a}, B {b}"


@dataclass(frozen=True)
class Outcome:
    """Words compared, words that differ, and the first of these.

    `notes` say whose words they are, where a model has those of a graph and of a machine.
    """

    atoms: int
    compared: int
    differing: int
    first: str | None
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The line that scripts look for."""
        return (f"compare: {self.atoms} atoms, {self.compared} words compared, "
                f"{self.differing} differ")


def compare_models(
    a: Model, b: Model, hood: Neighborhood, mode: Mode | None = None
) -> Outcome:
    """Compare two models on one neighbour list, every stage of the reference.

    Both compute in one mode (`nvnmd.quantize.normalize`): the one asked for, else the graph's, or
    the machine's where one of them has that only.

    Raises
    ------
    InputError
        The models differ in a size, so that their stages have no common shape.
    """
    for name in (
        "version", "sub_version", "type_map", "sel", "rcut", "m1", "m2", "width", "hidden"
    ):  # fmt: skip
        if getattr(a, name) != getattr(b, name):
            raise InputError(f"{name}: A has {getattr(a, name)}, B has {getattr(b, name)}, "
                             "expected the same")
    modes = {chosen_mode(m, mode) for m in (a, b)}
    common = modes.pop() if len(modes) == 1 else "machine"
    first, second = (
        evaluate_atoms(m, hood.center_types, hood.rij, hood.mask, hood.neighbor_types, common)
        for m in (a, b))
    notes = () if a.sub_version == 1 else (f"both models in the {common}'s words",)
    return replace(compare_traces(first, second, hood), notes=notes)


def compare_traces(a: Trace, b: Trace, hood: Neighborhood) -> Outcome:
    """Compare two traces of the same atoms."""
    stages = [(name, form, per_neighbor, getattr(a, name), getattr(b, name))
              for name, form, per_neighbor in _STAGES if getattr(a, name) is not None]
    return _first(stages, hood)


def compare_backends(model: Model, pair: tuple[str, str], hood: Neighborhood,
                     work_dir: Path, mode: Mode | None = None) -> Outcome:
    """Compare two backends of one model.

    `float` is compared by atomic energies and forces, the others by energy words and dE/d[u,x,y,z]
    of every neighbour. A difference of `sim` is followed to its stage through the hardware's taps.

    Parameters
    ----------
    pair : two of "float", "reference", "fixed", "sim"
        `reference` is the NumPy definition of `fixed`.
    work_dir : Path
        Where `sim` builds its simulators.
    mode : {"graph", "machine"}, optional
        Whose words the integer network computes in; beside `sim`, which is a machine, the
        machine's by default.
    """
    if "sim" in pair and model.sub_version == 2:
        if mode == "graph":
            raise InputError("--mode: got graph with the backend sim, which is a machine")
        mode = "machine"
    outcome = _compare_backends(model, pair, hood, work_dir, chosen_mode(model, mode))
    return replace(outcome, notes=mode_notes(model, hood, chosen_mode(model, mode)))


def _compare_backends(model: Model, pair: tuple[str, str], hood: Neighborhood,
                      work_dir: Path, mode: Mode) -> Outcome:
    for name in pair:
        if name not in BACKENDS:
            raise InputError(f"--backends: got {name!r}, expected two of {', '.join(BACKENDS)}")
    if "float" in pair:
        from nvnmd.evaluation.backends import Backend, make_evaluator

        kinds: dict[str, Backend] = {"float": "float", "reference": "fixed", "fixed": "fixed",
                                     "sim": "sim"}
        results = [make_evaluator(model, kinds[name], work_dir, mode)(hood) for name in pair]
        (ea, fa), (eb, fb) = [(energy, forces.force) for energy, forces in results]
        return _first([("atom_energy", "binary64", False, ea, eb),
                       ("force", "binary64", False, fa, fb)], hood)
    if "sim" in pair and pair[0] != pair[1]:
        return _against_hardware(model, hood, work_dir)
    (ea, da), (eb, db) = (_words(model, name, hood, mode) for name in pair)
    return _first([("atom_energy", "binary64", False, ea, eb), ("deriv", "flt", True, da, db)],
                  hood)


def _words(model: Model, backend: str, hood: Neighborhood, mode: Mode) -> tuple[Floats, Floats]:
    arguments = hood.center_types, hood.rij, hood.mask, hood.neighbor_types
    if backend == "reference":
        trace = evaluate_atoms(model, *arguments, mode)
        return trace.atom_energy, trace.deriv
    if backend == "fixed":
        from nvnmd.quantize.compiled.model import FastModel, available, supported

        if available() and supported(model):
            return FastModel(model, mode).evaluate(*arguments)
        return _words(model, "reference", hood, mode)
    raise InputError("--backends: sim against itself says nothing")


def _against_hardware(model: Model, hood: Neighborhood, work_dir: Path) -> Outcome:
    from nvnmd.hdl.export import config_for
    from nvnmd.sim.accelerator import Atoms, find_first_difference, run_accelerator

    cfg = config_for(model)
    atoms = Atoms(hood.center_types, hood.rij, hood.mask, hood.neighbor_types)
    run = run_accelerator(model, cfg, atoms, work_dir)
    found = run.comparison
    first = None
    if not found.equal or run.status:
        difference = find_first_difference(model, cfg, atoms, work_dir / "taps",
                                           build_dir=work_dir) or found.first
        first = str(difference) if difference else f"status {', '.join(run.status)}"
        if difference is not None:
            first += f" (atom {int(hood.order[difference.atom])} of the system)"
    wrong = found.differing + found.missing + found.surplus
    return Outcome(found.atoms, found.compared, max(wrong, 1) if first else 0, first)


def _first(stages: list[tuple[str, str, bool, Floats, Floats]], hood: Neighborhood) -> Outcome:
    """Count differing words; the first is that of the first atom, there of the first stage."""
    compared = differing = 0
    best: tuple[int, int] | None = None
    part: Part | None = None
    position = np.cumsum(hood.mask, axis=1) - 1
    for order, (name, form, per_neighbor, x, y) in enumerate(stages):
        # both zeros are one word
        x, y = x + 0.0, y + 0.0
        differ = x != y
        if per_neighbor:
            here = hood.mask.reshape(*hood.mask.shape, *(1,) * (x.ndim - 2))
            differ = differ & here
            compared += int(hood.mask.sum()) * int(np.prod(x.shape[2:], dtype=int))
        else:
            compared += x.size
        differing += int(differ.sum())
        if not differ.any():
            continue
        at = tuple(int(i) for i in np.argwhere(differ)[0])
        if best is None or (at[0], order) < best:
            best = (at[0], order)
            rest = at[2:] if per_neighbor else at[1:]
            part = Part(
                name, int(hood.order[at[0]]), int(position[at[:2]]) if per_neighbor else None,
                _word_name(name, rest), (float(x[at]), float(y[at])),
                (_word(x[at], form), _word(y[at], form)))
    return Outcome(len(hood.order), compared, differing, str(part) if part else None)


def _word_name(stage: str, index: tuple[int, ...]) -> str:
    if stage in _AXES and index:
        return _AXES[stage][index[0]]
    if stage in ("gr", "dgr"):
        return f"row {index[0]}, column {index[1]}"
    if stage == "z":
        return f"layer {index[0]}, {index[1]}"
    return ", ".join(map(str, index)) or stage


def _word(x: float, form: str) -> int:
    if form == "flt":
        return int(encode_flt(x))
    if form == "binary64":
        return int(np.float64(x).view(np.uint64))
    return int(to_fix(x, DATA if form == "data" else FIX)) & 0xFFFFFFFF
