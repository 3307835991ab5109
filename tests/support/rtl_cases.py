"""Models, atoms and proofs for the whole-accelerator tests, of both versions."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from support.small_models import random_model, random_weights, small_config
from support.type_models import type_config, type_weights

from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.hdl.core import STATUS_BITS
from nvnmd.hdl.export import config_for
from nvnmd.hdl.fitting.schedule import Schedule
from nvnmd.hdl.host.image import build_image
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.presets import DEFAULT, preset
from nvnmd.hdl.verify.stimulus import build_stimulus, expected_words
from nvnmd.hdl.verify.taps import STAGES
from nvnmd.hdl.verilog import LINT_OFF, TOP, generate_verilog
from nvnmd.mapping.freeze import freeze_model
from nvnmd.quantize.model import Model
from nvnmd.quantize.widths import VENDOR_WIDTHS, Widths
from nvnmd.sim.accelerator import (
    Atoms,
    compare_taps,
    evaluation_steps,
    fault_step,
    patience,
    play,
)
from nvnmd.sim.compare import compare_outputs
from nvnmd.sim.simulators import check_simulation_tools
from nvnmd.sim.stages import stage_words


def small_model(ntypes: int = 3, seed: int = 5) -> Model:
    """A random model of reduced widths: m1 8, m2 2, two hidden layers of 16, sel 12 per type."""
    return random_model(np.random.default_rng(seed), ntypes)


def small_accelerator(model: Model, **changes):
    """The accelerator for `small_model`: a store of 128 neighbours, 4 fitting multipliers."""
    return config_for(model, **({"fold": 2, "fit_cols": 4, "store_neighbors": 128} | changes))


def exported_accelerator(model: Model) -> AcceleratorConfig:
    """The accelerator of `export-hdl --fold 2 --fit-cols 4`, and so of `simulate`."""
    return preset(DEFAULT).config(model, fold=2, fit_cols=4)


def octave_model(version: int) -> Model:
    """A frozen model of random weights with octave tables, of three types."""
    rng = np.random.default_rng(11 + version)
    weights = type_weights(rng, 3) if version else random_weights(rng, 3)
    config = type_config(3) if version else small_config(3)
    tables = tables_of_weights(weights, 4.0, 1.0, name="octave")
    return freeze_model(weights, tables, replace(config, tables="octave"))


def octave_accelerator(model: Model) -> AcceleratorConfig:
    """The smallest accelerator of the tests that has taps: one channel per cycle."""
    return replace(small_accelerator(model, fold=8), trace=True)


def many_type_sizes(fold: int) -> dict[str, int]:
    """Sizes of version 1's accelerators for many types: one channel per cycle (fold 8), where
    neighbours or the fitting net set the pace, or all at once and atoms that take turns."""
    if fold == 1:
        return {"fold": 1, "fit_rows": 2, "fit_atoms": 2, "store_neighbors": 256}
    return {"fold": fold, "fit_cols": 16, "fit_rows": 4}


def _random_places(rng, model: Model, n: int, low: float) -> np.ndarray:
    direction = rng.normal(size=(n, model.nnei, 3))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    return direction * np.cbrt(rng.uniform(low**3, model.rcut**3, (n, model.nnei, 1)))


def random_atoms(model: Model, counts: list[list[int]], seed: int = 1, low: float = 2.2) -> Atoms:
    """Atoms with `counts[i][t]` neighbours of type t at random places between `low` and rcut."""
    places = _random_places(np.random.default_rng(seed), model, len(counts), low)
    slot_types = np.repeat(np.arange(model.ntypes), model.sel)
    nth = np.concatenate([np.arange(size) for size in model.sel])
    mask = np.stack([nth < np.asarray(row)[slot_types] for row in counts])
    center = np.arange(len(counts)) % model.ntypes
    return Atoms(center, np.where(mask[:, :, None], places, 0.0), mask,
                 np.broadcast_to(slot_types, mask.shape))


def mixed_atoms(model: Model, counts: Sequence[int], seed: int = 1, low: float = 2.2) -> Atoms:
    """Version 1: atoms with `counts[i]` neighbours of random types in random order."""
    rng = np.random.default_rng(seed)
    places = _random_places(rng, model, len(counts), low)
    mask = np.arange(model.nnei) < np.asarray(counts)[:, None]
    kinds = rng.integers(0, model.ntypes, mask.shape)
    center = np.arange(len(counts)) % model.ntypes
    return Atoms(center, np.where(mask[:, :, None], places, 0.0), mask, kinds)


def corner_displacements(rcut: float) -> np.ndarray:
    """Nine atoms with four neighbours, (9, 4, 3): just inside rcut, on row edges, along axes."""
    distances = [np.nextafter(rcut, 0), rcut - 1e-7, rcut - 1e-3, 3.5, np.sqrt(12.125), 2.0, 1.2,
                 np.sqrt(6.25), 1.0]
    out = np.zeros((len(distances), 4, 3))
    for i, distance in enumerate(distances):
        out[i, :3] = np.eye(3) * distance * (-1) ** i
        out[i, 3] = np.array([distance, 1e-30, -1e-39]) * 0.999
    return out


def trace_of(model: Model, atoms: Atoms):
    """The reference's trace."""
    return atoms.evaluate(model)


def stimulus_of(atoms: Atoms, widths: Widths = VENDOR_WIDTHS):
    """The neighbour stream."""
    return build_stimulus(atoms.center_types, atoms.rij, atoms.mask, atoms.neighbor_types, widths)


def outcome(results, name, trace, atoms, widths: Widths = VENDOR_WIDTHS):
    """The words of one evaluation against the reference's."""
    got = {k: results[f"{name}.{k}"] for k in ("energy", "deriv", "deriv_last")}
    return compare_outputs(
        expected_words(trace, atoms.mask, widths), got["energy"], got["deriv"], got["deriv_last"],
        atoms.mask.sum(axis=1),
    )


def status_of(results, name) -> set[str]:
    """Names of the status bits that were set."""
    bits = int(results[f"{name}.status"])
    return {label for i, label in enumerate(STATUS_BITS) if bits >> i & 1}


def taps_of(results, name) -> dict:
    """What the taps showed in one evaluation."""
    return {k.removeprefix(f"{name}."): v for k, v in results.items() if k.startswith(f"{name}.")}


# which beat of each stage to falsify: well inside the stimulus, in an atom with neighbours
FAULTS = {name: 9 for name in STAGES} | {"energy": 4, "d": 40, "dd": 40, "z": 40, "gr": 20}


@dataclass(frozen=True)
class Proof:
    """A model, an accelerator with taps, atoms, and a folder for what simulations write."""

    model: Model
    cfg: AcceleratorConfig
    atoms: Atoms
    work: Path

    def evaluate(self, name: str, settings: dict, slow: float = 1.0) -> dict:
        """One simulation that loads the model and evaluates the atoms, as `run`."""
        stimulus = stimulus_of(self.atoms, self.model.widths)
        script = [{"op": "load", "image": "image"},
                  *evaluation_steps(stimulus, patience(self.cfg, slow))]
        arrays = {"image": build_image(self.model, self.cfg), "beats": stimulus.beats,
                  "last": stimulus.last}
        return play(self.cfg, self.work / name, None, script, arrays, settings)

    def check(self, results: dict, name: str) -> None:
        """Every word of every tap and of the outputs is the reference's."""
        trace = trace_of(self.model, self.atoms)
        assert compare_taps(trace, self.atoms.mask, self.cfg, taps_of(results, name)) is None
        result = outcome(results, name, trace, self.atoms, self.model.widths)
        assert result.equal
        assert result.compared == len(self.atoms.mask) + 4 * int(self.atoms.mask.sum())
        assert status_of(results, name) == {"model_valid"}

    def with_faults(self) -> dict:
        """One simulation: a clean evaluation, then one per stage with a fault.

        The taps count beats since reset, so a fault in the n-th evaluation lies n rounds further.
        """
        stimulus = stimulus_of(self.atoms)
        trace = trace_of(self.model, self.atoms)
        lanes = Schedule.best(self.cfg).lanes
        rounds = {
            name: len(stage.words)
            for name, stage in stage_words(trace, self.atoms.mask, self.cfg, lanes).items()
        }
        script = [{"op": "load", "image": "image"}]
        for n, name in enumerate(("clean", *STAGES)):
            if name != "clean":
                script.append(fault_step(name, n * rounds[name] + FAULTS[name]))
            script += evaluation_steps(stimulus, patience(self.cfg), name=name)
        arrays = {"image": build_image(self.model, self.cfg), "beats": stimulus.beats,
                  "last": stimulus.last}
        found = play(self.cfg, self.work / "faults", None, script, arrays,
                     {"taps": list(STAGES)})
        assert found["clean.tap_z"].shape[1] == lanes
        return found

    def check_fault(self, results: dict, stage: str) -> None:
        """A wrong last bit in one beat: that stage, atom, neighbour and word are named."""
        trace = trace_of(self.model, self.atoms)
        found = compare_taps(trace, self.atoms.mask, self.cfg, taps_of(results, stage))
        assert found is not None
        where = stage_words(
            trace, self.atoms.mask, self.cfg, results["clean.tap_z"].shape[1]
        )[stage]
        beat = FAULTS[stage]
        assert found.stage == stage
        assert found.atom == where.atom[beat]
        neighbor = None if where.neighbor[beat] < 0 else where.neighbor[beat]
        assert found.neighbor == neighbor
        # the first word of the beat that is not zero (the last bit of a zero is not touched)
        lane = int(np.flatnonzero(where.words[beat])[0])
        assert found.expected == where.words[beat, lane]
        assert found.found != found.expected
        assert f"stage {stage}, atom {found.atom}" in str(found)

    def check_stalls(self) -> None:
        """Idle cycles at the input and stalls at the outputs change no word."""
        trace = trace_of(self.model, self.atoms)
        for idle, stall in ((0.7, 0.0), (0.0, 0.7), (0.4, 0.4)):
            found = self.evaluate("stalls", {"seed": 3, "idle_in": idle, "stall_out": stall}, 0.2)
            assert outcome(found, "run", trace, self.atoms).equal
            assert status_of(found, "run") == {"model_valid"}


    def paces(self, atoms: dict[str, Atoms]) -> dict[str, float]:
        """Cycles from energy to energy of each of several sets of atoms, after the first six.

        The last atoms are not counted: they have the stages for themselves. Words are checked, too.
        """
        script: list[dict] = [{"op": "load", "image": "image"}]
        arrays = {"image": build_image(self.model, self.cfg)}
        for name, some in atoms.items():
            stimulus = stimulus_of(some)
            arrays |= {f"beats_{name}": stimulus.beats, f"last_{name}": stimulus.last}
            script += evaluation_steps(stimulus, patience(self.cfg), name=name,
                                       beats=f"beats_{name}", last=f"last_{name}")
        found = play(self.cfg, self.work / "paces", None, script, arrays, {"taps": []})
        out = {}
        for name, some in atoms.items():
            assert outcome(found, name, trace_of(self.model, some), some).equal, name
            when = found[f"{name}.energy_cycle"][6:-3].astype(float)
            out[name] = (when[-1] - when[0]) / (len(when) - 1)
        return out

    def check_resets(self) -> None:
        """Whatever went before, the next good load gives right words; a bad one gives none."""
        stimulus = stimulus_of(self.atoms)
        image = build_image(self.model, self.cfg)
        wrong_crc, wrong_head = image.copy(), image.copy()
        wrong_crc[len(image) // 2, 1] ^= 4
        wrong_head[0, 1] ^= 1
        arrays = {
            "image": image, "beats": stimulus.beats, "last": stimulus.last,
            "wrong_crc": wrong_crc, "wrong_head": wrong_head,
            "long": np.concatenate([image, image[-1:]]),
        }
        load = {"op": "load", "image": "image"}
        start = {"op": "start", "beats": "beats", "last": "last"}
        again = [{"op": "reset"}, {"op": "collect", "name": "drop"}]
        good = evaluation_steps(stimulus, patience(self.cfg))[:-1]

        def then_good(name: str) -> list[dict]:
            return [load, *good, {"op": "collect", "name": f"after_{name}"}]

        # in the middle of an atom, and of a load
        script = [load, start, {"op": "idle", "cycles": 150}, *again, *then_good("atom"),
                  {**load, "count": len(image) // 3}, *again, *then_good("load")]
        # loads that must be refused; then no word comes, and the status says why
        refused = {
            "short": {**load, "count": len(image) - 1}, "long": {"op": "load", "image": "long"},
            "wrong_crc": {"op": "load", "image": "wrong_crc"},
            "wrong_head": {"op": "load", "image": "wrong_head"},
            "no_load": {"op": "idle", "cycles": 1},
        }
        for name, step in refused.items():
            script += [*again, step, start, {"op": "idle", "cycles": 800},
                       {"op": "collect", "name": name}, *then_good(name)]
        found = play(self.cfg, self.work / "resets", None, script, arrays, {"taps": []})
        trace = trace_of(self.model, self.atoms)
        for name in ("atom", "load", *refused):
            assert outcome(found, f"after_{name}", trace, self.atoms).equal, name
            if name not in refused:
                assert status_of(found, f"after_{name}") == {"model_valid"}, name
        for name in refused:
            why = {"no_model"} if name == "no_load" else {"bad_load", "no_model"}
            assert status_of(found, name) == why, name
            assert found[f"{name}.energy"].size == found[f"{name}.deriv"].size == 0


def check_lint(cfg: AcceleratorConfig, folder: Path) -> None:
    """Verilator finds nothing in the Verilog of a configuration, and no memory has contents."""
    verilator = check_simulation_tools()["verilator"]
    source = folder / f"{TOP}.v"
    text = generate_verilog(cfg)
    # a pragma that a Verilator does not know makes it refuse the file
    assert "verilator" not in text
    # a memory with contents would be a model in the gateware
    assert "$meminit" not in text
    assert "$readmem" not in text
    source.write_text(text)
    done = subprocess.run(
        [*verilator.command, "--lint-only", "-Wall", *(f"-Wno-{name}" for name in LINT_OFF),
         str(source)], capture_output=True, text=True, env=verilator.environment(), check=False)
    assert done.returncode == 0, done.stderr[:2000]
    assert done.stderr == ""
