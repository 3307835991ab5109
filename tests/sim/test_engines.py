"""The C++ program and the cocotb testbench play one script alike, cycle by cycle."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from support.rtl_cases import (
    exported_accelerator,
    octave_accelerator,
    octave_model,
    random_atoms,
    small_accelerator,
    small_model,
    stimulus_of,
)

from nvnmd.errors import NvnmdError
from nvnmd.hdl.host.image import build_image
from nvnmd.hdl.verify.taps import STAGES
from nvnmd.sim.accelerator import evaluation_steps, fault_step, patience, play
from nvnmd.sim.runner import run_program
from nvnmd.sim.simulators import Program, build_simulator

COUNTS = [[0, 0, 0], [3, 4, 2], [12, 12, 12], [0, 5, 0]]
TINY = "module tiny(input aclk, input aresetn); endmodule\n"


@pytest.fixture(scope="module")
def model():
    return small_model()


def test_same_words_in_the_same_cycles(tmp_path):
    """Outputs, their cycles, the status and every tap, also after a fault and a reset."""
    pytest.importorskip("cocotb")
    # a small accelerator that another test builds, too
    model = octave_model(0)
    cfg = octave_accelerator(model)
    stimulus = stimulus_of(random_atoms(model, COUNTS))
    image = build_image(model, cfg)
    arrays = {"image": image, "beats": stimulus.beats, "last": stimulus.last}
    load = {"op": "load", "image": "image"}
    # a tap counts from reset: the second atom of the second evaluation
    script = [load, *evaluation_steps(stimulus, patience(cfg)),
              fault_step("energy", len(COUNTS) + 1),
              *evaluation_steps(stimulus, patience(cfg), name="fault"), {"op": "reset"},
              {**load, "count": len(image) - 1},
              {"op": "start", "beats": "beats", "last": "last", "count": 3},
              {"op": "wait", "atoms": 1, "neighbors": 1, "patience": 500},
              {"op": "collect", "name": "refused"}]
    settings = {"taps": list(STAGES)}
    fast = play(cfg, tmp_path / "fast", None, script, arrays, settings)
    slow = play(cfg, tmp_path / "slow", None, script, arrays, settings, engine="cocotb")
    assert set(fast) == set(slow)
    assert fast["run.energy"].size == len(COUNTS)
    assert not np.array_equal(fast["run.energy"], fast["fault.energy"])
    assert (bool(fast["run.finished"]), bool(fast["refused.finished"])) == (True, False)
    for key, value in fast.items():
        run, quantity = key.split(".")
        if quantity in ("energy_cycle", "deriv_cycle"):
            # from the first energy: the engines hold reset and begin to send differently
            if run != "refused":
                first = f"{run}.energy_cycle"
                assert np.array_equal(value - fast[first][0], slow[key] - slow[first][0]), key
        elif quantity not in ("cycles", "load_cycles"):
            assert fast[key].dtype == slow[key].dtype, key
            assert np.array_equal(value, slow[key]), key


@pytest.mark.parametrize("waves", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_disturbed_streams_repeat(waves, model, tmp_path):
    """The same seed disturbs alike, another one otherwise; waveforms are written if wanted."""
    cfg = exported_accelerator(model)
    stimulus = stimulus_of(random_atoms(model, COUNTS))
    arrays = {"image": build_image(model, cfg), "beats": stimulus.beats, "last": stimulus.last}
    script = [{"op": "load", "image": "image"}, *evaluation_steps(stimulus, patience(cfg, 0.2))]

    def cycles(seed):
        settings = {"seed": seed, "idle_in": 0.3, "stall_out": 0.5}
        found = play(cfg, tmp_path / "waves", None, script, arrays, settings, waves=waves)
        assert found["run.finished"]
        return found["run.deriv_cycle"].tolist()

    assert cycles(1) == cycles(1) != cycles(2)
    dump = tmp_path / "waves" / "dump.vcd"
    assert dump.exists() == waves
    if waves:
        with dump.open() as file:
            assert "m_axis_deriv_tvalid" in file.read(1 << 16)


def test_atoms_that_are_done_are_told(model, tmp_path, monkeypatch):
    """The program says how many atoms are done, over all evaluations of a script."""
    seen = []

    @contextlib.contextmanager
    def followed(title, measure):
        seen.append(measure())
        yield
        seen.append(measure())

    monkeypatch.setattr("nvnmd.sim.play.followed", followed)
    monkeypatch.setattr("nvnmd.sim.play.TELL_SECONDS", 0.0)
    cfg = exported_accelerator(model)
    stimulus = stimulus_of(random_atoms(model, COUNTS))
    arrays = {"image": build_image(model, cfg), "beats": stimulus.beats, "last": stimulus.last}
    script = [{"op": "load", "image": "image"}, *evaluation_steps(stimulus, patience(cfg)),
              *evaluation_steps(stimulus, patience(cfg), name="again")]
    play(cfg, tmp_path, None, script, arrays, {})
    assert seen == [(0, 2 * len(COUNTS)), (2 * len(COUNTS), 2 * len(COUNTS))]


def test_a_program_that_fails_names_its_log(tmp_path):
    """A design that the program does not fit, and a script that it does not know."""
    with pytest.raises(NvnmdError, match=r"could not build the simulator .*error: "):
        # in the folder of the other simulators, which has Verilator's own part compiled
        build_simulator(TINY, top="tiny", program=Program("player.cpp", {"taps.h": ""}))
    log, stop = tmp_path / "log", tmp_path / "stop"
    stop.write_text("#!/bin/sh\nexit 3\n")
    stop.chmod(0o755)
    with pytest.raises(NvnmdError, match=r"stopped \(exit code 3\): its log is empty; see "):
        run_program(stop, [], log)


def test_unknown_engine(model, tmp_path):
    with pytest.raises(NvnmdError, match="engine of the simulation: got 'fast'"):
        play(small_accelerator(model), tmp_path, None, [], {}, {}, engine="fast")
